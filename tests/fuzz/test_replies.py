"""Any answer, in any shape that servers have been seen to give it, split at any byte: one message.

What it has to say is taken from the script, and put together here without the package.
"""

import asyncio
import copy
import json

import pytest
import ways
from chunk_streams import read
from fuzzing import (
    CUTS,
    Said,
    cases,
    chunks_of,
    cuts,
    encodable,
    events_of,
    frames_of,
    objects,
    raw,
    replies,
    said,
    said_by,
    split,
    stream_of,
    summed,
    whole_message,
    whole_of,
)
from hypothesis import assume, given
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk

from langchain_glm import ChatGLM
from langchain_glm.errors import GLMServerError
from langchain_glm.streaming import collect, tool_call_events
from langchain_glm.testing import GLMServer, Raw

sizes = st.integers(1, 40)


def object_of(text):
    """The JSON object of this text, halves of characters as U+FFFD; None where it is none."""
    try:
        value = json.loads(text, strict=False)
    except ValueError:
        return None
    return encodable(value) if isinstance(value, dict) else None


def expected(reply):
    """What a script says, by the rules of the documentation.

    A call whose arguments are no JSON object is invalid, and so is the last of an answer that was
    cut; without arguments a call has none.
    """
    reason = reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")
    calls, invalid = [], []
    for position, call in enumerate(reply.tool_calls, start=1):
        text = raw(call)
        value = object_of(text)
        if reason in CUTS:
            value = None if position == len(reply.tool_calls) else value
        elif not text:
            value = {}
        if value is None:
            invalid.append((call.id, call.name, text))
        else:
            calls.append((call.id, call.name, value))
    return Said(reply.text, reply.reasoning, calls, invalid, reason, reply.usage, reply.web_search)


def check(got, reply):
    want = expected(reply)
    if want.usage is None:  # GLMServer's own estimate
        got = got._replace(usage=None)
    assert got == want


def check_all(body_pieces, reply):
    """A stream in pieces gives what the script says, on each path that reads without a socket."""
    if reply.finish_reason == "network_error":
        for read_pieces in (chunks_of, events_of):
            with pytest.raises(GLMServerError) as raised:
                read_pieces(body_pieces)
            assert raised.value.code == "network_error"
        return
    chunks = chunks_of(body_pieces)
    check(said(summed(chunks)), reply)
    check(said(collect(chunks)), reply)
    check(said_by(events_of(body_pieces)), reply)
    events = list(tool_call_events(chunks))
    check(said(events[-1].message), reply)
    if any("\\ud" in raw(call) for call in reply.tool_calls):
        return  # `read` parses the arguments, and would find half a character
    (seen,) = read(events)  # checks the order of the events too
    assert (seen.reasoning, seen.text) == (reply.reasoning, reply.text)


def repeats_itself(reply, size):
    """Whether a fragment looks like a server's copy of a whole call, which would be dropped."""
    texts = [raw(call) for call in reply.tool_calls]
    return any(object_of(t[:size]) is not None and t[:size] == t[size : 2 * size] for t in texts)


@cases(120)
@given(st.data(), replies(), sizes, st.booleans())
def test_a_stream(data, reply, size, tool_stream):
    assume(not repeats_itself(reply, size))
    body = stream_of(frames_of(reply, size, tool_stream=tool_stream))
    check_all(split(body, data.draw(cuts(body))), reply)


@cases(60)
@given(st.data(), replies())
def test_a_whole_answer(data, reply):
    body = whole_of(reply)
    pieces = split(body, data.draw(cuts(body)))
    if reply.finish_reason == "network_error":
        with pytest.raises(GLMServerError):
            whole_message(pieces)
        return
    message = whole_message(pieces)
    check(said(message), reply)
    *_, finished = tool_call_events([message])
    check(said(finished.message), reply)


# Shapes
#
# Each takes the frames of GLMServer and gives other ones that say the same. Evidence: WIRE's "seen
# in recordings or reported", and the serving code of vLLM and SGLang.


def deltas(frames):
    return [frame["choices"][0]["delta"] for frame in frames if frame["choices"]]


def call_deltas(frames):
    return [call for delta in deltas(frames) for call in delta.get("tool_calls") or ()]


def continuations(frames):
    return [call for call in call_deltas(frames) if "id" not in call]


def openings(frames):
    return [call for call in call_deltas(frames) if "id" in call]


def without_an_index(frames):
    for call in call_deltas(frames):
        del call["index"]


def with_index_minus_one(frames):
    for call in call_deltas(frames):
        call["index"] = -1


def with_index_as_text(frames):
    for call in call_deltas(frames):
        call["index"] = str(call["index"])


def with_the_id_again(frames):
    for call in continuations(frames):
        call["id"] = f"call_{call['index']}"


def with_the_id_as_null(frames):
    for number, call in enumerate(continuations(frames)):
        call["id"] = (None, "", "null", "None")[number % 4]


def with_a_new_id_each_time(frames):
    for number, call in enumerate(continuations(frames)):
        call["id"] = f"chatcmpl-{number}"


def with_the_name_again(frames):
    at = {call["index"]: call["function"]["name"] for call in openings(frames)}
    for call in continuations(frames):
        call["function"]["name"] = at[call["index"]]


def with_an_empty_name(frames):
    for number, call in enumerate(continuations(frames)):
        call["function"]["name"] = ("", None)[number % 2]


def with_null_arguments(frames):
    for call in openings(frames):
        if call["function"]["arguments"] == "":
            call["function"]["arguments"] = None


def with_arguments_as_an_object(frames):
    for call in openings(frames):
        if (whole := object_of(call["function"]["arguments"])) is not None:
            call["function"]["arguments"] = whole


def with_the_first_fragment_beside_the_name(frames):
    kept = []
    for frame in frames:
        (before,), (now,) = call_deltas(kept[-1:]) or [{}], call_deltas([frame]) or [{}]
        if "id" in before and now and "id" not in now:
            before["function"]["arguments"] += now["function"]["arguments"]
        else:
            kept.append(frame)
    frames[:] = kept


def with_a_copy_of_the_arguments_at_the_end(frames):
    texts = {}
    for call in call_deltas(frames):
        text = texts.get(call["index"], "") + call["function"]["arguments"]
        texts[call["index"]] = text
    for index, text in texts.items():
        copied = {"index": index, "function": {"arguments": text}}
        frames.insert(-1, {**frames[-1], "choices": [{"delta": {"tool_calls": [copied]}}]})
        frames[-2].pop("usage")


def with_a_finish_reason_on_every_call(frames):
    for frame in frames[:-1]:
        if "tool_calls" in frame["choices"][0]["delta"]:
            frame["choices"][0]["finish_reason"] = "tool_calls"


def with_the_last_fragment_on_the_finishing_chunk(frames):
    if frames[1:] and "tool_calls" in deltas(frames[-2:-1])[0]:
        frames[-1]["choices"][0]["delta"] = deltas(frames[-2:-1])[0]
        frames[-1] |= {"web_search": s} if (s := frames[-2].get("web_search")) else {}
        del frames[-2]


def with_usage_apart(frames):
    usage = frames[-1].pop("usage")
    frames.append({**frames[-1], "choices": [], "usage": usage})


def with_usage_on_every_frame(frames):
    for number, frame in enumerate(frames[:-1]):
        frame["usage"] = {"prompt_tokens": 1, "completion_tokens": number, "total_tokens": 1}


def with_frames_of_nothing(frames):
    nothings = [{"choices": None}, {"choices": []}, {"choices": [{"index": 0, "delta": None}]}]
    nothings.append({"choices": [{"delta": {"tool_calls": None, "content": None}}]})
    for number, nothing in enumerate(nothings):
        frames.insert(2 * number, {"id": frames[0]["id"], **nothing})


def with_every_field(frames):
    for delta in deltas(frames):
        for name in ("role", "content", "reasoning_content", "tool_calls"):
            delta.setdefault(name, None)


def with_reasoning_as_vllm_names_it(frames):
    for delta in deltas(frames):
        if "reasoning_content" in delta:
            delta["reasoning"] = delta.pop("reasoning_content")


def with_content_in_parts(frames):
    for delta in deltas(frames):
        if delta.get("content"):
            delta["content"] = [{"type": "text", "text": c} for c in delta["content"]]


def with_two_frames_in_one(frames):
    kept = []
    for frame in frames[:-1]:
        last = deltas(kept[-1:]) or [None]
        (delta,) = deltas([frame])
        if last[0] is not None and last[0].keys() & delta.keys() <= {"role"}:
            last[0].update(delta)
        elif last[0] and "tool_calls" in last[0] and "tool_calls" in delta:
            last[0]["tool_calls"] += delta["tool_calls"]
        else:
            kept.append(frame)
    frames[:-1] = kept


def with_a_response_id_for_each_frame(frames):
    for number, frame in enumerate(frames):
        frame["id"] = f"chatcmpl-{number}"


def without_what_nobody_needs(frames):
    for frame in frames:
        for name in ("id", "created", "object"):
            del frame[name]


def with_a_second_finish(frames):
    frames.append(copy.deepcopy(frames[-1]))
    for choice in frames[-1]["choices"]:
        choice["delta"] = {}


def with_halves_of_characters(frames):
    """A server that counts in UTF-16 cuts characters beyond its first plane in two."""
    kept = []
    for frame in frames:
        pieces = [frame]
        for field in ("content", "reasoning_content"):
            text = deltas([frame])[0].get(field) if frame["choices"] else None
            if isinstance(text, str) and any(c > "\uffff" for c in text):
                units = text.encode("utf-16-le")
                halves = [units[at : at + 2] for at in range(0, len(units), 2)]
                pieces = [copy.deepcopy(frame) for _ in halves]
                for piece, half in zip(pieces, halves, strict=True):
                    deltas([piece])[0][field] = half.decode("utf-16-le", "surrogatepass")
        kept += pieces
    frames[:] = kept


SHAPES = [
    with_the_name_again,
    with_an_empty_name,
    with_the_first_fragment_beside_the_name,
    with_a_copy_of_the_arguments_at_the_end,
    with_arguments_as_an_object,
    with_null_arguments,
    with_the_id_again,
    with_the_id_as_null,
    with_a_new_id_each_time,
    without_an_index,
    with_index_minus_one,
    with_index_as_text,
    with_a_finish_reason_on_every_call,
    with_the_last_fragment_on_the_finishing_chunk,
    with_halves_of_characters,
    with_two_frames_in_one,
    with_usage_on_every_frame,
    with_content_in_parts,
    with_reasoning_as_vllm_names_it,
    with_every_field,
    with_usage_apart,
    with_frames_of_nothing,
    with_a_second_finish,
    with_a_response_id_for_each_frame,
    without_what_nobody_needs,
]
# Of these only one at a time says what it means.
ONE_OF = [
    {with_the_id_again, with_the_id_as_null, with_a_new_id_each_time},
    {without_an_index, with_index_minus_one, with_index_as_text},
    {with_the_name_again, with_an_empty_name},
    # A copy without an index belongs to the last call; a new id with the name is another call.
    {without_an_index, with_a_copy_of_the_arguments_at_the_end},
    {with_index_minus_one, with_a_copy_of_the_arguments_at_the_end},
    {with_a_new_id_each_time, with_the_name_again},
    {with_a_response_id_for_each_frame, without_what_nobody_needs},
    {with_a_copy_of_the_arguments_at_the_end, with_the_last_fragment_on_the_finishing_chunk},
    # Halves of several fields need frames of one field each.
    {with_halves_of_characters, with_two_frames_in_one},
    {with_halves_of_characters, with_content_in_parts},
    {with_frames_of_nothing, with_a_response_id_for_each_frame},
    {with_frames_of_nothing, without_what_nobody_needs},
]


@st.composite
def shapes(draw):
    """A few shapes that go together, in the order of the table."""
    drawn = draw(st.sets(st.sampled_from(SHAPES), max_size=5))
    chosen = []
    for shape in (shape for shape in SHAPES if shape in drawn):
        if not any(shape in group and group & set(chosen) for group in ONE_OF):
            chosen.append(shape)
    return chosen


# Spellings: other bytes for the same frames.

SPELLINGS = {
    "line ends": st.sampled_from(["\n", "\r\n", "\r"]),
    "space": st.sampled_from([" ", ""]),
    "escapes": st.booleans(),
    "indent": st.sampled_from([None, None, 1]),
    "comments": st.booleans(),
    "BOM": st.booleans(),
    "end": st.sampled_from(["[DONE]", "[DONE]", "no [DONE]", "no empty line", "no line end"]),
}


def spelled(frames, how):
    """The body of a stream, written another way."""
    lines = [": a comment", ""] if how["comments"] else []
    said = [
        json.dumps(frame, ensure_ascii=how["escapes"], indent=how["indent"]) for frame in frames
    ]
    for event in said if how["end"] == "no [DONE]" else [*said, "[DONE]"]:
        lines += [f"data:{how['space']}{line}" for line in event.split("\n")]
        lines += [": keep-alive", ""] if how["comments"] else [""]
    text = how["line ends"].join([*lines, ""])
    if how["end"].startswith("no "):
        missing = {"no empty line": 1, "no line end": 2}.get(how["end"], 0)
        for _ in range(missing):
            text = text.removesuffix(how["line ends"])
    return ("\ufeff" * how["BOM"] + text).encode("utf-8", "surrogatepass")


def shaped(reply, frames, chosen, how):
    """The body of a stream of these shapes, in this spelling."""
    if reply.finish_reason in CUTS:  # a late copy keeps its call open, and so has it cut
        chosen = [shape for shape in chosen if shape is not with_a_copy_of_the_arguments_at_the_end]
    for shape in chosen:
        shape(frames)
    escapes = how["escapes"] or with_halves_of_characters in chosen
    return spelled(frames, {**how, "escapes": escapes})


@cases(250)
@given(
    st.data(),
    replies(arguments=objects),
    sizes,
    st.booleans(),
    shapes(),
    st.fixed_dictionaries(SPELLINGS),
)
def test_a_stream_of_another_shape(data, reply, size, tool_stream, chosen, how):
    body = shaped(reply, frames_of(reply, size, tool_stream=tool_stream), chosen, how)
    check_all(split(body, data.draw(cuts(body))), reply)


# Over a socket


WAYS = [ways.stream, ways.astream, ways.bulk_merge, ways.v3, ways.av3, ways.invoke, ways.ainvoke]


def settled(message):
    return collect([message]) if isinstance(message, AIMessageChunk) else message


@cases(8)
@given(st.data(), replies(), sizes, shapes(), st.fixed_dictionaries(SPELLINGS))
def test_over_a_socket(data, reply, size, chosen, how):
    """The same on every way to ask a model; its pieces are written one by one."""
    assume(reply.finish_reason != "network_error")
    assume(not chosen or all(isinstance(call.arguments, dict) for call in reply.tool_calls))
    assume(not repeats_itself(reply, size))
    body = shaped(reply, frames_of(reply, size), chosen, how)
    pieces = [piece for piece in split(body, data.draw(cuts(body))[:30]) if piece]
    streamed, whole = Raw(pieces), Raw(whole_of(reply), content_type="application/json")

    def answer(received):
        return streamed if received.body.get("stream") else whole

    with GLMServer(answer) as server:
        model = ChatGLM(api_key="test-key", base_url=server.base_url, max_retries=0)
        for way in WAYS:
            check(said(settled(asyncio.run(way(model)))), reply)
