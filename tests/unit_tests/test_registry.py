"""`zai:glm-4.7` as a model's name, in the real `langchain` and the real `deepagents`."""

import subprocess
import sys

import pytest
from langchain.agents import create_agent
from langchain.chat_models import base, init_chat_model

from langchain_glm import ChatGLM
from langchain_glm._registry import _register_if_unknown, register
from langchain_glm.testing import Call, GLMServer, Reply

HELLO = Reply(text="Hello")


@pytest.fixture(autouse=True)
def providers(monkeypatch):
    """LangChain's providers as they are without us; what a test changes goes away with it."""
    without = {name: entry for name, entry in base._BUILTIN_PROVIDERS.items() if name != "zai"}
    monkeypatch.setattr(base, "_BUILTIN_PROVIDERS", without)
    base._get_chat_model_creator.cache_clear()
    yield without
    base._get_chat_model_creator.cache_clear()


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def test_it_is_opt_in(providers):
    assert "zai" not in providers
    with pytest.raises(ValueError, match="Unable to infer model provider"):
        init_chat_model("zai:glm-4.7", api_key="test-key")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param({"model": "zai:glm-4.7"}, id="prefix"),
        pytest.param({"model": "glm-4.7", "model_provider": "zai"}, id="provider"),
    ],
)
def test_init_chat_model(name):
    register()
    with GLMServer([HELLO]) as server:
        model = init_chat_model(
            **name, api_key="test-key", base_url=server.base_url, tool_stream=False
        )
        assert model.invoke("hi").text == "Hello"
    assert type(model) is ChatGLM
    assert (model.model_name, model.tool_stream) == ("glm-4.7", False)
    assert server.requests[0].body["model"] == "glm-4.7"
    assert server.requests[0].headers["authorization"] == "Bearer test-key"


def test_a_model_that_is_chosen_at_run_time():
    register()
    with GLMServer([HELLO]) as server:
        model = init_chat_model(api_key="test-key", base_url=server.base_url)
        answer = model.invoke("hi", config={"configurable": {"model": "zai:glm-4.5-air"}})
    assert answer.text == "Hello"
    assert server.requests[0].body["model"] == "glm-4.5-air"


def test_create_agent(monkeypatch):
    register()
    script = [Reply(tool_calls=[Call("add", {"a": 2, "b": 3})]), Reply(text="5")]
    with GLMServer(script) as server:
        monkeypatch.setenv("ZAI_API_KEY", "test-key")
        monkeypatch.setenv("ZAI_BASE_URL", server.base_url)
        result = create_agent("zai:glm-4.7", tools=[add]).invoke({"messages": "2 + 3?"})
    assert [message.text for message in result["messages"]] == ["2 + 3?", "", "5", "5"]
    assert [request.body["model"] for request in server.requests] == ["glm-4.7"] * 2


def test_again_does_no_harm(providers):
    register()
    before = dict(providers)
    entry = providers["zai"]
    register()
    assert providers == before
    assert providers["zai"] is entry


def test_the_other_providers_are_untouched(providers):
    before = dict(providers)
    register()
    assert {name: entry for name, entry in providers.items() if name != "zai"} == before


def test_another_zai_is_replaced_even_after_use(providers):
    providers["zai"] = ("langchain_openai", "ChatOpenAI", lambda cls, **fields: cls(**fields))
    assert type(init_chat_model("zai:glm-4.7", api_key="test-key")) is not ChatGLM
    register()
    assert type(init_chat_model("zai:glm-4.7", api_key="test-key")) is ChatGLM


def test_the_entry_point_leaves_another_zai_alone(providers):
    _register_if_unknown("zai:glm-4.7")
    assert providers.pop("zai")[1] == "ChatGLM"
    providers["zai"] = another = ("langchain_zai", "ChatZAI", print)
    _register_if_unknown("zai:glm-4.7")
    assert providers["zai"] is another


@pytest.mark.parametrize(
    "elsewhere",
    [
        pytest.param(None, id="gone"),
        pytest.param(["openai"], id="no-dict"),
        pytest.param({"openai": ("langchain_openai", "ChatOpenAI")}, id="other-entries"),
    ],
)
def test_a_langchain_that_keeps_its_providers_elsewhere_is_named(monkeypatch, elsewhere):
    if elsewhere is None:
        monkeypatch.delattr(base, "_BUILTIN_PROVIDERS")
    else:
        monkeypatch.setattr(base, "_BUILTIN_PROVIDERS", elsewhere)
    monkeypatch.setattr("langchain_glm._registry.version", lambda name: f"9.9 of {name}")
    with pytest.raises(RuntimeError, match=r"langchain 9\.9 of langchain does not keep"):
        register()


def test_without_langchain_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "langchain.chat_models.base", None)
    with pytest.raises(ImportError, match=r"pip install \"langchain-glm-zai\[langchain\]\""):
        register()


# deepagents needs Python 3.11.
if sys.version_info >= (3, 11):
    DEEP_AGENT = """
from deepagents import create_deep_agent
print(create_deep_agent(model="zai:glm-4.7").invoke({"messages": "hi"})["messages"][-1].text)
"""

    def test_create_deep_agent_needs_no_import(monkeypatch):
        monkeypatch.setenv("ZAI_API_KEY", "test-key")
        with GLMServer([Reply(text="Hello from the deep")]) as server:
            monkeypatch.setenv("ZAI_BASE_URL", server.base_url)
            run = subprocess.run(  # noqa: S603
                [sys.executable, "-c", DEEP_AGENT], capture_output=True, text=True, check=False
            )
        assert run.stdout == "Hello from the deep\n", run.stderr
        assert server.requests[0].body["model"] == "glm-4.7"
        assert server.requests[0].body["tools"]
