"""What is known of GLM's models: a table, plain lines, a JSON array. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from rich.table import Table

from langchain_glm._profiles import Thinking, cost_of, known_models, profile_for, thinking_of

_INPUTS = ("text", "image", "video", "pdf")
_UNKNOWN = "–"
_LEFT = ("model", "also reads", "thinking", "effort")
_RIGHT = ("context", "output", "in", "cached", "out")
_HEADINGS = (_LEFT[0], *_RIGHT[:2], *_LEFT[1:], *_RIGHT[2:])
_WRAPPED = ("also reads", "effort")
_KIBI = 1024
_CAPTION = "K: 1,024 tokens. Prices: USD per 1M tokens at Z.ai. Other ids work too."


@dataclass(frozen=True)
class Model:
    """A row of the table.

    Attributes:
        id: The model's id.
        context: Tokens that prompt and answer may have together, or None.
        max_output: Tokens that an answer may have, or None.
        inputs: `text`, `image`, `video`, `pdf`.
        thinking: `forced`, `on`, `automatic`, or None.
        effort: The levels of `reasoning_effort`; none where the model has none.
        input: USD per 1M tokens of prompt: 0 where free, None where unknown.
        cached_input: The same for what the server's cache held.
        output: The same for the answer.
    """

    id: str
    context: int | None
    max_output: int | None
    inputs: list[str]
    thinking: Thinking | None
    effort: list[str]
    input: float | None
    cached_input: float | None
    output: float | None


def models() -> list[Model]:
    """List what is known, the newest model first."""
    return sorted(map(_model, known_models()), key=lambda model: (-_version(model.id), model.id))


def to_table(models: list[Model]) -> Table:
    """Draw the table for a terminal."""
    table = Table(box=None, pad_edge=False, caption=_CAPTION, caption_justify="left")
    for heading in _HEADINGS:
        justify: Literal["left", "right"] = "right" if heading in _RIGHT else "left"
        table.add_column(heading, justify=justify, no_wrap=heading not in _WRAPPED)
    for model in models:
        table.add_row(*_cells(model))
    return table


def to_plain(models: list[Model]) -> str:
    """Write lines with tabs between the cells, for other programs: 0 is free, empty is unknown."""
    rows = [list(asdict(model).values()) for model in models]
    names = [field.name for field in fields(Model)]
    return "\n".join("\t".join(map(_plain, row)) for row in (names, *rows))


def to_json(models: list[Model]) -> str:
    """Write a JSON array with an object for each model."""
    return json.dumps([asdict(model) for model in models], indent=2)


def _model(id_: str) -> Model:
    profile: dict[str, Any] = dict(profile_for(id_))
    cost = cost_of(id_)
    return Model(
        id=id_,
        context=profile.get("max_input_tokens"),
        max_output=profile.get("max_output_tokens"),
        inputs=[kind for kind in _INPUTS if profile.get(f"{kind}_inputs")],
        thinking=thinking_of(id_),
        effort=profile.get("reasoning_effort_levels", []),
        input=cost and cost.input,
        cached_input=cost and cost.cached_input,
        output=cost and cost.output,
    )


def _version(id_: str) -> float:
    number = re.search(r"\d+(?:\.\d+)?", id_)
    return float(number[0]) if number else 0.0


def _cells(model: Model) -> tuple[str, ...]:
    return (
        model.id,
        _number(model.context),
        _number(model.max_output),
        ", ".join(model.inputs[1:]),
        model.thinking or _UNKNOWN,
        ", ".join(model.effort),
        _price(model.input),
        _price(model.cached_input),
        _price(model.output),
    )


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return "" if value is None else str(value)


def _number(number: int | None) -> str:
    if number is None:
        return _UNKNOWN
    whole, rest = divmod(number, _KIBI)
    return f"{number:,}" if rest else f"{whole:,}K"


def _price(price: float | None) -> str:
    if price is None:
        return _UNKNOWN
    return f"{price:.2f}" if price else "free"
