"""What is known of a model, by its id: profile, price, thinking. Nothing is refused by its name.

The data are generated (`data/_profiles.py`), from models.dev and from what is written by hand in
`data/profile_augmentations.toml`, with its evidence.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple, cast

from langchain_core.language_models.model_profile import ModelProfile

from langchain_glm.data._profiles import _COSTS, _PROFILES, _SELF_HOSTED, _THINKING

Thinking = Literal["forced", "on", "automatic"]

# What holds of every GLM model so far. No number of tokens is claimed.
_UNKNOWN = ModelProfile(
    text_inputs=True,
    text_outputs=True,
    tool_calling=True,
    tool_call_streaming=True,
    tool_choice=False,
    structured_output=False,
)

# `-20260315`, `-2026-03-15`, `-0414`; `-FP8`, `-NVFP4`, `-w4a8`, `-AWQ`, `-4bit`, `-AWQ-4bit`;
# `:free`, `:cloud`; the folder before `/`, or a provider before `.` or `:` as AWS has it.
_SUFFIX = re.compile(
    r"(?:-\d{8}|-\d{4}-\d{2}-\d{2}|-\d{4}|-\d{6}|-(?:nv|mx)?fp\d+|-bf16|-int\d+|-w\d+a\d+"
    r"|-awq|-gptq|-gguf|-mlx|-\d+bit|:[a-z][\w-]*)$"
)
_PREFIX = re.compile(r"^(?:.*/|.*?[.:](?=glm-))")


class Cost(NamedTuple):
    """Z.ai's list price in USD per 1M tokens: 0 where free, None where unknown.

    Attributes:
        input: Tokens of the prompt.
        cached_input: Tokens of the prompt that the server's cache held.
        output: Tokens of the answer, its reasoning included.
    """

    input: float | None
    cached_input: float | None
    output: float | None


def profile_for(model: str, *, own_host: bool = True) -> ModelProfile:
    """Describe a model in LangChain's terms (`BaseChatModel.profile`).

    An id is looked up as it stands, then without regard to case, then without a vendor's prefix
    (`zai-org/GLM-4.7`), then without the date, quantisation or tag at its end.

    Args:
        model: Any id; for an unknown one, what holds of GLM models in general.
        own_host: Whether Z.ai's own servers run it. They take only `tool_choice: "auto"` and do
            not enforce a JSON schema; vLLM and SGLang do both.

    Returns:
        A copy: what is changed in it changes nothing else.
    """
    known = _known(model)
    profile = _UNKNOWN if known is None else cast("ModelProfile", _PROFILES[known])
    changes = {} if own_host else _SELF_HOSTED
    return cast("ModelProfile", copy.deepcopy({**profile, **changes}))


def cost_of(model: str) -> Cost | None:
    """Give the price of a model on Z.ai's own servers, or None where nothing is known of it."""
    cost = _COSTS.get(_known(model) or "")
    return Cost(**cost) if cost else None


def thinking_of(model: str) -> Thinking | None:
    """Tell how a model thinks: always, unless it is told not to, as it sees fit; None: unknown."""
    return cast("Thinking | None", _THINKING.get(_known(model) or ""))


def known_models() -> list[str]:
    """List the ids that there are data for."""
    return list(_PROFILES)


def _known(model: str) -> str | None:
    return next((id_ for id_ in _spellings(model) if id_ in _PROFILES), None)


def _spellings(model: str) -> Iterator[str]:
    yield model
    name = model.strip().lower()
    yield name
    name = _PREFIX.sub("", name)
    yield name
    while _SUFFIX.search(name):
        name = _SUFFIX.sub("", name)
        yield name
