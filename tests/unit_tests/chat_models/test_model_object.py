"""A model as an object: copied, pickled, reconfigured, written down and read back.

A copy that says a new key or URL must use it: what counts is what the servers got.
"""

import copy
import json
import logging
import pickle

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumpd, dumps, load, loads
from langchain_core.runnables import ConfigurableField
from langchain_core.tracers import BaseTracer
from pydantic import SecretStr

from langchain_glm import ChatGLM
from langchain_glm.errors import GLMAuthenticationError
from langchain_glm.testing import GLMServer, Reply

OLD_KEY, NEW_KEY = "old-key-0123456789", "new-key-0123456789"


@pytest.fixture
def old():
    with GLMServer(Reply(text="old")) as server:
        yield server


@pytest.fixture
def new():
    with GLMServer(Reply(text="new")) as server:
        yield server


@pytest.fixture
def model(old):
    return ChatGLM(api_key=OLD_KEY, base_url=old.base_url)


async def ask_every_way(model):
    """The texts that came, the same whichever way was taken."""
    texts = {
        model.invoke("hi").text,
        (await model.ainvoke("hi")).text,
        "".join([chunk.text for chunk in model.stream("hi")]),
        "".join([chunk.text async for chunk in model.astream("hi")]),
    }
    (text,) = texts
    return text


def heard(server):
    """The keys and models of all the requests that a server got."""
    sent = {(r.headers["authorization"], r.body["model"]) for r in server.requests}
    return {(key.removeprefix("Bearer "), model) for key, model in sent}


def key_function():
    return OLD_KEY


def pickled(model):
    return pickle.loads(pickle.dumps(model))  # noqa: S301 - bytes of our own


COPIES = [
    pytest.param(copy.copy, id="copy"),
    pytest.param(copy.deepcopy, id="deepcopy"),
    pytest.param(pickled, id="pickle"),
    pytest.param(lambda model: model.model_copy(), id="model_copy"),
    pytest.param(lambda model: model.model_copy(deep=True), id="model_copy deep"),
    pytest.param(lambda model: model.model_copy(update={}), id="model_copy of no update"),
    pytest.param(lambda model: copy.deepcopy(copy.deepcopy(model)), id="twice"),
]


@pytest.mark.parametrize("make", COPIES)
@pytest.mark.parametrize("key", [OLD_KEY, SecretStr(OLD_KEY), key_function])
async def test_a_copy_works_and_is_the_same(make, key, old):
    fields = {"temperature": 0.5, "tool_stream": False, "extra_body": {"a": [1]}}
    fields |= {"timeout": 7.5, "max_retries": 1, "default_headers": {"X-Mine": "1"}}
    model = ChatGLM(api_key=key, base_url=old.base_url, model="glm-4.6", **fields)
    copied = make(model)
    assert type(copied) is ChatGLM
    assert dumpd(copied) == dumpd(model)
    assert copied.model_fields_set == model.model_fields_set
    assert await ask_every_way(copied) == await ask_every_way(model) == "old"
    assert heard(old) == {(OLD_KEY, "glm-4.6")}
    bodies = [request.body for request in old.requests if not request.body["stream"]]
    assert bodies == [bodies[0]] * 4
    assert {request.headers["x-mine"] for request in old.requests} == {"1"}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(copy.deepcopy, id="deepcopy"),
        pytest.param(pickled, id="pickle"),
        pytest.param(lambda model: model.model_copy(deep=True), id="model_copy"),
        pytest.param(
            lambda model: model.model_copy(update={"temperature": 1}, deep=True), id="with update"
        ),
    ],
)
def test_a_deep_copy_shares_no_state(make):
    model = ChatGLM(api_key=OLD_KEY, extra_body={"a": [1]}, tags=["b"])
    copied = make(model)
    copied.extra_body["a"].append(3)
    copied.tags.append("c")
    copied.model_kwargs["tool_stream"] = False
    assert (model.extra_body, model.tags) == ({"a": [1]}, ["b"])
    assert model.model_kwargs == {"tool_stream": True}


def test_deepcopy_keeps_what_is_shared_within(old):
    model = ChatGLM(api_key=OLD_KEY, base_url=old.base_url)
    first, second = copy.deepcopy([model, model])
    assert first is second
    assert first is not model


def test_the_pickle_of_a_model_that_has_been_used(model, old):
    model.invoke("hi")
    list(model.stream("hi"))
    assert pickled(model).invoke("hi").text == "old"


# New values


def changed(model, /, **values):
    return model.model_copy(update=values)


def changed_deep(model, /, **values):
    return model.model_copy(update=values, deep=True)


def configured(model, /, **values):
    fields = {name: ConfigurableField(id=name) for name in values}
    return model.configurable_fields(**fields).with_config(configurable=values)


each_change = pytest.mark.parametrize("change", [changed, changed_deep, configured])


@each_change
async def test_a_new_key_and_a_new_url_are_used(change, model, old, new):
    await ask_every_way(model)  # so that connections to the old one are open
    old.requests.clear()
    values = {"openai_api_key": SecretStr(NEW_KEY), "openai_api_base": new.base_url}
    assert await ask_every_way(change(model, **values)) == "new"
    assert heard(new) == {(NEW_KEY, "glm-4.7")}
    assert old.requests == []


@each_change
@pytest.mark.parametrize(
    ("values", "sent"),
    [
        pytest.param({"openai_api_key": NEW_KEY}, (NEW_KEY, "glm-4.7"), id="the key as str"),
        pytest.param({"openai_api_key": SecretStr(NEW_KEY)}, (NEW_KEY, "glm-4.7"), id="the key"),
        pytest.param({"openai_api_key": lambda: NEW_KEY}, (NEW_KEY, "glm-4.7"), id="a function"),
        pytest.param({"model_name": "glm-5"}, (OLD_KEY, "glm-5"), id="the model"),
        pytest.param(
            {"openai_api_key": SecretStr(NEW_KEY), "model_name": "glm-5"},
            (NEW_KEY, "glm-5"),
            id="both",
        ),
    ],
)
async def test_new_values_are_used(change, values, sent, model, old):
    await ask_every_way(model)
    old.requests.clear()
    copied = change(model, **values)
    assert await ask_every_way(copied) == "old"
    assert heard(old) == {sent}
    old.requests.clear()
    await ask_every_way(model)  # and the original is as it was
    assert heard(old) == {(OLD_KEY, "glm-4.7")}


@each_change
async def test_new_headers_are_used(change, model, old):
    await ask_every_way(change(model, default_headers={"X-Mine": "2"}))
    assert {request.headers["x-mine"] for request in old.requests} == {"2"}


@each_change
async def test_a_changed_model_streams(change, model, old):
    chosen = change(model, temperature=0.5)
    list(chosen.stream("hi"))
    assert [chunk async for chunk in chosen.astream("hi")]
    chosen.invoke("hi")
    assert [request.body["stream"] for request in old.requests] == [True, True, False]


@pytest.mark.parametrize("change", [changed, changed_deep])
async def test_a_copy_by_the_names_of_the_constructor(change, model, old, new):
    values = {"base_url": new.base_url, "api_key": NEW_KEY, "model": "glm-5", "max_tokens": 9}
    copied = change(model, **values)
    assert await ask_every_way(copied) == "new"
    assert heard(new) == {(NEW_KEY, "glm-5")}
    assert {request.body["max_tokens"] for request in new.requests} == {9}
    assert old.requests == []


@pytest.mark.parametrize("change", [changed, changed_deep])
@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        pytest.param({"use_responses_api": True}, ValueError, "Responses API", id="a refusal"),
        pytest.param({"base_url": "v4"}, ValueError, "http", id="a URL that is none"),
        pytest.param({"temperature": "hot"}, ValueError, "temperature", id="another type"),
        pytest.param({"api_key": "a\nb"}, GLMAuthenticationError, "API key", id="an unusable key"),
    ],
)
def test_a_copy_checks_what_is_new(change, values, error, says, model):
    with pytest.raises(error, match=says):
        change(model, **values)


async def test_a_new_endpoint_is_used():
    model = ChatGLM(api_key=OLD_KEY)
    copied = model.model_copy(update={"endpoint": "bigmodel"})
    assert str(model.root_client.base_url) == "https://api.z.ai/api/paas/v4/"
    for client in (copied.root_client, copied.root_async_client):
        assert str(client.base_url) == "https://open.bigmodel.cn/api/paas/v4/"


async def test_copies_of_copies(model, old, new):
    copied = model.model_copy(update={"openai_api_base": new.base_url})
    back = copied.model_copy(update={"openai_api_key": SecretStr(NEW_KEY)})
    for one in (back, copy.deepcopy(back), pickled(back)):
        assert await ask_every_way(one) == "new"
    assert heard(new) == {(NEW_KEY, "glm-4.7")}
    assert old.requests == []


async def test_configurable_fields_left_at_their_defaults(model, old, new):
    runnable = model.configurable_fields(
        openai_api_key=ConfigurableField(id="key"), openai_api_base=ConfigurableField(id="url")
    )
    assert runnable.invoke("hi").text == "old"
    chosen = {"configurable": {"key": NEW_KEY, "url": new.base_url}}
    assert runnable.invoke("hi", chosen).text == "new"
    assert (await runnable.ainvoke("hi", chosen)).text == "new"
    assert (await runnable.ainvoke("hi")).text == "old"
    assert (heard(old), heard(new)) == ({(OLD_KEY, "glm-4.7")}, {(NEW_KEY, "glm-4.7")})


async def test_configurable_alternatives(model, old, new):
    other = ChatGLM(api_key=NEW_KEY, base_url=new.base_url, model="glm-5")
    runnable = model.configurable_alternatives(
        ConfigurableField(id="which"), default_key="first", second=other
    )
    assert await ask_every_way(runnable) == "old"
    second = runnable.with_config(configurable={"which": "second"})
    assert await ask_every_way(second) == "new"
    assert (heard(old), heard(new)) == ({(OLD_KEY, "glm-4.7")}, {(NEW_KEY, "glm-5")})


class Client:
    """Somebody's own, around another."""

    def __init__(self, client):
        self.with_streaming_response = client.with_streaming_response


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda given: given, id="itself"),
        pytest.param(copy.copy, id="copy"),
        pytest.param(copy.deepcopy, id="deepcopy"),
        pytest.param(lambda given: given.model_copy(), id="model_copy"),
        pytest.param(lambda given: given.model_copy(deep=True), id="deep model_copy"),
        pytest.param(lambda given: changed(given, model_name="glm-5"), id="changed"),
        pytest.param(
            lambda given: given.model_copy(update={"temperature": 1}, deep=True), id="deep, changed"
        ),
        pytest.param(
            lambda given: changed(changed(given, api_key=NEW_KEY), temperature=1), id="twice"
        ),
        pytest.param(lambda given: configured(given, model_name="glm-5"), id="configured"),
    ],
)
async def test_clients_that_the_user_passed_stay(change, model, old, new):
    theirs = ChatGLM(api_key=NEW_KEY, base_url=new.base_url)
    clients = {"client": Client(theirs.client), "async_client": Client(theirs.async_client)}
    given = ChatGLM(api_key=OLD_KEY, base_url=old.base_url, **clients)
    assert await ask_every_way(change(given)) == "new"
    assert old.requests == []
    half = ChatGLM(api_key=OLD_KEY, base_url=old.base_url, client=clients["client"])
    assert change(half).invoke("hi").text == "new"
    assert (await change(half).ainvoke("hi")).text == "old"
    assert await ask_every_way(model) == "old"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda given: pickle.loads(pickle.dumps(given)), id="pickle"),  # noqa: S301
        pytest.param(copy.deepcopy, id="deepcopy"),
        pytest.param(lambda given: given.model_copy(), id="model_copy"),
        pytest.param(lambda given: changed(given, temperature=1), id="changed"),
    ],
)
def test_a_copy_stays_with_the_server_of_the_environment_it_was_made_in(
    change, old, new, monkeypatch
):
    monkeypatch.setenv("ZAI_BASE_URL", old.base_url)
    given = ChatGLM(api_key=OLD_KEY)
    monkeypatch.setenv("ZAI_BASE_URL", new.base_url)
    assert change(given).invoke("hi").text == "old"
    assert new.requests == []


# Written down


ALLOWED = {"allowed_objects": [ChatGLM], "valid_namespaces": ["langchain_glm"]}


def test_what_is_written_down():
    model = ChatGLM(api_key=OLD_KEY, model="glm-5", temperature=0.5, tool_stream=False)
    written = json.loads(dumps(model))
    assert (written["type"], written["id"]) == (
        "constructor",
        ["langchain_glm", "chat_models", "ChatGLM"],
    )
    kept = {"model_name": "glm-5", "temperature": 0.5, "tool_stream": False}
    assert written["kwargs"].items() >= kept.items()
    assert written["kwargs"]["openai_api_key"]["type"] == "secret"
    assert ChatGLM.is_lc_serializable()
    assert ChatGLM.get_lc_namespace() == ["langchain_glm", "chat_models"]
    assert model.lc_secrets == {"openai_api_key": "ZAI_API_KEY"}


class Subclass(ChatGLM):
    """Somebody's own."""


def test_a_subclass_is_written_down_under_its_own_name():
    assert Subclass.get_lc_namespace() == __name__.split(".")
    written = json.loads(dumps(Subclass(api_key=OLD_KEY)))
    assert written["id"] == [*__name__.split("."), "Subclass"]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: ChatGLM(api_key=OLD_KEY), id="model"),
        pytest.param(lambda: ChatGLM(api_key=OLD_KEY).bind(temperature=0.5), id="binding"),
        pytest.param(lambda: ChatGLM(api_key=OLD_KEY) | str, id="chain"),
        pytest.param(lambda: Subclass(api_key=OLD_KEY), id="subclass"),
    ],
)
def test_the_secret_is_written_down_under_glms_name(make):
    written = dumps(make())
    assert "OPENAI_API_KEY" not in written
    assert '{"lc": 1, "type": "secret", "id": ["ZAI_API_KEY"]}' in written


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(repr, id="repr"),
        pytest.param(dumps, id="dumps"),
        pytest.param(lambda model: dumps(model.bind(temperature=0.5)), id="dumps of a binding"),
        pytest.param(lambda model: dumps(changed(model, temperature=0.5)), id="dumps of a copy"),
        pytest.param(lambda model: json.dumps(model._serialized), id="for tracing"),
        pytest.param(
            lambda model: model.model_dump_json(exclude={"client", "async_client"}), id="pydantic"
        ),
    ],
)
def test_the_key_is_never_written_down(write):
    assert OLD_KEY not in write(ChatGLM(api_key=OLD_KEY))
    assert OLD_KEY not in write(ChatGLM(api_key=SecretStr(OLD_KEY)))


async def test_read_back(model, old, monkeypatch):
    monkeypatch.setenv("ZAI_API_KEY", NEW_KEY)
    model = model.model_copy(update={"temperature": 0.5})
    again = loads(dumps(model), **ALLOWED)
    assert type(again) is ChatGLM
    assert again.temperature == 0.5
    assert await ask_every_way(again) == "old"
    assert heard(old) == {(NEW_KEY, "glm-4.7")}
    assert dumpd(again) == dumpd(model)


@pytest.mark.parametrize(
    "secrets",
    [
        pytest.param({}, id="the environment, by the model"),
        pytest.param({"secrets_from_env": True}, id="the environment, by LangChain"),
        pytest.param({"secrets_map": {"ZAI_API_KEY": NEW_KEY}}, id="a map"),
    ],
)
@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda model, **how: load(dumpd(model), **how), id="load"),
        pytest.param(lambda model, **how: loads(dumps(model), **how), id="loads"),
    ],
)
def test_the_key_that_is_read_back(read, secrets, model, old, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "foreign-key")
    if "secrets_map" not in secrets:
        monkeypatch.setenv("ZAI_API_KEY", NEW_KEY)
    again = read(model, **ALLOWED, **secrets)
    again.invoke("hi")
    assert heard(old) == {(NEW_KEY, "glm-4.7")}


# Tracing


class Watcher(BaseCallbackHandler):
    """Keeps what LangChain says about the model when a run starts."""

    def __init__(self):
        self.starts = []

    def on_chat_model_start(self, serialized, messages, **kwargs):
        self.starts.append((serialized, kwargs))


class Tracer(BaseTracer):
    """Keeps the runs that end."""

    def __init__(self):
        super().__init__()
        self.runs = []

    def _persist_run(self, run):
        self.runs.append(run)


def test_the_provider_by_name():
    params = ChatGLM(api_key=OLD_KEY, model="glm-5", max_tokens=9)._get_ls_params(stop=["END"])
    assert params["ls_provider"] == "zai"
    assert (params["ls_model_name"], params["ls_model_type"]) == ("glm-5", "chat")
    assert (params["ls_max_tokens"], params["ls_stop"]) == (9, ["END"])


async def test_the_provider_in_callbacks_and_traces(model):
    watcher, tracer = Watcher(), Tracer()
    config = {"callbacks": [watcher, tracer]}
    model.invoke("hi", config)
    await model.ainvoke("hi", config)
    list(model.stream("hi", config))
    _ = model.stream_events("hi", config, version="v3").output
    assert len(watcher.starts) == len(tracer.runs) == 4
    for serialized, told in watcher.starts:
        assert told["metadata"]["ls_provider"] == "zai"
        assert serialized["id"][-1] == "ChatGLM"
        assert OLD_KEY not in repr((serialized, told))
    for run in tracer.runs:
        assert run.extra["metadata"]["ls_provider"] == "zai"
        assert OLD_KEY not in run.model_dump_json()
        (generation,) = run.outputs["generations"][0]
        assert generation["message"]["kwargs"]["response_metadata"]["model_provider"] == "zai"


def test_a_copy_is_traced_as_what_it_is(model):
    watcher = Watcher()
    model.invoke("hi", {"callbacks": [watcher]})
    copied = model.model_copy(update={"model_name": "glm-5"})
    copied.invoke("hi", {"callbacks": [watcher]})
    names = [serialized["kwargs"]["model_name"] for serialized, _ in watcher.starts]
    assert names == ["glm-4.7", "glm-5"]


def test_no_log_at_all_of_making_and_copying(caplog):
    caplog.set_level(logging.DEBUG)
    pickled(ChatGLM(api_key=OLD_KEY))
    assert caplog.records == []
