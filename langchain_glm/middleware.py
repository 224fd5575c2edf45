"""Middleware for LangChain's `create_agent` (extra `langchain`).

`create_agent` ends without a word when the calls in the model's last message are all invalid: cut
by `finish_reason: length`, or broken JSON. `ContinueCutCalls` tells the model, and lets it go on.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Annotated, Any
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage, InvalidToolCall, ToolCall, ToolMessage
from typing_extensions import NotRequired

from langchain_glm._calls import readable_arguments
from langchain_glm.errors import GLMMalformedResponseError

try:
    from langchain.agents.middleware import (
        AgentMiddleware,
        AgentState,
        ModelRequest,
        ModelResponse,
        hook_config,
    )
    from langchain.agents.middleware.types import PrivateStateAttr
    from langgraph.channels.untracked_value import UntrackedValue
    from langgraph.runtime import Runtime
except ImportError as _missing:
    msg = 'langchain_glm.middleware needs LangChain 1: pip install "langchain-glm-zai[langchain]"'
    raise ImportError(msg) from _missing

__all__ = ["ContinueCutCalls"]

# Where providers say why an answer ended, and which of their reasons mean that it did not end by
# itself: GLM's, vLLM's and OpenAI's; Anthropic's, Bedrock's and Google's `max_tokens`.
_REASON_FIELDS = ("finish_reason", "stop_reason", "stopReason")
_SMALLER = (
    "Send it again with less at once: divide the work among several smaller calls, such as a file "
    "written part by part."
)
_ALLOWED = "Do not send the same again: leave out what the content policy does not allow."
_CORRECT = (
    "Send it again, with the name of a tool and its arguments as one JSON object, complete and "
    "correctly escaped."
)
_ADVICE = {
    "length": _SMALLER,
    "max_tokens": _SMALLER,
    "model_context_window_exceeded": _SMALLER,
    "abort": _SMALLER,
    "network_error": _SMALLER,
    "sensitive": _ALLOWED,
    "content_filter": _ALLOWED,
}

_LONGEST_ERROR = 300


class _State(AgentState[Any]):
    # Not checkpointed: it counts within a run.
    continuations_in_a_row: NotRequired[Annotated[int, UntrackedValue, PrivateStateAttr]]


class ContinueCutCalls(AgentMiddleware[_State, Any, Any]):
    """Goes back to the model with an error for each call that it did not end well.

    Each invalid call of an answer gets an error `ToolMessage` that says why it did not run, how
    much of its arguments had arrived, and to send it again in smaller pieces or as correct JSON.
    Where an answer has no other call, the model is asked again; where it has, those run first,
    as ever.

    For any chat model. The messages in the agent's state keep the calls as they came; only what
    the model is sent has their arguments as whole JSON, as far as they can be read, because
    servers refuse a history with broken ones. An invalid call without an id, or with that of
    another call, gets one of its own.

    Models other than `ChatGLM` can have a cut call among those that may run: servers, and
    LangChain when it merges chunks (`stream_mode="messages"`), close the JSON of a cut call.
    Where their finish reason says that the output was cut, and no call is invalid, the last call
    is taken for the cut one and does not run. Broken JSON that was closed so under another finish
    reason leaves no trace, and runs.

    Put it first in `middleware=[...]`: going back to the model passes over the `after_model` of
    middleware that stands before it.

    Args:
        max_continuations: How many times in a row, within one run, the model is asked again. An
            answer with a call that runs, or without an invalid one, starts the count anew.

    Raises:
        ValueError: `max_continuations` is negative.
        GLMMalformedResponseError: (From the agent.) The model's calls are still invalid after
            that. `partial` is its last message, `code` the finish reason where that cut it.
    """

    state_schema = _State

    def __init__(self, max_continuations: int = 2) -> None:
        if max_continuations < 0:
            msg = f"max_continuations is a number of times, not {max_continuations}"
            raise ValueError(msg)
        super().__init__()
        self.max_continuations = max_continuations

    @hook_config(can_jump_to=["model"])
    def after_model(self, state: _State, runtime: Runtime[Any]) -> dict[str, Any] | None:  # noqa: ARG002
        """Answer the invalid calls, and jump to the model where nothing else would."""
        return _continued(state, self.max_continuations)

    @hook_config(can_jump_to=["model"])
    async def aafter_model(self, state: _State, runtime: Runtime[Any]) -> dict[str, Any] | None:  # noqa: ARG002
        """Answer the invalid calls, and jump to the model where nothing else would."""
        return _continued(state, self.max_continuations)

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ModelResponse[Any]:
        """Send the invalid calls of the history with whole JSON."""
        return handler(_sendable(request))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Send the invalid calls of the history with whole JSON."""
        return await handler(_sendable(request))


# After the model


def _continued(state: _State, limit: int) -> dict[str, Any] | None:
    message, answered = _last_answer(state["messages"])
    settled = _settled(message)
    invalid = [call for call in settled.invalid_tool_calls if call["id"] not in answered]
    count = state.get("continuations_in_a_row", 0)
    if not invalid:
        return {"continuations_in_a_row": 0} if count else None
    if not settled.tool_calls and count >= limit:
        raise _given_up(settled, invalid, count)
    replaced = [] if settled is message else [settled]
    update = {"messages": [*replaced, *(_error(call, settled) for call in invalid)]}
    if settled.tool_calls:
        return {**update, "continuations_in_a_row": 0}
    return {**update, "continuations_in_a_row": count + 1, "jump_to": "model"}


def _last_answer(messages: Sequence[BaseMessage]) -> tuple[AIMessage, set[str]]:
    """Find the model's last message, and the ids of its calls that have a result already."""
    answered: set[str] = set()
    for message in reversed(messages):
        if isinstance(message, AIMessage):
            return message, answered
        if isinstance(message, ToolMessage):
            answered.add(message.tool_call_id)
    return AIMessage(""), answered  # another middleware has removed it


def _settled(message: AIMessage) -> AIMessage:
    """Make a message whose invalid calls can be answered; the same one where it is that."""
    calls, invalid = list(message.tool_calls), list(message.invalid_tool_calls)
    if _advice(message) and calls and not invalid:
        invalid = [_not_to_run(calls.pop())]
    invalid = list(_with_ids(invalid, {call["id"] for call in calls}))
    if invalid == message.invalid_tool_calls:
        return message
    content = _with_calls(message.content, calls, invalid)
    update = {"content": content, "tool_calls": calls, "invalid_tool_calls": invalid}
    return message.model_copy(update=update)


def _not_to_run(call: ToolCall) -> InvalidToolCall:
    arguments = json.dumps(call["args"], ensure_ascii=False)
    return InvalidToolCall(
        type="invalid_tool_call",
        id=call["id"],
        name=call["name"],
        args=arguments,
        error="The call was cut off.",
    )


def _with_ids(
    calls: Sequence[InvalidToolCall], taken: Collection[str | None]
) -> Iterator[InvalidToolCall]:
    # The result of a call that shares its id would count as the other's, which would not run.
    taken = {*taken, None, ""}
    for call in calls:
        id_ = f"call_{uuid4().hex}" if call["id"] in taken else call["id"]
        taken.add(id_)
        yield {**call, "id": id_}


def _with_calls(
    content: str | list[Any], calls: Sequence[ToolCall], invalid: Sequence[InvalidToolCall]
) -> str | list[Any]:
    """Say it in the content too, where that has LangChain's blocks of calls."""
    if isinstance(content, str):
        return content
    runnable = {call["id"] for call in calls}
    kept = [block for block in content if not _is_call(block) or _runs(block, runnable)]
    return content if len(kept) == len(content) else [*kept, *invalid]


def _is_call(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") in {"tool_call", "invalid_tool_call"}


def _runs(block: dict[str, Any], runnable: Collection[str | None]) -> bool:
    return block["type"] == "tool_call" and block.get("id") in runnable


# What the model is told, and what the user is


def _reason(message: AIMessage) -> str:
    reasons = (message.response_metadata.get(field) for field in _REASON_FIELDS)
    return str(next(filter(None, reasons), ""))


def _advice(message: AIMessage) -> str | None:
    """Say what to do about a cut answer; None where it was not cut."""
    return _ADVICE.get(_reason(message).lower())


def _error(call: InvalidToolCall, message: AIMessage) -> ToolMessage:
    advice = _advice(message) or _CORRECT
    return ToolMessage(
        f"This call did not run. {_why(call, message)} {advice}",
        tool_call_id=call["id"],
        name=call["name"],
        status="error",
    )


def _why(call: InvalidToolCall, message: AIMessage) -> str:
    arguments = call["args"] or ""
    problem = call["error"] or "The arguments are not a JSON object."
    if _advice(message):
        problem = f"The call was cut off (finish_reason {_reason(message)!r})."
    if len(problem) > _LONGEST_ERROR and arguments:  # langchain-openai repeats the arguments
        problem = problem.replace(arguments, "…")
    problem = " ".join(problem.split())
    if len(problem) > _LONGEST_ERROR:
        problem = problem[:_LONGEST_ERROR] + "…"
    return f"{problem} {len(arguments)} characters of its arguments had arrived."


def _given_up(
    message: AIMessage, calls: Sequence[InvalidToolCall], count: int
) -> GLMMalformedResponseError:
    problems = " ".join(f"{call['name']!r}: {_why(call, message)}" for call in calls)
    return GLMMalformedResponseError(
        f"None of the model's calls could run, {count + 1} times in a row. {problems} Raise "
        "max_tokens, ask for the work in smaller pieces, or raise max_continuations. The last "
        "answer is in .partial.",
        code=_reason(message) if _advice(message) else None,
        partial=message,
    )


# Before the model


def _sendable(request: ModelRequest[Any]) -> ModelRequest[Any]:
    """Write the invalid calls as calls, for servers that parse the arguments of a history.

    vLLM 0.25 answers a history with broken arguments with 400, and so each later turn
    (vllm-project/vllm#48922); SGLang takes nothing but an object (sgl-project/sglang#28035).
    """
    return request.override(messages=[_as_calls(message) for message in request.messages])


def _as_calls(message: Any) -> Any:
    if not isinstance(message, AIMessage) or not message.invalid_tool_calls:
        return message
    calls = [*message.tool_calls, *map(_as_call, message.invalid_tool_calls)]
    return message.model_copy(update={"tool_calls": calls, "invalid_tool_calls": []})


def _as_call(call: InvalidToolCall) -> ToolCall:
    arguments = readable_arguments(call["args"] or "")
    return ToolCall(type="tool_call", id=call["id"], name=call["name"] or "unknown", args=arguments)
