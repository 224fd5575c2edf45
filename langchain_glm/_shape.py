"""What an answer has to be: any kind of schema that LangChain takes, and the check against it."""

from __future__ import annotations

import functools
import graphlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

from langchain_core.utils.function_calling import convert_to_openai_function
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import is_typeddict

PREVIEW_CHARACTERS = 200


def preview(text: str) -> str:
    """Show the beginning of a text."""
    return text if len(text) <= PREVIEW_CHARACTERS else text[:PREVIEW_CHARACTERS] + "…"


def _shown(value: Any) -> str:
    return preview(json.dumps(value, ensure_ascii=False))


@dataclass(frozen=True)
class Shape:
    """What an answer has to be.

    Attributes:
        name: What it is called.
        description: What it is for, or `""`.
        parameters: Its JSON schema, without the name and the description.
        type: The class to make of it, None where the JSON itself is the answer.
        strict: What the server is told, None for nothing.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    type: Any = None
    strict: bool | None = None

    @property
    def tool(self) -> dict[str, Any]:
        """The shape as the function whose arguments have it."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": dict(self.parameters),
        }
        strict = {} if self.strict is None else {"strict": self.strict}
        return {"type": "function", "function": {**function, **strict}}

    @property
    def response_format(self) -> dict[str, Any]:
        """The shape as OpenAI's `response_format`."""
        about = {"title": self.name, "description": self.description}
        schema = {**{key: text for key, text in about.items() if text}, **self.parameters}
        strict = {} if self.strict is None else {"strict": self.strict}
        return {
            "type": "json_schema",
            "json_schema": {"name": self.name, "schema": schema, **strict},
        }

    @property
    def hint(self) -> Any:
        """The type of an answer, as far as pydantic 2 can say it."""
        if self._is_v1:
            return Any
        return self.type if _adapter(self.type) else Any

    @property
    def _is_v1(self) -> bool:
        return isinstance(self.type, type) and issubclass(self.type, BaseModelV1)

    def validated(self, value: Any) -> Any:
        """Make the answer of a JSON value.

        Raises:
            ValueError: It has not this shape.
            RecursionError: It is nested too deep.
        """
        if self._is_v1:
            return self.type.parse_obj(value)
        if adapter := _adapter(self.type):
            # As JSON, so that a strict model takes a date, which JSON has only as a string.
            return adapter.validate_json(json.dumps(value))
        if problem := next(problems(value, self.parameters, self.parameters), None):
            raise ValueError(problem)
        return value

    def grown(self, value: dict[str, Any]) -> Any:
        """Make of half an object what the user may see; None while that is nothing."""
        if self.type is None or is_typeddict(self.type):
            return value
        try:
            return self.validated(value)
        except Exception:  # noqa: BLE001 - a validator may break on half of what it expects
            return None


def shape_of(schema: Any, *, strict: bool | None = None) -> Shape:
    """Read a schema.

    Args:
        schema: A pydantic class (2 or 1), a `TypedDict`, a dataclass, a JSON schema with a title,
            an OpenAI function or tool, a `response_format` or what stands in it, a LangChain tool,
            a function.
        strict: As in `ChatOpenAI`; a schema that says so itself needs no argument.

    Raises:
        ValueError: It is none of these.
    """
    if isinstance(schema, dict) and schema.get("type") == "json_schema":
        schema = schema["json_schema"]
    if isinstance(schema, dict) and isinstance(schema.get("function"), dict):
        schema = schema["function"]
    if isinstance(schema, dict) and {"name", "schema"} <= schema.keys():
        strict = schema.get("strict") if strict is None else strict
        return Shape(schema["name"], **_described(schema, schema["schema"]), strict=strict)
    class_ = schema if isinstance(schema, type) and _makes_answers(schema) else None
    if is_dataclass(schema):
        schema = _with_root(TypeAdapter(schema).json_schema())
    elif class_ and (recursive := _recursive_schema(class_)):
        schema = recursive  # core would empty what refers to itself
    if isinstance(schema, dict) and "title" in schema and "name" not in schema and not strict:
        return Shape(schema["title"], **_described(schema, schema), type=class_, strict=strict)
    function = convert_to_openai_function(schema, strict=strict)
    described = _described(function, function.get("parameters") or {"type": "object"})
    strict = function.get("strict") if strict is None else strict
    return Shape(function["name"], **described, type=class_, strict=strict)


def _described(about: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    description = about.get("description") or schema.get("description") or ""
    parameters = {k: v for k, v in schema.items() if k not in {"title", "description"}}
    return {"description": description, "parameters": parameters}


def _makes_answers(class_: type) -> bool:
    return is_basemodel_subclass(class_) or is_typeddict(class_) or is_dataclass(class_)


def _recursive_schema(class_: type) -> dict[str, Any] | None:
    if issubclass(class_, BaseModelV1):
        whole, place = class_.schema(), "definitions"
    elif not is_typeddict(class_) and issubclass(class_, BaseModel):
        whole, place = class_.model_json_schema(), "$defs"
    else:
        return None
    uses = {name: _REFERENCE.findall(json.dumps(s)) for name, s in whole.get(place, {}).items()}
    try:
        graphlib.TopologicalSorter(uses).prepare()
    except graphlib.CycleError:
        return _with_root(whole)
    return None


def _with_root(schema: dict[str, Any]) -> dict[str, Any]:
    # Where the whole is a part of itself, pydantic gives only a reference to it.
    rest = {key: value for key, value in schema.items() if key != "$ref"}
    return {**_resolved(schema["$ref"], schema), **rest} if "$ref" in schema else schema


_REFERENCE = re.compile(r'"#/(?:\$defs|definitions)/([^"]+)"')


@functools.lru_cache(maxsize=64)
def _adapter(type_: Any) -> TypeAdapter[Any] | None:
    if type_ is None:
        return None
    try:
        return TypeAdapter(type_)
    except (PydanticUserError, NameError):
        # Below Python 3.12 pydantic takes only the `TypedDict` of typing_extensions.
        return None


_JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def problems(
    value: Any, schema: Any, root: Mapping[str, Any], where: str = "the answer"
) -> Iterator[str]:
    """Find where a JSON value is not of a JSON schema.

    Looked at, at any depth: types, `enum`, `const`, `required`, `properties`,
    `additionalProperties`, `items`, `anyOf`, `oneOf` (as `anyOf`), `allOf`, and `$ref` within the
    schema. Not looked at: ranges, lengths, patterns, formats and all else.

    Args:
        value: What `json.loads` gives.
        schema: The schema of this value.
        root: The whole schema, which `$ref` refers to.
        where: What the value is called in the text of a problem.

    Yields:
        Each problem, in words.
    """
    if not isinstance(schema, Mapping):
        if schema is False:
            yield f"{where} should not be there"
        return
    if isinstance(reference := schema.get("$ref"), str) and reference.startswith("#/"):
        yield from problems(value, _resolved(reference, root), root, where)
    if not _has_type(value, schema.get("type")):
        yield f"{where} is not of type {schema['type']!r}: {_shown(value)}"
        return
    allowed = [schema["const"]] if "const" in schema else schema.get("enum", [value])
    if value not in allowed:
        yield f"{where} is none of {allowed}: {_shown(value)}"
    for part in schema.get("allOf", ()):
        yield from problems(value, part, root, where)
    for choices in (schema[key] for key in ("anyOf", "oneOf") if key in schema):
        if all(any(problems(value, choice, root, where)) for choice in choices):
            yield f"{where} fits none of its alternatives: {_shown(value)}"
    yield from _problems_inside(value, schema, root, where)


def _problems_inside(
    value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], where: str
) -> Iterator[str]:
    if isinstance(value, list):
        for position, item in enumerate(value):
            yield from problems(item, schema.get("items"), root, f"{where}[{position}]")
    if not isinstance(value, dict):
        return
    yield from (f"{where} lacks {key!r}" for key in schema.get("required", ()) if key not in value)
    known = schema.get("properties", {})
    for key, part in value.items():
        wanted = known[key] if key in known else schema.get("additionalProperties")
        yield from problems(part, wanted, root, f"{where}[{key!r}]")


def _has_type(value: Any, wanted: Any) -> bool:
    names = [wanted] if isinstance(wanted, str) else wanted
    if not names:
        return True
    if isinstance(value, bool):
        return "boolean" in names
    if isinstance(value, float) and value.is_integer() and "integer" in names:
        return True
    return any(isinstance(value, _JSON_TYPES.get(name, (object,))) for name in names)


def _resolved(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for key in reference.removeprefix("#/").split("/"):
        found = found.get(key.replace("~1", "/").replace("~0", "~")) if found else None
    return found
