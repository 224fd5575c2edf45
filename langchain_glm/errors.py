"""What can go wrong, and the one place where it gets its type.

Every class inherits openai's class and LangChain's, so that `except openai.RateLimitError`
and `except ModelRateLimitError` both hold:

    GLMError                           openai.APIError, ModelError
    ├── GLMAuthenticationError         openai.AuthenticationError, ModelAuthenticationError
    ├── GLMPermissionDeniedError       openai.PermissionDeniedError, ModelPermissionDeniedError
    ├── GLMInvalidRequestError         openai.BadRequestError, ModelInvalidRequestError
    │   ├── GLMContextOverflowError    ContextOverflowError
    │   └── GLMContentFilterError      ModelRefusalError
    ├── GLMModelNotFoundError          openai.NotFoundError, ModelNotFoundError
    ├── GLMRateLimitError         (r)  openai.RateLimitError, ModelRateLimitError
    │   ├── GLMOverloadedError    (r)
    │   └── GLMQuotaError
    ├── GLMServerError            (r)  openai.InternalServerError, ModelAPIError
    ├── GLMConnectionError        (r)  openai.APIConnectionError, ModelConnectionError
    │   └── GLMStreamInterruptedError (r)
    ├── GLMTimeoutError           (r)  openai.APITimeoutError, ModelTimeoutError
    │   └── GLMStreamStalledError (r)  langchain_openai.StreamChunkTimeoutError, TimeoutError
    └── GLMMalformedResponseError      openai.APIError, ModelAPIError
        └── GLMMalformedStreamError (r)

(r): `is_retryable`, the same request may succeed later. GLM's business code decides the class
before the HTTP status does, because GLM sends 429 for an empty balance too. The text of an
error decides in one case, vLLM's and SGLang's of a prompt that is too long, which have no code:
GLM's may be Chinese, and change. `ModelRefusalError` is a base where
langchain-core has it (1.7.5 and later). An answer that ends with `finish_reason: network_error`
is a `GLMServerError`; one that ends with `length`, `sensitive` or
`model_context_window_exceeded` is a message, which says so in its `response_metadata`; only
`with_structured_output`, which needs it whole, raises `GLMRefusalError` (OutputParserException,
ModelRefusalError) for `sensitive`.
"""

from __future__ import annotations

import contextlib
import email.utils
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import openai
from langchain_core import exceptions
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
    OutputParserException,
)
from langchain_core.messages import AIMessage
from langchain_openai import StreamChunkTimeoutError

from langchain_glm._codes import row_of
from langchain_glm._json import parse_json
from langchain_glm._secrets import hide_keys

if TYPE_CHECKING:
    from langchain_core.exceptions import ModelError as _ModelRefusalError
else:  # the real one came with langchain-core 1.7.5
    _ModelRefusalError = getattr(exceptions, "ModelRefusalError", ModelError)

_PREVIEW_CHARACTERS = 200


class GLMError(openai.APIError, ModelError):
    """Anything that a GLM endpoint, or the way to it, did wrong.

    Attributes:
        message (str): GLM's own text and what to do about it.
        code (str | None): GLM's business code (`"1302"`), or the error code of another server; None
            without one. `"network_error"` is the finish reason of an answer that the model could
            not end.
        request_id (str | None): The id that GLM gave the request, None when it gave none.
        status_code (int | None): The HTTP status, None when no response arrived.
        body (object): The decoded `error` object, or the raw text where it was no JSON.
        partial (AIMessage | None): The message as far as it had arrived; None before the first
            fragment. Calls that had not ended are in its `invalid_tool_calls`, with their text as
            it came.
        retry_after (float | None): Seconds that the server asked to wait (`Retry-After`), None if
            it did not.
    """

    status_code: Any

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        request_id: str | None = None,
        body: object | None = None,
        request: Any = None,
        response: Any = None,
        partial: AIMessage | None = None,
    ) -> None:
        # The constructors of openai's classes want an HTTP response, which a connection that
        # never opened does not have: their attributes are set here instead.
        Exception.__init__(self, message)
        self.message = message
        self.code: str | None = code
        self.param: str | None = None
        self.type: str | None = None
        self.body = body
        self.partial = partial
        self.request = request
        self.status_code = None
        self.retry_after: float | None = None
        self.request_id: str | None = request_id
        if response is not None:
            self.response = response
            self.status_code = response.status_code
            self.retry_after = _retry_after(response.headers)
            self.request_id = request_id or response.headers.get("x-request-id")

    def __str__(self) -> str:
        """Return the message."""
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the HTTP request: its headers hold the key, its streams do not travel."""
        kept = {k: v for k, v in vars(self).items() if k not in {"request", "response"}}
        return _restored, (type(self), self.message), kept


def _restored(cls: type[GLMError], message: str) -> GLMError:
    return cls(message)


class GLMAuthenticationError(GLMError, openai.AuthenticationError, ModelAuthenticationError):
    """The key is missing, wrong or expired."""


class GLMPermissionDeniedError(GLMError, openai.PermissionDeniedError, ModelPermissionDeniedError):
    """The account or the plan does not allow this."""


class GLMInvalidRequestError(GLMError, openai.BadRequestError, ModelInvalidRequestError):
    """The server did not accept a parameter or a message."""


class GLMContextOverflowError(GLMInvalidRequestError, ContextOverflowError):
    """The prompt is longer than the model's context."""


class GLMContentFilterError(GLMInvalidRequestError, _ModelRefusalError):
    """The content policy refused the request, or cut what was needed of the answer."""

    @property
    def raw_message(self) -> AIMessage | None:
        """`partial`, under the name that `ModelRefusalError` has for it."""
        return self.partial


class GLMRefusalError(OutputParserException, _ModelRefusalError):
    """The content policy cut an answer that `with_structured_output` needs whole.

    Not a `GLMError`: the server answered, and without a parser the answer is a message.
    """

    raw_message: AIMessage | None = None


class GLMModelNotFoundError(GLMError, openai.NotFoundError, ModelNotFoundError):
    """The endpoint does not serve this model or this API."""


class GLMRateLimitError(GLMError, openai.RateLimitError, ModelRateLimitError):
    """Too many requests at once, or too fast."""

    is_retryable = True


class GLMOverloadedError(GLMRateLimitError):
    """The model is busy; nothing is wrong with the request or the account."""


class GLMQuotaError(GLMRateLimitError):
    """The balance is exhausted, or a cap of the plan is reached: waiting a moment does not help."""

    is_retryable = False


class GLMServerError(GLMError, openai.InternalServerError, ModelAPIError):
    """The server failed; with the code `"network_error"`, in the middle of its answer."""

    is_retryable = True


class GLMConnectionError(GLMError, openai.APIConnectionError, ModelConnectionError):
    """No connection could be made, or it broke before the answer began."""

    is_retryable = True


class GLMStreamInterruptedError(GLMConnectionError):
    """The stream ended early: the connection broke, or no finish reason came."""


class GLMTimeoutError(GLMError, openai.APITimeoutError, ModelTimeoutError):
    """No answer began in time."""

    is_retryable = True


class GLMStreamStalledError(GLMTimeoutError, StreamChunkTimeoutError):
    """A stream stayed silent for longer than `stream_chunk_timeout` seconds.

    Attributes:
        timeout_s: That many seconds, or those of `timeout` where it was shorter.
        model_name: Always None: only there because `StreamChunkTimeoutError` has it.
        chunks_received: Always 0, likewise; `partial` holds what was received.
    """

    timeout_s: float = 0.0
    model_name: str | None = None
    chunks_received: int = 0


class GLMMalformedResponseError(GLMError, ModelAPIError):
    """The answer is not a chat completion."""

    is_retryable = False


class GLMMalformedStreamError(GLMMalformedResponseError):
    """A frame is broken, or the stream started again in the middle."""

    is_retryable = True


_CLASSES: dict[str, type[GLMError]] = {
    "authentication": GLMAuthenticationError,
    "permission": GLMPermissionDeniedError,
    "invalid request": GLMInvalidRequestError,
    "context overflow": GLMContextOverflowError,
    "content filter": GLMContentFilterError,
    "not found": GLMModelNotFoundError,
    "rate limit": GLMRateLimitError,
    "overloaded": GLMOverloadedError,
    "quota": GLMQuotaError,
    "server": GLMServerError,
}
_REFUSES_TOOL_STREAM = (
    "This server does not take `tool_stream`: use ChatGLM(tool_stream=False, ...)."
)


def error_from_body(body: object, response: Any, *, request: Any = None) -> GLMError:
    """Make the typed error of an `{"error": {...}}` object.

    Args:
        body: What the server sent: the decoded JSON (the whole object, or only what stands
            under `error`), or the raw text where it is no JSON (a 502 can be an HTML page).
        response: The HTTP response that it came with, under whatever status.
        request: The HTTP request, where the response does not carry it.

    Returns:
        The error, not raised.
    """
    outer = body if isinstance(body, Mapping) else {}
    error = outer.get("error", outer)
    fields = error if isinstance(error, Mapping) else {"message": error}
    code = None if fields.get("code") is None else str(fields["code"])
    text = str(fields.get("message") or "") or (_preview(body) if body else "No text")
    row = row_of(code, response.status_code, text)
    remedy = _REFUSES_TOOL_STREAM if "tool_stream" in text else row.remedy
    request_id = outer.get("request_id") or fields.get("request_id")
    facts = [f"HTTP {response.status_code}"]
    facts += [f"code {code}"] if code else []
    facts += [f"request id {request_id}"] if request_id else []
    return _CLASSES[row.kind](
        f"{text} ({', '.join(facts)}). {remedy}",
        code=code,
        request_id=request_id,
        body=error if error else body,
        request=request or response.request,
        response=response,
    )


def inference_failed(partial: AIMessage, response: Any) -> GLMServerError:
    """Make the error of an answer whose finish reason is `network_error`."""
    return GLMServerError(
        "The model failed in the middle of its answer (finish_reason 'network_error'). What had "
        "arrived is in .partial; send the request again.",
        code="network_error",
        request_id=partial.response_metadata.get("request_id"),
        request=response.request,
        response=response,
        partial=partial,
    )


def malformed(text: str, *, because: str, response: Any = None) -> GLMMalformedResponseError:
    """Make the error of an answer that is no chat completion, with a preview of it."""
    return GLMMalformedResponseError(
        f"The answer is not a chat completion: {because}. It begins: {_preview(text)}. "
        "Check base_url: it has to end before /chat/completions.",
        body=text[:_PREVIEW_CHARACTERS],
        request=getattr(response, "request", None),
        response=response,
    )


def _preview(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _PREVIEW_CHARACTERS else text[:_PREVIEW_CHARACTERS] + "…"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after")
    if not value:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(value))
    with contextlib.suppress(ValueError, OverflowError):  # the year 99999
        date = email.utils.parsedate_tz(value)
        return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None
    return None


def _classes_of_http_libraries(name: str) -> tuple[type[Exception], ...]:
    """Find a class in each HTTP library that is loaded: openai 3 stands on httpx2, 2 on httpx.

    The other one is not imported for it: httpx brings its command line along.
    """
    loaded = (sys.modules.get(library) for library in ("httpx", "httpx2"))
    return tuple(getattr(library, name) for library in loaded if library)


_HTTP_TIMEOUTS = _classes_of_http_libraries("TimeoutException")
HTTP_ERRORS = _classes_of_http_libraries("HTTPError") + _classes_of_http_libraries("StreamError")
"""What the HTTP libraries raise while a body is read."""

_UNTYPED: tuple[type[Exception], ...] = (openai.APIError, *HTTP_ERRORS)


@contextlib.contextmanager
def typed_errors(
    *,
    began: Callable[[], bool],
    partial: Callable[[], AIMessage | None],
    silence: float | None = None,
) -> Iterator[None]:
    """Turn every error of openai's client and of its HTTP library into a `GLMError`.

    A plain context manager, so that `def` and `async def` use the same one.

    Args:
        began: Tells whether the body of the answer has begun to arrive.
        partial: Gives what had arrived, for `GLMError.partial`.
        silence: The seconds after which the HTTP client gives up a silent body.

    Raises:
        GLMError: In place of what was raised inside, which stays as its `__cause__`. A key that
            the server repeated is in neither.
    """
    try:
        yield
    except GLMError as error:
        error.partial = error.partial or partial()
        hide_keys(error, error.request)
        raise
    except _UNTYPED as error:
        typed = _typed(error, began=began(), silence=silence)
        typed.partial = partial()
        hide_keys(typed, typed.request)
        hide_keys(error, typed.request)
        # openai's client has the headers, and so the key, in the variables of its frames, and
        # error trackers show those.
        traceback.clear_frames(error.__traceback__)
        raise typed from error


def _typed(error: Exception, *, began: bool, silence: float | None) -> GLMError:
    if isinstance(error, openai.APIStatusError):
        return error_from_body(_whole_body(error), error.response)
    request = None
    with contextlib.suppress(AttributeError, RuntimeError):  # httpx raises where there is none
        request = error.request  # type: ignore[attr-defined]
    cause = error.__cause__ or error
    detail = f"{type(cause).__name__}: {cause}".rstrip(": ")
    timed_out = isinstance(error, (openai.APITimeoutError, *_HTTP_TIMEOUTS))
    if timed_out and began:
        return stalled(silence, request=request)
    if timed_out:
        return GLMTimeoutError(
            f"No answer began in time ({detail}). Raise timeout, or stream_chunk_timeout for a "
            "stream.",
            request=request,
        )
    if began:
        return GLMStreamInterruptedError(
            f"The connection broke in the middle of the answer ({detail}). What had arrived is "
            "in .partial; send the request again.",
            request=request,
        )
    return GLMConnectionError(
        f"No connection to the server ({detail}). Check base_url, the network and its proxy.",
        request=request,
    )


def _whole_body(error: openai.APIStatusError) -> object:
    # openai's client keeps what stands under `error`; the request id stands beside it.
    text = error.response.text
    try:
        return parse_json(text)
    except ValueError:
        return text.strip()


def stalled(seconds: float | None = None, *, request: Any = None) -> GLMStreamStalledError:
    """Make the error of a stream that fell silent, for `seconds` where that is known."""
    silence = f"for {seconds:g} s" if seconds else "for too long"
    error = GLMStreamStalledError(
        f"The stream stayed silent {silence}. Without `tool_stream` GLM says nothing while it "
        "writes a call; otherwise raise stream_chunk_timeout (or timeout), or send the request "
        "again. What had arrived is in .partial.",
        request=request,
    )
    error.timeout_s = seconds or 0.0
    return error
