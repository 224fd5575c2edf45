"""LangChain's standard unit tests for chat models; nothing is switched off."""

import importlib

import pytest
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_glm import ChatGLM

KEY, URL = "key-from-env", "http://127.0.0.1:9/api/paas/v4"


@pytest.fixture(autouse=True)
def _known_to_langchain(monkeypatch):
    # The suite loads with allowed_objects="all", which means the classes of a list in core: those
    # of LangChain's own packages. A user of ours says allowed_objects=[ChatGLM].
    load = importlib.import_module("langchain_core.load.load")
    listed = load._get_default_allowed_class_paths("all")
    ours = (*ChatGLM.get_lc_namespace(), "ChatGLM")
    monkeypatch.setitem(load._default_class_paths_cache, "all", {*listed, ours})


class TestChatGLM(ChatModelUnitTests):
    @property
    def chat_model_class(self):
        return ChatGLM

    @property
    def chat_model_params(self):
        # Some tests make models of these alone, where no environment has a key.
        return {"model": "glm-4.7", "api_key": "test-key"}

    @property
    def init_from_env_params(self):
        environment = {"ZAI_API_KEY": KEY, "ZAI_BASE_URL": URL}
        return environment, {"model": "glm-4.7"}, {"openai_api_key": KEY}

    @property
    def has_tool_choice(self):
        return False  # docs.z.ai: "only auto is supported"; see the integration tests

    @property
    def supports_json_mode(self):
        return True

    def test_init_from_env_finds_the_base_url(self, monkeypatch):
        # The suite compares fields, and what the environment says of the URL is in the clients.
        environment, params, _ = self.init_from_env_params
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        model = ChatGLM(**params)
        for client in (model.root_client, model.root_async_client):
            assert str(client.base_url).rstrip("/") == URL
