"""A warning is said once, and names the user's line."""

from __future__ import annotations

import warnings

import pytest

from langchain_glm import ChatGLM, _notices
from langchain_glm.testing import GLMServer, Reply


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    monkeypatch.setattr(_notices, "_said", set())


async def invoke(model):
    model.invoke("hi")


async def ainvoke(model):
    await model.ainvoke("hi")


async def stream(model):
    list(model.stream("hi"))


async def astream(model):
    assert [chunk async for chunk in model.astream("hi")]


async def v3(model):
    list(model.stream_events("hi", version="v3"))


@pytest.mark.parametrize("ask", [invoke, ainvoke, stream, astream, v3])
async def test_the_warning_names_the_users_line(ask):
    with (
        GLMServer(Reply(text="hello")) as server,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always", UserWarning)
        model = ChatGLM(
            model="glm-5.3", thinking=False, base_url=server.base_url, api_key="test-key"
        )
        await ask(model)
        await ask(model)
    said = [warning for warning in caught if "always thinks" in str(warning.message)]
    assert [warning.filename for warning in said] == [__file__]


def test_a_subject_is_warned_of_once(recwarn):
    _notices.warn_once("n", "first")
    _notices.warn_once("n", "second")
    assert [(str(said.message), said.filename) for said in recwarn] == [("first", __file__)]


def test_where_warnings_are_errors_each_is_one():
    for text in ("first", "second"):
        with pytest.raises(UserWarning, match=text):
            _notices.warn_once("n", text)
