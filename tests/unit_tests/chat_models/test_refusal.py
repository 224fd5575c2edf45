import pytest
from langchain_core import exceptions
from langchain_core.exceptions import OutputParserException
from pydantic import BaseModel

from langchain_glm import ChatGLM
from langchain_glm.testing import GLMServer, Reply


class City(BaseModel):
    name: str


@pytest.mark.parametrize("reason", ["sensitive", "content_filter"])
@pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
def test_an_answer_that_the_policy_cut_is_a_refusal(reason, method):
    refusal = getattr(exceptions, "ModelRefusalError", OutputParserException)
    with GLMServer(Reply(text='{"na', finish_reason=reason)) as server:
        model = ChatGLM(base_url=server.base_url, api_key="test-key")
        typed = model.with_structured_output(City, method=method)
        for run in (typed.invoke, lambda x: list(typed.stream(x))):
            with pytest.raises(refusal) as caught:
                run("x")
            assert isinstance(caught.value, OutputParserException)
            assert caught.value.llm_output == '{"na'
        raw = model.with_structured_output(City, method=method, include_raw=True).invoke("x")
        assert isinstance(raw["parsing_error"], refusal)
        assert model.invoke("x").response_metadata["finish_reason"] == reason


def test_a_length_is_none():
    refusal = getattr(exceptions, "ModelRefusalError", TypeError)
    with GLMServer(Reply(text='{"na', finish_reason="length")) as server:
        model = ChatGLM(base_url=server.base_url, api_key="test-key")
        with pytest.raises(OutputParserException) as caught:
            model.with_structured_output(City).invoke("x")
        assert not isinstance(caught.value, refusal)
