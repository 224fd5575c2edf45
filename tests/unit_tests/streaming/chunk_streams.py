"""The chunks that chat models make of one answer, and a check of the events made of them.

The chunks stand here as the providers' own classes make them (`ChatOpenAI` and `ChatDeepSeek`:
langchain-openai's `_convert_delta_to_message_chunk`; `ChatAnthropic`:
`_make_message_chunk_from_anthropic_event`; `ChatGoogleGenerativeAI`: `_parse_response_candidate`).
"""

import json
from typing import NamedTuple

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk

from langchain_glm.streaming import events as ev

RUN_ID = "lc_run--1"
USAGE = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}


def pieces(text, size):
    """The text in pieces of this size."""
    return [text[at : at + size] for at in range(0, len(text), size)]


def chunk(content="", *calls, provider=None, **fields):
    """One chunk; each call is (arguments, name, id, index), short ones end in None."""
    made = []
    for call in calls:
        args, name, id_, index = (*call, *[None] * (4 - len(call)))
        made.append(tool_call_chunk(args=args, name=name, id=id_, index=index))
    metadata = {"model_provider": provider} if provider else {}
    metadata |= fields.pop("response_metadata", {})
    return AIMessageChunk(
        content=content, tool_call_chunks=made, response_metadata=metadata, id=RUN_ID, **fields
    )


class Answer(NamedTuple):
    """What a model says: calls are (id, name, raw arguments)."""

    reasoning: str = ""
    text: str = ""
    calls: tuple = ()
    cut: bool = False


def openai(answer, size, *, provider="openai", finish=("tool_calls", "length")):
    chunks = [chunk(provider=provider)]
    chunks += [chunk(text, provider=provider) for text in pieces(answer.text, size)]
    for index, (id_, name, raw) in enumerate(answer.calls):
        chunks.append(chunk("", ("", name, id_, index), provider=provider))
        for piece in pieces(raw, size):
            chunks.append(chunk("", (piece, None, None, index), provider=provider))
    reason = {"finish_reason": finish[answer.cut], "model_name": "m"}
    chunks.append(chunk(provider=provider, response_metadata=reason))
    chunks.append(chunk(provider=provider, usage_metadata=USAGE))
    chunks.append(chunk(chunk_position="last"))
    return chunks


def deepseek(answer, size):
    thoughts = [
        chunk(provider="deepseek", additional_kwargs={"reasoning_content": piece})
        for piece in pieces(answer.reasoning, size)
    ]
    return thoughts + openai(answer, size, provider="deepseek")


def interleaved(answer, size):
    """Parallel calls that take turns, as the OpenAI protocol allows."""
    chunks = [chunk(answer.text)]
    started = [
        chunk("", ("", name, id_, index)) for index, (id_, name, _) in enumerate(answer.calls)
    ]
    parts = [pieces(raw, size) for _, _, raw in answer.calls]
    turns = [
        chunk("", (part[turn], None, None, index))
        for turn in range(max(map(len, parts), default=0))
        for index, part in enumerate(parts)
        if turn < len(part)
    ]
    finish = {"finish_reason": "length" if answer.cut else "tool_calls"}
    last = chunk(response_metadata=finish, usage_metadata=USAGE, chunk_position="last")
    return [*chunks, *started, *turns, last]


def anthropic(answer, size):
    def block(index, *call, **fields):
        calls = [(*call, index)] if call else []
        return chunk([{**fields, "index": index}], *calls, provider="anthropic")

    chunks = [chunk([], provider="anthropic", response_metadata={"model_name": "claude"})]
    at = 0
    thoughts = pieces(answer.reasoning, size)
    chunks += [block(at, type="thinking", thinking=piece) for piece in thoughts]
    if answer.reasoning:
        chunks.append(block(at, type="thinking", signature="c2ln", thinking=""))
        at += 1
    chunks += [block(at, type="text", text=piece) for piece in pieces(answer.text, size)]
    at += bool(answer.text)
    for index, (id_, name, raw) in enumerate(answer.calls, start=at):
        chunks.append(block(index, "", name, id_, type="tool_use", id=id_, name=name, input={}))
        for piece in ["", *pieces(raw, size)] if raw else []:
            said = {"type": "input_json_delta", "partial_json": piece}
            chunks.append(block(index, piece, None, None, **said))
    stop = {"stop_reason": "max_tokens" if answer.cut else "tool_use", "stop_sequence": None}
    last = {"response_metadata": stop, "usage_metadata": USAGE, "chunk_position": "last"}
    return [*chunks, chunk([], provider="anthropic", **last)]


def gemini(answer, size):
    """Calls that come whole, without an index, and finish reasons in capitals."""
    provider = "google_genai"
    chunks = [chunk(text, provider=provider) for text in pieces(answer.text, size)]
    for id_, name, raw in answer.calls:
        echo = {"function_call": {"name": name, "arguments": raw}}
        echo = echo if id_ == answer.calls[0][0] else {}
        chunks.append(chunk("", (raw, name, id_), provider=provider, additional_kwargs=echo))
    finish = {"finish_reason": "MAX_TOKENS" if answer.cut else "STOP", "safety_ratings": []}
    last = {"response_metadata": finish, "usage_metadata": USAGE, "chunk_position": "last"}
    return [*chunks, chunk("", provider=provider, **last)]


def v1(answer, size):
    """Content in LangChain's own blocks, as of `output_version="v1"`."""

    def block(*call, **fields):
        calls = [call] if call else []
        return chunk([fields], *calls, provider="zai", response_metadata=version)

    version = {"output_version": "v1"}
    chunks = [
        block(type="reasoning", reasoning=piece, index="lc_rs_0")
        for piece in pieces(answer.reasoning, size)
    ]
    chunks += [
        block(type="text", text=piece, index="lc_txt_0") for piece in pieces(answer.text, size)
    ]
    for index, (id_, name, raw) in enumerate(answer.calls):
        for piece, *named in [("", name, id_), *((part, None, None) for part in pieces(raw, size))]:
            call = dict(zip(("args", "name", "id"), (piece, *named), strict=True))
            chunks.append(block(piece, *named, index, type="tool_call_chunk", **call, index=index))
    reason = {"finish_reason": "length" if answer.cut else "tool_calls"}
    last = {"usage_metadata": USAGE, "chunk_position": "last"}
    return [*chunks, chunk([], provider="zai", response_metadata=version | reason, **last)]


PROVIDERS = {
    "openai": openai,
    "deepseek": deepseek,
    "interleaved": interleaved,
    "anthropic": anthropic,
    "gemini": gemini,
    "v1": v1,
}

WRITE = (
    "c1",
    "write",
    r'{"path": "a.py", "text": "\ud83d\ude00\n\"quoted\" 你好", "n": [1, {"b": null}]}',
)
ANSWERS = {
    "text_alone": Answer(text="Hello, 世界."),
    "reasoning_and_text": Answer("Let me think.", "Done."),
    "one_call": Answer("I should.", "I write.", (WRITE,)),
    "calls_alone": Answer(calls=(WRITE, ("c2", "add", '{"a": 2, "b": -3.5e1}'))),
    "no_arguments": Answer(calls=(("c1", "now", ""), ("c2", "today", "{}"))),
    "three_calls": Answer(
        text="All.", calls=(WRITE, ("c2", "now", "{}"), ("c3", "add", '{"a": {}, "b": []}'))
    ),
}


class Seen(NamedTuple):
    """What the events told of one message; calls are (id, name, arguments, or the reason)."""

    reasoning: str
    text: str
    calls: list
    finished: ev.MessageFinished | None


def read(events):
    """What the events told of each message, their grammar checked on the way.

    The grammar is the one in the docstring of `langchain_glm.streaming.events`.
    """
    messages, machine = [], _Machine()
    for event in events:
        json.dumps(event.to_dict(), allow_nan=False)
        machine.take(event)
        if isinstance(event, ev.MessageFinished):
            messages.append(machine.end(event))
            machine = _Machine()
    if machine.has_seen:
        messages.append(machine.end(None))
    return messages


class _Machine:
    """What may come next in one message."""

    def __init__(self):
        self.has_seen = False
        self.said = {ev.ReasoningDelta: "", ev.TextDelta: ""}
        self.calls = []
        self.before = None

    def take(self, event):
        self.has_seen = True
        if isinstance(event, ev.CallEvent):
            if isinstance(event, ev.ToolCallStarted):
                assert event.index == len(self.calls), event
                self.calls.append(_CallMachine())
            self.calls[event.index].take(event, self.before)
        elif not isinstance(event, ev.MessageFinished):
            assert event.text, event
            self.said[type(event)] += event.text
        self.before = event

    def end(self, finished):
        reasoning, text = self.said.values()
        for call in self.calls:
            assert isinstance(call.last, ev.ToolCallFinished | ev.ToolCallInvalid), call.last
        if finished:
            self._compare(finished.message, reasoning, text)
        return Seen(reasoning, text, [call.told() for call in self.calls], finished)

    def _compare(self, message, reasoning, text):
        blocks = [
            b.get("reasoning", "") for b in message.content_blocks if b["type"] == "reasoning"
        ]
        assert (reasoning, text) == ("".join(blocks), message.text)
        ends = [call.last for call in self.calls]
        assert message.tool_calls == [
            {"type": "tool_call", "id": end.id, "name": end.name, "args": end.arguments}
            for end in ends
            if isinstance(end, ev.ToolCallFinished)
        ]
        assert [
            (call["id"], call["name"] or "", call["args"], call["error"])
            for call in message.invalid_tool_calls
        ] == [
            (end.id, end.name, end.raw, end.error)
            for end in ends
            if isinstance(end, ev.ToolCallInvalid)
        ]


class _CallMachine:
    def __init__(self):
        self.last = None
        self.raw = ""
        self.open = []  # [path, text] of the values that have begun

    def take(self, event, before):
        last, self.last = self.last, event
        if last is not None:
            assert not isinstance(last, ev.ToolCallFinished | ev.ToolCallInvalid), (last, event)
            assert (event.name, event.message_id) == (last.name, last.message_id)
            assert last.id is None or event.id == last.id
        if isinstance(event, _ARGUMENT):  # comes right after its fragment
            assert isinstance(before, (ev.ToolCallDelta, *_ARGUMENT)), (before, event)
            assert before.index == event.index
        getattr(self, event.type, lambda event: None)(event)

    def tool_call_delta(self, event):
        assert event.text, event
        self.raw += event.text
        assert event.raw == self.raw

    def argument_started(self, event):
        assert event.path
        assert event.path[:-1] == (self.open[-1][0] if self.open else ())
        self.open.append([event.path, ""])

    def argument_delta(self, event):
        assert event.path == self.open[-1][0]
        assert event.text.encode()  # no lone surrogate, and never nothing
        self.open[-1][1] += event.text

    def argument_finished(self, event):
        path, text = self.open.pop()
        assert event.path == path
        assert text == (event.value if isinstance(event.value, str) else "")

    def tool_call_finished(self, event):
        assert event.arguments == json.loads(self.raw or "{}", strict=False)
        assert len(self.open) in {0, 199}  # what is nested deeper is not told

    def tool_call_invalid(self, event):
        assert event.raw == self.raw
        assert 0 <= event.position <= len(event.raw)
        assert event.error

    def told(self):
        end = self.last
        return end.id, end.name, getattr(end, "reason", None) or end.arguments


_ARGUMENT = (ev.ArgumentStarted, ev.ArgumentDelta, ev.ArgumentFinished)


def expected(calls):
    return [(id_, name, json.loads(raw or "{}")) for id_, name, raw in calls]


# Odd shapes of calls. A piece is (arguments, name, id, index), as a chunk and as a delta has it.

OPEN, MIDDLE, CLOSE = '{"path"', ': "a.p', 'y"}'
WHOLE = OPEN + MIDDLE + CLOSE
PATH = {"path": "a.py"}
ODD = {
    "name_on_every_piece": (
        [(OPEN, "write", "c1", 0), (MIDDLE, "write", None, 0), (CLOSE, "write", "c1", 0)],
        [("c1", "write", PATH)],
    ),
    "no_index": (
        [(OPEN, "write", "c1"), (MIDDLE,), (CLOSE,), ('{"a": 1}', "add", "c2")],
        [("c1", "write", PATH), ("c2", "add", {"a": 1})],
    ),
    "index_minus_one": (
        [("", "write", "c1", -1), (WHOLE, None, None, -1), ("{}", "now", "c2", -1)],
        [("c1", "write", PATH), ("c2", "now", {})],
    ),
    "index_minus_one_of_two_open_calls": (
        [
            (OPEN, "write", "c1", -1),
            ('{"a"', "add", "c2", -1),
            (MIDDLE + CLOSE, None, "c1", -1),
            (": 1}", None, "c2", -1),
        ],
        [("c1", "write", PATH), ("c2", "add", {"a": 1})],
    ),
    "no_index_and_the_id_tells": (
        [
            (OPEN, "write", "c1"),
            ('{"a"', "add", "c2"),
            (MIDDLE + CLOSE, None, "c1"),
            (": 1}", None, "c2"),
        ],
        [("c1", "write", PATH), ("c2", "add", {"a": 1})],
    ),
    "index_used_again": (
        [(WHOLE, "write", "c1", 0), ('{"a": 1}', "add", "c2", 0)],
        [("c1", "write", PATH), ("c2", "add", {"a": 1})],
    ),
    "indexes_with_a_gap": (
        [(WHOLE, "write", "c1", 3), ("{}", "now", "c2", 7)],
        [("c1", "write", PATH), ("c2", "now", {})],
    ),
    "a_new_id_on_every_piece": (
        [(OPEN, "write", "c1", 0), (MIDDLE, None, "c8", 0), (CLOSE, None, "c9", 0)],
        [("c1", "write", PATH)],
    ),
    "id_at_the_end": (
        [(OPEN, "write", None, 0), (MIDDLE, None, None, 0), (CLOSE, None, "c1", 0)],
        [("c1", "write", PATH)],
    ),
    "no_id": ([(OPEN, "write", None, 0), (MIDDLE + CLOSE, None, None, 0)], [(None, "write", PATH)]),
    "arguments_doubled": (
        [("", "write", "c1", 0), (WHOLE, None, None, 0), (WHOLE, None, None, 0)],
        [("c1", "write", PATH)],
    ),
    "name_after_the_arguments": (
        [(OPEN, None, "c1", 0), (MIDDLE, None, None, 0), (CLOSE, "write", None, 0)],
        [("c1", "write", PATH)],
    ),
    "id_then_name_then_arguments": (
        [("", None, "c1", 0), ("", "write", None, 0), (WHOLE, None, None, 0)],
        [("c1", "write", PATH)],
    ),
    "name_never": ([(WHOLE, None, "c1", 0)], [("c1", "", "no_name")]),
    "neither_name_nor_id": ([(WHOLE, None, None, 0)], [(None, "", "no_name")]),
    "id_alone": ([("", None, "c1", 0)], [("c1", "", "no_name")]),
    "nothing_at_all": ([("", None, None, 0), ("", "", "", None)], []),
    "white_space_for_arguments": ([(" \n", "now", "c1", 0)], [("c1", "now", "invalid_json")]),
    "null_for_arguments": ([("null", "now", "c1", 0)], [("c1", "now", "invalid_json")]),
    "broken_json_and_a_good_call": (
        [('{"a": 1]', "add", "c1", 0), (', "b": 2}', None, None, 0), ("{}", "now", "c2", 1)],
        [("c1", "add", "invalid_json"), ("c2", "now", {})],
    ),
    "ends_in_a_string": ([('{"a": "b', "add", "c1", 0)], [("c1", "add", "invalid_json")]),
    "raw_newline_in_a_string": (
        [('{"a": "b\nc"}', "add", "c1", 0)],
        [("c1", "add", {"a": "b\nc"})],
    ),
    "key_twice": ([('{"a": 1, "a": 2}', "add", "c1", 0)], [("c1", "add", {"a": 2})]),
    "numbers_json_has_no_word_for": (
        [('{"a": Infinity}', "add", "c1", 0)],
        [("c1", "add", {"a": float("inf")})],
    ),
    "nested_deep": (
        [('{"a": ' * 200 + "1" + "}" * 200, "add", "c1", 0)],
        [("c1", "add", json.loads('{"a": ' * 200 + "1" + "}" * 200))],
    ),
    "nested_too_deep": (
        [('{"a": ' * 201 + "1" + "}" * 201, "add", "c1", 0)],
        [("c1", "add", "invalid_json")],
    ),
    "two_in_one_piece": (
        [
            [(OPEN, "write", "c1", 0), ('{"a"', "add", "c2", 1)],
            [(MIDDLE + CLOSE, None, None, 0), (": 1}", None, None, 1)],
        ],
        [("c1", "write", PATH), ("c2", "add", {"a": 1})],
    ),
}


def together(piece):
    return piece if isinstance(piece, list) else [piece]


async def drained(events):
    """Every event, sync or async, and the error that ended them, None if they ended well."""
    seen = []
    try:
        if hasattr(events, "__aiter__"):
            async for event in events:
                seen.append(event)  # noqa: PERF401 - those before the error are wanted
        else:
            seen.extend(events)
    except Exception as error:  # noqa: BLE001 - whatever it is
        return seen, error
    return seen, None
