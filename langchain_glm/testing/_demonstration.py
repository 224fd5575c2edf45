"""The built-in demonstration: a pure function of the request.

It stands for a model with tools: it thinks, says a sentence, calls one tool with arguments that
satisfy the tool's schema, and closes once it is given the result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from langchain_glm.testing._answers import Call, Reply
from langchain_glm.testing._received import Received

# Long enough that its arrival can be watched; with quotes, newlines, a backslash and text
# beyond ASCII, so that every kind of JSON escape is on its way.
PROGRAM = '''\
"""Fibonacci numbers – 斐波那契数列, from the command line.

Usage: python fib.py [COUNT]

Each line holds an index, a number, and the ratio to the one before,
which tends to φ = (1 + √5) / 2 ≈ 1.618.
"""

import sys
from collections.abc import Iterator

DEFAULT_COUNT = 10
COLUMNS = "{index:>5}\\t{number:>12}\\t{ratio}"


def fibonacci() -> Iterator[int]:
    """Yield 0, 1, 1, 2, 3, 5, 8, … without end."""
    current, following = 0, 1
    while True:
        yield current
        current, following = following, current + following


def ratio(number: int, before: int) -> str:
    """The ratio with six digits, or "–" where there is none."""
    return f"{number / before:.6f}" if before else "–"


def table(count: int) -> Iterator[str]:
    """Yield the heading and then `count` lines."""
    yield COLUMNS.format(index="n", number="F(n)", ratio="F(n)/F(n-1)")
    before = 0
    for index, number in zip(range(count), fibonacci()):
        yield COLUMNS.format(index=index, number=number, ratio=ratio(number, before))
        before = number


def parse(arguments: list[str]) -> int:
    """The count that the command line asks for."""
    if not arguments:
        return DEFAULT_COUNT
    try:
        count = int(arguments[0])
    except ValueError:
        raise SystemExit(f"not a number: {arguments[0]!r}") from None
    if count < 0:
        raise SystemExit("it's a count: zero or more, please")
    return count


if __name__ == "__main__":
    print("\\n".join(table(parse(sys.argv[1:]))))
'''

_PROGRAM_WORDS = frozenset({"content", "contents", "code", "text", "source"})
_PATH_WORDS = frozenset({"path", "file", "filename", "filepath"})
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")

# (the schema, the name that it stands under, the root that references start from) -> a value
_Maker: TypeAlias = Callable[[Mapping[str, Any], str, Mapping[str, Any]], Any]

_CLOSING = Reply(
    reasoning="The tool has answered. Nothing is left to do but to say so.",
    text="Done. The result is above – tell me if you want it changed.",
)
_CONVERSATION = Reply(
    reasoning="No tools are at hand, so a plain answer it is.",
    text="Hello! This is a scripted answer – 你好 – from a server on your own machine.",
)


def demonstrate(received: Received) -> Reply:
    """A closing text after a tool's result, a call if there are tools, else a short answer."""
    body = received.body
    messages = body.get("messages") or [{}]
    if messages[-1].get("role") == "tool":
        return _CLOSING
    tool = _chosen(body)
    if tool is None:
        return _CONVERSATION
    name = tool["name"]
    schema = tool.get("parameters") or {}
    return Reply(
        reasoning=f"The user wants something done, and {name} can do it. Let me prepare its input.",
        text=f"I'll use {name} for this.",
        tool_calls=[Call(name, _object(schema, "", schema))],
    )


def _chosen(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The function to call: the one that `tool_choice` names, else a writing one, else any."""
    choice = body.get("tool_choice")
    tools: list[Mapping[str, Any]] = [
        tool["function"] for tool in body.get("tools") or () if "function" in tool
    ]
    if not tools or choice == "none":
        return None
    named = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    by_preference = (
        *(tool for tool in tools if tool["name"] == named),
        *(tool for tool in tools if "write" in tool["name"]),
        *tools,
    )
    return by_preference[0]


def _value(schema: Mapping[str, Any], name: str, root: Mapping[str, Any]) -> Any:
    """A value for `schema`, which stands under `name` in the schema `root`."""
    schema = _plain(schema, root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    make: _Maker = _MAKERS.get(_type(schema), _string)
    return make(schema, name, root)


def _plain(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself, behind references (`#/$defs/Name`) and alternatives."""
    while True:
        alternatives = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
        if "$ref" in schema:
            target: Any = root
            for key in schema["$ref"].removeprefix("#").strip("/").split("/"):
                target = target[key]
            schema = target
        elif alternatives:
            schema = next((s for s in alternatives if s.get("type") != "null"), alternatives[0])
        else:
            return schema


def _type(schema: Mapping[str, Any]) -> str | None:
    kind = schema.get("type")
    if isinstance(kind, list):  # ["string", "null"]
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None and "properties" in schema:
        return "object"
    return kind


def _object(schema: Mapping[str, Any], name: str, root: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - a _Maker
    properties = schema.get("properties") or {}
    wanted = schema.get("required") or properties
    return {key: _value(properties.get(key, {}), key, root) for key in wanted}


def _array(schema: Mapping[str, Any], name: str, root: Mapping[str, Any]) -> list[Any]:
    return [_value(schema.get("items") or {}, name, root)]


def _string(schema: Mapping[str, Any], name: str, root: Mapping[str, Any]) -> str:  # noqa: ARG001 - a _Maker
    words = {word.lower() for word in _WORD.findall(name)}
    if words & _PROGRAM_WORDS:  # before the paths: `file_text` is a text
        return PROGRAM
    return "fib.py" if words & _PATH_WORDS else "the first ten numbers"


_MAKERS: dict[str | None, _Maker] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": lambda *_: 1,
    "number": lambda *_: 1,
    "boolean": lambda *_: True,
    "null": lambda *_: None,
}
