"""The examples that serve, each started as its user starts it: a process, and an address."""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from langchain_glm.testing import Call, Cut, Fail, GLMServer, Raw, Reply

__all__ = ["DONE", "EXAMPLES", "WRITE", "Served", "glm_server", "served"]

EXAMPLES = Path(__file__).parents[1] / "examples"
_FOREIGN = ("KEYLESS_", "LANGCHAIN_", "LANGSMITH_", "OPENAI_", "ZAI_", "ZHIPUAI_")

WRITE = Call("write_file", {"path": "a.py", "content": "print('你好')\n" * 5})
DONE = "60 characters for a.py: this example writes nothing to disk"


class Served:
    """An example at work."""

    def __init__(self, process, errors):
        self._process = process
        self._errors = errors

    @property
    def has_ended(self):
        return self._process.poll() is not None

    @cached_property
    def url(self):
        """The line that it prints first, waited for."""
        return self._process.stdout.readline().strip()

    def stop(self):
        """Interrupt it as ctrl-c does, and see how it ends."""
        self._process.send_signal(signal.SIGINT)
        return self.ended()

    def ended(self):
        """Its exit code and what it wrote, when it has ended."""
        printed, _ = self._process.communicate(timeout=60)
        self._errors.seek(0)
        return self._process.returncode, printed.splitlines(), self._errors.read().splitlines()


@contextmanager
def served(name, *options, glm=None):
    """Start an example on a free port: without a key, or with one for the GLM of a test."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    environment["KEYLESS_PACE"] = "0.01"
    if glm is not None:
        environment |= {"ZAI_API_KEY": "test-key", "ZAI_BASE_URL": glm.base_url}
    command = [sys.executable, str(EXAMPLES / name), "--port", "0", *options]
    # Not a pipe, which holds up a process that logs more than it takes.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        pipes = {"stdout": subprocess.PIPE, "stderr": errors}
        with subprocess.Popen(command, env=environment, text=True, **pipes) as process:  # noqa: S603
            try:
                yield Served(process, errors)
            finally:
                if process.poll() is None:
                    process.kill()


def glm_server():
    """A GLM that does what the first word of the last message names, see `_ANSWERS`.

    After `retry` it fails, the first time.
    """
    tried = set()

    def answer(received):
        last = received.body["messages"][-1]
        if last["role"] == "tool":
            return Reply(text="Done.")
        word = last["content"].split()[0]
        if word == "retry" and word not in tried:
            tried.add(word)
            return _ANSWERS["fail"]
        return _ANSWERS[word]

    return GLMServer(answer, pace=0.002)


_ANSWERS = {
    "write": Reply(reasoning="Hm.", text="I write.", tool_calls=[WRITE]),
    "long": Reply(tool_calls=[Call("write_file", {"path": "a.py", "content": "on and " * 6000})]),
    "fail": Fail(400, "1210", "no such luck"),
    "break": Cut(Reply(text="I write.", tool_calls=[WRITE]), after=400),
    "silence": Raw([b": wait\n\n"], end=False),
    "talk": Reply(text="Hi."),
    "retry": Reply(text="Now."),
}
