"""LangChain's payload for OpenAI becomes the body that GLM takes.

Pure, and the only place that spells the field names of a request. What comes in is the dict
that `ChatOpenAI` would hand to openai's `create()`; what goes out is sent as it stands.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.utils.function_calling import convert_to_json_schema

TRANSPORT_OPTIONS = ("extra_headers", "extra_query", "timeout")
"""What a call may say to openai's client rather than to the server."""

_TOOL_STREAM = "tool_stream"


def glm_request(
    payload: Mapping[str, Any],
    messages: Sequence[BaseMessage],
    *,
    tool_stream: bool,
    enforces_schema: bool = True,
) -> dict[str, Any]:
    """Shape a request.

    Args:
        payload: `ChatOpenAI`'s keyword arguments for `create()`, its `messages` converted.
        messages: The same messages as LangChain has them, one for one.
        tool_stream: Whether arguments are wanted as they are written.
        enforces_schema: Whether the server holds a model to a JSON schema.

    Returns:
        The body, with the `TRANSPORT_OPTIONS` that were given beside its fields.
    """
    body = {key: value for key, value in payload.items() if value is not None}
    body |= body.pop("extra_body", {})
    if body.get("tools") == []:  # what create_agent without tools binds
        del body["tools"]
    if "max_completion_tokens" in body:  # GLM documents only the older name
        body["max_tokens"] = body.pop("max_completion_tokens")
    if isinstance(body.get("stop"), str):
        body["stop"] = [body["stop"]]
    body["messages"] = [
        _assistant_turn(turn, message) if isinstance(message, AIMessage) else turn
        for turn, message in zip(body["messages"], messages, strict=True)
    ]
    if "response_format" in body:
        body |= _response_format(body, enforces_schema=enforces_schema)
    body.pop(_TOOL_STREAM, None)
    # Documented for streams that have tools; a server that refuses the field needs it gone, so
    # "off" is said by leaving it out.
    if tool_stream and body.get("stream") and body.get("tools"):
        body[_TOOL_STREAM] = True
    return body


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
        schema = {"name": wanted.__name__, "schema": convert_to_json_schema(wanted)}
        wanted = {"type": "json_schema", "json_schema": schema}
    if wanted.get("type") != "json_schema" or enforces_schema:
        return {"response_format": wanted}
    # Z.ai's hosts answer 200 to a schema and do not enforce it [P]: what works is to say it.
    return {
        "response_format": {"type": "json_object"},
        "messages": _instructed(body["messages"], wanted["json_schema"]),
    }


def _instructed(turns: list[dict[str, Any]], schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    text = (
        "Answer with one JSON object and nothing else, no prose and no code fence. It has to be "
        f"valid under this JSON schema:\n{json.dumps(schema.get('schema'), ensure_ascii=False)}"
    )
    first, *rest = turns or [{}]
    if first.get("role") != "system":
        return [{"role": "system", "content": text}, *turns]
    content = first["content"]
    if isinstance(content, str):
        return [{**first, "content": f"{content}\n\n{text}"}, *rest]
    return [{**first, "content": [*content, {"type": "text", "text": text}]}, *rest]


def _assistant_turn(turn: dict[str, Any], message: AIMessage) -> dict[str, Any]:
    # `content: null` beside calls has been a 400, `""` is safe; interleaved thinking wants the
    # reasoning back, unmodified, beside the tool results (docs.z.ai).
    turn = {**turn, "content": _text(turn.get("content"))}
    reasoning = _reasoning(message)
    return {**turn, "reasoning_content": reasoning} if reasoning else turn


def _text(content: object) -> str:
    if isinstance(content, list):
        return "".join(
            block if isinstance(block, str) else block.get("text") or "" for block in content
        )
    return str(content or "")


def _reasoning(message: AIMessage) -> str:
    if kept := message.additional_kwargs.get("reasoning_content"):
        return str(kept)
    if isinstance(message.content, str):
        return ""
    return "".join(
        block.get("reasoning") or ""
        for block in message.content
        if isinstance(block, dict) and block.get("type") == "reasoning"
    )
