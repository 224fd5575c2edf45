"""The messages of a run, as a history that a model accepts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    InvalidToolCall,
    ToolCall,
    ToolMessage,
)

STOPPED = "The run was stopped before this call had a result."


def complete_history(
    messages: Iterable[BaseMessage], *, answer: str = STOPPED
) -> list[BaseMessage]:
    """Make a history that a model accepts of messages that a run has left.

    A run that failed or was stopped leaves calls without an answer, which GLM and OpenAI refuse.
    Each call that may run is answered with an error, right after the other answers; invalid calls
    without an answer, answers without a call, and messages that are empty then are left out.

    Args:
        messages: A history, of a run or of several.
        answer: What the model is told of a call that has no result.

    Returns:
        A new list; the messages that had to change are copies.
    """
    history: list[BaseMessage] = []
    for message, answers in _turns(messages):
        if isinstance(message, AIMessage):
            history += _completed(message, answers, answer)
        else:
            history.append(message)
    return history


def messages_of(state: Any) -> Sequence[BaseMessage]:
    """Read the messages of a graph's state, empty where it keeps none."""
    found = (
        state.get("messages") if isinstance(state, Mapping) else getattr(state, "messages", None)
    )
    if not isinstance(found, Sequence) or isinstance(found, str):
        return ()
    # Without LangGraph's reducer for messages the state keeps what it was given: pairs, dicts.
    return [message for message in found if isinstance(message, BaseMessage)]


def not_in(known: Iterable[BaseMessage], messages: Iterable[BaseMessage]) -> list[BaseMessage]:
    """Give the messages that are not among the known ones, each once."""
    seen = {_key(message) for message in known}
    added: list[BaseMessage] = []
    for message in messages:
        if _key(message) not in seen:
            seen.add(_key(message))
            added.append(message)
    return added


def _key(message: BaseMessage) -> Any:
    # Not by the call that a result answers: servers use a call's id again in a later turn.
    return message.id or id(message)


def _turns(
    messages: Iterable[BaseMessage],
) -> Iterator[tuple[BaseMessage, list[ToolMessage]]]:
    """Give each message and the answers that come right after it."""
    message: BaseMessage | None = None
    answers: list[ToolMessage] = []
    for following in messages:
        if isinstance(following, ToolMessage):
            answers.append(following)
            continue
        if message is not None:
            yield message, answers
        message, answers = following, []
    if message is not None:
        yield message, answers


def _completed(
    message: AIMessage, answers: Sequence[ToolMessage], answer: str
) -> Iterator[BaseMessage]:
    # Counted, for servers that give two calls the same id.
    left: Counter[str | None] = Counter(reply.tool_call_id for reply in answers)
    unanswered = [call for call in message.tool_calls if not _take(left, call["id"])]
    lost = [call for call in message.invalid_tool_calls if not _take(left, call["id"])]
    message = _without(message, lost)
    if not _says_anything(message):
        return
    yield message
    wanted = Counter(call["id"] for call in _calls(message))
    yield from (reply for reply in answers if _take(wanted, reply.tool_call_id))
    for call in unanswered:
        yield ToolMessage(answer, tool_call_id=call["id"] or "", name=call["name"], status="error")


def _take(counter: Counter[str | None], id_: str | None) -> bool:
    counter[id_] -= 1
    return counter[id_] >= 0


def _calls(message: AIMessage) -> Sequence[ToolCall | InvalidToolCall]:
    return [*message.tool_calls, *message.invalid_tool_calls]


def _without(message: AIMessage, lost: Sequence[InvalidToolCall]) -> AIMessage:
    if not lost:
        return message
    kept = [call for call in message.invalid_tool_calls if call not in lost]
    content = message.content
    if isinstance(content, list):
        ids = {call["id"] for call in lost} - {call["id"] for call in [*message.tool_calls, *kept]}
        content = [block for block in content if not _is_of(block, ids)]
    return message.model_copy(update={"invalid_tool_calls": kept, "content": content})


def _is_of(block: str | dict[str, Any], calls: set[str | None]) -> bool:
    return (
        isinstance(block, dict) and block.get("type") in _CALL_BLOCKS and block.get("id") in calls
    )


_CALL_BLOCKS = frozenset({"invalid_tool_call", "tool_call", "tool_call_chunk", "tool_use"})


def _says_anything(message: AIMessage) -> bool:
    blocks = message.content if isinstance(message.content, list) else [message.content]
    return bool(_calls(message)) or any(block and not _is_thought(block) for block in blocks)


def _is_thought(block: str | dict[str, Any]) -> bool:
    if isinstance(block, str):
        return False
    return block.get("type") in {"reasoning", "thinking"} or block.get("text") == ""
