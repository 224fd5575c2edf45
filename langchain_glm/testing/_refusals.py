"""Pure: the requests that GLM refuses, as a table, with the error that it gives.

Only what a recording or the documentation bears out is here. The model's name is never
judged: unknown ids pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from langchain_glm.testing._answers import Fail

# `developer` is not among the documented roles, and no source says that it is refused.
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
_THINKING = frozenset({None, "enabled", "disabled"})

_Body = Mapping[str, Any]


def _roles(body: _Body) -> set[Any]:
    messages = body["messages"]
    return {message.get("role") if isinstance(message, dict) else None for message in messages}


def _thinking(body: _Body) -> Any:
    thinking = body.get("thinking")
    return thinking.get("type") if isinstance(thinking, dict) else thinking


# In the order of the checks: (what is wrong, code, message). The codes are [D]; the messages
# of 1214 are recorded [W]; that a bogus type of thinking is a 400 is documented, its code is not.
_REFUSALS: tuple[tuple[Callable[[_Body], bool], str, str], ...] = (
    (lambda body: not body, "1210", "The request body is not a JSON object"),
    (lambda body: not body.get("model"), "1214", "modelCode: does not exist"),
    (lambda body: not body.get("messages"), "1213", "The messages parameter was not received"),
    (lambda body: not _roles(body) <= _ROLES, "1214", "Incorrect role information"),
    (lambda body: _thinking(body) not in _THINKING, "1210", "Incorrect thinking type"),
)


def refusal(body: _Body) -> Fail | None:
    """The error for a request that GLM would not take, or `None`."""
    for is_wrong, code, message in _REFUSALS:
        if is_wrong(body):
            return Fail(400, code, message)
    return None
