"""`run.tool_inputs`: the tool calls of a LangGraph run while the model writes them.

    run = agent.stream_events(INPUT, version="v3", transformers=[ToolInputTransformer])
    for call in run.tool_inputs:
        for event in call:
            ...

LangGraph's v3 streams take such projections beside their own (`run.messages`, `run.tool_calls`,
...). Its `run.tool_calls` has the tools that run; this has what they will be called with, earlier,
fragment by fragment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from langchain_glm.streaming._langgraph import StreamChannel, StreamTransformer
from langchain_glm.streaming.events import (
    AnyCallEvent,
    AnyEvent,
    CallEvent,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallInvalid,
    ToolCallStarted,
)
from langchain_glm.streaming.protocol import MessageReader, run_of


class ToolInputStream:
    """A tool call while the model writes it; `ToolInputTransformer` makes them.

    Iterate over it, with `for` in a run of `stream_events` and with `async for` in one of
    `astream_events`, for its events: `ToolCallStarted`, then `ToolCallDelta`, `ArgumentStarted`,
    `ArgumentDelta`, `ArgumentFinished`, at last `ToolCallFinished` or `ToolCallInvalid`. Each comes
    once, so there is one iteration; whoever leaves it does not get the rest. If the run failed
    before the call was whole, its error is raised after `ToolCallInvalid` (in a subgraph, the
    `RuntimeError` that LangGraph makes of it for the subgraph's projections).

    The iteration drives the run, as with all of LangGraph's projections. What came of this call
    while something else drove the run is kept until it is read, or until nobody holds the call. A
    call ends when its message does: who reads parallel calls one after the other loses nothing, but
    sees the second when it is whole; to see both live, read each in a task of its own, or take
    `stream_agent`.

    Attributes:
        outcome: The event that ended the call, None while it is open.
    """

    __slots__ = (
        "__weakref__",
        "_delta",
        "_error",
        "_events",
        "_is_async",
        "_is_closed",
        "_is_read",
        "_latest",
        "_pump",
        "outcome",
    )

    def __init__(
        self, started: ToolCallStarted, pump: Callable[[], Any], *, is_async: bool
    ) -> None:
        self.outcome: ToolCallFinished | ToolCallInvalid | None = None
        self._latest: AnyCallEvent = started
        self._delta: ToolCallDelta | None = None
        self._events: deque[AnyCallEvent] | None = deque()  # None when nobody will read more
        self._pump = pump
        self._is_async = is_async
        self._is_read = False
        self._is_closed = False
        self._error: BaseException | None = None

    @property
    def id(self) -> str | None:
        """The call's id, None until the server gives it (most do with the first fragment)."""
        return self._latest.id

    @property
    def index(self) -> int:
        """Its position among the calls of the message, from 0."""
        return self._latest.index

    @property
    def name(self) -> str:
        """The tool."""
        return self._latest.name

    @property
    def node(self) -> str | None:
        """The node of the graph that the model runs in."""
        return self._latest.node

    @property
    def message_id(self) -> str | None:
        """The id of the model's message, as on the handles of `run.messages`."""
        return self._latest.message_id

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments as far as the model has written them; at the end, all of them.

        Reads no events, so it can be ahead of the iteration: a `ToolCallDelta` has the value of
        its own moment. Containers may be shared with the events: do not change them.
        """
        return self._delta.arguments if self._delta else {}

    def __repr__(self) -> str:
        state = self.outcome.type if self.outcome else "open"
        return f"ToolInputStream({self.name!r}, id={self.id!r}, index={self.index}, {state})"

    def __iter__(self) -> Iterator[AnyCallEvent]:
        """Iterate over the events in a sync run.

        Raises:
            TypeError: The run is async.
            RuntimeError: The call is or was iterated over already.
        """
        return self._read(self._begin(is_async=False))

    def __aiter__(self) -> AsyncIterator[AnyCallEvent]:
        """Iterate over the events in an async run; raises as `__iter__` does."""
        return self._aread(self._begin(is_async=True))

    def _begin(self, *, is_async: bool) -> deque[AnyCallEvent]:
        if is_async is not self._is_async:
            loop, run = ("async for", "async") if self._is_async else ("for", "sync")
            msg = f"The run is {run}: iterate over the tool call with `{loop}`."
            raise TypeError(msg)
        if self._is_read or self._events is None:
            msg = "The events of a tool call come once: it is or was iterated over already."
            raise RuntimeError(msg)
        self._is_read = True
        return self._events

    def _read(self, events: deque[AnyCallEvent]) -> Iterator[AnyCallEvent]:
        try:
            more = True
            while more or events:
                if events:
                    yield events.popleft()
                else:
                    more = not self._is_closed and self._pump()
        finally:
            self._events = None
        if self._error is not None:
            raise self._error

    async def _aread(self, events: deque[AnyCallEvent]) -> AsyncIterator[AnyCallEvent]:
        try:
            more = True
            while more or events:
                if events:
                    yield events.popleft()
                else:
                    more = not self._is_closed and await self._pump()
        finally:
            self._events = None
        if self._error is not None:
            raise self._error

    def _take(self, event: AnyCallEvent) -> None:
        self._latest = event
        if isinstance(event, ToolCallDelta):
            self._delta = event
        elif isinstance(event, (ToolCallFinished, ToolCallInvalid)):
            self.outcome = event
        if self._events is not None:
            self._events.append(event)

    def _close(self, error: BaseException | None = None) -> None:
        self._is_closed = True
        self._error = error


class ToolInputTransformer(StreamTransformer):
    """LangGraph's projection `tool_inputs`: a `ToolInputStream` for each call that a model writes.

    Give it to `stream_events(version="v3", transformers=[ToolInputTransformer])` of any graph, to
    `create_agent(transformers=...)` or to `compile(transformers=...)`; then
    `run.tool_inputs` (or `run.extensions["tool_inputs"]`) is a channel of the calls, each there
    when it begins. Calls of parallel models, and parallel calls, come as they begin. A subgraph's
    calls are on its own handle in `run.subgraphs`.

    As with all of LangGraph's projections: one reader (`tee` makes more); what nobody reads is
    not kept, so begin to read before the run goes on; an error of the run is raised at the end.
    """

    _native = True  # LangGraph's name: `run.tool_inputs`, not only in `run.extensions`
    required_stream_modes: ClassVar[tuple[str, ...]] = ("messages", "values")

    def __init__(self, scope: tuple[str, ...] = ()) -> None:
        super().__init__(scope)
        self._reader = MessageReader()
        self._channel: StreamChannel[ToolInputStream] = StreamChannel()
        # By the model's run and the call's index. The channel and its reader hold the streams: of a
        # call that nobody can read any more, nothing is kept.
        self._open: WeakValueDictionary[tuple[str, int], ToolInputStream] = WeakValueDictionary()
        self._pump: Callable[[], Any] = bool  # until LangGraph gives its own: nothing comes
        self._is_async = False

    def init(self) -> dict[str, Any]:
        """Give LangGraph the channel."""
        return {"tool_inputs": self._channel}

    # LangGraph looks for these two on a transformer whose items drive the run.
    def _bind_pump(self, pump: Callable[[], bool]) -> None:
        self._pump, self._is_async = pump, False

    def _bind_apump(self, pump: Callable[[], Awaitable[bool]]) -> None:
        self._pump, self._is_async = pump, True

    def process(self, event: Any) -> bool:
        """Take a protocol event; keep it in the run's own stream."""
        read = _READERS.get(event["method"])
        params = event["params"]
        if read and tuple(params["namespace"]) == self.scope:
            read(self, params["data"])
        return True

    def finalize(self) -> None:
        """End what is open; the run was stopped, or a model's answer was not read to its end."""
        self._close()

    def fail(self, err: BaseException) -> None:
        """End what is open, with the run's error."""
        self._close(err)

    def _read_message(self, data: Any) -> None:
        self._give(run_of(data[1]), self._reader.feed(self.scope, data))

    def _read_state(self, _: Any) -> None:
        # A state of the graph comes when none of its nodes runs: what is open has broken off, and
        # was tried again (or given up) without an error of the run.
        self._close()

    def _close(self, error: BaseException | None = None) -> None:
        for run, events in self._reader.close().items():
            self._give(run, events, error)

    def _give(
        self, run: str, events: Iterable[AnyEvent], error: BaseException | None = None
    ) -> None:
        for event in events:
            if isinstance(event, ToolCallStarted):
                begun = ToolInputStream(event, self._pump, is_async=self._is_async)
                self._open[run, event.index] = begun
                self._channel.push(begun)
            if isinstance(event, CallEvent) and (call := self._open.get((run, event.index))):
                call._take(event)
                if call.outcome:
                    call._close(error)
                    del self._open[run, event.index]


_READERS: Mapping[str, Any] = {
    "messages": ToolInputTransformer._read_message,
    "values": ToolInputTransformer._read_state,
}
