"""A LangGraph run becomes one stream of events.

`stream_agent` and `astream_agent` are shells around `RunReader`, which decides everything and does
no I/O: it is fed the protocol events of LangGraph's v3 stream.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from langchain_core.language_models import BaseLanguageModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs

from langchain_glm._stopping import StoppedError, StopSignal
from langchain_glm.streaming._langgraph import StreamTransformer
from langchain_glm.streaming.events import (
    AnyEvent,
    MessageFinished,
    RunFailed,
    RunFinished,
    RunInterrupted,
)
from langchain_glm.streaming.fragments import Fragment, FragmentWriter
from langchain_glm.streaming.history import messages_of, not_in
from langchain_glm.streaming.protocol import MessageReader, Namespace
from langchain_glm.streaming.tool_calls import ToolCallParser
from langchain_glm.streaming.tool_runs import ToolRuns


def stream_agent(
    graph: Any,
    input: Any,  # noqa: A002 - LangGraph's name
    config: RunnableConfig | None = None,
    *,
    context: Any = None,
    transformers: Sequence[Callable[[Namespace], Any]] | None = None,
    stop: StopSignal | None = None,
    **kwargs: Any,
) -> Generator[AnyEvent, None, None]:
    """Run an agent and watch everything that it does, in order, as it happens.

    Args:
        graph: An agent of `create_agent` or `create_deep_agent`, or any compiled LangGraph graph.
        input: Its input, or a `Command` that resumes it.
        config: LangChain's config of the run.
        context: The graph's runtime context.
        transformers: More of LangGraph's stream transformers.
        stop: `stop.stop()`, from any thread, ends the run and this stream, without a last event.
        **kwargs: What else the graph's `stream` takes (`interrupt_before`, `durability`, ...).

    Yields:
        Reasoning, text, tool calls while they are typed, tools while they run, with the
        `namespace` of the subgraph; the end of each message; at last `RunFinished`,
        `RunInterrupted` or `RunFailed`.

    Closing this, ctrl-c and `stop` stop the run: at once while a `ChatGLM` is answering (its
    connection is shut), with any other model at its next fragment. A tool that runs, and a server
    that has not begun to answer, are waited for: a thread cannot be cancelled.

    Raises:
        TypeError: `graph` is no compiled graph.
        ValueError: The config allows one task at a time, with which LangGraph's sync stream hangs.
        Exception: What the run raised, after its `RunFailed`.
    """
    _check(graph)
    if (config or {}).get("max_concurrency") == 1:
        msg = (
            "LangGraph's sync stream hangs with max_concurrency=1: it keeps one worker for itself. "
            "Allow 2, or use astream_agent."
        )
        raise ValueError(msg)
    stop = stop or StopSignal()
    reader = RunReader()
    run = graph.stream_events(
        input,
        merge_configs(config, {"callbacks": [stop, FragmentWriter()]}),
        version="v3",
        context=context,
        transformers=[_Channels, *(transformers or ())],
        **kwargs,
    )
    try:
        try:
            with stop.on_ctrl_c():
                for event in run:
                    stop.waiting = False
                    yield from reader.feed(event)
                    stop.waiting = True
        except StoppedError:
            yield from reader.break_off()
            return
        except Exception as error:
            yield from reader.fail(error)
            raise
        yield reader.finish(run.output, run.interrupts)
    finally:
        stop.stop()
        run.abort()


async def astream_agent(
    graph: Any,
    input: Any,  # noqa: A002 - LangGraph's name
    config: RunnableConfig | None = None,
    *,
    context: Any = None,
    transformers: Sequence[Callable[[Namespace], Any]] | None = None,
    **kwargs: Any,
) -> AsyncGenerator[AnyEvent, None]:
    """Run an agent and watch everything that it does; see `stream_agent`.

    Closing this (`contextlib.aclosing`), or cancelling the task that reads it, stops the run and
    closes its connections at once, whatever the model.
    """
    _check(graph)
    reader = RunReader()
    run = await graph.astream_events(
        input,
        merge_configs(config, {"callbacks": [FragmentWriter()]}),
        version="v3",
        context=context,
        transformers=[_Channels, *(transformers or ())],
        **kwargs,
    )
    try:
        try:
            async for event in run:
                for seen in reader.feed(event):
                    yield seen
        except Exception as error:
            for seen in reader.fail(error):
                yield seen
            raise
        yield reader.finish(await run.output(), await run.interrupts())
    finally:
        await run.abort()


def _check(graph: Any) -> None:
    if isinstance(graph, BaseLanguageModel) or not hasattr(graph, "stream_events"):
        msg = (
            f"stream_agent runs an agent or a compiled graph, not a {type(graph).__name__}. Of a "
            "model, use tool_call_events(model.stream(...)); compile() a StateGraph."
        )
        raise TypeError(msg)


class _Channels(StreamTransformer):
    """Asks LangGraph for the channels that `RunReader` reads beside the built-in ones."""

    required_stream_modes = ("custom", "messages", "tools", "updates", "values")

    def init(self) -> dict[str, Any]:
        return {}

    def process(self, event: Any) -> bool:  # noqa: ARG002 - LangGraph's signature
        return True


class RunReader:
    """Makes events of the protocol events of one run.

    `feed` it each, and end it with `finish` or `fail`.
    """

    def __init__(self) -> None:
        self._messages = MessageReader()
        self._streams: dict[UUID, ToolCallParser] = {}  # of models whose stream a node reads
        self._shown: set[str | None] = set()  # ids of their messages
        self._arrived: list[BaseMessage] = []  # at the top, and not in its state yet
        self._tools = ToolRuns(self._arrived)
        self._begun: set[Namespace] = set()  # the graphs whose first state was seen
        self._before: Sequence[BaseMessage] = ()  # what the run was given
        self._state: Any = None
        self._paused = False  # at a breakpoint, or for a person
        self._writer: Namespace = ()  # where the model is that wrote last

    def feed(self, event: Mapping[str, Any]) -> list[AnyEvent]:
        """Take a protocol event of the run."""
        read = _READERS.get(event["method"])
        if read is None:
            return []
        params = event["params"]
        events: list[AnyEvent] = read(self, tuple(params["namespace"]), params["data"])
        return events

    def finish(self, output: Any, interrupts: Iterable[Any]) -> AnyEvent:
        """End the run."""
        waiting = {interrupt.id: interrupt for interrupt in interrupts}
        messages = not_in(self._before, messages_of(output))
        if waiting or self._paused:
            return RunInterrupted(tuple(waiting.values()), output, messages)
        return RunFinished(output, messages)

    def fail(self, error: BaseException) -> list[AnyEvent]:
        """End the run with an error, and what was open with it."""
        events = self.break_off()
        partial = getattr(error, "partial", None)
        if partial and not self._writer:  # what a subgraph's model was saying belongs there
            self._arrived.append(partial)
        messages = not_in(self._before, [*messages_of(self._state), *self._arrived])
        return [*events, RunFailed(error, messages)]

    def break_off(self) -> list[AnyEvent]:
        """End what is open."""
        events = [event for ends in self._messages.close().values() for event in ends]
        events += [event for s in self._streams.values() for event in s.close(ended=False)]
        return events + self._tools.fail()

    def _read_message(self, namespace: Namespace, data: Any) -> list[AnyEvent]:
        message, _ = data
        if isinstance(message, ToolMessage):
            return self._tools.answer(namespace, message)
        if isinstance(message, AIMessage) and message.id in self._shown:
            return []
        return self._noted(namespace, self._messages.feed(namespace, data))

    def _read_fragment(self, namespace: Namespace, fragment: Fragment) -> list[AnyEvent]:
        run = fragment.run
        stream = self._streams.get(run) or ToolCallParser(namespace=namespace, node=fragment.node)
        self._streams[run] = stream
        if fragment.chunk is None:
            return self._streams.pop(run).close(ended=False)
        self._shown.add(fragment.chunk.id)
        return self._noted(namespace, stream.feed(fragment.chunk))

    def _noted(self, namespace: Namespace, events: list[AnyEvent]) -> list[AnyEvent]:
        self._writer = namespace
        last = events[-1] if events else None
        if isinstance(last, MessageFinished) and not namespace:
            self._arrived.append(last.message)
        return events

    def _read_tool(self, namespace: Namespace, data: Mapping[str, Any]) -> list[AnyEvent]:
        return self._tools.read(namespace, data)

    def _read_custom(self, namespace: Namespace, data: Any) -> list[AnyEvent]:
        if isinstance(data, Fragment):
            return self._read_fragment(namespace, data)
        return [self._tools.progress(namespace, data)]

    def _read_update(self, namespace: Namespace, data: Any) -> list[AnyEvent]:
        if not namespace and isinstance(data, Mapping) and "__interrupt__" in data:
            self._paused = True
        return []

    def _read_state(self, namespace: Namespace, data: Any) -> list[AnyEvent]:
        messages = messages_of(data)
        if not namespace:
            self._state = data
            self._arrived.clear()
        if namespace not in self._begun:
            self._begun.add(namespace)
            if not namespace:
                self._before = messages
            self._tools.know(messages)
            return []
        # The step is over: a message that is open still has broken off, and was tried again.
        events = [event for ends in self._messages.close(namespace).values() for event in ends]
        for message in messages:
            if isinstance(message, ToolMessage):
                events += self._tools.answer(namespace, message)
        return events


_READERS: Mapping[str, Any] = {
    "messages": RunReader._read_message,
    "tools": RunReader._read_tool,
    "custom": RunReader._read_custom,
    "updates": RunReader._read_update,
    "values": RunReader._read_state,
}
