"""The schema takes every event, and nothing that is almost one."""

import json
from dataclasses import dataclass, replace

import pytest
from event_examples import examples
from jsonschema import Draft202012Validator

from langchain_glm.streaming import events as module
from langchain_glm.streaming.encoders import sse
from langchain_glm.streaming.events import Event, TextDelta, ToolFinished, ToolStarted
from langchain_glm.streaming.schema import _event, event_schema, event_types

SCHEMA = event_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
EVENTS = examples("x")
CALLS = [event for event in EVENTS if hasattr(event, "index")]
by_type = [pytest.param(event, id=f"{event.type}-{at}") for at, event in enumerate(EVENTS)]


def subclasses(kind):
    return {kind}.union(*map(subclasses, kind.__subclasses__()))


def test_it_is_a_schema_of_its_draft():
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_every_event_class_has_its_schema_and_an_example():
    concrete = {
        kind
        for kind in subclasses(Event)
        # A dataclass with slots leaves its slotless twin among the subclasses: take the real one.
        if "type" in vars(kind) and getattr(module, kind.__name__, None) is kind
    }
    assert set(event_types().values()) == concrete
    assert {type(event) for event in EVENTS} == concrete
    assert set(SCHEMA["$defs"]) == {kind.type for kind in concrete} | {"message", "error", "usage"}
    assert len(SCHEMA["oneOf"]) == len(concrete)


@pytest.mark.parametrize("kind", event_types().values(), ids=lambda kind: kind.type)
def test_the_type_is_the_class_name_in_snake_case_and_the_class_is_described(kind):
    assert kind.type.title().replace("_", "") == kind.__name__
    assert SCHEMA["$defs"][kind.type]["description"].startswith(kind.__doc__.splitlines()[0])


@pytest.mark.parametrize("event", by_type)
def test_takes_every_event(event):
    VALIDATOR.validate(json.loads(sse.to_json(event)))
    VALIDATOR.validate(json.loads(sse.to_json(event, time=1.5)))


@pytest.mark.parametrize("event", by_type)
def test_refuses_a_missing_an_added_and_a_wrong_field(event):
    good = event.to_dict()
    for name in good:
        without = {key: value for key, value in good.items() if key != name}
        assert not VALIDATOR.is_valid(without), name
    assert not VALIDATOR.is_valid({**good, "added": 1})
    assert not VALIDATOR.is_valid({**good, "type": "unknown"})
    assert not VALIDATOR.is_valid({**good, "namespace": "child"})
    assert not VALIDATOR.is_valid({**good, "message_id": 1})


@pytest.mark.parametrize(
    ("type_", "wrong"),
    [
        pytest.param("text_delta", {"text": None}, id="no text"),
        pytest.param("tool_call_delta", {"index": "0"}, id="a position as text"),
        pytest.param("tool_call_delta", {"id": 1}, id="a number as id"),
        pytest.param("tool_call_delta", {"name": None}, id="no name"),
        pytest.param("argument_started", {"path": "edits"}, id="a path that is no list"),
        pytest.param("argument_started", {"path": [0.5]}, id="a path with half a position"),
        pytest.param("tool_call_finished", {"arguments": "{}"}, id="arguments as text"),
        pytest.param("tool_call_finished", {"arguments": None}, id="no arguments"),
        pytest.param("tool_call_invalid", {"reason": "other"}, id="a reason that there is not"),
        pytest.param("tool_call_invalid", {"position": None}, id="no position"),
        pytest.param("message_finished", {"message": {"type": "ai"}}, id="half a message"),
        pytest.param("message_finished", {"usage": {"input_tokens": 1}}, id="half a usage"),
        pytest.param("tool_failed", {"error": {}}, id="an error that is no text"),
        pytest.param("run_failed", {"error": "x"}, id="an error that is only text"),
        pytest.param("run_finished", {"messages": None}, id="no messages"),
    ],
)
def test_refuses_a_wrong_value(type_, wrong):
    good = next(event.to_dict() for event in EVENTS if event.type == type_)
    assert not VALIDATOR.is_valid({**good, **wrong})


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(TextDelta("x"), id="outside graphs"),
        pytest.param(replace(CALLS[0], id=None), id="a call without an id yet"),
        pytest.param(ToolStarted(id=None, name=""), id="a tool that nobody names"),
        pytest.param(ToolFinished(None, id="1", name="f"), id="a result of nothing"),
    ],
)
def test_takes_what_may_be_none(event):
    VALIDATOR.validate(event.to_dict())


def test_a_type_that_nobody_described_is_an_error():
    @dataclass(frozen=True)
    class Odd(Event):
        """Odd."""

        type = "odd"
        when: complex

    with pytest.raises(TypeError, match="complex"):
        _event(Odd)
