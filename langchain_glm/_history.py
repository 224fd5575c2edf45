"""LangChain's messages, of whatever origin, become the turns that GLM takes.

Pure. A message may come from this model or another's, from a checkpoint, in content of
LangChain 0.x, LangChain 1, OpenAI or Anthropic. What no server can take is mended here: only a
user's content may be a list, every call has its result and every result its call.
What only the server can judge goes on as it is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_glm._calls import SETTLED_CALLS, readable_arguments

ReasoningHistory = Literal["all", "current_turn", "none"]

Turn = dict[str, Any]

_ROLES: tuple[tuple[type[BaseMessage], str], ...] = (
    (HumanMessage, "user"),
    (AIMessage, "assistant"),
    (SystemMessage, "system"),
    (ToolMessage, "tool"),
    (FunctionMessage, "function"),
)
# GLM documents system, user, assistant, tool.
_RENAMED = {"developer": "system"}

# What GLM's parts are called for the blocks of LangChain, OpenAI's Responses and Anthropic.
_MEDIA = {
    "image": "image_url",
    "input_image": "image_url",
    "video": "video_url",
    "file": "file_url",
    "input_file": "file_url",
    "document": "file_url",
    "text-plain": "file_url",
}
_PARTS = frozenset(_MEDIA.values())
_MIME_TYPES = {
    "image_url": "image/jpeg",
    "video_url": "video/mp4",
    "file_url": "application/pdf",
}
_TEXTS = frozenset({None, "text", "input_text", "output_text", "text-plain"})
# What a model did or thought; in a turn that is not its own there is no field for it.
_OF_A_MODEL = frozenset({"tool_use", "tool_call", "thinking", "reasoning", "reasoning_content"})
# Where LangChain, and Anthropic, have the text of a block of reasoning.
_REASONINGS = {"reasoning": "reasoning", "thinking": "thinking"}


def glm_turns(messages: Iterable[BaseMessage], reasoning: ReasoningHistory = "all") -> list[Turn]:
    """Write a conversation as GLM takes it.

    Calls without a result, and results without a call, are left out: servers differ in whether
    they refuse them. An assistant's turn that had nothing but such calls is left out with them.
    Results stand directly after their calls.

    Args:
        messages: The conversation; it stays as it is.
        reasoning: The assistant's turns that carry their `reasoning_content`: all, those after
            the user's last message, or none.

    Raises:
        TypeError: A message of no known kind, such as `RemoveMessage`.
        ValueError: `reasoning` is none of the three.
    """
    turns = [turn for message in messages for turn in _turns(message)]
    return _paired(_with_reasoning(turns, reasoning))


def _turns(message: BaseMessage) -> Iterator[Turn]:
    role = _role(message)
    if role == "user":
        yield from _user_turns(message)
        return
    told = _said if role == "assistant" else _told
    # A result of several parts is several texts; what a model or a prompt says is one.
    text = _text(message.content, told, "\n" if role == "tool" else "")
    turn: Turn = {"content": text, "role": role}
    if isinstance(message, ToolMessage):
        yield {**turn, "tool_call_id": message.tool_call_id}
        return
    turn |= _name(message)
    yield {**turn, **_assistant_fields(message)} if isinstance(message, AIMessage) else turn


def _role(message: BaseMessage) -> str:
    if isinstance(message, ChatMessage):
        return _RENAMED.get(message.role, message.role)
    for kind, role in _ROLES:
        if isinstance(message, kind):
            return role
    msg = f"No message that a model can be sent: {message!r}"
    raise TypeError(msg)


def _name(message: BaseMessage) -> Turn:
    name = message.name or message.additional_kwargs.get("name")
    return {} if name is None else {"name": name}


# The assistant


def _assistant_fields(message: AIMessage) -> Turn:
    fields: Turn = {"tool_calls": _calls(message), "reasoning_content": _reasoning(message)}
    if "function_call" in message.additional_kwargs and not fields["tool_calls"]:
        fields["function_call"] = message.additional_kwargs["function_call"]
    return {name: value for name, value in fields.items() if value}


def _calls(message: AIMessage) -> list[Turn]:
    # Chunks that a user has added up have the calls as they were meant under this name; in
    # `tool_calls` LangChain has closed the JSON of a cut one.
    settled = message.additional_kwargs.get(SETTLED_CALLS) or {
        "tool_calls": message.tool_calls,
        "invalid_tool_calls": message.invalid_tool_calls,
    }
    calls = [_call(call, _json(call["args"])) for call in settled["tool_calls"]]
    calls += [
        _call(call, _json(readable_arguments(call.get("args") or "")))
        for call in settled["invalid_tool_calls"]
    ]
    return calls or [
        _call(block, _json(block.get("input", block.get("args"))))
        for block in _blocks(message.content)
        if block.get("type") in {"tool_use", "tool_call"}
    ]


def _call(call: Mapping[str, Any], arguments: str) -> Turn:
    function = {"name": call.get("name") or "unknown", "arguments": arguments}
    return {"type": "function", "id": call.get("id"), "function": function}


def _reasoning(message: AIMessage) -> str:
    if kept := message.additional_kwargs.get("reasoning_content"):
        return str(kept)
    return "".join(
        block.get(_REASONINGS[block["type"]]) or ""
        for block in _blocks(message.content)
        if block.get("type") in _REASONINGS
    )


# The user


def _user_turns(message: BaseMessage) -> Iterator[Turn]:
    content: Any = message.content
    blocks = _blocks(content)
    for block in blocks:  # Anthropic has the results of tools in a user's message
        if block.get("type") == "tool_result":
            text = _text(block.get("content"), _told, "\n")
            yield {"content": text, "role": "tool", "tool_call_id": block.get("tool_use_id")}
    if isinstance(content, list):
        skipped = _OF_A_MODEL | {"tool_result"}
        content = [_part(block) for block in blocks if block.get("type") not in skipped]
        if blocks and not content:
            return
        content = content or ""
    yield {"content": content, "role": "user", **_name(message)}


def _part(block: Mapping[str, Any]) -> Turn:
    kind = block.get("type")
    if kind in _PARTS:
        value = block.get(kind)
        return {"type": kind, kind: {"url": value} if isinstance(value, str) else value}
    if url := _url(block):
        return {"type": _MEDIA[str(kind)], _MEDIA[str(kind)]: {"url": url}}
    if (text := _text_of(block)) is not None:
        return {"type": "text", "text": text}
    if kind == "audio" and (data := block.get("base64") or block.get("data")):
        form = str(block.get("mime_type") or "audio/wav").rpartition("/")[2]
        return {"type": "input_audio", "input_audio": {"data": data, "format": form}}
    return dict(block)


def _url(block: Mapping[str, Any]) -> str | None:
    """Give where an image, a video or a file is, as a URL; its data as a data URI."""
    field = _MEDIA.get(str(block.get("type")))
    source = _source(block)
    if field is None or source.get("type") == "text":  # Anthropic's document of plain text
        return None
    for name in ("url", "image_url", "file_url", "file_data"):
        if isinstance(source.get(name), str):
            return str(source[name])
    data = source.get("base64") or source.get("data")
    mime_type = source.get("mime_type") or source.get("media_type") or _MIME_TYPES[field]
    return f"data:{mime_type};base64,{data}" if data else None


def _source(block: Mapping[str, Any]) -> Mapping[str, Any]:
    # Anthropic's blocks have it under `source`, OpenAI's files under `file`.
    nested = block.get("source") or block.get("file")
    return nested if isinstance(nested, Mapping) else block


# Text


def _text(content: Any, told: Callable[[Mapping[str, Any]], str], separator: str) -> str:
    if isinstance(content, str):
        return content
    return separator.join(text for block in _blocks(content) if (text := told(block)))


def _said(block: Mapping[str, Any]) -> str:
    """Give the text of a block of a model's; what it did otherwise is not said again."""
    return _text_of(block) or _named(block)


def _told(block: Mapping[str, Any]) -> str:
    """Give the text of a block that a model is told; what is no text is named, or dumped."""
    if text := _said(block):
        return text
    if _text_of(block) is not None or block.get("type") in _OF_A_MODEL:
        return ""
    if "base64" in block or "data" in block:
        return f"[{block.get('type')}]"
    return json.dumps(block, ensure_ascii=False, default=str)


def _named(block: Mapping[str, Any]) -> str:
    kind = str(block.get("type"))
    place = block.get(kind) if kind in _PARTS else _url(block)
    url = place.get("url") if isinstance(place, Mapping) else place
    if not url:
        return ""
    return f"[{kind}: {url.partition(',')[0] if url.startswith('data:') else url}]"


def _text_of(block: Mapping[str, Any]) -> str | None:
    source = _source(block)
    if source.get("type") == "text" and isinstance(source.get("data"), str):
        return str(source["data"])
    if block.get("type") in _TEXTS or block.get("source_type") == "text":
        return block.get("text") or ("" if block.get("type") == "text" else None)
    return None


def _blocks(content: Any) -> list[Mapping[str, Any]]:
    blocks = content if isinstance(content, list) else [content] if content else []
    return [{"type": "text", "text": b} if isinstance(b, str) else b for b in blocks]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# The conversation


def _paired(turns: Iterable[Turn]) -> list[Turn]:
    paired: list[Turn] = []
    for round_ in _rounds(turns):
        paired += _paired_round(round_)
    return paired


def _rounds(turns: Iterable[Turn]) -> list[list[Turn]]:
    # An id may come again: some servers count their calls anew in each answer. So a result
    # belongs to the last turn with calls before it.
    rounds: list[list[Turn]] = [[]]
    for turn in turns:
        if "tool_calls" in turn:
            rounds.append([])
        rounds[-1].append(turn)
    return rounds


def _paired_round(round_: list[Turn]) -> list[Turn]:
    round_ = _told_apart(round_)
    head, *_ = round_ or [{}]
    calls = head.get("tool_calls", [])
    asked = {call["id"] for call in calls} - {None}
    results = [turn for turn in round_ if turn["role"] == "tool" and turn["tool_call_id"] in asked]
    others = [turn for turn in round_ if turn["role"] != "tool"]
    if not calls:
        return others
    given = {turn["tool_call_id"] for turn in results}
    head = {**head, "tool_calls": [call for call in calls if call["id"] in given]}
    if not head["tool_calls"]:
        del head["tool_calls"]
    said = any(head.get(name) for name in ("content", "tool_calls", "reasoning_content"))
    return [*([head] if said else []), *results, *others[1:]]


def _told_apart(round_: list[Turn]) -> list[Turn]:
    """Give each call an id of its own where calls of one turn share one, and so their results.

    The first result of an id is then the first call's, the second the second's.
    """
    asked = Counter(call["id"] for turn in round_ for call in turn.get("tool_calls", ()))
    if max(asked.values(), default=1) == 1:
        return round_
    of_calls, of_results = _numbered(asked), _numbered(asked)
    told: list[Turn] = []
    for turn in round_:
        if "tool_calls" in turn:
            calls = [{**call, "id": of_calls(call["id"])} for call in turn["tool_calls"]]
            told.append({**turn, "tool_calls": calls})
        elif turn["role"] == "tool":
            told.append({**turn, "tool_call_id": of_results(turn["tool_call_id"])})
        else:
            told.append(turn)
    return told


def _numbered(asked: Mapping[str | None, int]) -> Callable[[str | None], str | None]:
    seen: Counter[str | None] = Counter()

    def number(id_: str | None) -> str | None:
        seen[id_] += 1
        place = min(seen[id_], asked.get(id_, 1))
        return id_ if id_ is None or place == 1 else f"{id_}_{place}"

    return number


def _with_reasoning(turns: list[Turn], reasoning: ReasoningHistory) -> list[Turn]:
    users = [number for number, turn in enumerate(turns) if turn["role"] == "user"]
    starts = {"all": 0, "current_turn": max(users, default=0), "none": len(turns)}
    if reasoning not in starts:
        msg = f"reasoning_history is {', '.join(map(repr, starts))}, not {reasoning!r}."
        raise ValueError(msg)
    start = starts[reasoning]
    forgotten = [
        {name: value for name, value in turn.items() if name != "reasoning_content"}
        for turn in turns[:start]
    ]
    return forgotten + turns[start:]
