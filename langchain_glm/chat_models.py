"""`ChatGLM`: what a model does."""

from __future__ import annotations

import functools
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Iterator,
    Sequence,
)
from contextlib import aclosing, closing
from typing import Any, Literal, TypeGuard, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.utils import LC_ID_PREFIX
from langchain_protocol.protocol import MessagesData
from typing_extensions import override

from langchain_glm._exchange import arun, read_timeout, run
from langchain_glm._message import PROVIDER, settle_calls
from langchain_glm._notices import warn_once
from langchain_glm._reader import Reading
from langchain_glm._request import (
    TRANSPORT_OPTIONS,
    chosen_thinking,
    glm_request,
)
from langchain_glm._settings import GLMSettings
from langchain_glm._shape import shape_of
from langchain_glm._stopping import stop_signal
from langchain_glm._structured import AnswerParser, bound_to, instructed_to_call
from langchain_glm._tokens import estimate_message_tokens, estimate_tokens, stand_in_token_ids


class ChatGLM(GLMSettings):
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

    @override
    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: dict[str, Any] | str | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools as `ChatOpenAI` does.

        Where `tool_choice` is only `"auto"`, an instruction takes the place of the `"any"` that
        `create_agent` adds for the tools of its `ToolStrategy`, without a warning: the user did
        not say it.
        """
        answers = [tool.name for tool in tools if _is_schema(tool)]
        if tool_choice == "any" and answers and not self._server(self.model_name).takes_tool_choice:
            tool_choice = "auto"
            kwargs |= instructed_to_call(answers, beside_others=len(tools) > len(answers))
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
        return self._result(list(self._run(request, self._reading().whole, run_manager)))

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
        with closing(self._run(request, self._reading().chunks, run_manager)) as chunks:
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
        with closing(self._run(request, read, run_manager)) as events:
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

    def _run(
        self, request: dict[str, Any], read: Any, run_manager: CallbackManagerForLLMRun | None
    ) -> Generator[Any, None, None]:
        self._ensure_sync_client_available()
        create = functools.partial(self.client.with_streaming_response.create, **_send(request))
        read = functools.partial(read, request["model"])
        return run(create, read, stop=stop_signal(run_manager), **self._limits(request))

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


def _message_id(
    run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None,
) -> str | None:
    return f"{LC_ID_PREFIX}-{run_manager.run_id}" if run_manager else None


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


def _is_schema(tool: Any) -> TypeGuard[StructuredTool]:
    # A tool that nobody could run: how create_agent has the schema of a ToolStrategy.
    return isinstance(tool, StructuredTool) and tool.func is None and tool.coroutine is None


def _settled(result: ChatResult) -> ChatResult:
    for generation in result.generations:
        settle_calls(generation)
    return result
