"""GLM's own tools: what the server runs itself, beside the functions that you bind.

Each function here builds the object that stands in `tools`, under the names of GLM's
documentation; any dict of that shape does as well. What a web search found is in
`response_metadata["web_search"]`, and as citations on the text block of `content_blocks`.

Example:
    ```python
    from langchain_glm import ChatGLM
    from langchain_glm.tools import web_search

    model = ChatGLM(model="glm-4.7").bind_tools([web_search(count=5), write_file])
    ```

Sources: the OpenAPI description of https://docs.z.ai/api-reference/llm/chat-completion
(`web_search`, `retrieval`), https://docs.z.ai/guides/capabilities/mcp-call (`mcp`), and the
official Java SDK (`WebSearch`, `Retrieval`, `MCPTool`), which has the same names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from typing_extensions import Unpack

__all__ = ["Retrieval", "WebSearch", "mcp", "retrieval", "web_search"]


class WebSearch(TypedDict, total=False):
    """What a web search may be told."""

    enable: bool
    """Whether to search; the server's own default is not to."""

    search_engine: str
    """Z.ai documents `search_pro_jina`; third parties report `search_std`, `search_pro`,
    `search_pro_sogou` and `search_pro_quark` on BigModel."""

    search_query: str
    """What to search for, whatever was asked."""

    count: int
    """How many results, 1 to 50; 10 by default."""

    search_domain_filter: str
    """The only domain to search, such as `www.example.com`."""

    search_recency_filter: Literal["oneDay", "oneWeek", "oneMonth", "oneYear", "noLimit"]
    """How old a page may be; `noLimit` by default."""

    content_size: Literal["medium", "high"]
    """How much of a page is read: 400 to 600 characters by default, or 2500."""

    result_sequence: Literal["before", "after"]
    """Whether the results come before the answer or, by default, after it."""

    search_result: bool
    """Whether the answer carries the results; the server's own default is that it does not."""

    require_search: bool
    """Whether the answer has to rest on the results; no by default."""

    search_prompt: str
    """How the model is told to work with the results, in place of GLM's own words."""


class Retrieval(TypedDict, total=False):
    """What a retrieval may be told beside the knowledge base."""

    prompt_template: str
    """The prompt, with `{{ knowledge }}` and `{{ question }}` in it."""


def web_search(**options: Unpack[WebSearch]) -> dict[str, Any]:
    """Let the server search the web.

    Args:
        **options: The fields of `WebSearch`. Unless they say otherwise, the search is on, its
            results come with the answer, and the engine is Z.ai's `search_pro_jina`.

    Raises:
        TypeError: An option is none of those fields; the server would pass over it in silence.
    """
    on: WebSearch = {"enable": True, "search_engine": "search_pro_jina", "search_result": True}
    return _tool("web_search", {**on, **options}, WebSearch.__annotations__)


def retrieval(knowledge_id: str, **options: Unpack[Retrieval]) -> dict[str, Any]:
    """Let the server look things up in a knowledge base.

    Args:
        knowledge_id: The id that the platform gave the knowledge base.
        **options: The fields of `Retrieval`.

    Raises:
        TypeError: An option is none of those fields.
    """
    known = {"knowledge_id", *Retrieval.__annotations__}
    return _tool("retrieval", {"knowledge_id": knowledge_id, **options}, known)


def mcp(
    server_label: str,
    *,
    server_url: str | None = None,
    transport_type: Literal["streamable-http", "sse"] | None = None,
    allowed_tools: Sequence[str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Let the server use the tools of an MCP server.

    Args:
        server_label: What to call it; without a `server_url`, the MCP code of one of Zhipu's own.
        server_url: Where it is.
        transport_type: How it is spoken to; `streamable-http` by default.
        allowed_tools: The only tools to use; all by default.
        headers: HTTP headers to send to it, such as its key. They travel to GLM, and into traces.
    """
    fields = {
        "server_label": server_label,
        "server_url": server_url,
        "transport_type": transport_type,
        "allowed_tools": None if allowed_tools is None else list(allowed_tools),
        "headers": None if headers is None else dict(headers),
    }
    given = {name: value for name, value in fields.items() if value is not None}
    return _tool("mcp", given, fields)


def _tool(
    kind: str, fields: Mapping[str, Any], known: Mapping[str, Any] | set[str]
) -> dict[str, Any]:
    if unknown := sorted(fields.keys() - set(known)):
        msg = f"{kind}() got an unexpected keyword argument {unknown[0]!r}"
        raise TypeError(msg)
    return {"type": kind, kind: dict(fields)}
