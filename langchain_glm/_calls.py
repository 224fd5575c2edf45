"""Fragments of tool calls become calls.

Pure, and the one place that assembles calls: the fragments of a GLM answer (`_delta`) and those of
any model's chunks (`streaming.tool_calls`) come here.

Servers disagree about tool calls (WIRE: "seen in recordings or reported"), so they are repaired
here, before anything is assembled. Which call a fragment belongs to:

1. By `index`, where it is given and not -1. On a used index a name opens a new call if the call
   there is over: with a new `id`, when its arguments are complete JSON, or it has none and the
   name is another; without an `id`, when its arguments are complete JSON and either the name is
   another or more arguments come with it.
2. Without an index, by `id` where that call is known; a new `id` with a name opens the next
   call, and so does a name alone in the second case of rule 1.
3. Otherwise the last call goes on.

The first `id` and the first name of a call stay. A fragment that repeats the whole of arguments
that are already complete is a server's duplicate and is dropped.
"""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from langchain_core.messages import InvalidToolCall, ToolCall
from pydantic_core import from_json

from langchain_glm._json import parse_json
from langchain_glm._surrogates import SurrogatePairs

# GLM's documented reasons for an answer that did not end by itself are `length`, `sensitive`,
# `network_error` and `model_context_window_exceeded`; `abort` is vLLM's and SGLang's,
# `content_filter` is what gateways make of `sensitive`. The others come from the documents of other
# providers, whose chunks `streaming` reads: `max_tokens` and `refusal` (Anthropic), `MAX_TOKENS`
# (Gemini), `max_output_tokens` (OpenAI's Responses API).
CUT_FINISH_REASONS = frozenset(
    {
        "MAX_TOKENS",
        "abort",
        "content_filter",
        "length",
        "max_output_tokens",
        "max_tokens",
        "model_context_window_exceeded",
        "network_error",
        "refusal",
        "sensitive",
    }
)

SETTLED_CALLS = "settled_tool_calls"
"""Where the last chunk says how the calls ended, if any of them must not run.

Stands in `additional_kwargs`, as `{"tool_calls": [...], "invalid_tool_calls": [...]}`. Core parses
the calls of merged chunks leniently (it closes the JSON of a cut one) and throws their raw text
away; this brings both back.
"""

InvalidReason = Literal["cut", "broken_stream", "invalid_json", "no_name", "stopped"]
"""Why a call must not run.

`cut`: the answer ended before the call did (`finish_reason` says so). `broken_stream`: the
connection did. `invalid_json`: the arguments are no JSON object. `no_name`: it names no tool.
`stopped`: the reader of the stream went away (only what watches a tool's arguments sees it).
"""


class CallDelta(NamedTuple):
    """A piece of the tool call at `position`; `id` and `name` are None once they are known."""

    position: int
    id: str | None
    name: str | None
    arguments: str


class Call:
    """A tool call as far as it has arrived.

    Attributes:
        index: Its position among the calls of the answer.
        id: What the server calls it, None until it says so.
        name: The tool, `""` until it is known.
    """

    __slots__ = ("_braces", "_characters", "_pieces", "calls_then", "id", "index", "name", "pairs")

    def __init__(self, index: int) -> None:
        self.index: int = index
        self.id: str | None = None
        self.name: str = ""
        self.calls_then: int = 0  # how many calls were open when its last fragment came
        self._pieces: list[str] = []
        self._characters = 0
        self._braces = _Braces()
        self.pairs: SurrogatePairs = SurrogatePairs()  # of the text of the arguments

    @property
    def arguments(self) -> str:
        """The arguments as the model wrote them, so far."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    @property
    def is_blank(self) -> bool:
        """Whether no argument text has come."""
        return not self._characters

    def is_complete(self) -> bool:
        """Whether the arguments are a whole JSON object."""
        # A server that repeats the name or sends a new id with every fragment asks again and
        # again: the last piece and the braces spare it most of the parses.
        if not self._pieces or not self._pieces[-1].rstrip().endswith("}"):
            return False
        if not self._braces.are_closed(self.arguments):
            return False
        return isinstance(parse_arguments(self.arguments), dict)

    def append(self, fragment: str) -> bool:
        """Take the next piece of the arguments, unless it is a duplicate of them all."""
        # The lengths differ for all but the first few fragments, so this stays linear.
        if len(fragment) == self._characters and fragment == self.arguments and self.is_complete():
            return False
        self._pieces.append(fragment)
        self._characters += len(fragment)
        return True


class _Braces:
    """Counts the braces of a growing JSON text, each once."""

    __slots__ = ("_at", "_depth", "_in_string")

    def __init__(self) -> None:
        self._at = 0  # how far was counted
        self._depth = 0
        self._in_string = False

    def are_closed(self, text: str) -> bool:
        """Whether as many are closed as were opened; if not, the text is no whole object."""
        for mark in _MARKS(text, self._at):
            self._at = mark.end()
            if mark[0] == '"':
                self._in_string = not self._in_string
            elif not self._in_string:
                self._depth += _DEPTH.get(mark[0], 0)
        # A backslash that is the last character waits for what it escapes.
        self._at = max(self._at, len(text) - text.endswith("\\"))
        return not self._in_string and self._depth == 0


_MARKS = re.compile(r'\\.|["{}]', re.DOTALL).finditer
_DEPTH = {"{": 1, "}": -1}


class Verdict(NamedTuple):
    """How a call ended: with its arguments, or with the reason why it must not run."""

    call: Call
    arguments: dict[str, Any]
    problem: str | None = None
    reason: InvalidReason | None = None

    @property
    def is_core_wrong(self) -> bool:
        """Whether core reads something else in the same text: a call, or text with half a pair."""
        if self.problem or "\\ud" not in self.call.arguments.lower():
            return self.problem is not None
        return bool(json.loads(self.call.arguments, strict=False) != self.arguments)


class Calls:
    """The calls of one answer, assembled."""

    __slots__ = ("_by_id", "_by_index", "_calls")

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._by_index: dict[int | str, Call] = {}
        self._by_id: dict[str, Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._calls)

    def __getitem__(self, position: int) -> Call:
        return self._calls[position]

    def at(self, index: int | str) -> Call | None:
        """Give the call that stands at a server's index, the latest one there."""
        return self._by_index.get(index)

    def take(
        self, index: int | str | None, id_: str | None, name: str, fragment: str
    ) -> CallDelta | None:
        """Take a fragment as it came; None where it says nothing new."""
        if not (id_ or name or fragment):
            return None
        call = self._place(index, id_, name, fragment)
        fragment = call.pairs.feed(fragment)
        new_id = id_ if call.id is None else None
        if new_id:
            call.id = new_id
            self._by_id[new_id] = call
        new_name = name if not call.name else ""
        call.name = call.name or name
        kept = call.append(fragment) if fragment else False
        if not (new_id or new_name or kept):
            return None
        call.calls_then = len(self._calls)
        return CallDelta(call.index, new_id, new_name or None, fragment if kept else "")

    def end(self) -> list[CallDelta]:
        """End the calls: give an id to each that the server gave none.

        An agent answers a call by its id, and cannot without one.
        """
        return [last for call in self._calls if (last := _end(call))]

    def verdicts(self, *, cut_by: str | None = None, ended: bool = True) -> list[Verdict]:
        """Judge each call.

        Args:
            cut_by: The finish reason, where it says that the answer was cut: calls that were
                still open then are cut calls, even if their JSON happens to parse.
            ended: Whether the stream came to its end; if not, what was open is cut as well.
        """
        return [self._verdict(call, cut_by, ended=ended) for call in self._calls]

    def _verdict(self, call: Call, cut_by: str | None, *, ended: bool) -> Verdict:
        over = call.calls_then < len(self._calls)  # another call began after its last fragment
        if (cut_by or not ended) and not (over and call.is_complete()):
            if not ended:
                problem = "The call was cut off (the stream broke off)."
                return Verdict(call, {}, problem, "broken_stream")
            return Verdict(call, {}, f"The call was cut off (finish_reason {cut_by!r}).", "cut")
        if not call.name:
            return Verdict(call, {}, "The call names no tool.", "no_name")
        arguments = {} if call.is_blank else parse_arguments(call.arguments)
        if isinstance(arguments, dict):
            return Verdict(call, arguments)
        problem = f"The arguments are not a JSON object: {arguments}."
        return Verdict(call, {}, problem, "invalid_json")

    def _place(self, index: int | str | None, id_: str | None, name: str, fragment: str) -> Call:
        if index is not None:
            call = self._by_index.get(index)
            goes_on = call and not (name and _is_another(call, id_, name, fragment))
            return call if call and goes_on else self._open(index)
        if id_ in self._by_id:
            return self._by_id[id_]
        last = self._calls[-1] if self._calls else None
        if last and not (name and (id_ or _is_another(last, id_, name, fragment))):
            return last
        return self._open(len(self._calls))

    def _open(self, index: int | str) -> Call:
        call = self._by_index[index] = Call(len(self._calls))
        self._calls.append(call)
        return call


def _end(call: Call) -> CallDelta | None:
    half = call.pairs.close()
    new_id = None if call.id else f"call_{uuid.uuid4().hex}"
    call.id = call.id or new_id
    if half:
        call.append(half)
    return CallDelta(call.index, new_id, None, half) if new_id or half else None


def parse_arguments(text: str) -> dict[str, Any] | str:
    """Parse a call's arguments, raw control characters in strings allowed.

    Returns:
        The JSON object, or in words why the text is none.
    """
    try:
        value = parse_json(text, strict=False)
    except ValueError as error:
        return str(error)
    return value if isinstance(value, dict) else f"it is of type {type(value).__name__}"


def readable_arguments(text: str) -> dict[str, Any]:
    """Read what can be read of arguments that are broken, `{}` where that is nothing.

    An invalid call goes back to a server so. vLLM 0.25 answers a history with broken arguments
    with 400, and each later turn with it (vllm-project/vllm#48922); SGLang takes nothing but an
    object (sgl-project/sglang#28035).
    """
    for spelling in (text, text.translate(_CONTROL_CHARACTERS)):
        with contextlib.suppress(ValueError):
            value = from_json(spelling, allow_inf_nan=False, allow_partial="trailing-strings")
            return value if isinstance(value, dict) else {}
    return {}


# Models write line breaks into strings as they are, which JSON does not allow.
_CONTROL_CHARACTERS = {number: f"\\u{number:04x}" for number in range(32)}


def sorted_calls(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Sort calls into a message's `tool_calls` and `invalid_tool_calls`."""
    return {
        "tool_calls": [tool_call(verdict) for verdict in verdicts if not verdict.problem],
        "invalid_tool_calls": [
            invalid_tool_call(verdict) for verdict in verdicts if verdict.problem
        ],
    }


def tool_call(verdict: Verdict) -> ToolCall:
    """Make LangChain's call of one that may run."""
    call = verdict.call
    return ToolCall(type="tool_call", id=call.id, name=call.name, args=verdict.arguments)


def invalid_tool_call(verdict: Verdict) -> InvalidToolCall:
    """Make LangChain's call of one that must not run, with the text that it had."""
    call = verdict.call
    return InvalidToolCall(
        type="invalid_tool_call",
        id=call.id,
        name=call.name or None,
        args=call.arguments,
        error=verdict.problem,
    )


def _is_another(call: Call, id_: str | None, name: str, fragment: str) -> bool:
    if id_ == call.id and id_ is not None:
        return False
    if id_ is not None:
        return call.is_complete() or (call.is_blank and call.name not in {"", name})
    more = fragment.strip() and fragment != call.arguments
    return call.is_complete() and bool(name != call.name or more)
