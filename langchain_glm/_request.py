"""LangChain's payload for OpenAI becomes the body that GLM takes.

Pure, and with `_history` the only place that spells the field names of a request. What comes in
is the dict that `ChatOpenAI` would hand to openai's `create()`; what goes out is sent as it stands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from langchain_core.messages import BaseMessage

from langchain_glm._history import ReasoningHistory, glm_turns
from langchain_glm._profiles import Thinking
from langchain_glm._shape import shape_of

TRANSPORT_OPTIONS = ("extra_headers", "extra_query", "timeout")
"""What a call may say to openai's client rather than to the server."""

INSTRUCTION = "glm_instruction"
"""The name under which a payload holds a text for the instructions; it is no field of a body."""

# Undocumented by Z.ai, and reportedly ignored without a word [R].
_NOT_ON_OWN_HOSTS = (
    "n",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "parallel_tool_calls",
    "store",
    "service_tier",
    "prediction",
    "verbosity",
    # Of OpenAI's Responses API.
    "reasoning",
    "include",
    "truncation",
)
_INSTEAD = {"reasoning": " reasoning_effort=... is GLM's name."}
_TOOL_STREAM = "tool_stream"

Warn = Callable[[str, str], None]
"""Takes the subject of a warning, and its text."""


class Server(NamedTuple):
    """What is known of the server and the model that a request is for.

    Attributes:
        own: Whether it is one of Z.ai's own hosts.
        enforces_schema: Whether it holds a model to a JSON schema.
        takes_tool_choice: Whether `tool_choice` may be other than `"auto"`.
        thinking: How the model thinks, None if unknown.
    """

    own: bool
    enforces_schema: bool
    takes_tool_choice: bool
    thinking: Thinking | None = None


def glm_request(
    payload: Mapping[str, Any],
    messages: Sequence[BaseMessage],
    *,
    server: Server,
    tool_stream: bool,
    reasoning_history: ReasoningHistory = "all",
    warn: Warn,
) -> dict[str, Any]:
    """Shape a request.

    Args:
        payload: `ChatOpenAI`'s keyword arguments for `create()`; `extra_body` goes over what is
            decided here.
        messages: The conversation.
        server: Whom it is for.
        tool_stream: Whether arguments are wanted as they are written.
        reasoning_history: Which of the assistant's turns carry their reasoning.
        warn: Told of each parameter that is not sent as it was said.

    Returns:
        The body, with the `TRANSPORT_OPTIONS` that were given beside its fields.
    """
    body = {key: value for key, value in payload.items() if value is not None}
    extra_body = body.pop("extra_body", {})
    if server.own:
        body = _without_extras(body, warn)
    if not server.takes_tool_choice:
        body = _with_auto_choice(body, warn)
    if server.thinking == "forced":
        body = _with_forced_thinking(body, warn)
    body |= extra_body
    if body.get("tools") == []:  # what create_agent without tools binds
        del body["tools"]
    if "max_completion_tokens" in body:  # GLM documents only the older name
        body["max_tokens"] = body.pop("max_completion_tokens")
    if isinstance(body.get("stop"), str):
        body["stop"] = [body["stop"]]
    body["messages"] = glm_turns(messages, reasoning_history)
    if instruction := body.pop(INSTRUCTION, None):
        body["messages"] = _instructed(body["messages"], instruction)
    if "response_format" in body:
        body |= _response_format(body, enforces_schema=server.enforces_schema)
    body.pop(_TOOL_STREAM, None)
    # Documented for streams that have tools; a server that refuses the field needs it gone, so
    # "off" is said by leaving it out.
    if tool_stream and body.get("stream") and body.get("tools"):
        body[_TOOL_STREAM] = True
    return body


def chosen_thinking(*sources: Mapping[str, Any]) -> dict[str, Any] | None:
    """Combine what is said of `thinking` and `clear_thinking`; a later source wins.

    Returns:
        The `thinking` of the body, None if nobody says anything.

    Raises:
        ValueError: `thinking` is neither a bool, `"enabled"`, `"disabled"` nor a dict.
    """
    chosen: dict[str, Any] = {}
    for source in sources:
        chosen |= _thinking_field(source.get("thinking"))
        if (clear := source.get("clear_thinking")) is not None:
            chosen["clear_thinking"] = clear
    return chosen or None


def _thinking_field(said: Any) -> dict[str, Any]:
    if said is None:
        return {}
    if isinstance(said, Mapping):
        return dict(said)
    if isinstance(said, bool):
        said = "enabled" if said else "disabled"
    if said not in ("enabled", "disabled"):
        msg = f'thinking is True, False, "enabled", "disabled" or a dict, not {said!r}.'
        raise ValueError(msg)
    return {"type": said}


def _with_forced_thinking(body: dict[str, Any], warn: Warn) -> dict[str, Any]:
    # [W] code 1210: "This model always engages in thinking and cannot be disabled".
    thinking = dict(body.get("thinking") or {})
    if thinking.get("type") != "disabled":
        return body
    del thinking["type"]
    body = {"reasoning_effort": "low", **body, "thinking": thinking}
    if not thinking:
        del body["thinking"]
    model, effort = body.get("model"), body["reasoning_effort"]
    warn(
        f"thinking of {model}",
        f"{model} always thinks, and refuses thinking=False: reasoning_effort={effort!r} is sent "
        "instead.",
    )
    return body


def _without_extras(body: dict[str, Any], warn: Warn) -> dict[str, Any]:
    for name in _NOT_ON_OWN_HOSTS:
        if name in body:
            warn(name, f"Z.ai's hosts take no {name!r}: it is not sent.{_INSTEAD.get(name, '')}")
    return {name: value for name, value in body.items() if name not in _NOT_ON_OWN_HOSTS}


def _with_auto_choice(body: dict[str, Any], warn: Warn) -> dict[str, Any]:
    choice = body.get("tool_choice")
    if not choice or choice == "auto":
        return body
    if choice == "none":  # GLM has ignored it [W]
        return {name: body[name] for name in body if name not in ("tools", "tool_choice")}
    tools = body.get("tools") or []
    named = [tool for tool in tools if _names(choice) & _names(tool)]
    alone = ", with that tool alone" if named else ""
    warn(
        "tool_choice",
        f'GLM takes only tool_choice="auto": it is sent in place of {choice!r}{alone}. '
        'profile={..., "tool_choice": True} says that a server takes others.',
    )
    return {**body, "tool_choice": "auto", "tools": named or tools}


def _names(tool: Any) -> set[str]:
    """Tell what a tool, or a choice of one, is called: a function's name, else a type."""
    if not isinstance(tool, Mapping):
        return {tool}
    function = tool.get("function")
    name = function.get("name") if isinstance(function, Mapping) else tool.get("name")
    return {str(name or tool.get("type"))}


def chosen_tool_stream(*sources: Mapping[str, Any] | None) -> bool | None:
    """Read `tool_stream` from the first source that says anything about it."""
    for source in sources:
        value = (source or {}).get(_TOOL_STREAM)
        if value is not None:
            return bool(value)
    return None


def _response_format(body: Mapping[str, Any], *, enforces_schema: bool) -> dict[str, Any]:
    wanted = body["response_format"]
    if isinstance(wanted, type):
        wanted = shape_of(wanted).response_format
    if wanted.get("type") != "json_schema" or enforces_schema:
        return {"response_format": wanted}
    # Z.ai's hosts answer 200 to a schema and do not enforce it [P]: what works is to say it.
    said = json.dumps(wanted["json_schema"].get("schema"), ensure_ascii=False)
    when = "Once no more tools are needed, answer" if body.get("tools") else "Answer"
    text = (
        f"{when} with one JSON object and nothing else, no prose and no code fence. It has to be "
        f"valid under this JSON schema:\n{said}"
    )
    return {
        "response_format": {"type": "json_object"},
        "messages": _instructed(body["messages"], text),
    }


def _instructed(turns: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    first, *rest = turns or [{}]
    if first.get("role") != "system":
        return [{"role": "system", "content": text}, *turns]
    return [{**first, "content": f"{first['content']}\n\n{text}"}, *rest]
