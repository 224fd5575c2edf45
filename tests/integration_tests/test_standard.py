"""LangChain's standard integration tests for chat models, over HTTP.

Against the live API where ZAI_API_KEY is set, else against `GLMServer`, which plays GLM for each
test as `scripted.py` has it. What is not tested says why: what GLM does not have.
"""

import base64
import operator
from functools import reduce
from types import SimpleNamespace

import pytest
from langchain_tests.conftest import base_vcr_config
from langchain_tests.integration_tests import ChatModelIntegrationTests, chat_models
from vcr import VCR

from langchain_glm import ChatGLM
from langchain_glm._profiles import profile_for

pytestmark = [
    pytest.mark.usefixtures("glm"),
    # The suite tests classes of pydantic 1 too; for them ChatOpenAI has only function calling.
    pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema:UserWarning"),
    # Some tests force a tool without asking `has_tool_choice`.
    pytest.mark.filterwarnings("ignore:GLM takes only tool_choice:UserWarning"),
]

# One transparent pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def pytest_generate_tests(metafunc):
    if metafunc.function.__name__.startswith("test_structured_output"):
        metafunc.parametrize("method", metafunc.cls.methods, indirect=True)


class TestChatGLM(ChatModelIntegrationTests):
    model_id, other_model_id = "glm-4.7", "glm-4.7-flash"
    methods = ("json_schema", "function_calling")  # "json_mode" has a test of its own

    @property
    def chat_model_class(self):
        return ChatGLM

    @property
    def chat_model_params(self):
        # What holds on Z.ai's own hosts, which the server on loopback stands for; by itself it
        # would pass for a vLLM, which enforces schemas.
        return {"model": self.model_id, "profile": profile_for(self.model_id)}

    @property
    def model_override_value(self):
        return self.other_model_id

    @property
    def has_tool_choice(self):
        # docs.z.ai: "only auto is supported", and models differ in what they do with others:
        # glm-4.7-flash obeys, glm-4.6 and glm-5.2 hang, glm-5.3 answers 400. So it is "auto".
        return False

    @property
    def supports_json_mode(self):
        return True

    @property
    def supports_anthropic_inputs(self):
        return True

    # supports_image_inputs: text models only take text (docs.z.ai, "Text Model"). Below, one sees.
    # supports_pdf_inputs: vision models take a file by its URL only (`file_url`); the suite has
    #   it as base64.
    # supports_audio_inputs: no model here hears; `input_audio` is for glm-4-voice.
    # supports_image_tool_message, supports_pdf_tool_message: the content of a tool's message is
    #   text, for all models.

    @property
    def supported_usage_metadata_details(self):
        # No audio, and caching is automatic: what goes into the cache is not counted.
        details = ["reasoning_output", "cache_read_input"]
        return {"invoke": details, "stream": details}

    def invoke_with_reasoning_output(self, *, stream=False):
        puzzle = "A bat and a ball cost 1.10, the bat 1.00 more than the ball. What is each?"
        return self._ask(puzzle, stream=stream, extra_body={"thinking": {"type": "enabled"}})

    def invoke_with_cache_read_input(self, *, stream=False):
        question = "How many seasons has a year?\n" + "It is a simple question. " * 200
        self._ask(question, stream=stream)
        return self._ask(question, stream=stream)

    def _ask(self, text, *, stream, **kwargs):
        model = ChatGLM(**self.chat_model_params)
        if stream:
            return reduce(operator.add, model.stream(text, **kwargs))
        return model.invoke(text, **kwargs)

    @pytest.fixture(autouse=True)
    def method(self, request):
        self._method = getattr(request, "param", None)

    @property
    def structured_output_kwargs(self):
        return {"method": self._method}

    @property
    def enable_vcr_tests(self):
        return True

    @pytest.fixture
    def vcr_config(self, glm, model, default_cassette_name, tmp_path):
        # Asked for only by tests that are marked `vcr`. The cassette is recorded here and now, so
        # it cannot age, and lives as long as the test.
        config = {
            **base_vcr_config(),
            "match_on": ["method", "path", "body"],
            "cassette_library_dir": str(tmp_path),
        }
        with VCR().use_cassette(default_cassette_name, **config):
            for _ in model.stream("Write a story about a cat."):
                pass
        return {**config, "record_mode": "none"}


class TestChatGLMVision(TestChatGLM):
    model_id, other_model_id = "glm-4.6v", "glm-4.6v-flash"
    methods = ("json_schema",)  # a named tool hangs with glm-4.6

    @property
    def supports_image_inputs(self):
        return True

    @property
    def supports_image_urls(self):
        return True

    @pytest.fixture(autouse=True)
    def _images(self, glm, monkeypatch):
        # The suite downloads its image, from GitHub.
        if glm:
            download = SimpleNamespace(get=lambda *_, **__: SimpleNamespace(content=PNG))
            monkeypatch.setattr(chat_models, "httpx", download)
