"""How many tokens a text or a conversation is for GLM: an estimate, without a vocabulary.

GLM's vocabulary is not here and none is fetched. A text is cut where tokenizers of this family cut
it before they look anything up (a word with the space before it, digits in threes, a run of
punctuation, a line break); each piece counts as what such a piece mostly is. A conversation adds
what GLM's chat template puts around messages, calls and tools.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

_CJK = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
_PIECE = re.compile(
    rf"""
    (?P<word>    [^\r\n\w]? [A-Za-z]+ )
  | (?P<digits>  \d{{1,3}} )
  | (?P<cjk>     [{_CJK}]+ )
  | (?P<letters> [^\W\d_A-Za-z{_CJK}]+ )
  | (?P<marks>   [ ]? [!-/:-@\[-`{{-~]+ [\r\n]* )
  | (?P<symbol>  [ ]? [^\s\w] )
  | (?P<space>   \s* [\r\n]+ | \s+ )
    """,
    re.VERBOSE,
)

# Characters in a token. Fitted to the recordings, the last two excepted: those have none.
_WORD = 12  # a word up to this length (with the space before it) is mostly one token
_WORD_REST = 4
_MARKS = 3
_CJK_PAIR = 1.5
_LETTERS = 2

# What the chat template adds, in tokens, and the recordings bear out.
_PROMPT = 4  # two at the head, two that open the answer
_MESSAGE = 1
_ASSISTANT = 1  # the end of its reasoning, even of none
_REASONING = 1
_TOOL_RESULT = 2
_CALL = 2
_ARGUMENT = 4
_TOOLS = 100  # how to call them, once for all
_MEDIUM = 422  # one image of 597 x 566, by 28 x 28 pixels; more for a larger one

_MEDIA = frozenset(
    {"image", "image_url", "video", "video_url", "audio", "input_audio", "file", "file_url"}
)
_CALLS = frozenset({"tool_call", "tool_call_chunk", "invalid_tool_call", "tool_use"})


def estimate_tokens(text: str) -> int:
    """Estimate the number of tokens in a text.

    Measured on the usage in 11 recorded responses of GLM-4.6V, 4.7, 4.7-Flash, 5-Turbo and 5.3:
    2 % off on average for the 10 texts of reasoning (19 to 561 tokens), where LangChain's four
    characters to a token are 17 % off; 3 % and 39 % for the 11 whole answers with their calls.
    It was fitted to the same recordings, and they are English prose, JSON and a little Markdown:
    for Chinese and other scripts it is a rule of thumb.
    """
    return sum(_size(piece) for piece in _PIECE.finditer(text))


def stand_in_token_ids(text: str) -> list[int]:
    """Give as many numbers as the text has tokens by estimate.

    Equal pieces have equal numbers, but they are no vocabulary's: good for counting and for
    comparing, not for any model.
    """
    return [
        zlib.crc32(f"{part} {piece[0]}".encode("utf-8", "surrogatepass"))
        for piece in _PIECE.finditer(text)
        for part in range(_size(piece))
    ]


def estimate_message_tokens(
    messages: Iterable[BaseMessage],
    tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool] | None = None,
    *,
    count: Callable[[str], int] = estimate_tokens,
) -> int:
    """Estimate the number of tokens in a prompt.

    Measured on 9 recorded prompts (13 to 395 tokens, 6 with tools): 5 % off on average, where
    `count_tokens_approximately` is 42 % off; the worst is a prompt of 20 tokens to GLM-5.3, to
    which the server adds 7 about the effort. Reasoning counts in every turn, though the server
    forgets that of earlier ones unless it is told to keep it. An image, a video or a file counts
    as one picture of 597 x 566.

    Args:
        messages: The conversation.
        tools: What the model is offered, in any form that `bind_tools` takes.
        count: How long a text is, where something better is known than the estimate.
    """
    return (
        _PROMPT
        + sum(_message_size(message, count) for message in messages)
        + _tools_size(tools, count)
    )


def _size(piece: re.Match[str]) -> int:
    length = piece.end() - piece.start()
    match piece.lastgroup:
        case "word":
            return 1 + _ceil(max(0, length - _WORD), _WORD_REST)
        case "cjk":
            return _ceil(length, _CJK_PAIR)
        case "letters":
            return _ceil(length, _LETTERS)
        case "marks":
            return _ceil(length, _MARKS)
        case _:
            return 1


def _ceil(length: int, per_token: float) -> int:
    return int(-(-length // per_token))


def _tools_size(
    tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool] | None,
    count: Callable[[str], int],
) -> int:
    if not tools:
        return 0
    return _TOOLS + sum(count(_json(convert_to_openai_tool(tool))) for tool in tools)


def _message_size(message: BaseMessage, count: Callable[[str], int]) -> int:
    size = _MESSAGE + _content_size(message.content, count)
    if isinstance(message, ToolMessage):
        return size + _TOOL_RESULT
    if isinstance(message, AIMessage):
        return size + _ASSISTANT + _reasoning_size(message, count) + _calls_size(message, count)
    return size


def _content_size(content: str | list[str | dict[Any, Any]], count: Callable[[str], int]) -> int:
    if isinstance(content, str):
        return count(content)
    return sum(_block_size(block, count) for block in content)


def _block_size(block: str | dict[Any, Any], count: Callable[[str], int]) -> int:
    if isinstance(block, str):
        return count(block)
    kind = block.get("type")
    if kind in _MEDIA:
        return _MEDIUM
    if kind in _CALLS or kind == "reasoning":  # counted with the message
        return 0
    return count(block.get("text") or "" if kind == "text" else _json(block))


def _reasoning_size(message: AIMessage, count: Callable[[str], int]) -> int:
    reasoning = message.additional_kwargs.get("reasoning_content") or "".join(
        block.get("reasoning") or ""
        for block in message.content
        if isinstance(block, dict) and block.get("type") == "reasoning"
    )
    return _REASONING + count(reasoning) if reasoning else 0


def _calls_size(message: AIMessage, count: Callable[[str], int]) -> int:
    calls = [(call["name"], call["args"]) for call in message.tool_calls]
    broken = [(call["name"] or "", {"": call["args"] or ""}) for call in message.invalid_tool_calls]
    return sum(_CALL + count(name) + _arguments_size(args, count) for name, args in calls + broken)


def _arguments_size(arguments: Mapping[str, Any], count: Callable[[str], int]) -> int:
    return sum(
        _ARGUMENT + count(name) + count(value if isinstance(value, str) else _json(value))
        for name, value in arguments.items()
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
