"""`ChatGLM`: fields, documentation, wiring."""

from __future__ import annotations

import copy
import functools
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, closing
from typing import Any, Literal, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.utils import LC_ID_PREFIX
from langchain_openai import ChatOpenAI
from langchain_protocol.protocol import MessagesData
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
    arun,
    read_timeout,
    run,
    shared_http_clients,
    sync_and_async_keys,
)
from langchain_glm._endpoints import (
    api_key_from_environment,
    endpoint_here,
    is_own_host,
    resolve_base_url,
)
from langchain_glm._history import ReasoningHistory
from langchain_glm._message import PROVIDER, settle_calls
from langchain_glm._notices import warn_once
from langchain_glm._profiles import profile_for, thinking_of
from langchain_glm._reader import Reading
from langchain_glm._request import (
    TRANSPORT_OPTIONS,
    Server,
    chosen_thinking,
    chosen_tool_stream,
    glm_request,
)
from langchain_glm._shape import shape_of
from langchain_glm._structured import AnswerParser, bound_to
from langchain_glm._tokens import estimate_message_tokens, estimate_tokens, stand_in_token_ids
from langchain_glm._version import __version__

_CLIENT_FIELDS = ("client", "async_client", "root_client", "root_async_client")
_OWN_PARAMETERS = ("thinking", "clear_thinking", "do_sample", "user_id")


class ChatGLM(ChatOpenAI):
    """Z.ai's GLM models, with tool-call arguments that stream as the model writes them.

    A `ChatOpenAI`: its fields and methods mean here what they mean there, and it stands wherever
    one stood. What GLM needs otherwise is done here.

    Example:
        ```python
        from langchain_glm import ChatGLM

        model = ChatGLM(model="glm-4.7")  # ZAI_API_KEY
        for chunk in model.bind_tools([write_file]).stream("Write fib.py"):
            print(chunk.tool_call_chunks)  # each fragment when it is on the socket
        ```

    Reasoning is in `additional_kwargs["reasoning_content"]` and, as a block of type `reasoning`,
    in `content_blocks`; `reasoning_history` says how much of it goes back.

    Messages of any model may stand in a history. Images, video and files, in LangChain's blocks,
    OpenAI's or Anthropic's, become `image_url`, `video_url` and `file_url`. Only a user's content
    has parts: elsewhere the texts are joined, and other parts are named. A call without a result
    (stopped, cut or invalid) is left out of the request, and so is a result without its call; an
    answered invalid call goes back as the model wrote it.

    Z.ai's own hosts take no `n`, `logprobs`, `top_logprobs`, `logit_bias`, `presence_penalty`,
    `frequency_penalty`, `parallel_tool_calls`, `store`, `service_tier` and `prediction`: a
    warning names it once, and it is not sent. Other hosts are given them.

    `tool_choice` is `"auto"` or `"none"` (which sends no tools) there; a named tool, `"any"` and
    `"required"` become `"auto"` with a warning, a named tool as the only one that is offered.
    `profile={**model.profile, "tool_choice": True}` has them sent. What stands in `extra_body` is
    sent as it stands. `request_id` is said with a call: `model.invoke(..., request_id="...")`.

    A call that the model could not end (`finish_reason` is `length`, `sensitive`,
    `model_context_window_exceeded` or `abort`) never runs, even where its JSON
    is valid: it is in `invalid_tool_calls`, with its text as it came. Chunks that you add up
    yourself cannot be kept from it: there LangChain closes the JSON of a cut call.

    Raises:
        langchain_glm.errors.GLMError: From every call; its subclasses say what happened, and
            `.partial` holds what had arrived.
    """

    # A validation error would else show the input, and so the key.
    model_config = ConfigDict(hide_input_in_errors=True)

    model_name: str = Field(default="glm-4.7", alias="model")
    """Any model id; the server judges it."""

    openai_api_key: SecretStr | Callable[[], str] | Callable[[], Awaitable[str]] | None = Field(
        alias="api_key", default=None
    )
    """The key, or a function (sync or async) that gives it; else `ZAI_API_KEY`, else
    `ZHIPUAI_API_KEY`."""

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
        self.model_kwargs = {**self.model_kwargs, "tool_stream": self._wants_tool_stream({})}

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
        settings = ClientSettings(
            base_url=resolve_base_url(self.openai_api_base, self.endpoint),
            timeout=self.request_timeout,
            organization=self.openai_organization,
            default_headers=self.default_headers,
            default_query=self.default_query,
        )
        http_client, http_async_client = shared_http_clients(
            self.openai_proxy, self.http_socket_options
        )
        if self.client is None or _is_ours(self.client):
            self.root_client = self.client = None
            if sync_key is not None:  # an async function cannot give the key to a sync client
                self.root_client = GLMClient(
                    settings, api_key=sync_key, http_client=self.http_client or http_client
                )
                self.client = self.root_client.chat.completions
        if self.async_client is None or _is_ours(self.async_client):
            self.root_async_client = AsyncGLMClient(
                settings, api_key=async_key, http_client=self.http_async_client or http_async_client
            )
            self.root_async_client.streaming_unsaid = "streaming" not in self.model_fields_set
            self.async_client = self.root_async_client.chat.completions

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
            del said["profile"]  # nobody said it, and it may be another now
        new = {_FIELD_NAMES.get(name, name): value for name, value in update.items()}
        return type(self)(**{**said, **new})

    @override
    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        # `Serializable` lets the parent's `lc_secrets` go over ours, and a loaded model would
        # send the key of OPENAI_API_KEY.
        serialized: Any = super().to_json()
        key = serialized.get("kwargs", {}).get("openai_api_key")
        if isinstance(key, dict) and key.get("type") == "secret":
            key["id"] = list(self.lc_secrets.values())
        return cast("SerializedConstructor | SerializedNotImplemented", serialized)

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

    @override
    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        history = kwargs.pop("reasoning_history", None) or self.reasoning_history
        # ChatOpenAI refuses messages that GLM takes, such as those with video.
        payload = super()._get_request_payload([], stop=stop, **kwargs)
        thinking = chosen_thinking(self._own_parameters, kwargs)
        return glm_request(
            {**payload, "thinking": thinking, "clear_thinking": None},
            self._convert_input(input_).to_messages(),
            server=self._server(payload["model"]),
            tool_stream=self._wants_tool_stream(kwargs),
            reasoning_history=history,
            warn=warn_once,
        )

    @property
    @override
    def _default_params(self) -> dict[str, Any]:
        return {**self._own_parameters, **super()._default_params}

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
    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: dict[str, Any] | str | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools as `ChatOpenAI` does.

        Where `tool_choice` is only `"auto"`, the `"any"` that `create_agent` adds for the tools
        of its `ToolStrategy` is one without a warning: the user did not say it.
        """
        if tool_choice == "any" and any(_is_schema(tool) for tool in tools):
            takes = self._server(self.model_name).takes_tool_choice
            tool_choice = "any" if takes else "auto"
        # LangChain knows `web_search` and `mcp` as tools of OpenAI's too, and not `retrieval`.
        own = [tool for tool in tools if isinstance(tool, dict) and tool.get("type") == "retrieval"]
        others = [tool for tool in tools if tool not in own]
        bound: Any = super().bind_tools(others, tool_choice=tool_choice, **kwargs)
        bound = bound.bind(tools=[*bound.kwargs["tools"], *own]) if own else bound
        return cast("Runnable[LanguageModelInput, AIMessage]", bound)

    @override
    def with_structured_output(
        self,
        schema: dict[str, Any] | type | Callable[..., Any] | BaseTool | None = None,
        *,
        method: Literal["function_calling", "json_mode", "json_schema"] = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        tools: list[Any] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Give a model whose answers have a shape, parsed and validated here.

        `stream` gives the answer as it grows: a dict from its first brace on, an object of a
        class as soon as it is valid; of a long answer not with every chunk, but for each 64th part
        that it gains, so that the time is linear.

        Args:
            schema: A pydantic class (2 or 1), a `TypedDict`, a dataclass, a JSON schema with a
                title, an OpenAI function or `response_format`, a tool or a function. Classes make
                an object (a `TypedDict` a dict) and validate it with pydantic. For the others
                the answer is a dict, checked at any depth for types, `enum`, `const`,
                `required`, `additionalProperties`, alternatives and `$ref`, and not for ranges,
                lengths, patterns and formats.
            method: `"json_schema"`, the default: servers that enforce a schema
                (`profile["structured_output"]`: vLLM, SGLang) are given it. Z.ai's own hosts do
                not enforce one, so there it goes into the instructions, with `json_object`, and
                code fences and prose around the JSON are passed over. `"function_calling"`: the
                schema is the only tool; where `profile["tool_choice"]` is false an instruction
                takes the place of a forced call. `"json_mode"`: `json_object`, and your prompt
                has to say which shape; without a schema any JSON will do.
            include_raw: Whether to give `{"raw", "parsed", "parsing_error"}` and raise nothing. In
                a stream `parsing_error` comes last, and what was `parsed` before it is void.
            strict: As in `ChatOpenAI`, for servers that know it; not with `"json_mode"`.
            tools: Tools to bind beside the schema (`"json_schema"` only). The answer is None where
                the model calls one.
            **kwargs: Bound to the model.

        Raises:
            ValueError: The schema is none of these or is missing, or what is said does not go
                with the method.
            OutputParserException: From the calls: the answer was cut (its finish reason is named),
                is no JSON, not of this shape, or prose instead of a function call. `llm_output` is
                its text as it came.
        """
        if strict is not None and method == "json_mode":
            msg = "strict does not go with method='json_mode'."
            raise ValueError(msg)
        if schema is None and method != "json_mode":
            msg = f"method={method!r} needs a schema."
            raise ValueError(msg)
        if tools and method != "json_schema":
            msg = f"tools do not go with method={method!r}."
            raise ValueError(msg)
        shape = None if schema is None else shape_of(schema, strict=strict)
        forced = self._server(self.model_name).takes_tool_choice
        bound = bound_to(shape, method, forced=forced)
        if tools:
            bound["tools"] = [convert_to_openai_tool(tool, strict=strict) for tool in tools]
        tool = shape.name if shape and method == "function_calling" else None
        parser = AnswerParser(shape=shape, tool=tool, include_raw=include_raw)
        return self.bind(**{**self._filter_disabled_params(**bound), **kwargs}) | parser

    @override
    def get_token_ids(self, text: str) -> list[int]:
        """Give as many numbers as the text has tokens by estimate, without a vocabulary.

        `custom_get_token_ids` goes before it.
        """
        return (self.custom_get_token_ids or stand_in_token_ids)(text)

    @override
    def get_num_tokens(self, text: str) -> int:
        """Estimate the number of tokens in a text; nothing is downloaded.

        About 3 % off for recorded English answers; a rule of thumb for Chinese.
        `custom_get_token_ids` goes before the estimate.
        """
        if self.custom_get_token_ids:
            return len(self.custom_get_token_ids(text))
        return estimate_tokens(text)

    @override
    def get_num_tokens_from_messages(
        self,
        messages: Sequence[BaseMessage],
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool] | None = None,
        **kwargs: Any,
    ) -> int:
        """Estimate the number of tokens in a prompt, its tools included; nothing is downloaded.

        About 5 % off for recorded prompts. An image counts as one of 600 x 600 pixels.
        """
        return estimate_message_tokens(messages, tools, count=self.get_num_tokens)

    @override
    def _resolve_model_profile(self) -> ModelProfile:
        base_url = resolve_base_url(self.openai_api_base, self.endpoint)
        return profile_for(self.model_name, own_host=is_own_host(base_url))

    @override
    def _use_responses_api(self, payload: dict[str, Any]) -> bool:
        return False

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request = self._get_request_payload(messages, stop=stop, **{**kwargs, "stream": False})
        return self._result(list(self._run(request, self._reading().whole)))

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request = self._get_request_payload(messages, stop=stop, **{**kwargs, "stream": False})
        return self._result([item async for item in self._arun(request, self._reading().whole)])

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        request = self._stream_request(messages, stop, **kwargs)
        with closing(self._run(request, self._reading().chunks)) as chunks:
            for chunk in chunks:
                if run_manager:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        request = self._stream_request(messages, stop, **kwargs)
        async with aclosing(self._arun(request, self._reading().chunks)) as chunks:
            async for chunk in chunks:
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    def _stream_chat_model_events(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[MessagesData]:
        """Give LangChain's v3 streams their events at first hand (core looks for this name)."""
        request = self._stream_request(messages, stop, **kwargs)
        read = self._reading().events(_message_id(run_manager))
        with closing(self._run(request, read)) as events:
            yield from events

    async def _astream_chat_model_events(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[MessagesData]:
        """The async twin of `_stream_chat_model_events`."""
        request = self._stream_request(messages, stop, **kwargs)
        read = self._reading().events(_message_id(run_manager))
        async with aclosing(self._arun(request, read)) as events:
            async for event in events:
                yield event

    # Chunks that core has merged, and what a cache held, are settled before anyone runs a call.

    @override
    def _generate_with_cache(self, *args: Any, **kwargs: Any) -> ChatResult:
        return _settled(super()._generate_with_cache(*args, **kwargs))

    @override
    async def _agenerate_with_cache(self, *args: Any, **kwargs: Any) -> ChatResult:
        return _settled(await super()._agenerate_with_cache(*args, **kwargs))

    @override
    def _convert_cached_generations(self, cache_val: list[Any]) -> list[ChatGeneration]:
        generations = super()._convert_cached_generations(cache_val)
        return _settled(ChatResult(generations=generations)).generations

    def _stream_request(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        *,
        stream_usage: bool | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        kwargs["stream"] = True
        if self._should_stream_usage(stream_usage, **kwargs):
            kwargs["stream_options"] = {"include_usage": True}
        request = self._get_request_payload(messages, stop=stop, **kwargs)
        timeout = request.get("timeout", self.request_timeout)
        return {**request, "timeout": read_timeout(timeout, self.stream_chunk_timeout)}

    def _run(self, request: dict[str, Any], read: Any) -> Generator[Any, None, None]:
        self._ensure_sync_client_available()
        create = functools.partial(self.client.with_streaming_response.create, **_send(request))
        return run(create, functools.partial(read, request["model"]), **self._limits(request))

    def _arun(self, request: dict[str, Any], read: Any) -> AsyncGenerator[Any, None]:
        create = functools.partial(
            self.async_client.with_streaming_response.create, **_send(request)
        )
        return arun(create, functools.partial(read, request["model"]), **self._limits(request))

    def _limits(self, request: dict[str, Any]) -> dict[str, Any]:
        silence = getattr(request.get("timeout"), "read", None)
        return {"max_retries": self.max_retries, "silence": silence}

    def _reading(self) -> Reading:
        return Reading(
            keep_raw=self.include_raw_response,
            keep_headers=self.include_response_headers,
            silence=self.stream_chunk_timeout,
        )

    def _result(self, generations: list[ChatGeneration]) -> ChatResult:
        metadata = generations[0].message.response_metadata
        return ChatResult(
            generations=generations,
            llm_output={
                **{key: metadata[key] for key in ("token_usage",) if key in metadata},
                "model_name": metadata["model_name"],
                "model_provider": PROVIDER,
            },
        )

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        # Read off the request itself, so that a trace cannot say what was not sent.
        body = self._get_request_payload([], stop=stop, **kwargs)
        traced = {name: body[field] for field, name in _TRACED_FIELDS.items() if field in body}
        fixed = {"ls_provider": PROVIDER, "ls_model_type": "chat"}
        return cast("LangSmithParams", {**fixed, **traced})

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


def _message_id(
    run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None,
) -> str | None:
    return f"{LC_ID_PREFIX}-{run_manager.run_id}" if run_manager else None


# pydantic's `model_copy` knows no aliases.
_FIELD_NAMES = {field.alias: name for name, field in ChatGLM.model_fields.items() if field.alias}


_TRACED_FIELDS = {
    "model": "ls_model_name",
    "temperature": "ls_temperature",
    "max_tokens": "ls_max_tokens",
    "stop": "ls_stop",
}


def _send(request: dict[str, Any]) -> dict[str, Any]:
    # All of the body travels in `extra_body`, which openai's client merges into the top level as
    # it stands: `create()` knows no field of GLM's, and would rewrite the messages.
    options = {name: request[name] for name in TRANSPORT_OPTIONS if name in request}
    body = {name: value for name, value in request.items() if name not in TRANSPORT_OPTIONS}
    fields = {"model": body["model"], "messages": [], "stream": body["stream"]}
    return {**fields, **options, "extra_body": body}


def _is_schema(tool: Any) -> bool:
    # A tool that nobody could run: how create_agent has the schema of a ToolStrategy.
    return isinstance(tool, StructuredTool) and tool.func is None and tool.coroutine is None


def _is_ours(client: Any) -> bool:
    # A client that the user passed stays. Ours is made anew: `configurable_fields` hands over
    # the old model's, with its URL and its key.
    root = (
        client
        if isinstance(client, GLMClient | AsyncGLMClient)
        else getattr(client, "_client", None)
    )
    return isinstance(root, GLMClient | AsyncGLMClient)


def _settled(result: ChatResult) -> ChatResult:
    for generation in result.generations:
        settle_calls(generation)
    return result
