"""Merged deltas have all of the text, and nothing else changes or moves."""

import asyncio
from collections import defaultdict

import pytest
from event_examples import CALL, WHERE, Source, ToldError, Typed, alisted_to_error, listed_to_error
from hypothesis import given
from hypothesis import strategies as st

from langchain_glm.streaming.debouncing import MOST_AHEAD, adebounce, debounce, merge_deltas
from langchain_glm.streaming.events import (
    ArgumentDelta,
    ArgumentFinished,
    ArgumentStarted,
    MessageFinished,
    ReasoningDelta,
    RunFinished,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
    ToolProgress,
)

DELTAS = (ReasoningDelta, TextDelta, ToolCallDelta, ArgumentDelta)
AB, CD, EF = TextDelta("ab"), TextDelta("cd"), TextDelta("ef")
SECOND = {**CALL, "id": "call_2", "index": 1}
OTHER = {**CALL, "message_id": "m2"}
NAMELESS = {"id": "call_1", "index": 0, "name": "f"}
TYPED = Typed("ab", "cd", "ef")


def raw(text, count=1, call=CALL):
    return ToolCallDelta(text, TYPED, count, **call)


def arg(text, path=("p",), call=CALL):
    return ArgumentDelta(path, text, **call)


def begun(path=("p",), call=CALL):
    return ArgumentStarted(path, **call)


async def turns(count=20):
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("events", "merged"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([AB], [AB], id="one"),
        pytest.param([AB, CD, EF], [TextDelta("abcdef")], id="text"),
        pytest.param(
            [ReasoningDelta("ab"), ReasoningDelta("cd"), AB, CD],
            [ReasoningDelta("abcd"), TextDelta("abcd")],
            id="reasoning, then text",
        ),
        pytest.param(
            [AB, ReasoningDelta("x"), CD], [AB, ReasoningDelta("x"), CD], id="reasoning in between"
        ),
        pytest.param(
            [raw("ab"), arg("ab"), raw("cd", 2), arg("cd"), raw("ef", 3), arg("ef")],
            [raw("abcdef", 3), arg("abcdef")],
            id="a call's two kinds take turns",
        ),
        pytest.param(
            [raw("ab"), begun(), arg("b"), raw("cd", 2), arg("cd")],
            [raw("ab"), begun(), arg("bcd"), raw("cd", 2)],
            id="a value that begins stays behind its fragment, and before the next one",
        ),
        pytest.param(
            [arg("ab"), raw("cd"), ArgumentFinished(("p",), "ab", **CALL), begun(), arg("ef")],
            [arg("ab"), raw("cd"), ArgumentFinished(("p",), "ab", **CALL), begun(), arg("ef")],
            id="values apart",
        ),
        pytest.param(
            [arg("ab"), arg("x", ("q",)), arg("cd")],
            [arg("ab"), arg("x", ("q",)), arg("cd")],
            id="another path in between",
        ),
        pytest.param(
            [raw("ab"), raw("ab", 1, SECOND), raw("cd", 2), raw("cd", 2, SECOND)],
            [raw("abcd", 2), raw("abcd", 2, SECOND)],
            id="calls of one message take turns",
        ),
        pytest.param(
            [raw("ab"), ToolCallStarted(**SECOND), raw("cd", 2), ToolCallFinished({}, **CALL)],
            [raw("abcd", 2), ToolCallStarted(**SECOND), ToolCallFinished({}, **CALL)],
            id="another call's beginning parts nothing",
        ),
        pytest.param(
            [raw("ab"), raw("ab", 1, OTHER), raw("cd", 2), raw("cd", 2, OTHER)],
            [raw("abcd", 2), raw("abcd", 2, OTHER)],
            id="calls of parallel messages",
        ),
        pytest.param(
            [TextDelta("ab", **WHERE), TextDelta("x"), TextDelta("cd", **WHERE), TextDelta("y")],
            [TextDelta("abcd", **WHERE), TextDelta("xy")],
            id="texts of parallel messages",
        ),
        pytest.param(
            [AB, TextDelta("x", node="b"), CD, TextDelta("y", node="b")],
            [TextDelta("abcd"), TextDelta("xy", node="b")],
            id="messages without an id, of two nodes",
        ),
        pytest.param(
            [AB, TextDelta("x", namespace=("a",)), CD],
            [TextDelta("abcd"), TextDelta("x", namespace=("a",))],
            id="messages without an id, of a graph and its subgraph",
        ),
        pytest.param(
            [TextDelta("ab", **WHERE), ToolCallStarted(**CALL), TextDelta("cd", **WHERE)],
            [TextDelta("ab", **WHERE), ToolCallStarted(**CALL), TextDelta("cd", **WHERE)],
            id="text around a call",
        ),
        pytest.param(
            [TextDelta("ab", **WHERE), raw("ab"), TextDelta("cd", **WHERE), raw("cd", 2)],
            [TextDelta("ab", **WHERE), raw("ab"), TextDelta("cd", **WHERE), raw("cd", 2)],
            id="text and a call take turns",
        ),
        pytest.param(
            [AB, RunFinished({}), CD], [AB, RunFinished({}), CD], id="nothing passes a run's end"
        ),
        pytest.param(
            [TextDelta("ab", **WHERE), ToolProgress(1, id="x", name="f"), TextDelta("cd", **WHERE)],
            [TextDelta("abcd", **WHERE), ToolProgress(1, id="x", name="f")],
            id="a tool that runs beside",
        ),
        pytest.param(
            [ToolCallDelta("ab", TYPED, 1, id=None, index=0, name="f"), raw("cd", 2, NAMELESS)],
            [raw("abcd", 2, NAMELESS)],
            id="an id that came late",
        ),
    ],
)
def test_merges(events, merged):
    assert merge_deltas(events) == merged


def test_a_merged_fragment_has_the_arguments_of_its_last_part():
    typed = Typed("ab", "cd", "ef")
    [event] = merge_deltas(
        [ToolCallDelta("cd", typed, 2, **CALL), ToolCallDelta("ef", typed, 3, **CALL)]
    )
    assert (event.text, event.raw, event.id) == ("cdef", "abcdef", "call_1")


def test_one_delta_is_given_as_it_is():
    assert merge_deltas([AB])[0] is AB


# Any sequence of events


def lanes(draw):
    """What happens in two branches, each with a message: text, then calls beside each other."""
    for message in ("m1", "m2"):
        where = {"message_id": message, "namespace": (message,) if draw(st.booleans()) else ()}
        texts = st.lists(st.sampled_from([ReasoningDelta, TextDelta]), max_size=5)
        said = [kind(draw(st.text("ab", max_size=2)), **where) for kind in draw(texts)]
        calls = [call_events(draw, {**where, "id": f"c{at}", "index": at}) for at in range(2)]
        ended = MessageFinished(None, "stop", None, **where)
        yield [*said, *interleaved(draw, calls), ended]


def call_events(draw, call):
    call = {**call, "name": "f"}
    paths = draw(st.lists(st.sampled_from(["p", "q"]), max_size=3, unique=True))
    events = [ToolCallStarted(**call)]
    for path in paths:
        events.append(ArgumentStarted((path,), **call))
        for text in draw(st.lists(st.text("cd", max_size=2), max_size=4)):
            events += [ToolCallDelta(text, TYPED, 1, **call), ArgumentDelta((path,), text, **call)]
        events.append(ArgumentFinished((path,), "", **call))
    return [*events, ToolCallFinished({}, **call)]


def interleaved(draw, sequences):
    rest = [list(sequence) for sequence in sequences if sequence]
    while rest:
        at = draw(st.integers(0, len(rest) - 1))
        yield rest[at].pop(0)
        rest = [sequence for sequence in rest if sequence]


@st.composite
def runs(draw):
    return list(interleaved(draw, [list(lane) for lane in lanes(draw)]))


@st.composite
def anything(draw):
    """Events in an order that no model would give."""
    calls = [CALL, SECOND, OTHER]
    event = st.one_of(
        st.sampled_from([AB, ReasoningDelta("r"), TextDelta("t", **WHERE), RunFinished({})]),
        st.builds(raw, st.text("ab", max_size=2), st.just(1), st.sampled_from(calls)),
        st.builds(
            arg,
            st.text("ab", max_size=2),
            st.sampled_from([("p",), ("q", 0)]),
            st.sampled_from(calls),
        ),
        st.builds(begun, st.just(("p",)), st.sampled_from(calls)),
    )
    return draw(st.lists(event, max_size=30))


def origin(event):
    return event.namespace, event.node, event.message_id


def told(events):
    """What each message and each call of it tells, letter by letter, and in which order."""
    stories = defaultdict(list)
    for event in events:
        call = getattr(event, "index", None)
        lane = (origin(event), call, type(event) is ToolCallDelta)
        if isinstance(event, DELTAS):
            what = (type(event), getattr(event, "path", None))
            stories[lane] += [(*what, letter) for letter in event.text]
        else:
            stories[lane].append(event)
            stories[(origin(event), call, True)].append(event)
    return {lane: story for lane, story in stories.items() if story}


def milestones(events):
    return [event for event in events if not isinstance(event, DELTAS)]


@given(st.one_of(runs(), anything()))
def test_no_letter_and_no_event_is_lost_or_passed(events):
    merged = merge_deltas(events)

    assert milestones(merged) == milestones(events)
    assert told(merged) == told(events)
    assert len(merged) <= len(events)
    assert merge_deltas(merged) == merged


@given(runs())
def test_an_argument_never_comes_before_its_fragment(events):
    ahead = defaultdict(int)
    for event in merge_deltas(events):
        if isinstance(event, ToolCallDelta):
            ahead[origin(event), event.index] += len(event.text)
        elif isinstance(event, ArgumentDelta):
            ahead[origin(event), event.index] -= len(event.text)
            assert ahead[origin(event), event.index] >= 0


@given(runs(), st.lists(st.sampled_from([0.0, 0.02, 0.06]), min_size=1))
def test_no_letter_and_no_event_is_lost_or_passed_at_any_pace(events, pace):
    now = 0.0

    def source():
        nonlocal now
        for at, event in enumerate(events):
            now += pace[at % len(pace)]
            yield event

    merged = list(debounce(source(), 0.05, clock=lambda: now))
    assert milestones(merged) == milestones(events)
    assert told(merged) == told(events)


# The time, sync


def paced(*items):
    """A source of events between waits, and the clock that it moves."""
    now = [100.0]

    def source():
        for item in items:
            if isinstance(item, float):
                now[0] += item
            else:
                yield item

    return source(), lambda: now[0]


@pytest.mark.parametrize(
    ("items", "given"),
    [
        pytest.param([AB, 0.01, CD, 0.01, EF], [AB, TextDelta("cdef")], id="the first at once"),
        pytest.param([AB, 0.06, CD, 0.06, EF], [AB, CD, EF], id="all after a silence"),
        pytest.param(
            [AB, 0.01, CD, 0.06, EF, 0.01, AB, 0.01, CD],
            [AB, TextDelta("cdef"), TextDelta("abcd")],
            id="held until the next one after the time",
        ),
        pytest.param(
            [AB, CD, EF, RunFinished({})],
            [AB, TextDelta("cdef"), RunFinished({})],
            id="another event takes along what is held",
        ),
        pytest.param([RunFinished({}), AB], [RunFinished({}), AB], id="the end gives the rest"),
    ],
)
def test_sync_time(items, given):
    source, clock = paced(*items)
    assert list(debounce(source, 0.05, clock=clock)) == given


def test_sync_another_event_does_not_wait():
    source = iter([AB, CD, RunFinished({}), EF])
    stream = debounce(source, 60.0)
    assert [next(stream) for _ in range(3)] == [AB, CD, RunFinished({})]
    assert list(source) == [EF]  # it was not read yet


def test_sync_the_time_of_a_slow_consumer_does_not_count():
    now = [0.0]
    seen = []
    for event in debounce([AB, CD, EF], 0.05, clock=lambda: now[0]):
        seen.append(event)
        now[0] += 1.0
    assert seen == [AB, TextDelta("cdef")]


def test_sync_no_time_changes_nothing():
    events = [AB, CD, raw("ab"), raw("cd", 2)]
    assert list(debounce(events, 0)) == events


def test_sync_an_error_comes_after_what_was_held():
    def source():
        yield from (AB, CD, EF)
        raise error

    error = ToldError("broken")
    assert listed_to_error(debounce(source(), 60.0)) == ([AB, TextDelta("cdef")], error)


def test_sync_closing_closes_the_source():
    closed = []

    def source():
        try:
            yield from (AB, CD)
        finally:
            closed.append(True)

    events = source()
    stream = debounce(events)
    next(stream)
    stream.close()
    assert closed == [True]


# The time, async


async def listed(stream):
    return [event async for event in stream]


async def test_async_the_first_delta_goes_at_once():
    stream = adebounce(Source(AB, asyncio.Event()), 60.0)
    assert await asyncio.wait_for(anext(stream), 5.0) == AB
    await stream.aclose()


async def test_async_what_is_held_goes_by_the_timer_while_the_source_is_silent():
    gate = asyncio.Event()
    stream = adebounce(Source(AB, gate, CD, EF, asyncio.Event()), 0.05)
    assert await anext(stream) == AB
    gate.set()
    assert await asyncio.wait_for(anext(stream), 5.0) == TextDelta("cdef")
    await stream.aclose()


async def test_async_what_comes_within_the_time_is_held():
    first, second = asyncio.Event(), asyncio.Event()
    stream = adebounce(Source(AB, first, CD, second, EF), 60.0)
    assert await anext(stream) == AB
    waiting = asyncio.create_task(anext(stream))
    first.set()
    await turns()
    assert not waiting.done()
    second.set()
    assert await waiting == TextDelta("cdef")
    await stream.aclose()


async def test_async_another_event_does_not_wait():
    gate = asyncio.Event()
    stream = adebounce(Source(AB, gate, CD, RunFinished({}), asyncio.Event()), 60.0)
    assert await anext(stream) == AB
    gate.set()
    assert await asyncio.wait_for(anext(stream), 5.0) == CD
    assert await asyncio.wait_for(anext(stream), 5.0) == RunFinished({})
    await stream.aclose()


async def test_async_another_event_among_deltas_does_not_wait_either():
    gate = asyncio.Event()
    source = Source(AB, gate, CD, ToolProgress(1, id="x", name="f"), EF, asyncio.Event())
    stream = adebounce(source, 60.0)
    assert await anext(stream) == AB
    gate.set()
    assert (await asyncio.wait_for(anext(stream), 5.0)).text == "cd"
    await stream.aclose()


@pytest.mark.parametrize("seconds", [0.0, 60.0])
async def test_async_a_slow_consumer_gets_large_deltas(seconds):
    gate = asyncio.Event()
    events = [raw("ab"), arg("ab"), raw("cd", 2), arg("cd")]
    stream = adebounce(Source(AB, gate, *events, RunFinished({})), seconds)
    assert await anext(stream) == AB
    gate.set()
    await turns()  # the consumer works
    assert await listed(stream) == [raw("abcd", 2), arg("abcd"), RunFinished({})]


async def test_async_the_source_is_held_up_at_the_bound():
    count = 0

    async def source():
        nonlocal count
        while True:
            count += 1
            yield TextDelta("x")

    stream = adebounce(source(), 60.0)
    first = await anext(stream)
    await turns()
    second = await asyncio.wait_for(anext(stream), 5.0)  # full: it goes before its time
    assert len(first.text) == len(second.text) == MOST_AHEAD
    assert count <= 3 * MOST_AHEAD
    await stream.aclose()


async def test_async_the_end_gives_the_rest_before_its_time():
    assert await asyncio.wait_for(listed(adebounce(Source(), 60.0)), 5.0) == []
    gate = asyncio.Event()
    stream = adebounce(Source(AB, gate, CD, EF), 60.0)
    assert await anext(stream) == AB
    gate.set()
    assert await asyncio.wait_for(listed(stream), 5.0) == [TextDelta("cdef")]


async def test_async_an_error_comes_after_what_was_held():
    error, gate = ToldError("broken"), asyncio.Event()
    stream = adebounce(Source(AB, gate, CD, EF, error), 60.0)
    assert await anext(stream) == AB
    gate.set()
    assert await alisted_to_error(stream) == ([TextDelta("cdef")], error)


async def test_async_a_source_that_fails_at_once():
    error = ToldError("broken")
    assert await alisted_to_error(adebounce(Source(error))) == ([], error)


@pytest.mark.parametrize("rest", [[], [CD], [CD, RunFinished({}), EF]], ids=len)
async def test_async_closing_closes_the_source_at_once_and_leaves_no_task(rest):
    source = Source(AB, *rest, asyncio.Event())
    stream = adebounce(source, 60.0)
    await anext(stream)
    await turns()
    await stream.aclose()
    assert source.ended == "CancelledError"
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("items", [[AB], [AB, CD]], ids=["nothing held", "something held"])
async def test_async_cancelling_the_consumer_cancels_the_source(items):
    source = Source(items[0], gate := asyncio.Event(), *items[1:], asyncio.Event())
    task = asyncio.create_task(listed(adebounce(source, 60.0)))
    await turns()
    gate.set()
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.ended == "CancelledError"
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_async_an_error_after_the_consumer_left_disturbs_nobody():
    gate = asyncio.Event()
    stream = adebounce(Source(AB, gate, ToldError("late")), 60.0)
    await anext(stream)
    gate.set()
    await turns()
    await stream.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_async_a_consumer_that_breaks_off_without_closing():
    """What `break` in an `async for` leaves is closed by the event loop."""
    source = Source(AB, asyncio.Event())
    async for _ in adebounce(source, 60.0):
        break
    await turns(50)
    assert source.ended == "CancelledError"
