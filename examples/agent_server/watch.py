"""Watch an agent on an Agent Server: its arguments appear while the model writes them.

`python watch.py [URL]`; the server of `langgraph dev` is the default.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from langchain_core.messages import AIMessageChunk
from langgraph_sdk import get_client

from langchain_glm.streaming import ArgumentDelta, TextDelta, ToolCallFinished, atool_call_events

ASK = "Write a note on what a checkpoint is."


async def ai_chunks(client: Any, ask: str) -> AsyncIterator[AIMessageChunk]:
    """Run the agent in a thread of its own, and give what its model writes.

    Whoever leaves this stops the run, and the server hangs up on the model.
    """
    thread = await client.threads.create()
    async for part in client.runs.stream(
        thread["thread_id"],
        "agent",
        input={"messages": [{"role": "user", "content": ask}]},
        stream_mode="messages-tuple",
        on_disconnect="cancel",
    ):
        if part.event == "messages" and part.data[0]["type"] == "AIMessageChunk":
            yield AIMessageChunk(**part.data[0])


async def watch(url: str) -> None:
    """Print text and arguments as they come."""
    async with get_client(url=url) as client:
        async for event in atool_call_events(ai_chunks(client, ASK)):
            match event:
                case TextDelta(text) | ArgumentDelta(path=("text",), text=text):
                    print(text, end="", flush=True)
                case ToolCallFinished():
                    print(f"\n[{event.name} can run]")
    print()


if __name__ == "__main__":
    asyncio.run(watch(*(sys.argv[1:] or ["http://127.0.0.1:2024"])))
