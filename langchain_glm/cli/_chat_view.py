"""Events in, what to print and what to draw out. Pure.

`feed` gives what has settled and goes above for good; `moving` draws what still changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from rich.console import Group, RenderableType
from rich.text import Text

from langchain_glm.cli._chat_blocks import Block, Calling, Saying, Thought, markdown
from langchain_glm.cli._panes import printable
from langchain_glm.streaming import (
    ArgumentDelta,
    ArgumentFinished,
    CallEvent,
    Event,
    MessageFinished,
    ReasoningDelta,
    RunFailed,
    RunFinished,
    RunInterrupted,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallInvalid,
    ToolCallStarted,
    ToolEvent,
    ToolFailed,
    ToolFinished,
    ToolStarted,
)

_SPARE_ROWS = 3  # for what stands around the picture
_FEWEST_ROWS = 4  # of a block


class View:
    """What a run looks like."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._typed: dict[Any, Calling] = {}  # by message and index
        self._by_id: dict[str | None, Calling] = {}
        self._began: float | None = None  # of the run that goes on
        self._seconds = 0.0  # of those that have ended
        self._seen = 0.0  # when something was seen to happen
        self._tokens = [0, 0]  # read, written
        self._last: list[RenderableType] = []  # what goes below all blocks

    def begin(self, now: float) -> None:
        """Begin a run; until its first event there is a wait to be seen.

        Args:
            now: The time in seconds, from any origin.
        """
        self._began = self._seen = now

    def feed(self, event: Event, now: float) -> list[RenderableType]:
        """Take an event, and give what has settled with it.

        Args:
            event: The next event of the run.
            now: The time.
        """
        self._seen = now
        if not isinstance(event, (ReasoningDelta, ToolEvent)):
            self._end(Thought, now)
        if not isinstance(event, (TextDelta, ToolEvent)):
            self._end(Saying, now)
        read = _READERS.get(type(event))
        if read is not None:
            read(self, event, now)
        return list(self._settled(now))

    def close(self, now: float) -> list[RenderableType]:
        """End what is open, as a run does that was stopped or failed; give what settles."""
        if self._began is not None:
            self._end_run(now, "stopped")
            self._last.append(Text("Stopped.", "yellow"))
        return list(self._settled(now))

    def moving(self, width: int, height: int, now: float) -> RenderableType:
        """Draw what has not settled, the last of it where the terminal is too low for all.

        Args:
            width: The terminal's, in columns.
            height: The terminal's, in rows.
            now: The time.
        """
        if not self._blocks and self._began is not None:
            return Text(f"Waiting … {now - self._seen:.0f} s", "dim")
        rows = max(height - _SPARE_ROWS, _FEWEST_ROWS)
        shown = self._blocks[-(rows // _FEWEST_ROWS) :]
        share = rows // max(len(shown), 1)
        return Group(*(block.moving(width, share, now) for block in shown))

    def _settled(self, now: float) -> Iterator[RenderableType]:
        # In their order: what is done waits for what stands above it.
        while self._blocks:
            block = self._blocks[0]
            if isinstance(block, Saying):
                yield from block.paragraphs()
            if not block.is_done:
                return
            drawn = block.settled(now)
            del self._blocks[0]
            if drawn is not None:
                yield drawn
        yield from self._last
        self._last.clear()

    def _end(self, kind: type[Thought | Saying], now: float) -> None:
        for block in self._blocks:
            if isinstance(block, Thought) and kind is Thought and not block.is_done:
                block.ended = now
            elif isinstance(block, Saying) and kind is Saying:
                block.is_done = True

    def _end_run(self, now: float, state: str) -> None:
        self._seconds += 0.0 if self._began is None else now - self._began
        self._began = None
        self._end(Thought, now)
        self._end(Saying, now)
        for block in self._blocks:
            if isinstance(block, Calling) and not block.is_done:
                block.state = state

    def _think(self, event: ReasoningDelta, now: float) -> None:
        last = self._blocks[-1] if self._blocks else None
        if not isinstance(last, Thought) or last.is_done:
            last = Thought(now)
            self._blocks.append(last)
        last.text += event.text

    def _say(self, event: TextDelta, now: float) -> None:  # noqa: ARG002 - a reader
        last = self._blocks[-1] if self._blocks else None
        if not isinstance(last, Saying) or last.is_done:
            last = Saying()
            self._blocks.append(last)
        last.text += event.text

    def _start_call(self, event: ToolCallStarted, now: float) -> None:  # noqa: ARG002 - a reader
        call = Calling(event.name)
        self._typed[event.message_id, event.index] = call
        self._blocks.append(call)

    def _call_of(self, event: CallEvent) -> Calling:
        return self._typed[event.message_id, event.index]

    def _count(self, event: ToolCallDelta, now: float) -> None:  # noqa: ARG002 - a reader
        self._call_of(event).characters += len(event.text)

    def _type(self, event: ArgumentDelta, now: float) -> None:  # noqa: ARG002 - a reader
        if len(event.path) == 1:
            self._call_of(event).type(str(event.path[0]), event.text)

    def _fill(self, event: ArgumentFinished, now: float) -> None:  # noqa: ARG002 - a reader
        if len(event.path) == 1:
            self._call_of(event).arguments[str(event.path[0])] = event.value

    def _end_call(self, event: ToolCallFinished, now: float) -> None:  # noqa: ARG002 - a reader
        call = self._typed.pop((event.message_id, event.index))
        call.arguments, call.state = dict(event.arguments), "typed"
        self._by_id[event.id] = call

    def _spoil(self, event: ToolCallInvalid, now: float) -> None:  # noqa: ARG002 - a reader
        call = self._typed.pop((event.message_id, event.index))
        call.result, call.state = event.error or event.reason, "invalid"

    def _run(self, event: ToolStarted, now: float) -> None:  # noqa: ARG002 - a reader
        self._run_of(event, event.arguments or {}).state = "running"

    def _finish(self, event: ToolFinished, now: float) -> None:  # noqa: ARG002 - a reader
        call = self._run_of(event, {})
        call.result, call.state = str(event.content), "finished"

    def _fail(self, event: ToolFailed, now: float) -> None:  # noqa: ARG002 - a reader
        call = self._run_of(event, {})
        call.result, call.state = event.error, "failed"

    def _run_of(self, event: ToolEvent, arguments: Mapping[str, Any]) -> Calling:
        """Find the call that runs; one that has settled (a person was asked) begins again."""
        call = self._by_id.get(event.id)
        if call is None or not any(block is call for block in self._blocks):
            known = call.arguments if call else arguments
            brief = {name: value for name, value in known.items() if name != "content"}
            call = Calling(event.name, arguments=brief)
            self._by_id[event.id] = call
            self._blocks.append(call)
        return call

    def _wait(self, event: RunInterrupted, now: float) -> None:  # noqa: ARG002 - a reader
        self._end_run(now, "waiting")

    def _fail_run(self, event: RunFailed, now: float) -> None:  # noqa: ARG002 - a reader
        self._end_run(now, "stopped")

    def _finish_run(self, event: RunFinished, now: float) -> None:  # noqa: ARG002 - a reader
        self._end_run(now, "stopped")
        read, written = self._tokens
        tokens = f" · {read:,} tokens in, {written:,} out" if read or written else ""
        self._last.append(Text(f"{self._seconds:.1f} s{tokens}", "dim"))

    def _add_usage(self, event: MessageFinished, now: float) -> None:  # noqa: ARG002 - a reader
        if event.usage:
            self._tokens[0] += event.usage["input_tokens"]
            self._tokens[1] += event.usage["output_tokens"]


_READERS: dict[type[Event], Any] = {
    ReasoningDelta: View._think,
    TextDelta: View._say,
    ToolCallStarted: View._start_call,
    ToolCallDelta: View._count,
    ArgumentDelta: View._type,
    ArgumentFinished: View._fill,
    ToolCallFinished: View._end_call,
    ToolCallInvalid: View._spoil,
    ToolStarted: View._run,
    ToolFinished: View._finish,
    ToolFailed: View._fail,
    RunInterrupted: View._wait,
    RunFinished: View._finish_run,
    RunFailed: View._fail_run,
    MessageFinished: View._add_usage,
}


def past(messages: Sequence[BaseMessage]) -> Iterator[RenderableType]:
    """Draw what was said before, for one who comes back."""
    for message in messages:
        if isinstance(message, HumanMessage):
            yield asked(message.text)
        if isinstance(message, AIMessage):
            if message.text.strip():
                yield markdown(message.text)
            for call in message.tool_calls:
                yield Text(f"• {Calling(call['name'], arguments=call['args']).title}", "dim")


def asked(question: str) -> RenderableType:
    """Draw a question as the prompt shows it."""
    first, *others = printable(question).split("\n")
    return Text("\n".join([f"› {first}", *(f"  {line}" for line in others)]), "bold")
