"""Pure: the requests that GLM refuses, as a table, with the error that it gives.

Only what a recording, the documentation or a report bears out is here. Unknown models pass, and
only what is reported of one family alone is refused to it alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from langchain_glm.testing._answers import Fail

# `developer` is not among the documented roles, and no source says that it is refused.
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
_THINKING = frozenset({None, "enabled", "disabled"})
# `none` too is refused, as reported; but a recording has it answered 200, and ignored.
_TOOL_CHOICES = (None, "auto", "none")
_ALWAYS_THINKS = re.compile(r"(?:.*/)?glm-5\.3(?![.\d])", re.IGNORECASE)

_Body = Mapping[str, Any]


def _roles(body: _Body) -> set[Any]:
    messages = body["messages"]
    return {message.get("role") if isinstance(message, dict) else None for message in messages}


def _thinking(body: _Body) -> Any:
    thinking = body.get("thinking")
    return thinking.get("type") if isinstance(thinking, dict) else thinking


def _is_5_3(body: _Body) -> bool:
    return _ALWAYS_THINKS.match(str(body.get("model"))) is not None


def _has_null(body: _Body) -> bool:
    turns = (turn for turn in body["messages"] if turn["role"] == "assistant")
    return any(turn.get("content", "") is None for turn in turns)


def _is_too_hot(body: _Body) -> bool:
    temperature = body.get("temperature")
    return isinstance(temperature, int | float) and not 0 <= temperature <= 1


# In the order of the checks: (what is wrong, code, message). The codes are [D]; the messages
# of 1214 for a model and a role are recorded [W], and so is the one on thinking that cannot be
# disabled. That a bogus type of thinking is a 400 is documented [D], its code is not. Probed [P]:
# temperature, and tool_choice with its message; reported by users [R]: null. Their codes, and
# where none is said to be recorded or probed the messages, are ours.
_REFUSALS: tuple[tuple[Callable[[_Body], bool], str, str], ...] = (
    (lambda body: not body, "1210", "The request body is not a JSON object"),
    (lambda body: not body.get("model"), "1214", "modelCode: does not exist"),
    (lambda body: not body.get("messages"), "1213", "The messages parameter was not received"),
    (lambda body: not _roles(body) <= _ROLES, "1214", "Incorrect role information"),
    (_has_null, "1214", "The content of an assistant message is null"),
    (lambda body: _thinking(body) not in _THINKING, "1210", "Incorrect thinking type"),
    (
        lambda body: _is_5_3(body) and _thinking(body) == "disabled",
        "1210",
        "This model always engages in thinking and cannot be disabled",
    ),
    (
        lambda body: _is_5_3(body) and body.get("tool_choice") not in _TOOL_CHOICES,
        "1210",
        "Tool choice must be auto",
    ),
    (_is_too_hot, "1210", "The temperature is not between 0 and 1"),
)


def refusal(body: _Body) -> Fail | None:
    """The error for a request that GLM would not take, or `None`."""
    for is_wrong, code, message in _REFUSALS:
        if is_wrong(body):
            return Fail(400, code, message)
    return None
