"""The built-in demonstration, over HTTP: what it says, and arguments that fit the schema."""

import json
import subprocess
import sys

import pytest

from langchain_glm.testing import GLMServer
from langchain_glm.testing._demonstration import PROGRAM

USER = {"role": "user", "content": "Write fib.py"}


def tool(name, **properties):
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def message(ask, **body):
    with GLMServer() as server:
        status, answer = ask(server, **body)
    assert status == 200
    choice = json.loads(answer)["choices"][0]
    return choice["message"], choice["finish_reason"]


def arguments(ask, schema):
    function = {"name": "f", "parameters": schema}
    said, _ = message(ask, tools=[{"type": "function", "function": function}])
    return json.loads(said["tool_calls"][0]["function"]["arguments"])


@pytest.mark.parametrize(
    ("body", "finish_reason", "calls"),
    [
        ({}, "stop", []),
        ({"tools": []}, "stop", []),
        ({"tools": [{"type": "web_search", "web_search": {}}]}, "stop", []),
        ({"tools": [tool("a")], "tool_choice": "none"}, "stop", []),
        ({"tools": [tool("a"), tool("b")]}, "tool_calls", ["a"]),
        ({"tools": [tool("a"), tool("rewrite"), tool("write")]}, "tool_calls", ["rewrite"]),
        (
            {
                "tools": [tool("a"), tool("write"), tool("c")],
                "tool_choice": {"type": "function", "function": {"name": "c"}},
            },
            "tool_calls",
            ["c"],
        ),
        ({"tools": [tool("a")], "tool_choice": "required"}, "tool_calls", ["a"]),
        (
            {"tools": [tool("a")], "messages": [USER, {"role": "tool", "content": "ok"}]},
            "stop",
            [],
        ),
        (
            {"tools": [tool("a")], "messages": [{"role": "tool", "content": "ok"}, USER]},
            "tool_calls",
            ["a"],
        ),
    ],
)
def test_what_it_does(ask, body, finish_reason, calls):
    said, reason = message(ask, **body)
    assert reason == finish_reason
    assert said["reasoning_content"]
    assert said["content"]
    assert [call["function"]["name"] for call in said.get("tool_calls", [])] == calls


def test_a_result_is_closed_with_another_text(ask):
    opening, _ = message(ask)
    closing, _ = message(ask, messages=[USER, {"role": "tool", "content": "ok"}])
    assert opening["content"] != closing["content"]


PHRASE = "the first ten numbers"


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"path": {"type": "string"}}, {"path": "fib.py"}),
        ({"file_path": {"type": "string"}}, {"file_path": "fib.py"}),
        ({"fileName": {"type": "string"}}, {"fileName": "fib.py"}),
        ({"profile": {"type": "string"}}, {"profile": PHRASE}),
        ({"content": {"type": "string"}}, {"content": PROGRAM}),
        ({"file_text": {"type": "string"}}, {"file_text": PROGRAM}),
        ({"context": {"type": "string"}}, {"context": PHRASE}),
        ({"n": {"type": "integer"}, "x": {"type": "number"}}, {"n": 1, "x": 1}),
        ({"yes": {"type": "boolean"}, "no": {"type": "null"}}, {"yes": True, "no": None}),
        ({"a": {"type": "array", "items": {"type": "integer"}}}, {"a": [1]}),
        ({"a": {"type": "array"}}, {"a": [PHRASE]}),
        ({"codes": {"type": "array", "items": {"type": "string"}}}, {"codes": [PHRASE]}),
        ({"a": {"enum": ["x", "y"]}, "b": {"const": 7}}, {"a": "x", "b": 7}),
        ({"a": {"anyOf": [{"type": "null"}, {"type": "integer"}]}}, {"a": 1}),
        ({"a": {"type": ["null", "boolean"]}}, {"a": True}),
        ({"a": {"properties": {"b": {"type": "integer"}}}}, {"a": {"b": 1}}),
        ({"a": {}}, {"a": PHRASE}),
        ({}, {}),
    ],
)
def test_arguments_fit_the_schema(ask, properties, expected):
    assert arguments(ask, {"type": "object", "properties": properties}) == expected


def test_nested_schema_with_references_and_required_properties(ask):
    schema = {
        "type": "object",
        "properties": {
            "edits": {"type": "array", "items": {"$ref": "#/$defs/Edit"}},
            "dry_run": {"type": "boolean"},
            "note": {"type": "string"},
        },
        "required": ["edits", "dry_run"],
        "$defs": {
            "Edit": {
                "type": "object",
                "properties": {
                    "path": {"type": "string"},
                    "content": {"type": "string"},
                    "next": {"$ref": "#/$defs/Edit"},
                    "lines": {
                        "type": "object",
                        "properties": {"first": {"type": "integer"}, "last": {"type": "integer"}},
                        "required": ["first"],
                    },
                },
                "required": ["path", "content", "lines"],
            }
        },
    }
    edit = {"path": "fib.py", "content": PROGRAM, "lines": {"first": 1}}
    assert arguments(ask, schema) == {"edits": [edit], "dry_run": True}


@pytest.mark.parametrize("function", [{"name": "f"}, {"name": "f", "parameters": None}])
def test_a_tool_without_a_schema_gets_an_empty_object(ask, function):
    said, _ = message(ask, tools=[{"type": "function", "function": function}])
    assert said["tool_calls"][0]["function"]["arguments"] == "{}"


def test_the_arguments_in_fragments_are_the_same(ask):
    tools = [tool("write_file", path={"type": "string"}, content={"type": "string"})]
    with GLMServer() as server:
        _, body = ask(server, stream=True, tool_stream=True, tools=tools)
    chunks = [json.loads(line[6:]) for line in body.decode().split("\n\n")[:-2]]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    calls = [delta["tool_calls"][0]["function"] for delta in deltas if "tool_calls" in delta]
    assert len(calls) > 300
    text = "".join(call["arguments"] for call in calls)
    assert json.loads(text) == {"path": "fib.py", "content": PROGRAM}


def test_the_program_is_worth_watching_and_runs():
    assert 1500 <= len(PROGRAM.encode()) <= 2048
    assert {'"', "'", "\n", "\\", "斐"} <= set(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-", "12"],
        input=PROGRAM.encode(),
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert done.stdout.decode().splitlines()[-1].split() == ["11", "89", "1.618182"]
