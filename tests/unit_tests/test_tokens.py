"""Token estimates: what they count, how far off they are, and LangChain working with them.

`pytest --recordings DIR` measures them against the usage in recorded responses (a `.sse` or
`.json` body beside the `.request.txt` it answered) and prints the errors.
"""

import json
import time
from statistics import mean
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain.agents.middleware import (
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    SummarizationMiddleware,
)
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    convert_to_messages,
    trim_messages,
)
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.tools import tool
from pydantic import BaseModel
from recordings import reassemble, recordings_in

from langchain_glm import ChatGLM
from langchain_glm._tokens import (
    _PIECE,
    estimate_message_tokens,
    estimate_tokens,
    stand_in_token_ids,
)
from langchain_glm.testing import GLMServer, Reply


def counting(**fields):
    return ChatGLM(model="glm-4.7", api_key="test-key", **fields)


# Texts


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        pytest.param("", 0, id="nothing"),
        pytest.param("Hello", 1, id="word"),
        pytest.param("What is it", 3, id="words-with-their-spaces"),
        pytest.param("2 + 2 = 4", 7, id="a-space-before-a-digit-stands-alone"),
        pytest.param("1234567", 3, id="digits-in-threes"),
        pytest.param("getUserAuthenticationToken", 5, id="long-word"),
        pytest.param("I'll go", 3, id="contraction"),
        pytest.param("({})", 2, id="marks"),
        pytest.param("a\n\n\nb", 3, id="line-breaks-together"),
        pytest.param("a.\nb", 3, id="line-break-after-a-mark"),
        pytest.param("    return", 2, id="indentation"),
        pytest.param("你好世界", 3, id="chinese"),
        pytest.param("你好, GLM", 4, id="chinese-and-latin"),
        pytest.param("привет", 3, id="cyrillic"),
        pytest.param("🙂", 1, id="emoji"),
        pytest.param("\ud800", 1, id="half-a-character"),
    ],
)
def test_a_text(text, tokens):
    assert estimate_tokens(text) == tokens


@given(st.text(st.characters(exclude_categories=())))
def test_every_character_is_in_one_piece(text):
    assert "".join(piece[0] for piece in _PIECE.finditer(text)) == text


@given(st.text(st.characters(exclude_categories=())))
@example("half a character: \ud800")
def test_there_are_as_many_stand_in_ids_as_tokens(text):
    assert len(stand_in_token_ids(text)) == estimate_tokens(text)


def test_equal_pieces_have_equal_stand_in_ids():
    rain, again, snow = stand_in_token_ids(" rain rain snow")
    assert rain == again != snow


@pytest.mark.parametrize(
    "unit",
    [
        pytest.param(" ", id="spaces"),
        pytest.param(" \t", id="blanks-without-a-line-break"),
        pytest.param("\n", id="line-breaks"),
        pytest.param("a", id="one-word"),
        pytest.param("=", id="marks"),
        pytest.param("word, ", id="prose"),
    ],
)
def test_the_time_is_linear(unit):
    def seconds(length):
        text = unit * (length // len(unit))
        start = time.perf_counter()
        estimate_tokens(text)
        return time.perf_counter() - start

    # Quadratic would be 256 times as long, and minutes for the larger one.
    small, large = min(seconds(20_000) for _ in range(3)), seconds(320_000)
    assert large < 100 * small + 0.1


# Conversations


class Weather(BaseModel):
    """Look up the weather."""

    city: str


@tool
def weather(city: str) -> str:
    """Look up the weather."""
    return f"Sun in {city}. " + "Details. " * 400


def plain_weather(city: str) -> str:
    """Look up the weather."""
    return city


HELLO = HumanMessage("Hello")
CALL = {"name": "weather", "args": {"city": "Florence"}, "id": "call_1", "type": "tool_call"}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9000}}


def size(message: AnyMessage) -> int:
    return estimate_message_tokens([message]) - estimate_message_tokens([])


def test_the_template_around_a_prompt():
    assert estimate_message_tokens([HumanMessage("What is 2 + 2?")]) == 13  # recorded: 13


@pytest.mark.parametrize(
    ("message", "tokens"),
    [
        pytest.param(HELLO, 2, id="human"),
        pytest.param(SystemMessage("Hello"), 2, id="system"),
        pytest.param(AIMessage("Hello"), 3, id="ai"),
        pytest.param(ToolMessage("Hello", tool_call_id="call_1"), 4, id="tool-result"),
        pytest.param(AIMessage("", tool_calls=[CALL]), 2 + 2 + 1 + 4 + 1 + 1, id="call"),
        pytest.param(
            AIMessage([{"type": "text", "text": "Hello"}, CALL], tool_calls=[CALL]),
            3 + 2 + 1 + 4 + 1 + 1,
            id="a-call-is-counted-once",
        ),
        pytest.param(
            AIMessage("Hello", additional_kwargs={"reasoning_content": "Hm, well"}),
            3 + 1 + 3,
            id="reasoning",
        ),
        pytest.param(
            AIMessage([{"type": "reasoning", "reasoning": "Hm, well"}, "Hello"]),
            3 + 1 + 3,
            id="reasoning-as-a-block",
        ),
        pytest.param(
            AIMessage(
                [{"type": "reasoning", "reasoning": "Hm, well"}, "Hello"],
                additional_kwargs={"reasoning_content": "Hm, well"},
            ),
            3 + 1 + 3,
            id="reasoning-is-counted-once",
        ),
        pytest.param(HumanMessage(["Hello", {"type": "text", "text": " you"}]), 3, id="blocks"),
    ],
)
def test_a_message(message, tokens):
    assert size(message) == tokens


def test_a_picture_is_a_picture_whatever_its_bytes():
    picture = HumanMessage([{"type": "text", "text": "Hello"}, PICTURE])
    assert 400 < size(picture) < 450  # recorded: 422 for 597 x 566


def test_a_broken_call_counts_as_it_is_written():
    broken = {"name": "weather", "args": '{"city": "Flor', "id": "1", "type": "invalid_tool_call"}
    assert size(AIMessage("", invalid_tool_calls=[{**broken, "error": None}])) > 8


def test_messages_add_up():
    messages = [SystemMessage("Be brief."), HELLO, AIMessage("Hello", tool_calls=[CALL])]
    frame = estimate_message_tokens([])
    assert estimate_message_tokens(messages) == frame + sum(map(size, messages))


@pytest.mark.parametrize(
    "offered",
    [
        pytest.param(weather, id="tool"),
        pytest.param(plain_weather, id="function"),
        pytest.param(Weather, id="pydantic"),
        pytest.param(
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "Look up the weather.",
                    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
                },
            },
            id="dict",
        ),
        pytest.param({"type": "web_search", "web_search": {"enable": True}}, id="glm-own"),
    ],
)
def test_tools_count(offered):
    without, one = estimate_message_tokens([HELLO]), estimate_message_tokens([HELLO], [offered])
    two = estimate_message_tokens([HELLO], [offered, offered])
    assert 110 < one - without < 170  # the explanation of calls, and the schema
    assert 10 < two - one < 70  # the schema again
    assert estimate_message_tokens([HELLO], []) == without


# The model's own methods


def test_the_methods_of_the_model():
    model = counting()
    assert model.get_num_tokens("What is it") == len(model.get_token_ids("What is it")) == 3
    assert model.get_num_tokens_from_messages([HELLO]) == 6
    assert model.get_num_tokens_from_messages([HELLO], tools=[weather]) > 110


def test_custom_token_ids_are_honoured():
    model = counting(custom_get_token_ids=lambda text: [7] * len(text))
    assert model.get_token_ids("abc") == [7, 7, 7]
    assert model.get_num_tokens("abc") == 3
    frame = counting().get_num_tokens_from_messages([HumanMessage("")])
    assert model.get_num_tokens_from_messages([HumanMessage("abc")]) == frame + 3
    plain = counting().get_num_tokens_from_messages([HELLO], tools=[weather])
    assert model.get_num_tokens_from_messages([HELLO], tools=[weather]) > plain + 50


# LangChain working with them


def long_talk():
    """A conversation of 2,000 tokens, most of them in its first turn."""
    return [HumanMessage("rain " * 2000), AIMessage("Noted."), HumanMessage("And now?")]


def test_trim_messages_keeps_what_fits():
    kept = trim_messages(
        long_talk(), max_tokens=100, token_counter=counting(), strategy="last", start_on="human"
    )
    assert [message.text for message in kept] == ["And now?"]
    everything = trim_messages(long_talk(), max_tokens=3000, token_counter=counting())
    assert len(everything) == 3


async def by_invoke(agent, messages):
    return agent.invoke({"messages": messages})


async def by_ainvoke(agent, messages):
    return await agent.ainvoke({"messages": messages})


@pytest.mark.parametrize("call", [by_invoke, by_ainvoke])
@pytest.mark.parametrize(
    ("limit", "summarized"),
    [pytest.param(1500, True, id="above"), pytest.param(2500, False, id="below")],
)
async def test_a_summary_at_a_number_of_tokens(call, limit, summarized):
    answers = [Reply(text="It rained."), Reply(text="Sun.")]
    with GLMServer(answers if summarized else answers[1:]) as server:
        model = counting(base_url=server.base_url)
        middleware = SummarizationMiddleware(
            model,
            trigger=("tokens", limit),
            keep=("messages", 1),
            token_counter=model.get_num_tokens_from_messages,
        )
        result = await call(create_agent(model, middleware=[middleware]), long_talk())
    assert result["messages"][-1].text == "Sun."
    assert len(server.requests) == (2 if summarized else 1)
    sent = server.requests[-1].body["messages"]
    assert ("It rained." in str(sent)) is summarized
    assert ("rain rain" in str(sent)) is not summarized


@pytest.mark.parametrize(
    ("limit", "cleared"),
    [pytest.param(500, True, id="above"), pytest.param(5000, False, id="below")],
)
def test_old_tool_results_are_cleared(limit, cleared):
    talk = [HELLO]
    for id_ in ("call_1", "call_2"):
        talk += [
            AIMessage("", tool_calls=[{**CALL, "id": id_}]),
            ToolMessage(weather.invoke({"city": "Florence"}), tool_call_id=id_, name="weather"),
        ]
    edit = ClearToolUsesEdit(trigger=limit, keep=1)
    with GLMServer([Reply(text="Sun.")]) as server:
        agent = create_agent(
            counting(base_url=server.base_url),
            tools=[weather],
            middleware=[ContextEditingMiddleware(edits=[edit], token_count_method="model")],
        )
        agent.invoke({"messages": talk})
    results = [m["content"] for m in server.requests[0].body["messages"] if m["role"] == "tool"]
    assert (results[0] == "[cleared]") is cleared
    assert results[1].startswith("Sun in Florence.")


# How far off


class Sample(NamedTuple):
    """What a server counted, and what was estimated."""

    kind: str
    tokens: int
    ours: int
    langchain: int


def langchains(messages, tools=None):
    return count_tokens_approximately(messages, tools=tools)


def samples_of(recording, request):
    """The texts of reasoning, the whole answer and the prompt of one recording."""
    answer = reassemble(recording)
    if not answer.usage:
        return
    thought = (answer.usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    if thought and answer.reasoning:
        text = answer.reasoning
        yield Sample("reasoning", thought, estimate_tokens(text), -(-len(text) // 4))
    calls = [
        {"name": name, "args": json.loads(arguments), "id": id_}
        for id_, name, arguments in answer.calls
    ]
    spoken = AIMessage(
        answer.text, tool_calls=calls, additional_kwargs={"reasoning_content": answer.reasoning}
    )
    as_text = AIMessage(answer.reasoning + answer.text, tool_calls=calls)
    counted = answer.usage["completion_tokens"]
    yield Sample("answers", counted, size(spoken), langchains([as_text]))
    if request is not None:
        messages, tools = prompt_of(request), request.get("tools")
        counted = answer.usage["prompt_tokens"]
        estimated = estimate_message_tokens(messages, tools)
        yield Sample("prompts", counted, estimated, langchains(messages, tools))


def prompt_of(request):
    messages = convert_to_messages(request["messages"])
    for message, sent in zip(messages, request["messages"], strict=True):
        if "reasoning_content" in sent:
            message.additional_kwargs["reasoning_content"] = sent["reasoning_content"]
    return messages


def request_of(recording, folder):
    """The body of the request, None where it was not recorded whole."""
    path = folder / f"{recording.name.rsplit('.', 1)[0]}.request.txt"
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8").split("\n", 1)[1])
    except ValueError:
        return None


def error_of(samples, field):
    return mean(abs(getattr(sample, field) - sample.tokens) / sample.tokens for sample in samples)


# Recorded of GLM-4.7 and GLM-5.3; these always run.
ARITHMETIC = [HumanMessage("What is 2 + 2?")]
KNOWN = [
    Sample("prompts", 13, estimate_message_tokens(ARITHMETIC), langchains(ARITHMETIC)),
    Sample("answers", 9, size(AIMessage("2 + 2 = 4")), langchains([AIMessage("2 + 2 = 4")])),
]


def test_the_estimates_are_no_further_off_than_langchains(request, capsys):
    folder = request.config.getoption("recordings")
    recorded = [
        sample
        for recording in recordings_in(request.config)
        for sample in samples_of(recording, request_of(recording, folder))
    ]
    by_kind = {}
    for sample in recorded or KNOWN:
        by_kind.setdefault(sample.kind, []).append(sample)
    with capsys.disabled():
        for kind, samples in by_kind.items() if recorded else ():
            ours, langchains_ = error_of(samples, "ours"), error_of(samples, "langchain")
            print(
                f"\n{len(samples)} {kind}: the estimate is {ours:.1%} off on average, "
                f"count_tokens_approximately {langchains_:.1%}",
                end="",
            )
    for kind, samples in by_kind.items():
        assert error_of(samples, "ours") <= error_of(samples, "langchain"), kind
