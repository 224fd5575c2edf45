"""Structured output: the schema in the request, the answer parsed and validated here."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import PydanticOutputParser
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel


def answering_in(
    schema: type[BaseModel],
    model: BaseChatModel,
    *,
    include_raw: bool,
    strict: bool | None,
    tools: list[Any] | None,
    **kwargs: Any,
) -> Runnable[Any, Any]:
    """Bind a schema as the response format, and parse the text that comes back.

    Args:
        schema: The pydantic class of the answer.
        model: The model, not bound yet.
        include_raw: Whether to give `{"raw", "parsed", "parsing_error"}` and raise nothing.
        strict: As in `ChatOpenAI`.
        tools: Tools to bind beside the schema.
        **kwargs: Bound to the model.

    Returns:
        A runnable. Without `include_raw` it raises `OutputParserException`, with the text as
        `llm_output`, where the answer is not valid. Code fences are taken off before.
    """
    bound: dict[str, Any] = {
        "response_format": schema,
        "ls_structured_output_format": {
            "kwargs": {"method": "json_schema", "strict": strict},
            "schema": convert_to_openai_tool(schema),
        },
        **kwargs,
    }
    if tools:
        bound["tools"] = [convert_to_openai_tool(tool, strict=strict) for tool in tools]
    llm = model.bind(**bound)
    parser: PydanticOutputParser[Any] = PydanticOutputParser(pydantic_object=schema)
    return _with_raw(llm, parser) if include_raw else llm | parser


def _with_raw(llm: Runnable[Any, Any], parser: Runnable[Any, Any]) -> Runnable[Any, Any]:
    parsed = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=llm) | parsed.with_fallbacks([failed], exception_key="parsing_error")
