"""Fewer, larger events for consumers that cannot keep up with a model's fragments.

Only deltas are merged: neighbours that continue each other become one, with all of their text.
Nothing is lost, nothing else is touched, and what belongs to one call or one message stays in its
order. Merged are

- `ReasoningDelta`s, and `TextDelta`s, with nothing else of their message between them;
- `ToolCallDelta`s, and `ArgumentDelta`s of one path, with nothing but each other between them
  (of their own call: the calls of one message may take turns).
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

from langchain_glm.streaming._sources import ReadAhead, opened
from langchain_glm.streaming.events import (
    ArgumentDelta,
    CallEvent,
    Event,
    MessageFinished,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolEvent,
)

E = TypeVar("E", bound=Event)

MOST_AHEAD = 10_000
"""How many events `adebounce` reads ahead of its consumer: the bound of its memory."""

Delta: TypeAlias = ReasoningDelta | TextDelta | ToolCallDelta | ArgumentDelta

_DELTAS = (ReasoningDelta, TextDelta, ToolCallDelta, ArgumentDelta)
_TEXT = "text"

# Where an event stands while later ones may still join it: the event of that place that is open
# in the message, `_TEXT` for what the message says, (type, index) for a call's deltas.
_Places: TypeAlias = dict[Any, int]


def merge_deltas(events: Iterable[E]) -> list[E]:
    """Merge the deltas that continue each other.

    The pure part of `debounce`: the same text for every message, call and path, the same events
    that are no deltas, in the same order. A merged delta stands where the first of its parts
    stood; a merged `ToolCallDelta` has the `arguments` of its last part.
    """
    merged: list[list[E]] = []
    messages: dict[Any, _Places] = {}
    for event in events:
        at = _place(event, messages)
        if at is None or not _continues(event, merged[at][-1]):
            merged.append([event])
            _open(event, len(merged) - 1, messages)
        else:
            merged[at].append(event)
    return [parts[0] if len(parts) == 1 else _join(parts) for parts in merged]


def debounce(
    events: Iterable[E],
    seconds: float = 0.05,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[E, None, None]:
    """Merge the deltas that come within a time.

    A delta after a silence goes out at once, those that come within `seconds` after it together.
    Everything else goes out at once, with what was held before it. The time runs while the source
    is waited for, not while the consumer works. There is no thread: held deltas go out with the
    first event after their time, so a source that falls silent in the middle of a text holds
    them; use `adebounce` where that matters.

    Args:
        events: The events, of any of this package's streams. Closed when this is.
        seconds: The time; 0 changes nothing.
        clock: Seconds, for tests.

    Raises:
        BaseException: The source's own error, after what was held.
    """
    held: list[E] = []
    sent = float("-inf")
    with opened(events) as source:
        while True:
            error: Exception | None = None
            try:
                held.append(next(source))
            except StopIteration:
                break
            except Exception as raised:  # noqa: BLE001 - raised below, after what was held
                error = raised
            if error is None and isinstance(held[-1], _DELTAS) and clock() - sent < seconds:
                continue
            ready, held = merge_deltas(held), []
            yield from ready
            if error is not None:
                raise error
            sent = clock()
        yield from merge_deltas(held)


async def adebounce(events: AsyncIterable[E], seconds: float = 0.05) -> AsyncGenerator[E, None]:
    """Merge the deltas that come within a time, or while the consumer is busy.

    A delta after a silence goes out at once, those that come within `seconds` after it together,
    by a timer, also when the source falls silent. Everything else goes out at once, with what was
    held before it. The source is read ahead in a task while the consumer works, `MOST_AHEAD`
    events at most: a slow consumer gets few and large deltas, and the source is not held up.

    Args:
        events: The events, of any of this package's streams. Closed at once when this is.
        seconds: The time; 0 merges only what came while the consumer was busy.

    Raises:
        BaseException: The source's own error, after what was held.
    """
    sent = float("-inf")
    async with ReadAhead(events, most=MOST_AHEAD) as ahead:
        while await ahead.wait() or not ahead.has_ended:
            if not ahead.items:
                continue
            await _until_due(ahead, sent + seconds)
            ready = merge_deltas(ahead.take())
            sent = time.monotonic()
            for event in ready:
                yield event
        ahead.take()  # raises what ended the source


async def _until_due(ahead: ReadAhead[Any], due: float) -> None:
    """Wait until what is held has to go: by the time, or for the sake of what came."""
    seen = 0
    while not (ahead.has_ended or ahead.is_full):
        left = due - time.monotonic()
        new = ahead.items[seen:]
        if left <= 0 or not all(isinstance(event, _DELTAS) for event in new):
            return
        seen += len(new)
        await ahead.wait(left)


def _message(event: Event) -> tuple[Any, ...]:
    return event.namespace, event.node, event.message_id


def _place(event: Event, messages: dict[Any, _Places]) -> int | None:
    """Where the event stands that this one may join."""
    if not isinstance(event, _DELTAS):
        return None
    return messages.get(_message(event), {}).get(_kind(event))


def _kind(event: Event) -> Any:
    return (type(event), event.index) if isinstance(event, CallEvent) else _TEXT


def _continues(event: Event, before: Event) -> bool:
    """Whether an event at the same place is the one before it, continued."""
    if isinstance(event, ArgumentDelta) and isinstance(before, ArgumentDelta):
        return event.path == before.path
    return type(event) is type(before)


def _open(event: Event, at: int, messages: dict[Any, _Places]) -> None:
    """Note where an event stands, and that nothing may be moved before it that belongs after."""
    if isinstance(event, CallEvent):
        places = messages.setdefault(_message(event), {})
        places.pop(_TEXT, None)
        if not isinstance(event, _DELTAS):
            places.pop((ToolCallDelta, event.index), None)
            places.pop((ArgumentDelta, event.index), None)
    elif isinstance(event, (ReasoningDelta, TextDelta, MessageFinished, ToolEvent)):
        places = messages[_message(event)] = {}
    else:
        messages.clear()  # the end of a run, or an event that is not known here
    if isinstance(event, _DELTAS):
        places[_kind(event)] = at


def _join(parts: Sequence[Any]) -> Any:
    # The last part: it has the newest id, and of a call's text how much was typed by then.
    return replace(parts[-1], text="".join(part.text for part in parts))
