"""What a web server sends: the encoders."""

import asyncio
from collections.abc import AsyncGenerator, Generator

from typing_extensions import assert_type

from langchain_glm import ChatGLM
from langchain_glm.streaming import AnyEvent, atool_call_events, tool_call_events
from langchain_glm.streaming.encoders import ag_ui, sse, vercel
from langchain_glm.testing import GLMServer


def events(model: ChatGLM) -> Generator[AnyEvent, None, None]:
    return tool_call_events(model.stream("Hello"))


def aevents(model: ChatGLM) -> AsyncGenerator[AnyEvent, None]:
    return atool_call_events(model.astream("Hello"))


def serve(model: ChatGLM) -> None:
    assert_type(sse.encode(events(model)), Generator[str, None, None])
    encoder = sse.SSEEncoder(keep=10_000)
    for event in events(model):
        assert_type(encoder.feed(event), str)
        assert_type(sse.to_json(event), str)
    assert_type(encoder.after(), list[str])
    assert_type(vercel.encode_sse(events(model), message_id="1"), Generator[str, None, None])
    for chunk in vercel.encode(events(model), on_error=str):
        assert_type(vercel.to_sse(chunk), str)
    for frame in ag_ui.encode_sse(events(model), thread_id="1", run_id="2"):
        assert_type(frame, str)
    for told in ag_ui.encode(events(model), thread_id="1", run_id="2"):
        print(told.type, end=" ")


async def aserve(model: ChatGLM) -> None:
    async for frame in sse.aencode(aevents(model), heartbeat=15.0):
        assert_type(frame, str)
    async for frame in vercel.aencode_sse(aevents(model)):
        assert_type(frame, str)
    async for frame in ag_ui.aencode_sse(aevents(model), thread_id="1", run_id="2"):
        assert_type(frame, str)


def main() -> None:
    with GLMServer() as server:
        model = ChatGLM(base_url=server.base_url, api_key="key")
        serve(model)
        asyncio.run(aserve(model))


if __name__ == "__main__":
    main()
