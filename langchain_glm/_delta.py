"""One frame of GLM's answer becomes a `Delta`.

Pure, and the only place that spells the field names of an answer. A frame is the decoded JSON
of one event of a stream, or a whole answer: both carry `choices[0]`, with a `delta` or with a
`message` of the same fields, and so one `Reply` reads either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from langchain_core.messages import BaseMessage

from langchain_glm._calls import CUT_FINISH_REASONS, CallDelta, Calls, Verdict
from langchain_glm._surrogates import SurrogatePairs, joined, joined_within
from langchain_glm.errors import GLMMalformedStreamError

FAILED_FINISH_REASON = "network_error"
"""GLM's documented reason for an answer that inference failed on: an error, not a message."""


class Delta(NamedTuple):
    """What one frame adds to the answer."""

    reasoning: str = ""
    text: str = ""
    calls: Sequence[CallDelta] = ()
    logprobs: dict[str, Any] | None = None


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
        "_halves",
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
        self.calls = Calls()
        self._halves = SurrogatePairs(), SurrogatePairs()  # of the reasoning, of the text
        self._reasoning: list[str] = []
        self._text: list[str] = []
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

    def end(self) -> Delta:
        """End the answer: each call has an id then, and no half of a character waits."""
        return self._said(self._halves[0].close(), self._halves[1].close(), self.calls.end())

    def verdicts(self, *, ended: bool = True) -> list[Verdict]:
        """Judge each call; with `ended=False` those that were still open are cut calls."""
        cut_by = self.finish_reason if self.was_cut else None
        return self.calls.verdicts(cut_by=cut_by, ended=ended)

    def _read_envelope(self, frame: Mapping[str, Any]) -> None:
        if model := frame.get("model"):
            self.model = model
        if usage := frame.get("usage"):
            self.usage = dict(usage)
        for field in _ENVELOPE_FIELDS:
            if field not in self.envelope and (value := frame.get(field)):
                self.envelope[field] = joined_within(value)

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
            reasoning = self._halves[0].feed(reasoning)
        if text:
            text = self._halves[1].feed(text)
        calls = delta.get("tool_calls")
        pieces = self._read_calls(calls) if calls else ()
        return self._said(reasoning, text, pieces, joined_within(choice.get("logprobs")))

    def _said(
        self, reasoning: str, text: str, calls: Sequence[CallDelta], logprobs: Any = None
    ) -> Delta:
        if reasoning:
            self._reasoning.append(reasoning)
        if text:
            self._text.append(text)
        return Delta(reasoning, text, calls, logprobs)

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
        return self.calls.take(wire_index, id_, joined(name), fragment)


_NOTHING = Delta()
_ENVELOPE_FIELDS = ("id", "request_id", "system_fingerprint", "service_tier", "web_search")


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


def _joined(piece: CallDelta, more: CallDelta) -> CallDelta:
    return CallDelta(
        piece.position,
        piece.id or more.id,
        piece.name or more.name,
        piece.arguments + more.arguments,
    )


_NO_ID = frozenset({"", "null", "None"})


def _as_index(value: object) -> int | None:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return None


def _as_id(value: object) -> str | None:
    text = "" if value is None else joined(str(value))
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
