"""Ways to leave a model's stream before its end, and what must not be left of it."""

import contextlib
import gc
import warnings


def close(model):
    chunks = model.stream("x")
    next(chunks)
    chunks.close()


def leave_the_loop(model):
    for _ in model.stream("x"):
        break


def drop(model):
    chunks = model.stream("x")
    next(chunks)


def drop_v3(model):
    events = iter(model.stream_events("x", version="v3"))
    next(events)
    del events
    gc.collect()  # core's stream is a circle of objects


async def aclose(model):
    chunks = model.astream("x")
    await anext(chunks)
    await chunks.aclose()


async def aleave_the_loop(model):
    async for _ in model.astream("x"):
        break


async def adrop(model):
    chunks = model.astream("x")
    await anext(chunks)


@contextlib.contextmanager
def no_resource_warning():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(w.message) for w in caught if w.category is ResourceWarning] == []
