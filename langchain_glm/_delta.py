"""One frame of GLM's answer becomes a `Delta`.

Pure, and the only place that spells the field names of an answer. A frame is the decoded JSON
of one event of a stream, or a whole answer: both carry `choices[0]`, with a `delta` or with a
`message` of the same fields, and so one `Reply` reads either.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from langchain_core.messages import BaseMessage

from langchain_glm._calls import CUT_FINISH_REASONS, CallDelta, Calls, Verdict
from langchain_glm._repeats import Fragment
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

    def fragment_of(self, frame: Mapping[str, Any]) -> Fragment | None:
        """Find the fragment of a frame that was read and says nothing else."""
        choice: Mapping[str, Any] = (frame.get("choices") or ({},))[0]
        delta = choice.get("delta") or {}
        said = [field for field in delta if delta[field] and field != "role"]
        is_known = not frame.get("id") or self._ids_repeat
        if len(said) != 1 or not is_known or choice.get("finish_reason") or choice.get("logprobs"):
            return None
        path = ("choices", 0, "delta", said[0])
        if said[0] == "tool_calls":
            return self._fragment_of_call(path, delta["tool_calls"])
        if said[0] not in _TEXTS or not isinstance(delta[said[0]], str):
            return None
        return Fragment(path, functools.partial(self._say, _TEXTS[said[0]]))

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
                self.envelope[field] = value

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
            self.finish_reason = joined(str(reason))
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

    def _say(self, kind: int, fragment: str) -> Delta:
        fragment = self._halves[kind].feed(fragment)
        return self._said("", fragment, ()) if kind else self._said(fragment, "", ())

    def _fragment_of_call(self, path: Path, raw_calls: Any) -> Fragment | None:
        raw = raw_calls[0] or {}
        function = raw.get("function") or {}
        if len(raw_calls) > 1 or not isinstance(function.get("arguments"), str):
            return None

        call = _call_of(raw)

        def take(fragment: str) -> Delta:
            piece = self.calls.take(*call, fragment)
            return Delta(calls=(piece,)) if piece else _NOTHING

        return Fragment((*path, 0, "function", "arguments"), take)

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
        fragment = _as_arguments((raw.get("function") or {}).get("arguments"))
        return self.calls.take(*_call_of(raw), fragment)


_NOTHING = Delta()
Path = tuple[str | int, ...]
_TEXTS = {"reasoning_content": 0, "reasoning": 0, "content": 1}  # which of the halves
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


def _call_of(raw: Mapping[str, Any]) -> tuple[int | None, str | None, str]:
    """Read which call a fragment is of: index, id, name."""
    name = (raw.get("function") or {}).get("name") or ""
    if not isinstance(name, str):
        msg = f"the name of a call is of type {type(name).__name__}"
        raise TypeError(msg)
    return _as_index(raw.get("index")), _as_id(raw.get("id")), joined(name)


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
        return "".join(map(_as_text, value))
    if isinstance(value, dict):
        return _as_text(value.get("text"))  # a part that is no text has none
    if value:
        msg = f"a piece of the answer is of type {type(value).__name__}"
        raise TypeError(msg)
    return ""
