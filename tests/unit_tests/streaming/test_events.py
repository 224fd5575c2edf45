"""Events are values: what they carry, when it is parsed, and as JSON."""

import copy
import dataclasses
import enum
import json
import pickle
import re
import tracemalloc
from collections import UserDict
from pathlib import PurePosixPath

import pytest
from chunk_streams import chunk, pieces
from event_examples import examples
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.types import Interrupt
from pydantic import BaseModel, SecretStr

from langchain_glm.streaming import events as ev
from langchain_glm.streaming.tool_calls import ToolCallParser, tool_call_events

# What every event is.

KINDS = [
    kind
    for kind in vars(ev).values()
    if isinstance(kind, type) and issubclass(kind, ev.Event) and "type" in vars(kind)
]


EXAMPLES = examples("text")


def test_the_type_is_the_class_name_in_snake_case():
    for kind in KINDS:
        assert kind.type == re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def test_the_examples_show_every_kind():
    assert {type(event) for event in EXAMPLES} == set(KINDS)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.type)
def test_every_event_is_frozen_and_is_json(event):
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.node = "other"
    told = event.to_dict()
    assert told == json.loads(json.dumps(told, allow_nan=False))
    assert told["type"] == event.type
    assert list(told)[-3:] == ["namespace", "node", "message_id"]
    assert not any(name.startswith("_") for name in told)
    if isinstance(event, ev.CallEvent):
        assert {"id", "index", "name"} <= told.keys()


def test_the_repr_leaves_out_what_is_not_known():
    assert repr(ev.TextDelta("Hi")) == "TextDelta(text='Hi')"
    assert repr(ev.TextDelta("Hi", node="model")) == "TextDelta(text='Hi', node='model')"


# The arguments so far.

WRITE = r'{"path": "a.py", "edits": [{"at": 12, "text": "x\u00e9\ud83d\ude00\n"}], "dry": true}'


def typed(text, size):
    chunks = [chunk("", (piece, "write" if not n else None, "c1" if not n else None, 0))
              for n, piece in enumerate(pieces(text, size))]  # fmt: skip
    return [chunk(), *chunks]


def deltas(events):
    return [event for event in events if isinstance(event, ev.ToolCallDelta)]


def live(chunks):
    """What each delta says at once."""
    return [
        copy.deepcopy(event.arguments)
        for event in tool_call_events(chunks)
        if isinstance(event, ev.ToolCallDelta)
    ]


@pytest.mark.parametrize("order", ["forward", "backward", "twice"])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_arguments_are_the_same_whenever_they_are_read(size, order):
    chunks = typed(WRITE, size)
    said = live(chunks)
    kept = deltas(tool_call_events(chunks))
    places = {
        "forward": range(len(kept)),
        "backward": range(len(kept))[::-1],
        "twice": [3, 3, 1, 3],
    }
    for at in places[order]:
        assert kept[at].arguments == said[at]
        assert kept[at].raw == WRITE[: (at + 1) * size]
    assert said[-1] == json.loads(WRITE)


def test_the_arguments_grow():
    assert live(typed('{"a": "b\\u00e9", "n": 12}', 4)) == [
        {},
        {"a": "b"},
        {"a": "b"},
        {"a": "bé"},
        {"a": "bé"},
        {"a": "bé"},
        {"a": "bé", "n": 12},
    ]


def test_what_was_read_stays_as_it_is():
    parser = ToolCallParser()
    snapshots, copies = [], []
    for item in typed(WRITE, 1):
        for event in deltas(parser.feed(item)):
            snapshots.append(event.arguments)
            copies.append(copy.deepcopy(event.arguments))
    parser.close()
    assert snapshots == copies


@pytest.mark.parametrize("text", ["[1, 2]", '"text"', "12", "null", "}", ""])
def test_arguments_that_are_no_object_are_empty_until_the_end(text):
    assert all(event.arguments == {} for event in deltas(tool_call_events(typed(text, 1))))


def test_of_broken_arguments_the_good_part_is_shown():
    *_, last = deltas(tool_call_events(typed('{"a": 1, "b": "c" "d": 2}', 5)))
    assert last.arguments == {"a": 1, "b": "c"}


def test_keeping_every_event_costs_memory_for_fragments_alone():
    """The last 10,000 of 100,000 fragments: every hundredth snapshot of them would be 38 MB."""
    parser, events = ToolCallParser(), []
    parser.feed(chunk("", ('{"text": "', "write", "c1", 0)))
    item = chunk("", ("abcd", None, None, 0))
    for _ in range(90_000):
        events += parser.feed(item)
    tracemalloc.start()
    try:
        for n in range(10_000):
            events += parser.feed(item)
            if n % 100 == 0:
                assert len(events[-2].arguments["text"]) == 4 * (90_001 + n)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(events) == 200_000
    assert kept < 10_000_000  # about 300 bytes for the two events of a fragment, and a few texts
    assert len(events[100_000].arguments["text"]) == 200_004


def pickled(event):
    return pickle.loads(pickle.dumps(event))  # noqa: S301 - our own


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_events_can_be_copied(copied):
    kept = deltas(tool_call_events(typed(WRITE, 5)))
    assert [copied(event) for event in kept] == kept
    assert copied(kept[4]).arguments == kept[4].arguments
    assert copied(kept[-1]).arguments == json.loads(WRITE)


# JSON of anything.


class Color(enum.Enum):
    RED = "red"
    BOTH = ("red", 1)


class Level(enum.IntEnum):
    HIGH = 3


class Share(float, enum.Enum):
    HALF = 0.5


class Point(BaseModel):
    x: float = float("nan")
    key: SecretStr = SecretStr("secret")


@dataclasses.dataclass
class Node:
    name: str
    parent: object = None
    children: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Unset:
    never: int = dataclasses.field(init=False)

    def __repr__(self):
        return "Unset()"


class Rude:
    def __str__(self):
        raise RuntimeError

    __repr__ = __str__


class RudeError(Exception):
    code = object()
    __str__ = Rude.__str__


class Torn(UserDict):
    def items(self):
        raise KeyError

    def __repr__(self):
        return "Torn()"


def error(kind, message):
    return {"type": kind, "message": message, "code": None}


ODD = [
    pytest.param(float("nan"), None, id="nan"),
    pytest.param([float("inf"), -0.5, 2**80], [None, -0.5, 2**80], id="numbers"),
    pytest.param(b"\xff\x00", "/wA=", id="bytes"),
    pytest.param(bytearray(b"a"), "YQ==", id="bytearray"),
    pytest.param({1: "a", ("b", 2): "c"}, {"1": "a", "('b', 2)": "c"}, id="keys"),
    pytest.param(UserDict(a=(1, 2)), {"a": [1, 2]}, id="mapping"),
    pytest.param(frozenset({1}), [1], id="frozenset"),
    pytest.param([Color.RED, Color.BOTH, Level.HIGH], ["red", ["red", 1], 3], id="enums"),
    pytest.param(Point(), {"x": None, "key": "**********"}, id="pydantic_model"),
    pytest.param(Node("a"), {"name": "a", "parent": None, "children": []}, id="dataclass"),
    pytest.param(Node, str(Node), id="a_class"),
    pytest.param(ValueError("no"), error("ValueError", "no"), id="error"),
    pytest.param(RudeError(), error("RudeError", "<RudeError>"), id="rude_error"),
    pytest.param(PurePosixPath("a/b"), "a/b", id="path"),
    pytest.param([Rude(), {Rude: 1}], ["<Rude>", {str(Rude): 1}], id="cannot_be_told"),
    pytest.param({Rude(): 1}, {"<Rude>": 1}, id="a_key_cannot_be_told"),
    pytest.param([Unset()], ["Unset()"], id="a_field_never_set"),
    pytest.param([Torn(a=1)], ["Torn()"], id="cannot_be_read"),
    pytest.param(Share.HALF, 0.5, id="float_enum"),
    pytest.param("\ud800", "\ud800", id="lone_surrogate"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "told"), ODD)
def test_odd_values_become_json(value, told):
    data = ev.ToolProgress(value, id="c1", name="write").to_dict()["data"]
    assert json.loads(json.dumps(data, allow_nan=False)) == told


def test_an_interrupt_becomes_json():
    event = ev.RunInterrupted([Interrupt(value={"ask": Color.RED}, id="i1")])
    (told,) = json.loads(json.dumps(event.to_dict(), allow_nan=False))["interrupts"]
    assert (told["id"], told["value"]) == ("i1", {"ask": "red"})


def test_what_contains_itself_is_told_once():
    loop = [1]
    loop += [loop, loop]  # told to any depth, two in each would never end
    root = Node("root")
    root.children = [Node(name, root) for name in "abc"]
    told = ev.RunFinished({"loop": loop, "tree": root}).to_dict()["output"]
    assert told["loop"] == [1, str(loop), str(loop)]
    assert [child["name"] for child in told["tree"]["children"]] == ["a", "b", "c"]
    assert isinstance(told["tree"]["children"][0]["parent"], str)
    json.dumps(told, allow_nan=False)


def test_what_stands_twice_is_told_twice():
    shared = {"a": 1}
    assert ev.ToolFinished([shared, shared], id="c1", name="t").to_dict()["content"] == [shared] * 2


@pytest.mark.parametrize("depth", [150, 1000, 100_000])
def test_what_is_nested_deep_ends_as_text(depth):
    value = []
    for _ in range(depth):
        value = [value]
    told = ev.ToolProgress(value, id="c1", name="t").to_dict()["data"]
    for _ in range(min(depth, 201)):
        (told,) = told
    assert isinstance(told, str if depth > 201 else list)


def test_a_message_with_an_artifact_that_contains_itself():
    artifact = {}
    artifact["self"] = artifact
    message = ToolMessage("ok", tool_call_id="c1", artifact=artifact)
    event = ev.RunFinished({"messages": [AIMessage("Hi"), message]})
    told = json.loads(json.dumps(event.to_dict(), allow_nan=False))["output"]["messages"]
    assert told[0]["data"]["content"] == "Hi"
    assert told[1]["data"]["content"] == "ok"
    json.dumps(told[1]["data"]["artifact"])
