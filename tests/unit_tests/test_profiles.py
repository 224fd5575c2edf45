"""Model data: the table, the ways to write an id, the script that makes the file, the command."""

import importlib.util
import io
import json
import sys
import typing
from pathlib import Path

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import AIMessage, HumanMessage
from rich.console import Console

from langchain_glm import ChatGLM
from langchain_glm._profiles import cost_of, known_models, profile_for, thinking_of
from langchain_glm.cli._models import models, to_json, to_plain, to_table
from langchain_glm.data import _profiles as data
from langchain_glm.testing import GLMServer, Reply

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest needs it there too

ROOT = Path(__file__).parents[2]
DATA = Path(data.__file__).parent
SCRIPT = ROOT / "scripts" / "make_profiles.py"

K = 1024
TEXT, SEES, READS = "text", "text image video", "text image video pdf"
FREE = (0, 0, 0)
UNKNOWN = (None, None, None)

# docs.z.ai's figures: context, longest answer, inputs, thinking, effort, prices.
TABLE = {
    "glm-5.3": (1024 * K, 128 * K, TEXT, "forced", "low high max", (1.40, 0.26, 4.40)),
    "glm-5.3-flash": (1024 * K, 128 * K, SEES, "forced", "low high max", (0.15, 0.03, 0.50)),
    "glm-5.3-flashx": (1024 * K, 128 * K, SEES, "forced", "low high max", (0.37, None, 1.25)),
    "glm-5.2": (1024 * K, 128 * K, TEXT, "on", "high max", (1.40, 0.26, 4.40)),
    "glm-5.1": (200 * K, 128 * K, TEXT, "on", "", (1.40, 0.26, 4.40)),
    "glm-5": (200 * K, 128 * K, TEXT, "on", "", (1.00, 0.20, 3.20)),
    "glm-5-turbo": (200 * K, 128 * K, TEXT, "on", "", (1.20, 0.24, 4.00)),
    "glm-5v-turbo": (200 * K, 128 * K, READS, "on", "", (1.20, 0.24, 4.00)),
    "glm-4.7": (200 * K, 128 * K, TEXT, "on", "", (0.60, 0.11, 2.20)),
    "glm-4.7-flash": (200 * K, 128 * K, TEXT, "on", "", FREE),
    "glm-4.7-flashx": (200 * K, 128 * K, TEXT, "on", "", (0.07, 0.01, 0.40)),
    "glm-4.6": (200 * K, 128 * K, TEXT, "automatic", "", (0.60, 0.11, 2.20)),
    "glm-4.6v": (128 * K, 32 * K, SEES, "automatic", "", (0.30, None, 0.90)),
    "glm-4.6v-flash": (128 * K, 32 * K, SEES, "automatic", "", FREE),
    "glm-4.6v-flashx": (128 * K, 32 * K, SEES, "automatic", "", UNKNOWN),
    "glm-4.5": (128 * K, 96 * K, TEXT, "automatic", "", (0.60, 0.11, 2.20)),
    "glm-4.5-x": (128 * K, 96 * K, TEXT, "automatic", "", (2.20, None, 8.90)),
    "glm-4.5-air": (128 * K, 96 * K, TEXT, "automatic", "", (0.20, 0.03, 1.10)),
    "glm-4.5-airx": (128 * K, 96 * K, TEXT, "automatic", "", (1.10, None, 4.50)),
    "glm-4.5-flash": (128 * K, 96 * K, TEXT, "automatic", "", FREE),
    "glm-4.5v": (64 * K, 16 * K, SEES, "automatic", "", (0.60, 0.11, 1.80)),
}


def profiled(**fields):
    return ChatGLM(api_key="test-key", **fields)


# The data


@pytest.mark.parametrize(
    ("model", "context", "output", "inputs", "thinking", "effort", "prices"),
    [pytest.param(model, *row, id=model) for model, row in TABLE.items()],
)
def test_a_model_of_the_table(model, context, output, inputs, thinking, effort, prices):
    profile = profile_for(model)
    assert profile["name"].lower() == model
    assert (profile["max_input_tokens"], profile["max_output_tokens"]) == (context, output)
    kinds = ["text", "image", "video", "pdf", "audio"]
    assert [kind for kind in kinds if profile[f"{kind}_inputs"]] == inputs.split()
    assert profile.get("image_url_inputs", False) is ("image" in inputs)
    assert profile["attachment"] is ("image" in inputs)
    assert profile.get("reasoning_effort_levels", []) == effort.split()
    assert thinking_of(model) == thinking
    assert (cost_of(model) or UNKNOWN) == prices
    assert profile["reasoning_output"]
    assert profile["tool_calling"]
    assert profile["tool_call_streaming"]
    assert profile["text_outputs"]


def test_there_are_no_other_models():
    assert sorted(known_models()) == sorted(TABLE)


def test_only_the_5_3_family_has_a_documented_default_effort():
    default = {model: profile_for(model).get("reasoning_effort_default") for model in TABLE}
    assert {model for model, level in default.items() if level == "max"} == {
        "glm-5.3",
        "glm-5.3-flash",
        "glm-5.3-flashx",
    }
    assert set(default.values()) == {"max", None}


def test_langchain_knows_every_key():
    declared = typing.get_type_hints(ModelProfile)
    assert {key for profile in data._PROFILES.values() for key in profile} <= set(declared)
    assert set(data._SELF_HOSTED) <= set(declared)


# Ids


@pytest.mark.parametrize(
    ("model", "name"),
    [
        pytest.param("glm-4.7", "GLM-4.7", id="as-it-is"),
        pytest.param("GLM-4.7", "GLM-4.7", id="case"),
        pytest.param("zai-org/GLM-4.7", "GLM-4.7", id="hugging-face"),
        pytest.param("z-ai/glm-4.7", "GLM-4.7", id="openrouter"),
        pytest.param("THUDM/GLM-4.5-Air", "GLM-4.5-Air", id="old-hugging-face"),
        pytest.param("models/zai-org/GLM-4.7", "GLM-4.7", id="two-folders"),
        pytest.param("zai.glm-4.7", "GLM-4.7", id="bedrock"),
        pytest.param("us.zai.glm-4.7", "GLM-4.7", id="bedrock-region"),
        pytest.param("zai-org/GLM-4.7-FP8", "GLM-4.7", id="fp8"),
        pytest.param("glm-4.7-flash-NVFP4", "GLM-4.7-Flash", id="nvfp4"),
        pytest.param("GLM-4.5-Air-AWQ-4bit", "GLM-4.5-Air", id="two-suffixes"),
        pytest.param("z-ai/glm-5-turbo-20260315", "GLM-5-Turbo", id="date"),
        pytest.param("glm-5-turbo-2026-03-15", "GLM-5-Turbo", id="date-with-dashes"),
        pytest.param("glm-4.7:cloud", "GLM-4.7", id="tag"),
        pytest.param("z-ai/glm-4.5-air:free", "GLM-4.5-Air", id="prefix-and-tag"),
        pytest.param("zai-org/GLM-4.7-GGUF:Q4_K_M", "GLM-4.7", id="quantisation-as-tag"),
    ],
)
def test_a_model_is_found_however_it_is_written(model, name):
    assert profile_for(model)["name"] == name
    assert thinking_of(model) is not None
    assert cost_of(model) is not None


@pytest.mark.parametrize(
    "model", ["glm-6", "glm-4.8-flash", "glm-4-32b-0414", "glm-4.7-turbo", "gpt-5", "my-model", ""]
)
def test_an_unknown_model_gets_what_holds_of_all_and_no_numbers(model):
    assert profile_for(model) == {
        "text_inputs": True,
        "text_outputs": True,
        "tool_calling": True,
        "tool_call_streaming": True,
        "tool_choice": False,
        "structured_output": False,
    }
    assert cost_of(model) is None
    assert thinking_of(model) is None


@pytest.mark.parametrize("model", ["glm-5.3", "glm-6"])
def test_what_is_changed_in_a_profile_changes_nothing_else(model):
    before = profile_for(model)
    changed = profile_for(model)
    changed["max_input_tokens"] = 1
    changed.setdefault("reasoning_effort_levels", []).append("more")
    assert profile_for(model) == before


# Hosts


@pytest.mark.parametrize("model", ["glm-4.7", "zai-org/GLM-4.7-FP8", "glm-6"])
def test_other_hosts_take_tool_choice_and_enforce_schemas(model):
    own, other = profile_for(model), profile_for(model, own_host=False)
    assert (own["tool_choice"], own["structured_output"]) == (False, False)
    assert other == {**own, "tool_choice": True, "structured_output": True}


@pytest.mark.parametrize(
    ("fields", "enforced"),
    [
        pytest.param({}, False, id="default"),
        pytest.param({"endpoint": "bigmodel-coding"}, False, id="endpoint"),
        pytest.param({"base_url": "https://api.z.ai/api/paas/v4"}, False, id="own-url"),
        pytest.param({"base_url": "http://127.0.0.1:8000/v1"}, True, id="own-server"),
    ],
)
def test_the_profile_of_a_model_follows_its_host(fields, enforced):
    profile = profiled(model="glm-4.7", **fields).profile
    assert profile["structured_output"] is profile["tool_choice"] is enforced
    assert profile["max_input_tokens"] == 200 * K


def test_a_profile_that_is_given_stands():
    assert profiled(profile={"max_input_tokens": 1000}).profile == {"max_input_tokens": 1000}


# What LangChain does with a profile


def talk(words):
    return [HumanMessage("rain " * words), AIMessage("Noted."), HumanMessage("And now?")]


@pytest.mark.parametrize(
    ("words", "requests"), [pytest.param(500, 1, id="below"), pytest.param(3000, 2, id="above")]
)
def test_a_fraction_of_the_context_triggers_a_summary(words, requests):
    summary, answer = Reply(text="It rained."), Reply(text="Sun.")
    with GLMServer([summary, answer] if requests == 2 else [answer]) as server:
        model = profiled(model="glm-4.7", base_url=server.base_url)
        middleware = SummarizationMiddleware(
            model, trigger=("fraction", 0.01), keep=("messages", 1)
        )
        result = create_agent(model, middleware=[middleware]).invoke({"messages": talk(words)})
    assert result["messages"][-1].text == "Sun."
    assert len(server.requests) == requests
    sent = server.requests[-1].body["messages"]
    assert ("It rained." in str(sent)) is (requests == 2)
    assert sent[-1]["content"] == "And now?"


def test_without_a_number_a_fraction_is_refused():
    with pytest.raises(ValueError, match="profile"):
        SummarizationMiddleware(profiled(model="glm-6"), trigger=("fraction", 0.5))


# The script


@pytest.fixture
def make_profiles():
    spec = importlib.util.spec_from_file_location("make_profiles", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hand_written():
    return tomllib.loads((DATA / "profile_augmentations.toml").read_text(encoding="utf-8"))


# models.dev's shape: an entry of its own, one that refers to another provider's, an empty one.
SOURCE = {
    "zai": {
        "models": {
            "glm-b": {
                "base_model": "zhipuai/glm-b",
                "reasoning_options": [{"type": "toggle"}, {"type": "effort", "values": ["high"]}],
                "cost": {"input": 1.0, "output": 2.0},
            },
            "glm-a": {
                "name": "GLM-A",
                "tool_call": True,
                "limit": {"context": 1000, "output": 100},
                "modalities": {"input": ["text", "image"], "output": ["text"]},
            },
        }
    },
    "zhipuai": {
        "models": {
            "glm-b": {"name": "GLM-B", "limit": {"context": 2000}, "cost": {"cache_read": 9.0}},
            "glm-x": {"name": "another provider's alone"},
        }
    },
}
AUGMENTATIONS = """
provider = "zai"
[facts."glm-a"]
limit = { context = 1024 }
[facts."glm-c"]
name = "GLM-C"
cost = { input = 0, cache_read = 0, output = 0 }
[flags]
tool_choice = false
[flags."glm-c"]
tool_choice = true
[self_hosted]
tool_choice = true
[thinking]
"glm-c" = "on"
"""


def made(module):
    namespace = {}
    exec(module.render(SOURCE, tomllib.loads(AUGMENTATIONS)), namespace)  # noqa: S102
    return namespace


def test_facts_and_flags_by_hand_go_over_models_dev(make_profiles):
    profiles = made(make_profiles)["_PROFILES"]
    assert list(profiles) == ["glm-a", "glm-b", "glm-c"]
    a = profiles["glm-a"]
    assert (a["max_input_tokens"], a["max_output_tokens"]) == (1024, 100)
    assert (a["image_inputs"], a["pdf_inputs"], a["tool_calling"]) == (True, False, True)
    assert (a["tool_choice"], profiles["glm-c"]["tool_choice"]) == (False, True)
    assert "release_date" not in a


def test_what_an_entry_refers_to_is_looked_up_prices_excepted(make_profiles):
    namespace = made(make_profiles)
    b = namespace["_PROFILES"]["glm-b"]
    assert (b["name"], b["max_input_tokens"]) == ("GLM-B", 2000)
    assert b["reasoning_effort_levels"] == ["high"]
    assert namespace["_COSTS"] == {
        "glm-b": {"input": 1.0, "cached_input": None, "output": 2.0},
        "glm-c": {"input": 0, "cached_input": 0, "output": 0},
    }


def test_a_flag_for_a_model_that_nobody_has_is_refused(make_profiles):
    augmentations = tomllib.loads(AUGMENTATIONS + '"glm-z" = "on"\n')
    with pytest.raises(SystemExit, match="glm-z"):
        make_profiles.render(SOURCE, augmentations)


def test_the_script_writes_and_checks(make_profiles, tmp_path, capsys):
    source, toml, output = (tmp_path / name for name in ("api.json", "by-hand.toml", "made.py"))
    source.write_text(json.dumps(SOURCE), encoding="utf-8")
    toml.write_text(AUGMENTATIONS, encoding="utf-8")
    arguments = [str(source), "--augmentations", str(toml), "--output", str(output)]
    assert make_profiles.main([*arguments, "--check"]) == 1  # not there yet
    assert make_profiles.main(arguments) == 0
    assert make_profiles.main([*arguments, "--check"]) == 0
    first = output.read_bytes()
    assert make_profiles.main(arguments) == 0
    assert output.read_bytes() == first
    toml.write_text(AUGMENTATIONS.replace("1024", "1025"), encoding="utf-8")
    capsys.readouterr()
    assert make_profiles.main([*arguments, "--check"]) == 1
    assert "stale" in capsys.readouterr().err
    assert output.read_bytes() == first


def test_what_is_written_by_hand_is_in_the_generated_file(make_profiles, hand_written):
    shared, own = make_profiles._split(hand_written["flags"])
    for model, profile in data._PROFILES.items():
        flags = {**shared, **own.get(model, {})}
        assert {key: profile[key] for key in flags} == flags, model
    for model, facts in hand_written["facts"].items():
        limit = facts["limit"]
        assert data._PROFILES[model]["max_input_tokens"] == limit["context"], model
        for key, value in facts.get("cost", {}).items():
            name = "cached_input" if key == "cache_read" else key
            assert data._COSTS[model][name] == value, model
    assert hand_written["thinking"] == data._THINKING
    assert hand_written["self_hosted"] == data._SELF_HOSTED


# `langchain-glm models`


def test_the_models_are_listed_newest_first():
    ids = [model.id for model in models()]
    assert sorted(ids) == sorted(TABLE)
    assert ids[0] == "glm-5.3"
    assert ids.index("glm-5.1") < ids.index("glm-5v-turbo") < ids.index("glm-4.7")


def test_models_as_json():
    by_id = {model["id"]: model for model in json.loads(to_json(models()))}
    assert by_id["glm-5.3-flashx"] == {
        "id": "glm-5.3-flashx",
        "context": 1_048_576,
        "max_output": 131_072,
        "inputs": ["text", "image", "video"],
        "thinking": "forced",
        "effort": ["low", "high", "max"],
        "input": 0.37,
        "cached_input": None,
        "output": 1.25,
    }
    assert by_id["glm-4.6v-flashx"]["input"] is None


def test_models_as_plain_lines():
    head, *lines = to_plain(models()).splitlines()
    names = head.split("\t")
    rows = {line.split("\t")[0]: dict(zip(names, line.split("\t"), strict=True)) for line in lines}
    assert rows["glm-4.7-flash"]["context"] == "204800"
    assert rows["glm-4.7-flash"]["input"] == "0"
    assert rows["glm-4.5-x"]["cached_input"] == ""
    assert rows["glm-5.2"]["effort"] == "high,max"


@pytest.mark.parametrize("width", [80, 120])
def test_models_as_a_table(width):
    console = Console(width=width, file=io.StringIO())
    console.print(to_table(models()))
    lines = console.file.getvalue().splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("glm-")}
    assert rows.keys() == TABLE.keys()  # no id is cut, even in a narrow terminal
    assert rows["glm-4.7"] == ["200K", "128K", "on", "0.60", "0.11", "2.20"]
    assert rows["glm-4.5-flash"] == ["128K", "96K", "automatic", "free", "free", "free"]
    assert rows["glm-4.5-x"][-3:] == ["2.20", "–", "8.90"]
