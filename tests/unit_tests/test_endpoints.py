"""Base URLs, keys and hosts."""

import pytest
from pydantic import SecretStr

from langchain_glm._endpoints import (
    API_KEY_VARIABLES,
    BASE_URL_VARIABLE,
    ENDPOINTS,
    api_key_from_environment,
    endpoint_here,
    is_own_host,
    resolve_base_url,
    usable_key,
)
from langchain_glm.errors import GLMAuthenticationError

ELSEWHERE = "http://127.0.0.1:8000/v1"


def test_the_documented_endpoints():
    assert ENDPOINTS == {
        "zai": "https://api.z.ai/api/paas/v4",
        "zai-coding": "https://api.z.ai/api/coding/paas/v4",
        "bigmodel": "https://open.bigmodel.cn/api/paas/v4",
        "bigmodel-coding": "https://open.bigmodel.cn/api/coding/paas/v4",
    }


def test_the_variables_of_the_official_sdk():
    assert API_KEY_VARIABLES == ("ZAI_API_KEY", "ZHIPUAI_API_KEY")
    assert BASE_URL_VARIABLE == "ZAI_BASE_URL"


@pytest.mark.parametrize("name", ENDPOINTS)
def test_an_endpoint_by_name(name):
    assert resolve_base_url(None, name) == ENDPOINTS[name]


@pytest.mark.parametrize(
    ("base_url", "endpoint", "environment", "expected"),
    [
        pytest.param(None, "zai", "https://env/v4", "https://env/v4", id="environment"),
        pytest.param(None, "zai", "", ENDPOINTS["zai"], id="environment_empty"),
        pytest.param(
            None, "zai-coding", "https://env/v4", ENDPOINTS["zai-coding"], id="named_endpoint_wins"
        ),
        pytest.param(None, ELSEWHERE, "https://env/v4", ELSEWHERE, id="endpoint_url_wins"),
        pytest.param(ELSEWHERE, "zai", "https://env/v4", ELSEWHERE, id="base_url_wins"),
        pytest.param(ELSEWHERE, "bigmodel", "", ELSEWHERE, id="base_url_over_endpoint"),
        pytest.param(ELSEWHERE, "no such endpoint", "", ELSEWHERE, id="base_url_alone_is_read"),
        pytest.param("", "bigmodel", "", ENDPOINTS["bigmodel"], id="base_url_empty"),
        pytest.param(None, ELSEWHERE, "", ELSEWHERE, id="endpoint_may_be_a_url"),
    ],
)
def test_which_base_url(base_url, endpoint, environment, expected, monkeypatch):
    monkeypatch.setenv("ZAI_BASE_URL", environment)
    assert resolve_base_url(base_url, endpoint_here(endpoint)) == expected


def test_the_environment_is_asked_once(monkeypatch):
    monkeypatch.setenv("ZAI_BASE_URL", "https://env/v4")
    assert resolve_base_url(None, "zai") == ENDPOINTS["zai"]


@pytest.mark.parametrize(
    "url", ["api.z.ai/v4", "ftp://api.z.ai", "https://", "https:api.z.ai", "v4"]
)
def test_a_base_url_that_is_none(url):
    with pytest.raises(ValueError, match="does not begin with http") as caught:
        resolve_base_url(url, "zai")
    assert repr(url) in str(caught.value)


@pytest.mark.parametrize("endpoint", ["z.ai", "ZAI", "", "api.z.ai/api/paas/v4"])
def test_an_unknown_endpoint_is_told_the_known_ones(endpoint):
    with pytest.raises(ValueError, match="Unknown endpoint") as caught:
        resolve_base_url(None, endpoint)
    assert repr(endpoint) in str(caught.value)
    assert all(name in str(caught.value) for name in (*ENDPOINTS, "base_url"))


@pytest.mark.parametrize(
    ("environment", "key"),
    [
        pytest.param({"ZAI_API_KEY": "new"}, "new", id="new_name"),
        pytest.param({"ZHIPUAI_API_KEY": "old"}, "old", id="old_name"),
        pytest.param({"ZAI_API_KEY": "new", "ZHIPUAI_API_KEY": "old"}, "new", id="new_name_first"),
        pytest.param({"ZAI_API_KEY": "", "ZHIPUAI_API_KEY": "old"}, "old", id="new_name_empty"),
        pytest.param({"ZAI_API_KEY": "no-dot", "OPENAI_API_KEY": "x"}, "no-dot", id="no_dot"),
    ],
)
def test_the_key_from_the_environment(environment, key, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = api_key_from_environment()
    assert found == SecretStr(key)
    assert key not in repr(found)


@pytest.mark.parametrize(
    "environment", [{}, {"ZAI_API_KEY": ""}, {"OPENAI_API_KEY": "x", "ZAI_KEY": "x"}]
)
def test_no_key_in_the_environment(environment, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(GLMAuthenticationError, match="set ZAI_API_KEY") as caught:
        api_key_from_environment()
    assert "api_key=" in str(caught.value)
    assert "OPENAI" not in str(caught.value)
    assert not caught.value.is_retryable


@pytest.mark.parametrize(
    ("key", "usable"),
    [
        pytest.param("id.secret", "id.secret", id="dotted"),
        pytest.param("secret", "secret", id="no_dot"),
        pytest.param("  secret\n", "secret", id="white_space_around"),
    ],
)
def test_a_usable_key(key, usable):
    assert usable_key(key) == usable


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        pytest.param("", "is empty", id="empty"),
        pytest.param(" \n", "is empty", id="white_space"),
        pytest.param("sec\nret", "no HTTP header", id="line_end"),
        pytest.param("sec ret", "no HTTP header", id="blank"),
        pytest.param("sec\x00ret", "no HTTP header", id="nul"),
        pytest.param("secret密", "no HTTP header", id="beyond_ascii"),
    ],
)
def test_a_key_that_no_header_can_carry_is_not_shown(key, problem):
    with pytest.raises(GLMAuthenticationError, match=problem) as caught:
        usable_key(key)
    assert "ZAI_API_KEY" in str(caught.value)
    assert "sec" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "own"),
    [
        *((url, True) for url in ENDPOINTS.values()),
        ("https://API.Z.AI/anything", True),
        ("https://api.z.ai:443/api/paas/v4/", True),
        ("http://user:password@open.bigmodel.cn/x", True),
        (ELSEWHERE, False),
        ("https://openrouter.ai/api/v1", False),
        ("https://api.z.ai.example.com/api/paas/v4", False),
        ("https://example.com/api.z.ai", False),
        ("https://example.com/?u=https://api.z.ai", False),
        ("https://api.z.ai@example.com/", False),
        ("https://z.ai/", False),
        ("api.z.ai", False),
        ("", False),
    ],
)
def test_whose_host(url, own):
    assert is_own_host(url) is own
