"""Every way to ask a model for one answer, each as a coroutine function of the model."""

import operator
from functools import reduce


async def invoke(model):
    return model.invoke("hi")


async def ainvoke(model):
    return await model.ainvoke("hi")


async def stream(model):
    return reduce(operator.add, model.stream("hi"))


async def astream(model):
    return reduce(operator.add, [chunk async for chunk in model.astream("hi")])


async def bulk_merge(model):
    first, *rest = model.stream("hi")
    return first.__add__(rest)


async def v2(model):
    return [event async for event in model.astream_events("hi", version="v2")][-1]["data"]["output"]


async def v3(model):
    return model.stream_events("hi", version="v3").output


async def av3(model):
    async with await model.astream_events("hi", version="v3") as events:
        return await events
