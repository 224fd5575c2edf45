"""Many streams through one model, and nothing of them is left.

200 streams in a plain run; `make soak` asks for 2,000, and `SOAK=N` for as many as you like.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_glm.testing import Call, GLMServer, Raw, Reply

STREAMS = int(os.environ.get("SOAK", "200"))
ROUNDS = max(5, STREAMS // 200)
WIDTH = 6  # soak.py's

COMMAND = (sys.executable, "-W", "error::ResourceWarning", Path(__file__).parents[2] / "soak.py")
FRAGMENT = b'data: {"id":"A","choices":[{"index":0,"delta":{"content":"one"}}]}\n\n'
ANSWERS = {
    "early": Raw([FRAGMENT], end=False),
    "work": Reply("Hm.", "I write.", [Call("write", {"path": "a.py", "text": "x = 1\n" * 30})]),
    "say": Reply("Hm.", "Hello."),
}


def asked(received):
    return received.body["messages"][-1]["content"]


@pytest.fixture(scope="module")
def soaked():
    """The server that was asked, and what the client counted after each round."""
    with GLMServer(lambda received: ANSWERS.get(asked(received), ANSWERS["say"])) as server:
        done = subprocess.run(  # noqa: S603 - our own script
            [*COMMAND, server.base_url, str(STREAMS), str(ROUNDS)],
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stdout)
        assert (done.returncode, done.stderr) == (0, "")
        yield server, [json.loads(line) for line in done.stdout.splitlines()]


def test_all_have_run(soaked):
    server, rounds = soaked
    assert len(rounds) == ROUNDS
    assert rounds[-1]["streams"] > STREAMS - ROUNDS
    assert len(server.requests) >= rounds[-1]["streams"]


def test_no_task_is_left(soaked):
    assert [now["tasks"] for now in soaked[1]] == [0] * ROUNDS


@pytest.mark.parametrize(
    ("what", "more"),
    [
        pytest.param("threads", 4, id="threads"),  # an executor's first may come late
        pytest.param("descriptors", 2 * WIDTH, id="descriptors"),  # so many may be idle
        pytest.param("objects", 100, id="objects"),
        pytest.param("bytes", 250_000, id="bytes"),
    ],
)
def test_it_stays_flat(soaked, what, more):
    first, *others = [now[what] for now in soaked[1]]
    assert max(others) <= first + more, (first, *others)


def test_each_stream_that_was_left_early_was_hung_up_on(soaked):
    server, _ = soaked
    early = [received for received in server.requests if asked(received) == "early"]
    assert len(early) > STREAMS / 3
    assert server.wait_until(lambda: all(received.hung_up.is_set() for received in early))


def test_the_other_connections_were_used_again(soaked):
    server, _ = soaked
    early = sum(asked(received) == "early" for received in server.requests)
    # A stream that is left early takes its connection along, and a loop those that it had.
    bound = early + WIDTH * (ROUNDS + 2)
    assert len({received.connection for received in server.requests}) <= bound
