"""Structured output: an answer is read as it is written, parsed, and validated at its end.

An `AnswerReader` is fed the chunks of an answer; `AnswerParser` runs one in a chain behind a model
that is `bound_to` a shape. The request itself is shaped by host, in `_request.py`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Annotated, Any

import jiter
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.output_parsers import BaseTransformOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.utils import AddableDict
from pydantic import SkipValidation
from typing_extensions import override

from langchain_glm._calls import CUT_FINISH_REASONS, SETTLED_CALLS
from langchain_glm._request import INSTRUCTION
from langchain_glm._shape import Shape, preview
from langchain_glm.errors import GLMRefusalError

_FENCE = re.compile(r"\A```\w*\s*|\s*```\Z")
_OPENING = re.compile(r"[{\[]")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_ESCAPES = {code: f"\\u{code:04x}" for code in range(32)}
_JSON = json.JSONDecoder(strict=False)  # raw line ends may stand in strings


def parse_answer(text: str) -> Any:
    """Parse JSON that may stand in a code fence, or an object with prose around it.

    Raises:
        ValueError: There is no JSON in it.
        RecursionError: It is nested too deep.
    """
    text = _FENCE.sub("", text.strip())
    try:
        return _JSON.decode(text)
    except ValueError as error:
        failure = error
    start = text.find("{")
    while start >= 0:
        try:
            return _JSON.raw_decode(text, start)[0]
        except json.JSONDecodeError as error:  # noqa: PERF203 - a brace of the prose
            start = text.find("{", max(error.pos, start + 1))
    raise failure


def parse_growing(text: str) -> dict[str, Any] | None:
    """Parse the beginning of an answer: each string in it is a beginning of the final one.

    Returns:
        The object as far as it has come; None while there is none.
    """
    opening = _OPENING.search(text)
    if not opening:
        return None
    # More digits would make another number; in a string they may as well come later.
    begun = text[opening.start() :].rstrip("+-.0123456789eE")
    for spelling in (str, _with_escapes):
        with contextlib.suppress(ValueError):
            value = jiter.from_json(spelling(begun).encode(), partial_mode="trailing-strings")
            return value if isinstance(value, dict) else None
    return None


def _with_escapes(text: str) -> str:
    # Models put raw line ends into strings; jiter, other than `json`, never takes them.
    return _STRING.sub(lambda string: string[0].translate(_ESCAPES), text)


# Every chunk of a short answer is worth a look, and then each 64th part of what has come: a
# character is parsed about 64 times, however long the answer.
_SHORT_CHARACTERS = 2048
_PARTS = 64


class AnswerReader:
    """Reads one answer, as it is written or whole.

    Args:
        shape: What it has to be, None for any JSON.
        tool: The tool whose arguments are the answer; None where the text is.
    """

    def __init__(self, shape: Shape | None, *, tool: str | None = None) -> None:
        self._shape = shape
        self._tool = tool
        self._finish_reason: str | None = None
        self._index: int | None = None  # of the call that is the answer
        self._called: list[str] = []
        self._text: list[str] = []
        self._arguments: list[str] = []
        self._characters = 0
        self._looked_at = 0  # how many characters there were at the last look
        self._last: Any = None

    def feed(self, message: BaseMessage) -> list[Any]:
        """Take the next chunk, or the message.

        Returns:
            The answer as far as it has come, if it is more than before.
        """
        self._finish_reason = message.response_metadata.get("finish_reason") or self._finish_reason
        self._text.append(message.text)
        if isinstance(message, AIMessageChunk):
            self._take_fragments(message)
        elif isinstance(message, AIMessage):
            self._take_calls(message)
        pieces = self._text if self._tool is None else self._arguments
        self._characters += len(pieces[-1]) if pieces else 0
        return self._look(pieces) if isinstance(message, AIMessageChunk) else []

    def close(self) -> list[Any]:
        """End the answer.

        Returns:
            The validated answer, unless it was what `feed` gave last; empty where the model called
            a tool that was bound beside the shape.

        Raises:
            OutputParserException: It was cut, is no JSON, or has another shape. `llm_output` is
                its text as it came.
        """
        if self._finish_reason in CUT_FINISH_REASONS:
            raise self._failure(_CUT.get(self._finish_reason, _CUT_OTHERWISE), self._raw())
        if self._tool is None and self._called:
            return []
        if self._tool is not None and self._index is None:
            raise self._failure(self._no_call(), self._raw())
        try:
            value = parse_answer(self._raw())
            answer = value if self._shape is None else self._shape.validated(value)
        except (ValueError, RecursionError) as error:
            raise self._failure(f"It is not valid: {error}", self._raw()) from error
        return [] if answer == self._last else [answer]

    def _take_fragments(self, chunk: AIMessageChunk) -> None:
        fragments = []
        for call in chunk.tool_call_chunks:
            if call["name"]:
                self._called.append(call["name"])
                if call["name"] == self._tool and self._index is None:
                    self._index = call["index"] or 0
            if self._index is not None and (call["index"] or 0) == self._index:
                fragments.append(call["args"] or "")
        self._arguments.append("".join(fragments))
        settled = chunk.additional_kwargs.get(SETTLED_CALLS)
        if settled and self._tool is None:  # some of the calls are broken
            self._called = [call["name"] for call in settled["tool_calls"]]

    def _take_calls(self, message: AIMessage) -> None:
        calls = [*message.tool_calls, *message.invalid_tool_calls]
        named = message.tool_calls if self._tool is None else calls
        self._called += [call["name"] or "" for call in named]
        for position, call in enumerate(calls):
            if call["name"] == self._tool and self._index is None:
                self._index = position
                args = call["args"]
                written = args if isinstance(args, str) else json.dumps(args, ensure_ascii=False)
                self._arguments.append(written or "")

    def _look(self, pieces: list[str]) -> list[Any]:
        worth = 1 if self._characters <= _SHORT_CHARACTERS else self._characters // _PARTS
        if self._characters - self._looked_at < worth:
            return []
        self._looked_at = self._characters
        pieces[:] = ["".join(pieces)]
        value = parse_growing(pieces[0])
        answer = self._shape.grown(value) if self._shape and value is not None else value
        if answer is None or answer == self._last:
            return []
        self._last = answer
        return [answer]

    def _raw(self) -> str:
        if self._index is not None:
            return "".join(self._arguments) or "{}"
        return "".join(self._text)

    def _no_call(self) -> str:
        if self._called:
            return f"The model called {', '.join(self._called)} and not {self._tool}."
        return f"The model answered in prose and did not call {self._tool}."

    def _failure(self, problem: str, text: str) -> OutputParserException:
        name = self._shape.name if self._shape else "JSON"
        reason = f" (finish_reason {self._finish_reason!r})" if self._finish_reason else ""
        msg = f"The answer is no {name}{reason}. {problem} It begins: {preview(text)}"
        refused = self._finish_reason in _REFUSED
        return (GLMRefusalError if refused else OutputParserException)(msg, llm_output=text)


_CUT = {
    "length": "It was cut off: raise max_tokens, or ask for less.",
    "model_context_window_exceeded": (
        "It was cut off where the model's context ends, whatever max_tokens says: shorten the "
        "prompt."
    ),
}
_REFUSED = frozenset({"content_filter", "sensitive"})  # the second is GLM's own name for it
_CUT_OTHERWISE = "It was cut off before its end, and not by max_tokens."


class AnswerParser(BaseTransformOutputParser[Any]):
    """Makes answers of messages, and growing ones of their chunks.

    Attributes:
        shape: What an answer has to be, None for any JSON.
        tool: The tool whose arguments are the answer; None where the text is.
        include_raw: Whether to give `{"raw", "parsed", "parsing_error"}` and raise nothing. In a
            stream each chunk of the message is a `raw`, and `parsing_error` comes last.
    """

    shape: Annotated[Shape | None, SkipValidation()] = None
    tool: str | None = None
    include_raw: bool = False

    @property
    @override
    def OutputType(self) -> Any:
        if self.include_raw:
            return dict[str, Any]
        return self.shape.hint if self.shape else Any

    @override
    def parse(self, text: str) -> Any:
        return self.parse_result([Generation(text=text)])

    @override
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        [first, *_] = result
        message = first.message if isinstance(first, ChatGeneration) else AIMessage(first.text)
        reader = AnswerReader(self.shape, tool=self.tool)
        reader.feed(message)
        if not self.include_raw:
            return next(iter(reader.close()), None)
        parsed, error = _outcome(reader)
        return {"raw": message, "parsed": next(iter(parsed), None), "parsing_error": error}

    @override
    def transform(
        self,
        input: Iterator[str | BaseMessage],
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        # For the trace core adds up what a step reads, chunk by chunk: quadratic in the arguments
        # of a call. It is shown the first chunk; the model's own run beside it has the whole.
        chunks = iter(input)

        def read(first: Iterator[str | BaseMessage]) -> Iterator[Any]:
            return self._transform(itertools.chain(first, chunks))

        yield from self._transform_stream_with_config(
            itertools.islice(chunks, 1), read, config, run_type="parser", **kwargs
        )

    @override
    async def atransform(
        self,
        input: AsyncIterator[str | BaseMessage],
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        chunks = aiter(input)

        async def first() -> AsyncIterator[str | BaseMessage]:
            async for chunk in chunks:
                yield chunk
                return

        async def read(first: AsyncIterator[str | BaseMessage]) -> AsyncIterator[Any]:
            async for answer in self._atransform(_chained(first, chunks)):
                yield answer

        async for answer in self._atransform_stream_with_config(
            first(), read, config, run_type="parser", **kwargs
        ):
            yield answer

    @override
    def _transform(self, input: Iterator[str | BaseMessage]) -> Iterator[Any]:
        reader = AnswerReader(self.shape, tool=self.tool)
        for chunk in input:
            yield from self._grown(reader, chunk)
        yield from self._ended(reader)

    @override
    async def _atransform(self, input: AsyncIterator[str | BaseMessage]) -> AsyncIterator[Any]:
        reader = AnswerReader(self.shape, tool=self.tool)
        async for chunk in input:
            for answer in self._grown(reader, chunk):
                yield answer
        for answer in self._ended(reader):
            yield answer

    def _grown(self, reader: AnswerReader, chunk: str | BaseMessage) -> Iterator[Any]:
        message = chunk if isinstance(chunk, BaseMessage) else AIMessageChunk(content=chunk)
        if self.include_raw:
            yield AddableDict(raw=message)
        for answer in reader.feed(message):
            yield AddableDict(parsed=answer) if self.include_raw else answer

    def _ended(self, reader: AnswerReader) -> Iterator[Any]:
        if not self.include_raw:
            yield from reader.close()
            return
        parsed, error = _outcome(reader)
        for answer in parsed:
            yield AddableDict(parsed=answer)
        yield AddableDict(parsing_error=error)

    @property
    def _type(self) -> str:
        return "glm_answer"


def _outcome(reader: AnswerReader) -> tuple[list[Any], OutputParserException | None]:
    try:
        return reader.close(), None
    except OutputParserException as error:
        return [], error


async def _chained(*streams: AsyncIterator[Any]) -> AsyncIterator[Any]:
    for stream in streams:
        async for item in stream:
            yield item


def bound_to(shape: Shape | None, method: str, *, forced: bool) -> dict[str, Any]:
    """Give what a model is bound to, so that it answers in a shape.

    Args:
        shape: The shape; None for any JSON.
        method: As in `ChatGLM.with_structured_output`.
        forced: Whether the server takes a `tool_choice` that names a tool.

    Raises:
        ValueError: There is no such method.
    """
    if method == "json_mode":
        bound: dict[str, Any] = {"response_format": {"type": "json_object"}}
    elif method == "json_schema" and shape:
        bound = {"response_format": shape.response_format}
    elif method == "function_calling" and shape:
        bound = {"tools": [shape.tool], **_calling(shape.name, forced=forced)}
    else:
        msg = f'method is "json_schema", "function_calling" or "json_mode", not {method!r}.'
        raise ValueError(msg)
    options = {"method": method, **({"strict": shape.strict} if shape else {})}
    about = {"kwargs": options, "schema": shape.tool if shape else None}
    return {**bound, "ls_structured_output_format": about}


def _calling(name: str, *, forced: bool) -> dict[str, Any]:
    if forced:
        choice = {"type": "function", "function": {"name": name}}
        return {"tool_choice": choice, "parallel_tool_calls": False}
    return instructed_to_call([name])


def instructed_to_call(names: Sequence[str], *, beside_others: bool = False) -> dict[str, Any]:
    """Give what is bound where an answer is to be a call, and no call can be forced.

    Args:
        names: The functions whose arguments are an answer.
        beside_others: Whether there are tools that are none of them.
    """
    when = "Once no more tools are needed, answer" if beside_others else "Answer"
    listed = " or ".join(f"`{name}`" for name in names)
    text = (
        f"{when} by calling the function {listed} exactly once, with the whole answer as its "
        "arguments. Do not answer in prose."
    )
    return {INSTRUCTION: text}
