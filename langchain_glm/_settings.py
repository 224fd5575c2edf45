"""What a model is: its fields, the clients that follow from them, and its copies."""

from __future__ import annotations

import copy
from collections.abc import (
    Awaitable,
    Callable,
    Mapping,
)
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from langchain_core.language_models import ModelProfile
from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented
from langchain_openai import ChatOpenAI
from pydantic import (
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    SecretStr,
    StrictBool,
    model_validator,
)
from typing_extensions import Self, override

from langchain_glm._client import (
    AsyncGLMClient,
    ClientSettings,
    GLMClient,
    shared_http_clients,
    sync_and_async_keys,
)
from langchain_glm._endpoints import (
    api_key_from_environment,
    endpoint_here,
    is_own_host,
    resolve_base_url,
    split_credentials,
)
from langchain_glm._history import ReasoningHistory
from langchain_glm._profiles import profile_for, thinking_of
from langchain_glm._request import (
    Server,
    chosen_tool_stream,
)
from langchain_glm._secrets import masked
from langchain_glm._version import __version__

_CLIENT_FIELDS = ("client", "async_client", "root_client", "root_async_client")
_OWN_PARAMETERS = ("thinking", "clear_thinking", "do_sample", "user_id")


class GLMSettings(ChatOpenAI):
    """The fields of `ChatGLM`; a changed copy always has clients of its own."""

    # A validation error would else show the input, and so the key.
    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    model_name: str = Field(default="glm-4.7", alias="model")
    """`model=` in the constructor: any model id; the server judges it."""

    # What the constructor takes, for type checkers: pydantic makes a SecretStr of a str, and takes
    # GLM's name of the limit beside OpenAI's.
    if TYPE_CHECKING:
        max_tokens: int | None = None
        """The most tokens that an answer may have, its reasoning among them."""

        openai_api_key: (
            SecretStr | str | Callable[[], str] | Callable[[], Awaitable[str]] | None
        ) = Field(alias="api_key", default=None)  # type: ignore[assignment]
        """`api_key=` in the constructor: the key, or a function (sync or async) that gives it.

        None: `ZAI_API_KEY`, else `ZHIPUAI_API_KEY`, of the environment. A function is asked before
        each request."""
    else:
        openai_api_key: SecretStr | Callable[[], str] | Callable[[], Awaitable[str]] | None = Field(
            alias="api_key", default=None
        )

    endpoint: str = "zai"
    """`zai`, `zai-coding`, `bigmodel` or `bigmodel-coding`; `base_url` goes before it.

    The Coding Plan's keys work only on the `-coding` routes. `ZAI_BASE_URL`, if it is set when the
    model is made, takes the place of `zai`."""

    tool_stream: bool | None = None
    """Whether GLM sends tool-call arguments as it writes them, rather than whole after silence.

    None means yes. Sent as `tool_stream: true` at the top level of the body, only when streaming
    with tools. The effective value also stands in `model_kwargs["tool_stream"]`, and counts as said
    there when the model is copied. It can be said there and in `extra_body` too, and for one call
    by keyword or `bind`: the nearest to the call wins, and this field over `extra_body` and
    `model_kwargs`. Documented for GLM-4.6 to 5.2; other models ignore it. A server that refuses it
    needs `False`."""

    thinking: StrictBool | Literal["enabled", "disabled"] | dict[str, Any] | None = None
    """Whether the model thinks before it answers: a bool, GLM's word, or GLM's dict.

    None leaves it to the model; for one call by keyword or `bind`. Models that always think
    (GLM-5.3) refuse `False`: they are sent `reasoning_effort="low"` instead, with a warning.
    vLLM and SGLang switch it otherwise:
    `extra_body={"chat_template_kwargs": {"enable_thinking": False}}`. `reasoning_effort` (GLM-5.2
    and later) is `ChatOpenAI`'s."""

    clear_thinking: bool | None = None
    """Whether the server forgets the reasoning of earlier turns; also without `thinking`.

    None: forgotten on the general routes, kept on the `-coding` ones."""

    reasoning_history: ReasoningHistory = "all"
    """The assistant turns whose reasoning goes back, unmodified and in order.

    `"all"`; `"current_turn"`: those after the user's last message, which tool calls between
    thoughts need; `"none"`, for servers that do not take it. For one call by keyword or `bind`."""

    do_sample: bool | None = None
    """False has GLM ignore `temperature` and `top_p`."""

    user_id: str | None = None
    """The end user, for GLM's abuse monitoring: 6 to 128 characters."""

    include_raw_response: bool = False
    """Whether messages keep the untouched text of each frame (of the whole body, in `invoke`).

    A list of str in `additional_kwargs["raw_response"]`: a chunk holds its own, the merged
    message all of them, in order. `langchain_glm.raw_deltas` reads them. The text enters traces,
    caches and checkpoints."""

    openai_proxy: str | None = None
    """A proxy for all requests. Unlike `ChatOpenAI`'s not read from `OPENAI_PROXY`."""

    stream_usage: bool | None = True
    """Whether to ask for token counts in streams (`stream_options.include_usage`)."""

    use_responses_api: bool | None = False
    """GLM has no Responses API: only False is accepted."""

    @model_validator(mode="wrap")
    @classmethod
    def _mirror_tool_stream(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        # ChatOpenAI refuses a field that is in `model_kwargs` too, and on reload (`load`,
        # `configurable_fields`) it is: it is taken out before and put back after.
        if not isinstance(values, Mapping):
            return handler(values)
        values = dict(values)
        for name in ("api_key", "openai_api_key"):  # a validation error keeps what was given
            if isinstance(values.get(name), str):
                values[name] = SecretStr(values[name])
        model_kwargs = dict(values.get("model_kwargs") or {})
        said = model_kwargs.pop("tool_stream", None)
        if "model_kwargs" in values:
            values["model_kwargs"] = model_kwargs
        rebuilt = values.get("root_async_client")
        if values.get("streaming") is False and getattr(rebuilt, "streaming_unsaid", False):
            # `configurable_fields` hands over every field of a model as if it had been said, and
            # `streaming=False`, said, keeps LangChain from streaming at all.
            del values["streaming"]
        model = handler(values)
        model.model_kwargs = {**model.model_kwargs, "tool_stream": said}
        model._show_tool_stream()
        return model

    @model_validator(mode="after")
    def validate_environment(self) -> Self:
        """Check the settings, find the key, and make the clients."""
        if self.use_responses_api:
            msg = "GLM has no Responses API: leave use_responses_api at False."
            raise ValueError(msg)
        if self.n is not None and self.n < 1:
            msg = "n must be at least 1."
            raise ValueError(msg)
        if self.n is not None and self.n > 1 and self.streaming:
            msg = "n must be 1 when streaming."
            raise ValueError(msg)
        if self.openai_proxy and (self.http_client or self.http_async_client):
            msg = "Give either openai_proxy or http_client and http_async_client, not both."
            raise ValueError(msg)
        if self.openai_api_key is None:
            self.openai_api_key = api_key_from_environment()
        self.endpoint = endpoint_here(self.endpoint)
        self._make_clients()
        return self

    @model_validator(mode="after")
    def _set_glm_version(self) -> Self:
        self._add_version("langchain-glm-zai", __version__)
        return self

    def _show_tool_stream(self) -> None:
        self.model_kwargs: dict[str, Any] = {
            **self.model_kwargs,
            "tool_stream": self._wants_tool_stream({}),
        }

    def _wants_tool_stream(self, call: Mapping[str, Any]) -> bool:
        chosen = chosen_tool_stream(
            call,
            call.get("extra_body"),
            {"tool_stream": self.tool_stream},
            self.extra_body,
            self.model_kwargs,
        )
        return True if chosen is None else chosen

    def _make_clients(self) -> None:
        sync_key, async_key = sync_and_async_keys(self.openai_api_key)
        # The HTTP library logs the URL of each request; it would send the same header.
        base_url, credentials = split_credentials(
            resolve_base_url(self.openai_api_base, self.endpoint)
        )
        settings = ClientSettings(
            base_url=base_url,
            timeout=self.request_timeout,
            organization=self.openai_organization,
            default_headers={**credentials, **(self.default_headers or {})} or None,
            default_query=self.default_query,
        )
        http_client, http_async_client = shared_http_clients(
            self.openai_proxy, self.http_socket_options
        )
        if self.client is None or _is_ours(self.client):
            self.root_client: Any = None
            self.client: Any = None
            if sync_key is not None:  # an async function cannot give the key to a sync client
                self.root_client = GLMClient(
                    settings, api_key=sync_key, http_client=self.http_client or http_client
                )
                self.client = self.root_client.chat.completions
        if self.async_client is None or _is_ours(self.async_client):
            self.root_async_client: Any = AsyncGLMClient(
                settings, api_key=async_key, http_client=self.http_async_client or http_async_client
            )
            self.root_async_client.streaming_unsaid = "streaming" not in self.model_fields_set
            self.async_client: Any = self.root_async_client.chat.completions

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        # pydantic's own takes no aliases and validates nothing; a new key or URL would be kept
        # in a field while the old model's clients go on with the old ones.
        copied = copy.deepcopy(self) if deep else super().model_copy()
        if not update:
            return copied
        said = {
            name: value
            for name, value in copied
            if name in copied.model_fields_set and not _is_ours(value)
        }
        if copied.profile == copied._resolve_model_profile():
            said.pop("profile", None)  # nobody said it, and it may be another now
        names = {field.alias: name for name, field in type(self).model_fields.items()}
        new = {names.get(name, name): value for name, value in update.items()}
        return type(self)(**{**said, **new})

    @override
    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        # `Serializable` lets the parent's `lc_secrets` go over ours, and a loaded model would
        # send the key of OPENAI_API_KEY.
        serialized: Any = super().to_json()
        kwargs = serialized.get("kwargs", {})
        # This goes into traces, and into the names of what a cache keeps.
        kwargs.update({name: masked(name, value) for name, value in kwargs.items()})
        key = kwargs.get("openai_api_key")
        if isinstance(key, dict) and key.get("type") == "secret":
            key["id"] = list(self.lc_secrets.values())
        return cast("SerializedConstructor | SerializedNotImplemented", serialized)

    @override
    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        return [(name, masked(name or "", value)) for name, value in super().__repr_args__()]

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        fields = {k: v for k, v in state["__dict__"].items() if not _is_ours(v)}
        return {**state, "__dict__": fields}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        self.__dict__ = {**dict.fromkeys(_CLIENT_FIELDS), **self.__dict__}
        self._make_clients()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        state = self.__getstate__()
        passed = [client for name in _CLIENT_FIELDS if (client := state["__dict__"].get(name))]
        copied = type(self).__new__(type(self))
        # A client that the user passed has no copy: the new model shares it.
        memo = {**(memo or {}), **{id(client): client for client in passed}}
        copied.__setstate__(copy.deepcopy(state, memo))
        return copied

    @property
    def _own_parameters(self) -> dict[str, Any]:
        said = {name: getattr(self, name) for name in _OWN_PARAMETERS}
        return {name: value for name, value in said.items() if value is not None}

    def _server(self, model: str) -> Server:
        own = is_own_host(resolve_base_url(self.openai_api_base, self.endpoint))
        profile = self.profile or {}
        return Server(
            own=own,
            enforces_schema=bool(profile.get("structured_output")),
            takes_tool_choice=bool(profile.get("tool_choice", not own)),
            thinking=thinking_of(model),
        )

    @override
    def _resolve_model_profile(self) -> ModelProfile:
        base_url = resolve_base_url(self.openai_api_base, self.endpoint)
        return profile_for(self.model_name, own_host=is_own_host(base_url))

    @property
    @override
    def _llm_type(self) -> str:
        return "zai-chat"

    @property
    @override
    def lc_secrets(self) -> dict[str, str]:
        return {"openai_api_key": "ZAI_API_KEY"}

    @classmethod
    @override
    def get_lc_namespace(cls) -> list[str]:
        return cls.__module__.split(".")


def _is_ours(client: Any) -> bool:
    # A client that the user passed stays. Ours is made anew: `configurable_fields` hands over
    # the old model's, with its URL and its key.
    root = (
        client
        if isinstance(client, GLMClient | AsyncGLMClient)
        else getattr(client, "_client", None)
    )
    return isinstance(root, GLMClient | AsyncGLMClient)
