"""GLM's own tools, as the objects that stand in a request."""

import pytest

from langchain_glm import tools
from langchain_glm.tools import mcp, retrieval, web_search

DEFAULTS = {"enable": True, "search_engine": "search_pro_jina", "search_result": True}


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        pytest.param(
            web_search(), {"type": "web_search", "web_search": DEFAULTS}, id="a search as it is"
        ),
        pytest.param(
            web_search(search_engine="search_std", search_result=False, count=5),
            {
                "type": "web_search",
                "web_search": {
                    **DEFAULTS,
                    "search_engine": "search_std",
                    "search_result": False,
                    "count": 5,
                },
            },
            id="what is said goes before what is not",
        ),
        pytest.param(
            web_search(
                enable=False,
                search_query="GLM",
                search_domain_filter="docs.z.ai",
                search_recency_filter="oneWeek",
                content_size="high",
                result_sequence="before",
                require_search=True,
                search_prompt="Be brief.",
            ),
            {
                "type": "web_search",
                "web_search": {
                    **DEFAULTS,
                    "enable": False,
                    "search_query": "GLM",
                    "search_domain_filter": "docs.z.ai",
                    "search_recency_filter": "oneWeek",
                    "content_size": "high",
                    "result_sequence": "before",
                    "require_search": True,
                    "search_prompt": "Be brief.",
                },
            },
            id="every field of a search",
        ),
        pytest.param(
            retrieval("kb-1"),
            {"type": "retrieval", "retrieval": {"knowledge_id": "kb-1"}},
            id="a retrieval",
        ),
        pytest.param(
            retrieval("kb-1", prompt_template="{{ knowledge }} {{ question }}"),
            {
                "type": "retrieval",
                "retrieval": {
                    "knowledge_id": "kb-1",
                    "prompt_template": "{{ knowledge }} {{ question }}",
                },
            },
            id="a retrieval with its prompt",
        ),
        pytest.param(
            mcp("mcp code"),
            {"type": "mcp", "mcp": {"server_label": "mcp code"}},
            id="an MCP server of Zhipu's",
        ),
        pytest.param(
            mcp(
                "files",
                server_url="https://files.example/mcp",
                transport_type="sse",
                allowed_tools=("read", "list"),
                headers={"Authorization": "Bearer x"},
            ),
            {
                "type": "mcp",
                "mcp": {
                    "server_label": "files",
                    "server_url": "https://files.example/mcp",
                    "transport_type": "sse",
                    "allowed_tools": ["read", "list"],
                    "headers": {"Authorization": "Bearer x"},
                },
            },
            id="every field of an MCP server",
        ),
        pytest.param(
            mcp("files", allowed_tools=[], headers={}),
            {"type": "mcp", "mcp": {"server_label": "files", "allowed_tools": [], "headers": {}}},
            id="what is empty was said",
        ),
    ],
)
def test_the_object_of_a_tool(built, expected):
    assert built == expected


@pytest.mark.parametrize("build", [web_search, lambda **options: retrieval("kb-1", **options)])
def test_a_name_that_is_none_of_glms(build):
    with pytest.raises(TypeError, match="unexpected keyword argument 'recency'"):
        build(recency="oneDay")


def test_two_objects_share_nothing():
    first = web_search()
    first["web_search"]["enable"] = False
    assert web_search()["web_search"]["enable"] is True


def test_the_public_names():
    assert tools.__all__ == ["Retrieval", "WebSearch", "mcp", "retrieval", "web_search"]
    assert all(getattr(tools, name).__doc__ for name in tools.__all__)
