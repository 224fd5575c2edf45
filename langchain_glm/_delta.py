"""One frame of GLM's answer becomes a `Delta`.

Pure, and the only place that spells the field names of an answer. A frame is the decoded JSON
of one event of a stream, or a whole answer: both carry `choices[0]`, with a `delta` or with a
`message` of the same fields, and so one `Reply` reads either.

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

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from langchain_core.messages import BaseMessage

from langchain_glm.errors import GLMMalformedStreamError

# `length`, `sensitive`, `network_error` and `model_context_window_exceeded` are GLM's documented
# reasons for an answer that did not end by itself; `abort` is vLLM's and SGLang's, and
# `content_filter` is what gateways make of `sensitive`.
CUT_FINISH_REASONS = frozenset(
    {
        "abort",
        "content_filter",
        "length",
        "model_context_window_exceeded",
        "network_error",
        "sensitive",
    }
)

FAILED_FINISH_REASON = "network_error"
"""GLM's documented reason for an answer that inference failed on: an error, not a message."""

_NO_ID = frozenset({"", "null", "None"})


class CallDelta(NamedTuple):
    """A piece of the tool call at `position`; `id` and `name` are None once they are known."""

    position: int
    id: str | None
    name: str | None
    arguments: str


class Delta(NamedTuple):
    """What one frame adds to the answer."""

    reasoning: str = ""
    text: str = ""
    calls: Sequence[CallDelta] = ()
    logprobs: dict[str, Any] | None = None


class Call:
    """A tool call as far as it has arrived.

    Attributes:
        index: Its position among the calls of the answer.
        id: What the server calls it, None until it says so.
        name: The tool, `""` until it is known.
    """

    __slots__ = ("_characters", "_pieces", "calls_then", "id", "index", "name")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id: str | None = None
        self.name = ""
        self.calls_then = 0  # how many calls were open when its last fragment came
        self._pieces: list[str] = []
        self._characters = 0

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
        # The look at the last piece spares the parse while a server that sends a new id with
        # every fragment asks again and again.
        if not self._pieces or not self._pieces[-1].rstrip().endswith("}"):
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


class Verdict(NamedTuple):
    """How a call ended: with its arguments, or with the reason why it must not run."""

    call: Call
    arguments: dict[str, Any]
    problem: str | None


class Reply:
    """One answer of the model, read frame by frame.

    Attributes:
        model: The model that answers, by the server's word, else the one that was asked.
        finish_reason: The last one given; one that says "cut" is not overwritten.
        usage: GLM's counts as they came last (servers that repeat them send running totals).
        envelope: The other facts about the answer: `id`, `request_id`, `web_search`, ….
        has_choices: Whether any frame carried a choice.
    """

    __slots__ = (
        "_by_id",
        "_by_index",
        "_ids_change",
        "_ids_repeat",
        "_last_frame_id",
        "_reasoning",
        "_text",
        "calls",
        "envelope",
        "finish_reason",
        "has_choices",
        "model",
        "usage",
    )

    def __init__(self, model: str) -> None:
        self.model = model
        self.finish_reason: str | None = None
        self.usage: Mapping[str, Any] | None = None
        self.envelope: dict[str, Any] = {}
        self.has_choices = False
        self.calls: list[Call] = []
        self._reasoning: list[str] = []
        self._text: list[str] = []
        self._by_index: dict[int, Call] = {}
        self._by_id: dict[str, Call] = {}
        self._last_frame_id: str | None = None
        self._ids_repeat = False
        self._ids_change = False

    @property
    def reasoning(self) -> str:
        """The reasoning so far."""
        return "".join(self._reasoning)

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._text)

    @property
    def was_cut(self) -> bool:
        """Whether the answer was cut before the model had ended it."""
        return self.finish_reason in CUT_FINISH_REASONS

    @property
    def has_failed(self) -> bool:
        """Whether inference failed, so that what has arrived is no answer."""
        return self.finish_reason == FAILED_FINISH_REASON

    def read(self, frame: Mapping[str, Any]) -> Delta:
        """Take a frame.

        Raises:
            GLMMalformedStreamError: Another answer begins in the middle of this one.
        """
        self._read_envelope(frame)
        choices = frame.get("choices")
        if not choices:
            return _NOTHING
        self._watch_id(frame.get("id"))
        delta = self._read_choice(choices[0])
        self.has_choices = True
        return delta

    def end(self) -> list[CallDelta]:
        """End the answer: give an id to each call that the server gave none.

        An agent answers a call by its id, and cannot without one.
        """
        nameless = [call for call in self.calls if call.id is None]
        for call in nameless:
            call.id = f"call_{uuid.uuid4().hex}"
        return [CallDelta(call.index, call.id, None, "") for call in nameless]

    def verdicts(self, *, ended: bool = True) -> list[Verdict]:
        """Judge each call; with `ended=False` those that were still open are cut calls."""
        return [self._verdict(call, ended=ended) for call in self.calls]

    def _verdict(self, call: Call, *, ended: bool) -> Verdict:
        over = call.calls_then < len(self.calls)  # another call began after its last fragment
        if (self.was_cut or not ended) and not (over and call.is_complete()):
            reason = f"finish_reason {self.finish_reason!r}" if ended else "the stream broke off"
            return Verdict(call, {}, f"The call was cut off ({reason}).")
        if not call.name:
            return Verdict(call, {}, "The call names no tool.")
        arguments = {} if call.is_blank else parse_arguments(call.arguments)
        if isinstance(arguments, dict):
            return Verdict(call, arguments, None)
        return Verdict(call, {}, f"The arguments are not a JSON object: {arguments}.")

    def _read_envelope(self, frame: Mapping[str, Any]) -> None:
        if model := frame.get("model"):
            self.model = model
        if usage := frame.get("usage"):
            self.usage = dict(usage)
        for field in _ENVELOPE_FIELDS:
            if value := frame.get(field):
                self.envelope.setdefault(field, value)

    def _watch_id(self, frame_id: str | None) -> None:
        # A backend that starts again sends a new id from then on, in the middle of the answer;
        # some gateways send a new id with every frame, and that is harmless.
        if not frame_id:
            return
        if self._last_frame_id is not None:
            self._ids_repeat |= frame_id == self._last_frame_id
            self._ids_change |= frame_id != self._last_frame_id
        self._last_frame_id = frame_id
        if self._ids_repeat and self._ids_change:
            msg = (
                "The server started its answer again in the middle of the stream (a new response "
                "id). What had arrived before is in .partial; send the request again."
            )
            raise GLMMalformedStreamError(msg)

    def _read_choice(self, choice: Mapping[str, Any]) -> Delta:
        if (reason := choice.get("finish_reason")) and not self.was_cut:
            self.finish_reason = str(reason)
        delta = choice.get("delta") or choice.get("message") or {}
        # Z.ai and SGLang say `reasoning_content`, vLLM and OpenRouter `reasoning`.
        reasoning = _as_text(delta.get("reasoning_content") or delta.get("reasoning"))
        text = _as_text(delta.get("content"))
        if reasoning:
            self._reasoning.append(reasoning)
        if text:
            self._text.append(text)
        calls = delta.get("tool_calls")
        logprobs = choice.get("logprobs")
        return Delta(reasoning, text, self._read_calls(calls) if calls else (), logprobs)

    def _read_calls(self, raw_calls: Sequence[Mapping[str, Any]]) -> list[CallDelta]:
        # One piece for each call: core's merge wants no index twice in a chunk.
        pieces: dict[int, CallDelta] = {}
        for raw in raw_calls:
            piece = self._read_call(raw or {})
            if piece is not None:
                known = pieces.get(piece.position)
                pieces[piece.position] = _joined(known, piece) if known else piece
        return list(pieces.values())

    def _read_call(self, raw: Mapping[str, Any]) -> CallDelta | None:
        function = raw.get("function") or {}
        wire_index = _as_index(raw.get("index"))
        id_ = _as_id(raw.get("id"))
        name = function.get("name") or ""
        if not isinstance(name, str):
            msg = f"the name of a call is of type {type(name).__name__}"
            raise TypeError(msg)
        fragment = _as_arguments(function.get("arguments"))
        if not (id_ or name or fragment):
            return None
        call = self._place(wire_index, id_, name, fragment)
        call.calls_then = len(self.calls)
        new_id = id_ if call.id is None else None
        if new_id:
            call.id = new_id
            self._by_id[new_id] = call
        new_name = name if not call.name else ""
        call.name = call.name or name
        kept = call.append(fragment) if fragment else False
        if not (new_id or new_name or kept):
            return None
        return CallDelta(call.index, new_id, new_name or None, fragment if kept else "")

    def _place(self, wire_index: int | None, id_: str | None, name: str, fragment: str) -> Call:
        if wire_index is not None:
            call = self._by_index.get(wire_index)
            goes_on = call and not (name and _is_another(call, id_, name, fragment))
            return call if call and goes_on else self._open(wire_index)
        if id_ in self._by_id:
            return self._by_id[id_]
        last = self.calls[-1] if self.calls else None
        if last and not (name and (id_ or _is_another(last, id_, name, fragment))):
            return last
        return self._open(len(self.calls))

    def _open(self, wire_index: int) -> Call:
        call = self._by_index[wire_index] = Call(len(self.calls))
        self.calls.append(call)
        return call


_NOTHING = Delta()
_ENVELOPE_FIELDS = ("id", "request_id", "system_fingerprint", "service_tier", "web_search")


def parse_arguments(text: str) -> dict[str, Any] | str:
    """Parse a call's arguments, raw control characters in strings allowed.

    Returns:
        The JSON object, or in words why the text is none.
    """
    try:
        value = json.loads(text, strict=False)
    except RecursionError:
        return "it is nested too deep"
    except ValueError as error:
        return str(error)
    return value if isinstance(value, dict) else f"it is of type {type(value).__name__}"


def raw_deltas(message: BaseMessage) -> list[dict[str, Any]]:
    """Give the untouched `delta` objects of an answer that was asked with `include_raw_response`.

    Args:
        message: A chunk, a sum of chunks, or a message of `invoke`.

    Returns:
        One dict for each frame that had a choice, in order, as the server sent it; of an answer
        that came whole, its `message`. Empty where the raw text was not kept.
    """
    frames = (json.loads(text) for text in message.additional_kwargs.get(RAW_RESPONSE, ()))
    choices = (frame["choices"][0] for frame in frames if frame.get("choices"))
    return [choice.get("delta") or choice.get("message") or {} for choice in choices]


RAW_RESPONSE = "raw_response"
"""Where a message keeps the text of its frames: a list of str in `additional_kwargs`."""


def _is_another(call: Call, id_: str | None, name: str, fragment: str) -> bool:
    if id_ == call.id and id_ is not None:
        return False
    if id_ is not None:
        return call.is_complete() or (call.is_blank and call.name not in {"", name})
    more = fragment.strip() and fragment != call.arguments
    return call.is_complete() and bool(name != call.name or more)


def _joined(piece: CallDelta, more: CallDelta) -> CallDelta:
    return CallDelta(
        piece.position,
        piece.id or more.id,
        piece.name or more.name,
        piece.arguments + more.arguments,
    )


def _as_index(value: object) -> int | None:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return None


def _as_id(value: object) -> str | None:
    text = "" if value is None else str(value)
    return None if text in _NO_ID else text


def _as_arguments(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_as_text(part.get("text")) for part in value if isinstance(part, dict))
    return ""
