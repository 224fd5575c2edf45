"""Many async streams at the same time in one loop."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from benchmarks.bodies import FRAGMENT, message
from benchmarks.measure import MICRO, Effort, agree
from benchmarks.server import PACE
from benchmarks.sides import BARE, GLM, OPENAI, PROMPT, Bare, glm, openai_model, run
from benchmarks.tables import Table

Texts = AsyncIterator[str]
Ask = Callable[[], Texts]

_V3 = f"{GLM}, v3 events"


def crowd(server: str, effort: Effort) -> Table:
    """Measure the throughput of many streams, and how far each fragment is behind its sending."""
    costs = _throughputs(server, effort)
    lags = _all_lags(server, effort)
    chunks = effort.streams * effort.fragments_of_each
    numbers = {side: _numbers(costs[side], lags[side], chunks) for side in costs}
    bare_cpu, _, bare_lag, _ = numbers[BARE]
    rows = [
        [side, cpu, cpu / bare_cpu, rate, lag, late, lag / bare_lag]
        for side, (cpu, rate, lag, late) in numbers.items()
    ]
    title = f"{effort.streams} async streams in one loop"
    note = f"The lag is measured with a fragment every {PACE * 1000:g} ms in each stream."
    return Table(title, _COLUMNS, rows, note)


def _throughputs(server: str, effort: Effort) -> dict[str, list[tuple[float, float]]]:
    """Measure the seconds, of CPU and of the clock, that all the streams take."""
    text = message("text", effort.fragments_of_each).text
    with _sides(f"{server}/text/{effort.fragments_of_each}/{FRAGMENT}") as sides:
        agree(text, {side: run(_joined(ask)) for side, ask in sides.items()})
        for ask in sides.values():
            run(_throughput(ask, effort.streams, text))  # opens the connections
        costs: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
        for _ in range(min(effort.rounds, 3)):
            for side, ask in sides.items():
                costs[side].append(run(_throughput(ask, effort.streams, text)))
    return costs


def _all_lags(server: str, effort: Effort) -> dict[str, list[float]]:
    """Measure the lag of each fragment, in milliseconds."""
    with _sides(f"{server}/paced/{effort.paced}/{effort.streams}") as sides:
        lags: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(min(effort.rounds, 2)):
            for side, ask in sides.items():
                lags[side] += run(_lags(ask, effort))
    return lags


_COLUMNS = (
    "",
    "µs of CPU per chunk",
    "ratio to bare",
    "chunks per second",
    "lag: median ms",
    "95 % ms",
    "median to bare",
)


def _numbers(
    costs: list[tuple[float, float]], lags: list[float], chunks: int
) -> tuple[float, float, float, float]:
    cpu, wall = (statistics.median(seconds) for seconds in zip(*costs, strict=True))
    late = statistics.quantiles(lags, n=20)[-1]
    return cpu / chunks * MICRO, chunks / wall, statistics.median(lags), late


@contextlib.contextmanager
def _sides(url: str) -> Iterator[Mapping[str, Ask]]:
    ours, theirs, bare = glm(url), openai_model(url), Bare(url)

    async def model_texts(model: Any) -> Texts:
        async for chunk in model.astream(PROMPT):
            yield chunk.content

    async def event_texts() -> Texts:
        async with await ours.astream_events(PROMPT, version="v3") as events:
            async for event in events:
                if event["event"] == "content-block-delta":
                    yield event["delta"]["text"]

    async def bare_texts() -> Texts:
        async for frame in bare.astream():
            yield frame["choices"][0]["delta"].get("content") or ""

    try:
        yield {
            GLM: lambda: model_texts(ours),
            _V3: event_texts,
            OPENAI: lambda: model_texts(theirs),
            BARE: bare_texts,
        }
    finally:
        bare.close()


async def _joined(ask: Ask) -> str:
    return "".join([text async for text in ask()])


async def _throughput(ask: Ask, streams: int, expected: str) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    answers = await asyncio.gather(*(_joined(ask) for _ in range(streams)))
    spent = time.process_time() - cpu, time.perf_counter() - wall
    agree({expected}, {"each of the streams": set(answers)})
    return spent


async def _lags(ask: Ask, effort: Effort) -> list[float]:
    of_streams = await asyncio.gather(*(_lags_of_one(ask) for _ in range(effort.streams)))
    agree({effort.paced}, {"each of the streams": {len(lags) for lags in of_streams}})
    # In the beginning others are still connecting.
    return [lag for lags in of_streams for lag in lags[effort.paced // 5 :]]


async def _lags_of_one(ask: Ask) -> list[float]:
    return [(time.monotonic_ns() - int(sent)) / MICRO async for sent in ask() if sent]
