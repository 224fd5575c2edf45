"""What the oldest Python cannot do, and why."""

import sys

import pytest

async_agents_stream = pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="before Python 3.11 asyncio hands no context to a task, and create_agent's async nodes "
    "do not see that their caller wants a stream (LangChain documents it)",
)
