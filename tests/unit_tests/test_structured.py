"""The shape of an answer, and the answer that is read against it: pure, without a request."""

import dataclasses
import datetime as dt
import enum
import json
import pickle
import typing
from itertools import pairwise
from types import SimpleNamespace
from typing import Annotated, Literal

import jiter
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import TypedDict

from langchain_glm import _structured
from langchain_glm._calls import CUT_FINISH_REASONS
from langchain_glm._shape import problems, shape_of
from langchain_glm._structured import (
    AnswerParser,
    AnswerReader,
    bound_to,
    parse_answer,
    parse_growing,
)


class Colour(enum.Enum):
    RED = "rot"
    BLUE = "blau"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    owner: str


class House(BaseModel):
    """A house, 一座房子."""

    city: str = Field(alias="城市")
    colour: Colour
    pets: list[Cat | Dog]
    built: dt.date | None = None


class HouseV1(BaseModelV1):
    """A house."""

    city: str
    rooms: int = 3


class Tree(BaseModel):
    """A tree."""

    name: str
    children: list["Tree"] = []


class HouseDict(TypedDict):
    """A house."""

    city: Annotated[str, ..., "Where it stands."]
    rooms: int


class OldHouseDict(typing.TypedDict):
    """A house."""

    city: str
    rooms: int


@dataclasses.dataclass
class HouseData:
    """A house."""

    city: str
    tree: Tree


def buy_house(city: str, rooms: int = 3):
    """Buy a house."""


@tool
def sell_house(city: str, rooms: int) -> str:
    """Sell a house."""
    return city


PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "rooms": {"type": "integer"}},
    "required": ["city"],
}
JSON_SCHEMA = {"title": "House", "description": "A house.", **PARAMETERS}
FUNCTION = {"name": "House", "description": "A house.", "parameters": PARAMETERS}
NAMED = {"name": "House", "description": "A house.", "schema": PARAMETERS}
RESPONSE_FORMAT = {"type": "json_schema", "json_schema": NAMED}
WHOLE = {
    "城市": "深圳",
    "colour": "rot",
    "pets": [{"kind": "cat", "lives": 9}, {"kind": "dog", "owner": "é"}],
    "built": "2024-02-29",
}
HOUSE = House.model_validate(WHOLE)
SMALL = {"city": "深圳", "rooms": 2}
TREE = {"name": "a", "children": [{"name": "b", "children": [{"name": "c"}]}]}
BAD_TREE = {"name": "a", "children": [{"name": "b", "children": [{}]}]}


@pytest.mark.parametrize(
    ("schema", "good", "answer", "bad"),
    [
        pytest.param(House, WHOLE, HOUSE, {**WHOLE, "colour": "grün"}, id="pydantic"),
        pytest.param(
            HouseV1, {"city": "深圳"}, HouseV1(city="深圳", rooms=3), {"rooms": 3}, id="pydantic 1"
        ),
        pytest.param(Tree, TREE, Tree.model_validate(TREE), BAD_TREE, id="recursive"),
        pytest.param(HouseDict, SMALL, SMALL, {"city": "深圳"}, id="TypedDict"),
        pytest.param(
            HouseDict, {"city": "深圳", "rooms": "2"}, SMALL, {"city": 1}, id="TypedDict, coerced"
        ),
        pytest.param(OldHouseDict, SMALL, SMALL, {"city": "深圳"}, id="typing.TypedDict"),
        pytest.param(
            HouseData,
            {"city": "深圳", "tree": TREE},
            HouseData("深圳", Tree.model_validate(TREE)),
            {"city": "深圳", "tree": BAD_TREE},
            id="dataclass",
        ),
        pytest.param(JSON_SCHEMA, SMALL, SMALL, {"rooms": 2}, id="JSON schema"),
        pytest.param(FUNCTION, SMALL, SMALL, {"city": "深圳", "rooms": "2"}, id="function dict"),
        pytest.param(
            {"type": "function", "function": FUNCTION}, SMALL, SMALL, [SMALL], id="tool dict"
        ),
        pytest.param(NAMED, SMALL, SMALL, {"city": None}, id="name and schema"),
        pytest.param(RESPONSE_FORMAT, SMALL, SMALL, {"city": True}, id="response_format"),
        pytest.param(buy_house, SMALL, SMALL, {"rooms": 2}, id="function"),
        pytest.param(sell_house, SMALL, SMALL, {"city": "深圳"}, id="tool"),
        pytest.param(
            {"title": "Numbers", "type": "array", "items": {"type": "integer"}},
            [1, 2],
            [1, 2],
            [1, "2"],
            id="an array",
        ),
    ],
)
def test_an_answer_is_validated(schema, good, answer, bad):
    shape = shape_of(schema)
    assert shape.validated(good) == answer
    assert type(shape.validated(good)) is type(answer)
    with pytest.raises(ValueError, match=r".+"):
        shape.validated(bad)


@pytest.mark.parametrize(
    "schema",
    [House, HouseV1, HouseDict, OldHouseDict, JSON_SCHEMA, FUNCTION, buy_house, sell_house],
)
def test_the_schema_is_langchains(schema):
    expected = convert_to_json_schema(schema)
    assert shape_of(schema).response_format == {
        "type": "json_schema",
        "json_schema": {"name": expected["title"], "schema": expected},
    }
    assert convert_to_json_schema(shape_of(schema).tool) == expected


@pytest.mark.parametrize("schema", [JSON_SCHEMA, FUNCTION, NAMED, RESPONSE_FORMAT])
def test_dicts_of_every_form_mean_the_same(schema):
    assert shape_of(schema) == shape_of(JSON_SCHEMA)


def test_a_schema_that_is_part_of_itself_stays_whole():
    schema = shape_of(Tree).parameters
    assert schema["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    assert schema["$defs"]["Tree"]["required"] == ["name"]
    assert "$ref" not in schema


@pytest.mark.parametrize(
    ("schema", "strict", "sent"),
    [
        pytest.param(HouseV1, None, None, id="unsaid"),
        pytest.param(HouseV1, True, True, id="said"),
        pytest.param(HouseV1, False, False, id="denied"),
        pytest.param(NAMED, True, True, id="said beside a schema"),
        pytest.param({**NAMED, "strict": True}, None, True, id="said in the schema"),
        pytest.param({**FUNCTION, "strict": True}, None, True, id="said in the function"),
    ],
)
def test_strict_is_for_the_server(schema, strict, sent):
    shape = shape_of(schema, strict=strict)
    assert shape.response_format["json_schema"].get("strict") is sent
    assert shape.tool["function"].get("strict") is sent


def test_strict_closes_the_objects():
    assert shape_of(JSON_SCHEMA, strict=True).parameters["additionalProperties"] is False
    schema = shape_of(House, strict=True).parameters
    assert schema["additionalProperties"] is False
    assert schema["properties"]["pets"]["items"]["anyOf"][0]["additionalProperties"] is False


@pytest.mark.parametrize("schema", [3, "House", PARAMETERS, {"type": "web_search"}])
def test_what_is_no_schema(schema):
    with pytest.raises(ValueError, match="Unsupported function"):
        shape_of(schema)


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    built: dt.date


def test_a_strict_class_takes_a_date_as_json_has_it():
    assert shape_of(Strict).validated({"built": "2024-02-29"}).built.day == 29
    with pytest.raises(ValueError, match="built"):
        shape_of(Strict).validated({"built": 20240229})


# The check against a JSON schema

PART = {"$ref": "#/$defs/a~1b"}
DEFINITIONS = {"$defs": {"a/b": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("schema", "value", "found"),
    [
        pytest.param({}, object, [], id="nothing wanted"),
        pytest.param({"type": "integer"}, 1, [], id="integer"),
        pytest.param({"type": "integer"}, 1.0, [], id="whole float"),
        pytest.param(
            {"type": "integer"}, 1.5, ["the answer is not of type 'integer': 1.5"], id="float"
        ),
        pytest.param(
            {"type": "integer"}, True, ["the answer is not of type 'integer': true"], id="bool"
        ),
        pytest.param({"type": "number"}, 1, [], id="integer as number"),
        pytest.param({"type": ["string", "null"]}, None, [], id="one of two types"),
        pytest.param({"type": "file"}, 1, [], id="unknown type"),
        pytest.param({"enum": ["é"]}, "é", [], id="enum"),
        pytest.param(
            {"enum": ["é"]}, "e", ["""the answer is none of ['é']: "e\""""], id="not in enum"
        ),
        pytest.param({"const": 1}, 2, ["the answer is none of [1]: 2"], id="const"),
        pytest.param(
            {"required": ["a", "b"]},
            {},
            ["the answer lacks 'a'", "the answer lacks 'b'"],
            id="required",
        ),
        pytest.param(
            {"additionalProperties": False},
            {"a": 1},
            ["the answer['a'] should not be there"],
            id="additional",
        ),
        pytest.param(
            {"additionalProperties": {"type": "string"}},
            {"a": 1},
            ["the answer['a'] is not of type 'string': 1"],
            id="additional of a type",
        ),
        pytest.param(
            {"items": {"items": {"type": "string"}}},
            [["a"], ["b", 2]],
            ["the answer[1][1] is not of type 'string': 2"],
            id="deep",
        ),
        pytest.param(
            {"anyOf": [{"type": "string"}, {"required": ["a"]}]},
            {"b": 1},
            ["""the answer fits none of its alternatives: {"b": 1}"""],
            id="no alternative",
        ),
        pytest.param({"oneOf": [{"type": "string"}, {"type": "null"}]}, None, [], id="one of"),
        pytest.param(
            {"oneOf": [{"type": "string"}, {"type": "null"}]},
            1,
            ["the answer fits none of its alternatives: 1"],
            id="not one of",
        ),
        pytest.param(
            {"allOf": [{"required": ["a"]}, {"required": ["b"]}]},
            {"a": 1},
            ["the answer lacks 'b'"],
            id="all of",
        ),
        pytest.param(
            {"properties": {"a": PART}, **DEFINITIONS},
            {"a": "x"},
            ["""the answer['a'] is not of type 'integer': "x\""""],
            id="reference",
        ),
        pytest.param({"$ref": "#/$defs/no/where"}, 1, [], id="reference to nothing"),
        pytest.param({"type": "string", "pattern": "b", "maxLength": 0}, "a", [], id="not looked"),
    ],
)
def test_the_problems_of_a_value(schema, value, found):
    assert list(problems(value, schema, schema)) == found


# JSON in a text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param('{"a": "é你"}', {"a": "é你"}, id="bare"),
        pytest.param('\n ```json\n{"a": 1}\n```\n', {"a": 1}, id="fence"),
        pytest.param('```\n{"a": 1}```', {"a": 1}, id="fence without a language"),
        pytest.param('{"a": "```json\\n{}\\n```"}', {"a": "```json\n{}\n```"}, id="fence inside"),
        pytest.param('```json\n{"a": "```x```"}\n```', {"a": "```x```"}, id="fence in a fence"),
        pytest.param('Here:\n```json\n{"a": 1}\n```\nDone.', {"a": 1}, id="prose and fence"),
        pytest.param('It is {"a": {"b": 1}}, I think {so}.', {"a": {"b": 1}}, id="prose"),
        pytest.param('See {1} and { x }: {"a": 1}', {"a": 1}, id="braces in the prose"),
        pytest.param(
            '<|begin_of_box|>{"a": 1}<|end_of_box|>', {"a": 1}, id="the box of a vision model"
        ),
        pytest.param('{"a": "line\nline\t"}', {"a": "line\nline\t"}, id="raw control characters"),
        pytest.param('```json\n[{"a": 1}]\n```', [{"a": 1}], id="array"),
        pytest.param('[1] says {"a": 1}', {"a": 1}, id="a footnote before"),
    ],
)
def test_json_is_found(text, value):
    assert parse_answer(text) == value


@pytest.mark.parametrize("text", ["", "  ", "No.", '{"a": 1', "{'a': 1}", "{" * 50, "{a} {b}"])
def test_no_json_is_found(text):
    with pytest.raises(ValueError, match=r"."):
        parse_answer(text)


GROWING = '{"a\\n": "x\\u4f60\\ud83d\\ude00\\"y", "n": -12.5e3, "l": [true, null, {"b": "c"}]}'


def is_begun(part, whole):
    """Whether a partial value can still become the whole one."""
    if isinstance(part, str):
        return isinstance(whole, str) and whole.startswith(part)
    if isinstance(part, dict):
        return part.keys() <= whole.keys() and all(is_begun(part[k], whole[k]) for k in part)
    if isinstance(part, list):
        return len(part) <= len(whole) and all(map(is_begun, part, whole))
    return part == whole


def test_each_beginning_is_a_beginning_of_the_whole():
    whole = json.loads(GROWING)
    grown = [parse_growing(GROWING[:length]) for length in range(len(GROWING) + 1)]
    assert grown[0] is None
    assert grown[-1] == whole
    assert all(is_begun(sooner, later) for sooner, later in pairwise(grown[1:]))
    assert len({json.dumps(value) for value in grown}) > 10


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(), parts, max_size=3),
    max_leaves=8,
)


@given(whole=st.dictionaries(st.text(), JSON_VALUES, max_size=3), ascii_only=st.booleans())
def test_any_object_grows(whole, ascii_only):
    text = json.dumps(whole, ensure_ascii=ascii_only)
    assert parse_answer(f"```json\n{text}\n```") == parse_answer(f"So: {text}.") == whole
    for length in range(len(text) + 1):
        begun = parse_growing(text[:length])
        assert begun is None or is_begun(begun, whole)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("Here is ", None, id="prose"),
        pytest.param('Here: ```json\n{"a": "b', {"a": "b"}, id="in a fence"),
        pytest.param('[{"a": 1', None, id="an array"),
        pytest.param('{"a": "b"} Done.', {"a": "b"}, id="prose after"),
        pytest.param(
            '{"a": "b\nc",\n\t"d\t": "\\"\n', {"a": "b\nc", "d\t": '"\n'}, id="raw line ends"
        ),
        pytest.param('{"a": "\ud83d', None, id="half a character"),
        pytest.param("{so} ", None, id="a brace of the prose"),
    ],
)
def test_the_beginning_of(text, value):
    assert parse_growing(text) == value


# The reader


def chunks(text, size=4, **last):
    yield from (AIMessageChunk(text[n : n + size]) for n in range(0, len(text), size))
    yield AIMessageChunk("", response_metadata={"finish_reason": "stop", **last})


def fragment(args, name=None, index=0):
    call = {"name": name, "args": args, "id": None, "index": index, "type": "tool_call_chunk"}
    return AIMessageChunk("", tool_call_chunks=[call])


def read(reader, messages):
    return [answer for message in messages for answer in reader.feed(message)] + reader.close()


def test_dicts_grow():
    text = json.dumps(SMALL, ensure_ascii=False)
    answers = read(AnswerReader(shape_of(JSON_SCHEMA)), chunks(text, size=1))
    assert answers == [{}, {"city": ""}, {"city": "深"}, {"city": "深圳"}, SMALL]


def test_objects_grow_from_where_they_are_valid():
    text = '{"city": "Shenzhen", "rooms": 2}'
    answers = read(AnswerReader(shape_of(HouseV1)), chunks(text))
    assert answers[0].city == "Sh"
    assert answers[-1] == HouseV1(city="Shenzhen", rooms=2)
    assert all(isinstance(answer, HouseV1) for answer in answers)


class Fussy(BaseModel):
    a: str
    b: str

    @model_validator(mode="before")
    @classmethod
    def look(cls, data):
        return {"a": data["a"], "b": data["b"]}  # a KeyError where there is none yet


def test_a_validator_may_break_on_half_an_object():
    answers = read(AnswerReader(shape_of(Fussy)), chunks('{"a": "xx", "b": "yyyyyy"}'))
    assert answers[-1] == Fussy(a="xx", b="yyyyyy")
    assert len(answers) > 1


def test_the_last_answer_is_given_once():
    answers = read(AnswerReader(None), chunks('{"a": 1}   ', size=1))
    assert answers == [{}, {"a": 1}]


def test_a_number_that_becomes_valid_late_is_given_as_another_type():
    shape = shape_of(HouseDict)
    answers = read(AnswerReader(shape), chunks('{"city": "x", "rooms": "2"}'))
    assert answers[-2:] == [{"city": "x", "rooms": "2"}, {"city": "x", "rooms": 2}]


@pytest.mark.parametrize("from_call", [False, True], ids=["text", "call"])
def test_reading_takes_linear_time(monkeypatch, from_call):
    parsed = []

    def counting(data, **options):
        parsed.append(len(data))
        return jiter.from_json(data, **options)

    monkeypatch.setattr(_structured, "jiter", SimpleNamespace(from_json=counting))

    def work(characters):
        parsed.clear()
        text = json.dumps({"content": "x" * characters})
        pieces = [text[n : n + 4] for n in range(0, len(text), 4)]
        reader = AnswerReader(None, tool="write" if from_call else None)
        messages = [fragment(p, "write" if n == 0 else None) for n, p in enumerate(pieces)]
        if not from_call:
            messages = [AIMessageChunk(piece) for piece in pieces]
        answers = read(reader, messages)
        assert answers[-1]["content"] == "x" * characters
        return sum(parsed), len(answers)

    (less, few), (more, many) = work(10_000), work(40_000)
    assert more < 5 * less  # 16 times, if each chunk were a look at all that has come
    assert few > 500
    assert many > few


def test_the_fragments_of_the_call_that_was_wanted():
    answers = read(
        AnswerReader(None, tool="House"),
        [
            AIMessageChunk("I call: {"),
            fragment('{"x": 1}', "Other", 0),
            fragment('{"ci', "House", 1),
            fragment('{"x": 2', None, 0),
            fragment('ty": "深圳"}', None, 1),
        ],
    )
    assert answers == [{}, {"city": "深圳"}]


def test_a_call_without_arguments_is_an_empty_object():
    assert read(AnswerReader(None, tool="Nothing"), [fragment("", "Nothing")]) == [{}]


@pytest.mark.parametrize("reason", sorted(CUT_FINISH_REASONS))
@pytest.mark.parametrize("from_call", [False, True], ids=["text", "call"])
def test_a_cut_answer_is_an_error_that_says_so(reason, from_call):
    # The JSON is whole, and it was cut all the same: a server may have closed it.
    reader = AnswerReader(shape_of(JSON_SCHEMA), tool="House" if from_call else None)
    text = '{"city": "深圳"}'
    messages = [fragment(text, "House")] if from_call else list(chunks(text))
    last = AIMessageChunk("", response_metadata={"finish_reason": reason})
    with pytest.raises(OutputParserException, match=f"finish_reason '{reason}'.*max_tokens") as e:
        read(reader, [*messages, last])
    assert e.value.llm_output == text


@pytest.mark.parametrize(
    ("message", "says", "text"),
    [
        pytest.param(AIMessage("Sunny."), "in prose", "Sunny.", id="prose"),
        pytest.param(AIMessage(""), "in prose", "", id="silence"),
        pytest.param(
            AIMessage(
                "", tool_calls=[{"name": "other", "args": {}, "id": "1", "type": "tool_call"}]
            ),
            "called other and not House",
            "",
            id="another tool",
        ),
        pytest.param(
            AIMessage(
                "Well.",
                invalid_tool_calls=[
                    {
                        "name": "House",
                        "args": '{"city": "深',
                        "id": "1",
                        "error": None,
                        "type": "invalid_tool_call",
                    }
                ],
            ),
            "not valid",
            '{"city": "深',
            id="broken arguments",
        ),
        pytest.param(
            AIMessage(
                "", tool_calls=[{"name": "House", "args": {}, "id": "1", "type": "tool_call"}]
            ),
            "lacks 'city'",
            "{}",
            id="arguments of another shape",
        ),
    ],
)
def test_a_call_that_is_no_answer(message, says, text):
    parser = AnswerParser(shape=shape_of(JSON_SCHEMA), tool="House")
    with pytest.raises(OutputParserException, match=says) as error:
        parser.invoke(message)
    assert error.value.llm_output == text


def test_a_text_that_is_no_answer():
    parser = AnswerParser(shape=shape_of(JSON_SCHEMA))
    with pytest.raises(OutputParserException, match="lacks 'city'") as error:
        parser.invoke(AIMessage('Well: {"rooms": 2}'))
    assert error.value.llm_output == 'Well: {"rooms": 2}'


def test_the_parser_takes_texts_too():
    parser = AnswerParser(shape=shape_of(JSON_SCHEMA))
    text = json.dumps(SMALL)
    assert parser.parse(text) == parser.invoke(text) == SMALL
    assert list(parser.transform(iter([text[:9], text[9:]])))[-1] == SMALL


@pytest.mark.parametrize(
    ("schema", "type_"),
    [(House, House), (HouseDict, HouseDict), (HouseV1, typing.Any), (FUNCTION, typing.Any)],
)
def test_the_parser_tells_its_output(schema, type_):
    parser = AnswerParser(shape=shape_of(schema))
    assert parser.OutputType == type_
    assert parser.get_output_jsonschema()["title"]
    assert AnswerParser(include_raw=True).get_output_jsonschema()["type"] == "object"


def test_the_parser_pickles():
    parser = AnswerParser(shape=shape_of(House))
    assert pickle.loads(pickle.dumps(parser)) == parser  # noqa: S301 - bytes of our own


def test_a_method_that_there_is_not():
    with pytest.raises(ValueError, match="not 'magic'"):
        bound_to(shape_of(House), "magic", forced=False)
