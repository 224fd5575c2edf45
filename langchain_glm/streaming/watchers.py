"""A tool watches its own arguments while the model writes them."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Mapping
from typing import Any, TypeVar, cast

from langchain_glm.streaming._sources import aopened, opened
from langchain_glm.streaming.events import (
    AnyCallEvent,
    CallEvent,
    Event,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallInvalid,
    ToolCallStarted,
)

E = TypeVar("E", bound=Event)


def watch(
    events: Iterable[E], watchers: Mapping[str, Callable[[AnyCallEvent], Any]]
) -> Generator[E, None, None]:
    """Call a function for every event of the calls of a tool, as they pass.

    Args:
        events: What `stream_agent` or `tool_call_events` gives.
        watchers: By the name of a tool, what to call, before the event is passed on. It sees the
            calls from `ToolCallStarted` to `ToolCallFinished` or `ToolCallInvalid`, told apart by
            `(event.namespace, event.message_id, event.index)`: those of one message end together,
            when it ends. One of the two ends always comes: of a call that is open when the stream
            is closed or breaks, a `ToolCallInvalid` with the reason `"stopped"`, which only the
            watcher sees.

    Yields:
        The events, unchanged. What a watcher raises ends the stream.
    """
    calls = _OpenCalls()
    with opened(events) as source:
        try:
            for event in source:
                if isinstance(event, CallEvent) and event.name in watchers:
                    calls.note(event)
                    watchers[event.name](cast("AnyCallEvent", event))
                yield event
        finally:
            for open_call in calls.stopped():
                watchers[open_call.name](open_call)


async def awatch(
    events: AsyncIterable[E], watchers: Mapping[str, Callable[[AnyCallEvent], Any]]
) -> AsyncGenerator[E, None]:
    """Call a function for every event of the calls of a tool; see `watch`.

    The functions may be async.
    """
    calls = _OpenCalls()

    async def tell(event: AnyCallEvent) -> None:
        told = watchers[event.name](event)
        if inspect.isawaitable(told):
            await told

    async with aopened(events) as source:
        try:
            async for event in source:
                if isinstance(event, CallEvent) and event.name in watchers:
                    calls.note(event)
                    await tell(cast("AnyCallEvent", event))
                yield event
        finally:
            for open_call in calls.stopped():
                await tell(open_call)


class _OpenCalls:
    """The watched calls that have begun and not ended, with what came last of each."""

    def __init__(self) -> None:
        self._last: dict[Any, ToolCallStarted | ToolCallDelta] = {}

    def note(self, event: CallEvent) -> None:
        key = (event.namespace, event.message_id, event.index)
        if isinstance(event, (ToolCallStarted, ToolCallDelta)):
            self._last[key] = event
        elif isinstance(event, (ToolCallFinished, ToolCallInvalid)):
            self._last.pop(key, None)

    def stopped(self) -> Iterable[ToolCallInvalid]:
        for event in self._last.values():
            raw = event.raw if isinstance(event, ToolCallDelta) else ""
            yield ToolCallInvalid(
                raw,
                "stopped",
                len(raw),
                "The stream was stopped before the call ended.",
                id=event.id,
                index=event.index,
                name=event.name,
                namespace=event.namespace,
                node=event.node,
                message_id=event.message_id,
            )
