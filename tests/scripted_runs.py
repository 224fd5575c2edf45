"""Runs as sequences of events, for the tests of the encoders and their real readers."""

from types import SimpleNamespace

from langchain_core.messages import AIMessage

from langchain_glm.errors import GLMOverloadedError
from langchain_glm.streaming import events as all_events
from langchain_glm.streaming.events import (
    ArgumentDelta,
    ArgumentFinished,
    ArgumentStarted,
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
    ToolFailed,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)

USAGE = {
    "input_tokens": 10,
    "output_tokens": 4,
    "total_tokens": 14,
    "input_token_details": {"cache_read": 6},
    "output_token_details": {"reasoning": 3},
}
MODEL = {"model_provider": "zai", "model_name": "glm-4.7"}


class Typed:
    """The fragments of a call so far; encoders read no more of them than the text."""

    def __init__(self):
        self.fragments = []

    def text_at(self, count):
        return "".join(self.fragments[:count])


class Said:
    """The events of one message of a model, in the order of the calls of this."""

    def __init__(self, message_id="m1", namespace=(), node="model"):
        self.where = {"message_id": message_id, "namespace": namespace, "node": node}
        self.calls = {}

    def think(self, *texts):
        return [ReasoningDelta(text, **self.where) for text in texts]

    def say(self, *texts):
        return [TextDelta(text, **self.where) for text in texts]

    def begin(self, call_id, name="write", index=0):
        self.calls[index] = ({**self.where, "id": call_id, "index": index, "name": name}, Typed())
        return [ToolCallStarted(**self.calls[index][0])]

    def type(self, *fragments, index=0):
        about, typed = self.calls[index]
        events = []
        for fragment in fragments:
            typed.fragments.append(fragment)
            events.append(ToolCallDelta(fragment, typed, len(typed.fragments), **about))
        return events

    def finish(self, arguments, index=0, **changed):
        return [ToolCallFinished(arguments, **{**self.calls[index][0], **changed})]

    def spoil(self, raw, reason="cut", error="Cut off.", index=0):
        return [ToolCallInvalid(raw, reason, len(raw), error, **self.calls[index][0])]

    def end(self, finish_reason="stop", usage=None):
        message = AIMessage("", id=self.where["message_id"], response_metadata=MODEL)
        return [MessageFinished(message, finish_reason, usage, **self.where)]


def tool(call_id, name="write", namespace=()):
    return {"id": call_id, "name": name, "namespace": namespace, "node": "tools"}


def event_classes():
    """Every class of events that has instances: those with a `type` of their own."""
    kinds = [kind for kind in vars(all_events).values() if isinstance(kind, type)]
    return {
        kind
        for kind in kinds
        if issubclass(kind, Event) and isinstance(getattr(kind, "type", None), str)
    }


class Source:
    """Events, then an error; knows whether it was begun and closed."""

    def __init__(self, *events, error=None):
        self.events, self.error = events, error
        self.began = self.closed = False

    def __iter__(self):
        self.began = True
        try:
            yield from self.events
            if self.error:
                raise self.error
        finally:
            self.closed = True

    async def __aiter__(self):
        self.began = True
        try:
            for event in self.events:
                yield event
            if self.error:
                raise self.error
        finally:
            self.closed = True


def taken(stream):
    """Give what a stream gave, and the error that ended it."""
    items = []
    try:
        for item in stream:
            items.append(item)  # noqa: PERF402 - kept when the stream raises
    except Exception as error:  # noqa: BLE001 - the test looks at it
        return items, error
    return items, None


async def ataken(stream):
    """Do as `taken`, for async streams."""
    items = []
    try:
        async for item in stream:
            items.append(item)  # noqa: PERF401 - kept when the stream raises
    except Exception as error:  # noqa: BLE001 - the test looks at it
        return items, error
    return items, None


def _full():
    first, second = Said("m1"), Said("m2")
    one, two = tool("call_1"), tool("call_2", "read")
    path = {**first.where, "id": "call_1", "index": 0, "name": "write", "path": ("path",)}
    return [
        *first.think("Let me ", "think."),
        *first.say("I write ", "and read."),
        *first.begin("call_1"),
        *first.type('{"path": "a', ".py"),
        ArgumentStarted(**path),
        ArgumentDelta(text="a.py", **path),
        *first.begin("call_2", "read", index=1),
        *first.type('{"pa', 'th": "b"}', index=1),
        *first.type('"}'),
        ArgumentFinished(value="a.py", **path),
        *first.finish({"path": "a.py"}),
        *first.finish({"path": "b"}, index=1),
        *first.end("tool_calls", USAGE),
        ToolStarted({"path": "a.py"}, **one),
        ToolStarted({"path": "b"}, **two),
        ToolProgress({"done": 0.5}, **one),
        ToolFailed("No such file.", **two),
        ToolFinished("written", **one),
        *second.think("Good."),
        *second.say("Done."),
        *second.end("stop", USAGE),
        RunFinished({"messages": []}),
    ]


def _interleaved():
    """Two subagents write at the same time, each its own text and its own call, in `tools`."""
    left, right = Said("m2", ("tools:a", "left:1")), Said("m3", ("tools:b", "right:1"))
    parent, last = Said("m1"), Said("m4")
    return [
        *parent.begin("call_a", "task"),
        *parent.begin("call_b", "task", index=1),
        *parent.finish({"to": "left"}),
        *parent.finish({"to": "right"}, index=1),
        *parent.end("tool_calls"),
        *left.say("le"),
        *right.think("hm"),
        *left.say("ft"),
        *right.say("right"),
        *left.begin("call_l"),
        *right.begin("call_r"),
        *left.type('{"x":'),
        *right.type('{"x": 2}'),
        *right.finish({"x": 2}),
        *left.type(" 1}"),
        *right.end("tool_calls"),
        *left.finish({"x": 1}),
        ToolFinished("r", **tool("call_r", namespace=("tools:b", "right:1"))),
        *left.end("tool_calls"),
        ToolFinished("l", **tool("call_l", namespace=("tools:a", "left:1"))),
        ToolFinished("left is done", **tool("call_a", "task")),
        ToolFinished("right is done", **tool("call_b", "task")),
        *last.say("Both are done."),
        *last.end(),
        RunFinished({}),
    ]


def _invalid(*answer):
    said = Said()
    return [
        *said.begin("call_1"),
        *said.type('{"path": "a.py", "text": "half'),
        *said.spoil('{"path": "a.py", "text": "half'),
        *said.end("length"),
        *answer,
        RunFinished({}),
    ]


def _interrupted():
    said = Said()
    asked = {"message": "May I?", "tool_call_id": "call_1", "options": ["yes", "no"]}
    return [
        *said.begin("call_1"),
        *said.finish({"path": "a.py"}),
        *said.end("tool_calls"),
        ToolStarted({"path": "a.py"}, **tool("call_1")),
        RunInterrupted([SimpleNamespace(id="i1", value=asked)]),
    ]


def _failed(error):
    said = Said()
    return [
        *said.say("I was about to"),
        *said.begin("call_1"),
        *said.type('{"path": "a'),
        RunFailed(error),
    ]


def _bare():
    said = Said(node=None)
    return [*said.say("Hello"), *said.begin("call_1"), *said.finish({}), *said.end("tool_calls")]


def _late_and_twice():
    """A server that gives the id late, and one that gives the same id to every call."""
    first, second = Said("m1"), Said("m2")
    return [
        *first.begin(None),
        *first.type("{}"),
        *first.finish({}, id="call_0"),
        *first.end("tool_calls"),
        ToolFinished("one", **tool("call_0")),
        *second.begin("call_0"),
        *second.type("{}"),
        *second.finish({}),
        *second.end("tool_calls"),
        ToolFinished("two", **tool("call_0")),
        RunFinished({}),
    ]


def _raw_controls():
    """A model that writes line ends into strings as they are, and spaces its JSON with them."""
    said = Said()
    return [
        *said.begin("call_1"),
        *said.type('{\n\t"text":\n"one\ntwo\\', '"\tthree\\\\"\n', "}"),
        *said.finish({"text": 'one\ntwo"\tthree\\'}),
        *said.end("tool_calls"),
        ToolFinished("ok", **tool("call_1")),
        RunFinished({}),
    ]


def _unheard():
    """Tools whose calls no model wrote in this stream: a run that was resumed, say."""
    return [
        ToolStarted({"path": "a.py"}, **tool("call_1")),
        ToolFinished("written", **tool("call_1")),
        ToolFailed("no", **tool("call_2")),
        RunFinished({}),
    ]


OVERLOADED = GLMOverloadedError("GLM is overloaded: try again later.", response=None, body=None)

RUNS = {
    "full": _full(),
    "interleaved": _interleaved(),
    "invalid": _invalid(),
    "invalid and answered": _invalid(ToolFailed("Send it again, smaller.", **tool("call_1"))),
    "interrupted": _interrupted(),
    "interrupted without a question": [*Said().say("a"), RunInterrupted([])],
    "failed": _failed(OVERLOADED),
    "failed by a stranger": _failed(ValueError("password=hunter2")),
    "stopped": _failed(OVERLOADED)[:-1],
    "stopped before anything": [],
    "bare": _bare(),
    "late ids, ids used twice": _late_and_twice(),
    "raw control characters": _raw_controls(),
    "unheard calls": _unheard(),
    "without ids": [
        TextDelta("a"),
        *Said(None).say("b"),
        *Said(None).begin(None),
        *Said(None).end(),
        RunFinished({}),
    ],
    "text, call, text": [
        *(said := Said()).say("be"),
        *said.begin("call_1"),
        *said.finish({}),
        *said.say("fore"),
        *said.think("again"),
        *said.end(),
        RunFinished({}),
    ],
}
