"""One model in the processes of a Ray cluster: two workers on this machine.

Not named `test_*`, so that a plain `pytest` passes it by; `make test-scale` runs it.
"""

import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

import pytest

from langchain_glm import ChatGLM
from langchain_glm.testing import Fail, GLMServer, Reply

pytestmark = pytest.mark.filterwarnings("ignore:::ray")  # about what it does inside itself

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS = [{"text": f"number {n}"} for n in range(64)]


@pytest.fixture(scope="module", autouse=True)
def _surroundings():
    """What Ray's processes inherit: no key, no telemetry, a home of their own, loopback only."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as home,
    ):
        for name in list(os.environ):
            if name.startswith(("RAY_", "ZAI_", "ZHIPUAI_", "OPENAI_", "LANGSMITH_", "LANGCHAIN_")):
                patch.delenv(name)
        patch.setenv("HOME", home)
        # Without this file Ray asks the metadata address of three clouds where it runs.
        Path(home, "ray_bootstrap_config.yaml").write_text("{}")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # loopback, as it is on those
        patch.setenv("RAY_TMPDIR", home)
        patch.setenv("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        patch.setenv("PYTHONPATH", str(EXAMPLES))
        patch.syspath_prepend(EXAMPLES)
        yield


@pytest.fixture(scope="module")
def example(_surroundings):
    import ray
    import ray_batch

    ray_batch.start_ray()
    yield ray_batch
    ray.shutdown()


class Workers:
    """Answers of a server that knows its clients by their `user_id`, and waits for all of them."""

    def __init__(self, count=2):
        self.count = count
        self.asked = Counter()
        self.all_here = threading.Event()

    def __call__(self, received):
        self.asked[received.body["user_id"]] += 1
        if len(self.asked) == self.count:
            self.all_here.set()
        self.all_here.wait(60)  # a second worker that never asks leaves one in `asked`
        text = received.body["messages"][-1]["content"].rpartition("? ")[2]
        if text == "number 13":
            return Fail(400, "1301", "sensitive content")
        return Reply(text=f"{text}: praise")


def check(server, workers, rows):
    assert sorted(row["text"] for row in rows) == sorted(row["text"] for row in ROWS)
    for row in rows:
        wanted = "" if row["text"] == "number 13" else f"{row['text']}: praise"
        assert row["answer"] == wanted
        assert ("1301" in row["error"]) == (not wanted)
    # Both have asked, each over connections of its own, and again over the same.
    assert workers.asked == Counter(f"worker-{row['worker']}" for row in rows)
    assert len(workers.asked) == 2
    used = {name: set() for name in workers.asked}
    for received in server.requests:
        used[received.body["user_id"]].add(received.connection)
    one, other = used.values()
    assert one.isdisjoint(other)
    assert len(one) + len(other) < len(ROWS)
    assert {r.headers["authorization"] for r in server.requests} == {"Bearer test-key"}
    assert str(os.getpid()) not in {str(row["worker"]) for row in rows}


def test_the_model_is_copied_into_two_workers(example):
    class Signed(example.Ask):
        def __call__(self, batch):
            self.model = self.model.model_copy(update={"user_id": f"worker-{os.getpid()}"})
            return super().__call__(batch)

    workers = Workers()
    with GLMServer(workers) as server:
        model = ChatGLM(base_url=server.base_url, api_key="test-key")
        rows = example.ask_all(ROWS, model, Signed)
        check(server, workers, rows)


def test_two_workers_make_their_own_model(example):
    class Own(example.Ask):
        """Makes its model where it runs, so that no key is pickled."""

        def __init__(self, model):
            user = f"worker-{os.getpid()}"
            super().__init__(ChatGLM(base_url=model["base_url"], api_key="test-key", user_id=user))

    workers = Workers()
    with GLMServer(workers) as server:
        rows = example.ask_all(ROWS, {"base_url": server.base_url}, Own)
        check(server, workers, rows)


def test_the_example_needs_one_command_and_no_key():
    done = subprocess.run(  # noqa: S603 - our own example
        [sys.executable, EXAMPLES / "ray_batch.py"],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert len(rows) == 16
    assert Counter(answer for _, answer, _ in rows) == {"praise": 8, "complaint": 8}
    assert all((answer == "complaint") == ("broke" in t or "dim" in t) for _, answer, t in rows)
