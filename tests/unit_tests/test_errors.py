"""The tree, the code table, and the way of every error into them."""

import builtins
import copy
import email.utils
import importlib
import inspect
import pickle
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import langchain_core.exceptions
import langchain_openai
import openai
import pytest
from langchain_core.messages import AIMessage

from langchain_glm import errors
from langchain_glm._codes import CODES
from langchain_glm.errors import (
    HTTP_ERRORS,
    GLMAuthenticationError,
    GLMConnectionError,
    GLMContentFilterError,
    GLMContextOverflowError,
    GLMError,
    GLMInvalidRequestError,
    GLMMalformedResponseError,
    GLMMalformedStreamError,
    GLMModelNotFoundError,
    GLMOverloadedError,
    GLMPermissionDeniedError,
    GLMQuotaError,
    GLMRateLimitError,
    GLMRefusalError,
    GLMServerError,
    GLMStreamInterruptedError,
    GLMStreamStalledError,
    GLMTimeoutError,
    error_from_body,
    inference_failed,
    malformed,
    stalled,
    typed_errors,
)

# openai 3 stands on httpx2, openai 2 on httpx.
http = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
LIBRARIES = [openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0]]

REQUEST = http.Request(
    "POST", "https://glm/chat/completions", headers={"Authorization": "Bearer secret-key"}
)
KEPT = ("code", "request_id", "body", "partial", "status_code", "retry_after", "message")


def response(status=200, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.Response(status, headers=named, request=REQUEST)


def error_of(code=None, *, status=429, message="text", **outer):
    error = {"message": message} if code is None else {"code": code, "message": message}
    return error_from_body({"error": error, **outer}, response(status))


# The tree


ALL = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, GLMError)
]
LINE = re.compile(r"^    (?P<depth>[│ ]*)(?:[├└]── )?(?P<name>GLM\w+)(?P<rest>.*)$")


def drawn_tree():
    """The tree of the module's docstring: (name, its parent there, retryable, other bases)."""
    ancestors = []
    for line in errors.__doc__.splitlines():
        if found := LINE.match(line):
            depth = line.index("GLM") // 4 - 1
            ancestors[depth:] = [found["name"]]
            parent = ancestors[depth - 1] if depth else None
            rest = found["rest"].strip()
            bases = [base for base in rest.removeprefix("(r)").strip().split(", ") if base]
            yield found["name"], parent, rest.startswith("(r)"), bases


TREE = list(drawn_tree())


def look_up(name):
    module, _, attribute = name.rpartition(".")
    if module:
        return getattr({"openai": openai, "langchain_openai": langchain_openai}[module], attribute)
    if name == "ModelRefusalError" and not hasattr(langchain_core.exceptions, name):
        return langchain_core.exceptions.ModelError  # langchain-core before 1.7.5
    return getattr(langchain_core.exceptions, name, None) or getattr(builtins, name)


def test_the_drawn_tree_lists_every_class():
    names = [name for name, *_ in TREE]
    assert sorted(names) == sorted(error.__name__ for error in ALL)


@pytest.mark.parametrize(("name", "parent", "retryable", "bases"), TREE)
def test_every_class_is_what_the_drawn_tree_says(name, parent, retryable, bases):
    cls = getattr(errors, name)
    error = cls("text")
    assert error.is_retryable is retryable
    assert cls.__doc__
    if parent:
        assert getattr(errors, parent) in cls.__bases__
    for base in bases:
        assert isinstance(error, look_up(base)), base


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_every_class_is_caught_as_openais_and_as_langchains(cls):
    error = cls("text")
    assert isinstance(error, openai.APIError)
    assert isinstance(error, langchain_core.exceptions.ModelError)
    assert (str(error), error.message, error.args) == ("text", "text", ("text",))
    assert (error.code, error.request_id, error.body, error.partial) == (None, None, None, None)
    assert (error.status_code, error.retry_after) == (None, None)
    with pytest.raises(openai.APIError):
        raise error


@pytest.mark.parametrize(
    ("cls", "theirs"),
    [
        (GLMRateLimitError, openai.RateLimitError),
        (GLMQuotaError, langchain_core.exceptions.ModelRateLimitError),
        (GLMContextOverflowError, langchain_core.exceptions.ContextOverflowError),
        (GLMContextOverflowError, openai.BadRequestError),
        (GLMStreamStalledError, TimeoutError),
        (GLMStreamStalledError, langchain_openai.StreamChunkTimeoutError),
        (GLMTimeoutError, openai.APIConnectionError),
    ],
)
def test_except_clauses_that_users_have(cls, theirs):
    with pytest.raises(theirs):
        raise cls("text")


# The code table


TABLE = [
    (["401", "1000", "1001", "1002", "1003", "1004"], GLMAuthenticationError, False),
    (
        ["1110", "1111", "1112", "1121", "1220", "1309", "1311", "1313"],
        GLMPermissionDeniedError,
        False,
    ),
    (["1113"], GLMQuotaError, False),
    (["1304", "1308", "1310"], GLMQuotaError, False),
    (["1302", "1303"], GLMRateLimitError, True),
    (["1305", "1312"], GLMOverloadedError, True),
    (["1210", "1213", "1214", "1215", "1231"], GLMInvalidRequestError, False),
    (["1211", "1212", "1221", "1222"], GLMModelNotFoundError, False),
    (["1261", "context_length_exceeded"], GLMContextOverflowError, False),
    (["1300", "1301"], GLMContentFilterError, False),
    (["500", "1120", "1200", "1230", "1234"], GLMServerError, True),
]


@pytest.mark.parametrize(
    ("code", "cls", "retryable"),
    [pytest.param(code, *row, id=code) for codes, *row in TABLE for code in codes],
)
@pytest.mark.parametrize("status", [200, 400, 429, 500])
def test_the_code_decides_whatever_the_status(code, cls, retryable, status):
    error = error_of(code, status=status, message="余额不足")
    assert type(error) is cls
    assert error.is_retryable is retryable
    assert (error.code, error.status_code) == (code, status)
    assert "余额不足" in str(error)
    assert f"HTTP {status}, code {code}" in str(error)


def test_every_kind_of_the_table_has_a_class():
    kinds = {row.kind for row in CODES.values()}
    assert kinds == set(errors._CLASSES)


def test_no_other_code_is_in_the_table():
    assert sorted(CODES) == sorted(code for codes, *_ in TABLE for code in codes)


# From the sources of vLLM 0.33.0 and SGLang 0.5.23.
TOO_LONG = [
    pytest.param(
        "This model's maximum context length is 8192 tokens. However, your request has 9000 input "
        "tokens. Please reduce the length of the input messages.",
        id="vLLM",
    ),
    pytest.param(
        "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
        id="SGLang",
    ),
]


@pytest.mark.parametrize("text", TOO_LONG)
@pytest.mark.parametrize(
    ("status", "code", "cls"),
    [
        (400, 400, GLMContextOverflowError),
        (400, None, GLMContextOverflowError),
        (200, 400, GLMContextOverflowError),  # once the stream has begun
        (400, "1210", GLMInvalidRequestError),  # a code goes before the text
        (500, None, GLMServerError),
        (422, None, GLMInvalidRequestError),
    ],
)
def test_a_prompt_that_is_too_long_for_vllm_and_sglang(text, status, code, cls):
    assert type(error_of(code, status=status, message=text)) is cls


@pytest.mark.parametrize(
    ("status", "cls", "retryable"),
    [
        (302, GLMInvalidRequestError, False),
        (400, GLMInvalidRequestError, False),
        (401, GLMAuthenticationError, False),
        (402, GLMQuotaError, False),
        (403, GLMPermissionDeniedError, False),
        (404, GLMModelNotFoundError, False),
        (408, GLMServerError, True),
        (409, GLMServerError, True),
        (413, GLMInvalidRequestError, False),
        (422, GLMInvalidRequestError, False),
        (429, GLMRateLimitError, True),
        (500, GLMServerError, True),
        (502, GLMServerError, True),
        (503, GLMServerError, True),
        (529, GLMServerError, True),
    ],
)
@pytest.mark.parametrize("code", [None, "9999", "invalid_request_error", "1302x", "oom", ""])
def test_the_status_decides_where_the_code_is_unknown(status, cls, retryable, code):
    error = error_of(code, status=status)
    assert type(error) is cls
    assert error.is_retryable is retryable
    assert error.code == code


@pytest.mark.parametrize(
    ("code", "cls"),
    [
        (400, GLMInvalidRequestError),
        (401, GLMAuthenticationError),
        (404, GLMModelNotFoundError),
        (422, GLMInvalidRequestError),
        (429, GLMRateLimitError),
        (500, GLMServerError),
        (503, GLMServerError),
        (1302, GLMRateLimitError),
    ],
)
def test_a_number_as_code_is_vllms_status(code, cls):
    error = error_of(code, status=200)
    assert type(error) is cls
    assert error.code == str(code)


# Bodies


@pytest.mark.parametrize(
    ("body", "message", "kept"),
    [
        pytest.param(
            {"error": {"code": "1302", "message": "slow"}},
            "slow",
            {"code": "1302", "message": "slow"},
            id="under_error",
        ),
        pytest.param(
            {"code": "1302", "message": "slow"},
            "slow",
            {"code": "1302", "message": "slow"},
            id="what_stands_under_error",
        ),
        pytest.param({"error": "slow"}, "slow", "slow", id="error_is_a_text"),
        pytest.param("<html>slow</html>", "<html>slow</html>", "<html>slow</html>", id="html"),
        pytest.param(
            {"code": 500, "msg": "slow"}, "'msg': 'slow'", {"code": 500, "msg": "slow"}, id="msg"
        ),
        pytest.param({"detail": "slow"}, "'detail': 'slow'", {"detail": "slow"}, id="fastapi"),
        pytest.param({"error": {}}, "{'error': {}}", {"error": {}}, id="empty_error"),
        pytest.param(["slow"], "['slow']", ["slow"], id="a_list"),
        pytest.param("", "No text (HTTP 502)", "", id="empty"),
        pytest.param(None, "No text (HTTP 502)", None, id="none"),
    ],
)
def test_what_a_body_says(body, message, kept):
    error = error_from_body(body, response(502))
    assert message in str(error)
    assert error.body == kept
    assert error.status_code == 502


def test_a_long_page_is_shown_in_part():
    error = error_from_body("<html>" + "x" * 100_000, response(502))
    assert type(error) is GLMServerError
    assert len(str(error)) < 400
    assert str(error).startswith("<html>xxx")


@pytest.mark.parametrize(
    ("body", "headers", "request_id"),
    [
        pytest.param({"error": {"code": "1302"}, "request_id": "q1"}, {}, "q1", id="beside_error"),
        pytest.param({"error": {"code": "1302", "request_id": "q1"}}, {}, "q1", id="inside_error"),
        pytest.param({"error": {"code": "1302"}}, {"x_request_id": "q1"}, "q1", id="header"),
        pytest.param(
            {"error": {"code": "1302"}, "request_id": "q1"},
            {"x_request_id": "q2"},
            "q1",
            id="body_before_header",
        ),
        pytest.param({"error": {"code": "1302"}}, {}, None, id="none"),
    ],
)
def test_the_request_id(body, headers, request_id):
    error = error_from_body(body, response(429, **headers))
    assert error.request_id == request_id
    if "request_id" in str(body):
        assert "request id q1" in str(error)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("0", 0.0), ("1.5", 1.5), ("-3", 0.0), ("soon", None), ("", None)],
)
def test_retry_after_in_seconds(value, seconds):
    error = error_from_body({"error": {"code": "1302"}}, response(429, retry_after=value))
    assert error.retry_after == seconds


@pytest.mark.parametrize(("ahead", "seconds"), [(60, 60), (-60, 0)])
def test_retry_after_as_a_date(ahead, seconds):
    date = email.utils.formatdate(time.time() + ahead, usegmt=True)
    error = error_from_body({"error": {"code": "1302"}}, response(429, retry_after=date))
    assert error.retry_after == pytest.approx(seconds, abs=10)


def test_no_retry_after():
    assert error_of("1302").retry_after is None


def test_the_request_is_the_responses_unless_it_is_given():
    body = {"error": {"code": "1302"}}
    assert error_from_body(body, response(429)).request is REQUEST
    bare = SimpleNamespace(status_code=429, headers={}, request=None)
    assert error_from_body(body, bare, request=REQUEST).request is REQUEST


# What to do about it


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("1000", "ZAI_API_KEY"),
        ("1003", "expired"),
        ("1113", 'endpoint="zai-coding"'),
        ("1113", "bigmodel-coding"),
        ("1308", "the text above names the time"),
        ("1304", "cap"),
        ("1309", "renew"),
        ("1311", "does not include this model"),
        ("1313", "fair-use"),
        ("1210", "temperature (0 to 1)"),
        ("1210", "thinking"),
        ("1210", "tool_choice"),
        ("1213", "Give the parameter"),
        ("1214", "messages"),
        ("1214", "modelCode"),
        ("1215", "one of the two"),
        ("1231", "request_id"),
        ("1302", "max_retries"),
        ("1305", "busy"),
        ("1211", "model"),
        ("1261", "Shorten"),
    ],
)
def test_the_message_says_what_to_do(code, named):
    assert named in str(error_of(code))


@pytest.mark.parametrize(
    "message",
    ["Unknown parameter: tool_stream", "Extra inputs are not permitted: ('body', 'tool_stream')"],
)
def test_a_server_that_refuses_tool_stream(message):
    error = error_of("1210", status=400, message=message)
    assert type(error) is GLMInvalidRequestError
    assert "tool_stream=False" in str(error)
    assert "tool_stream=False" not in str(error_of("1210", status=400, message="temperature"))


def test_an_answer_that_inference_failed_on():
    partial = AIMessage("half", response_metadata={"request_id": "q1"})
    error = inference_failed(partial, response(200))
    assert type(error) is GLMServerError
    assert (error.code, error.status_code, error.request_id) == ("network_error", 200, "q1")
    assert (error.partial, error.request) == (partial, REQUEST)
    assert error.is_retryable
    assert "network_error" in str(error)


def test_a_refusal_shows_its_message_where_langchain_looks_for_it():
    error = GLMContentFilterError("no", partial=AIMessage("half"))
    assert error.raw_message == AIMessage("half")
    assert not error.is_retryable


def test_a_refusal_of_structured_output_is_a_parsers_error_and_langchains_refusal():
    refusal = getattr(langchain_core.exceptions, "ModelRefusalError", ValueError)
    error = GLMRefusalError("no", llm_output="half")
    assert isinstance(error, langchain_core.exceptions.OutputParserException)
    assert isinstance(error, refusal)
    assert (error.llm_output, error.raw_message, error.is_retryable) == ("half", None, False)


def test_malformed_shows_where_the_answer_begins():
    error = malformed("<html>" + "x" * 1000, because="no JSON", response=response(200))
    assert type(error) is GLMMalformedResponseError
    assert "no JSON" in str(error)
    assert "<html>xxx" in str(error)
    assert "/chat/completions" in str(error)
    assert len(error.body) == 200
    assert (error.status_code, error.request) == (200, REQUEST)
    assert malformed("x", because="y").request is None


def test_stalled_says_for_how_long():
    error = stalled(2.5, request=REQUEST)
    assert "silent for 2.5 s" in str(error)
    assert "stream_chunk_timeout" in str(error)
    assert (error.timeout_s, error.request) == (2.5, REQUEST)
    assert "silent for too long" in str(stalled())
    assert stalled().timeout_s == 0.0


# Pickling


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy]
    + [
        lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))  # noqa: S301
        for protocol in (2, pickle.HIGHEST_PROTOCOL)
    ],
    ids=["copy", "deepcopy", "pickle_2", "pickle_highest"],
)
def test_an_error_travels_without_its_request(again):
    error = error_from_body(
        {"error": {"code": "1302", "message": "slow"}, "request_id": "q1"},
        response(429, retry_after="7"),
    )
    error.partial = AIMessage("half")
    copied = again(error)
    assert type(copied) is GLMRateLimitError
    assert {name: getattr(copied, name) for name in KEPT} == {
        "code": "1302",
        "request_id": "q1",
        "body": {"code": "1302", "message": "slow"},
        "partial": AIMessage("half"),
        "status_code": 429,
        "retry_after": 7.0,
        "message": str(error),
    }
    assert str(copied) == str(error)
    assert copied.request is None
    assert not hasattr(copied, "response")


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_every_class_can_be_pickled(cls):
    copied = pickle.loads(pickle.dumps(cls("text", code="1", request=REQUEST)))  # noqa: S301
    assert type(copied) is cls
    assert (str(copied), copied.code, copied.request) == ("text", "1", None)


def test_a_stalled_stream_travels_with_its_seconds():
    assert pickle.loads(pickle.dumps(stalled(2.5))).timeout_s == 2.5  # noqa: S301


def test_the_key_is_in_no_pickle_and_no_text():
    error = error_of("1302")
    assert b"secret-key" not in pickle.dumps(error)
    assert "secret-key" not in str(error) + repr(error)


# What the libraries raise


def raised(error, *, began=False, partial=None):
    """What becomes of an error that is raised inside."""
    with (
        pytest.raises(Exception) as caught,  # noqa: PT011 - whatever comes out is looked at
        typed_errors(began=lambda: began, partial=lambda: partial),
    ):
        raise error
    return caught.value


def status_error(status, body):
    """openai's own error for a response."""
    client = openai.OpenAI(api_key="k", base_url="https://glm", http_client=http.Client())
    with client:
        return client._make_status_error_from_response(
            http.Response(status, request=REQUEST, **body)
        )


@pytest.mark.parametrize(
    ("status", "body", "cls", "code"),
    [
        (429, {"json": {"error": {"code": "1113", "message": "余额"}}}, GLMQuotaError, "1113"),
        (429, {"json": {"error": {"code": "1302", "message": "slow"}}}, GLMRateLimitError, "1302"),
        (400, {"json": {"error": {"code": "1261"}}}, GLMContextOverflowError, "1261"),
        (401, {"json": {"error": {"code": 401}}}, GLMAuthenticationError, "401"),
        (502, {"html": "<html>Bad Gateway</html>"}, GLMServerError, None),
        (500, {"text": ""}, GLMServerError, None),
        (422, {"json": {"detail": "no"}}, GLMInvalidRequestError, None),
    ],
)  # fmt: skip
def test_openais_status_errors(status, body, cls, code):
    inner = status_error(status, body)
    error = raised(inner)
    assert type(error) is cls
    assert (error.code, error.status_code) == (code, status)
    assert error.__cause__ is inner
    assert error.request is REQUEST
    assert error.partial is None


def test_a_status_error_keeps_the_request_id_that_stands_beside_it():
    body = {"json": {"error": {"code": "1302", "message": "slow"}, "request_id": "q1"}}
    error = raised(status_error(429, body))
    assert (error.request_id, error.body) == ("q1", {"code": "1302", "message": "slow"})


def test_a_read_timeout_says_after_how_many_seconds():
    inner = http.ReadTimeout("", request=REQUEST)
    with (
        pytest.raises(GLMStreamStalledError, match=r"silent for 2\.5 s") as caught,
        typed_errors(began=lambda: True, partial=lambda: None, silence=2.5),
    ):
        raise inner
    assert caught.value.timeout_s == 2.5


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("ConnectError", GLMConnectionError, GLMStreamInterruptedError),
        ("ReadError", GLMConnectionError, GLMStreamInterruptedError),
        ("RemoteProtocolError", GLMConnectionError, GLMStreamInterruptedError),
        ("ProxyError", GLMConnectionError, GLMStreamInterruptedError),
        ("DecodingError", GLMConnectionError, GLMStreamInterruptedError),
        ("ConnectTimeout", GLMTimeoutError, GLMStreamStalledError),
        ("ReadTimeout", GLMTimeoutError, GLMStreamStalledError),
        ("PoolTimeout", GLMTimeoutError, GLMStreamStalledError),
    ],
)
def test_the_http_librarys_errors(library, name, before, after):
    library = importlib.import_module(library)
    request = library.Request("POST", "https://glm/chat/completions")
    inner = getattr(library, name)("it broke", request=request)
    for began, cls in [(False, before), (True, after)]:
        error = raised(inner, began=began, partial=AIMessage("half"))
        assert type(error) is cls
        assert error.__cause__ is inner
        assert error.request is request
        assert error.partial == AIMessage("half")
        assert error.is_retryable
    assert f"{name}: it broke" in str(raised(inner))


@pytest.mark.parametrize("library", LIBRARIES)
def test_an_error_of_the_http_library_without_a_request(library):
    inner = importlib.import_module(library).ReadError("it broke")
    assert raised(inner, began=True).request is None


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_stream_error_of_the_http_library(library):
    library = importlib.import_module(library)
    assert type(raised(library.StreamClosed(), began=True)) is GLMStreamInterruptedError
    assert library.HTTPError in HTTP_ERRORS


@pytest.mark.parametrize(
    ("inner", "cls"),
    [
        (openai.APIConnectionError(request=REQUEST), GLMConnectionError),
        (openai.APITimeoutError(request=REQUEST), GLMTimeoutError),
    ],
)
def test_openais_connection_errors(inner, cls):
    inner.__cause__ = http.ConnectError("refused", request=REQUEST)
    error = raised(inner)
    assert type(error) is cls
    assert error.request is REQUEST
    assert "(ConnectError: refused)" in str(error)


@pytest.mark.parametrize(
    ("began", "partial", "kept"),
    [(False, None, None), (True, AIMessage("half"), AIMessage("half"))],
)
def test_an_error_of_ours_goes_through_and_gets_what_had_arrived(began, partial, kept):
    inner = GLMMalformedStreamError("broken")
    error = raised(inner, began=began, partial=partial)
    assert error is inner
    assert error.partial == kept


def test_what_had_arrived_before_is_kept():
    inner = GLMMalformedStreamError("broken", partial=AIMessage("first"))
    assert raised(inner, partial=AIMessage("second")).partial == AIMessage("first")


@pytest.mark.parametrize("inner", [ValueError("x"), KeyboardInterrupt(), GeneratorExit()])
def test_other_errors_are_left_alone(inner):
    with (
        pytest.raises(type(inner)) as caught,
        typed_errors(began=lambda: True, partial=lambda: AIMessage("half")),
    ):
        raise inner
    assert caught.value is inner


def test_no_error_is_no_error():
    with typed_errors(began=lambda: True, partial=lambda: pytest.fail("nothing went wrong")):
        pass


def test_the_other_http_library_is_not_imported():
    other = repr({"httpx", "httpx2"} - {*LIBRARIES})
    code = f"""
import sys, langchain_openai
before = {other} & {{*sys.modules}}
import langchain_glm
assert {other} & {{*sys.modules}} == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603
