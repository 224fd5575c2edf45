"""What the tests of faults share: no waiting between tries, nothing left behind."""

import collections
import gc
import warnings

import pytest

from langchain_glm import _exchange

_decide = _exchange._Retries.delay
_COLLECTED = pytest.StashKey[collections.Counter]()


@pytest.hookimpl(tryfirst=True)  # before any is deselected
def pytest_collection_modifyitems(config, items):
    config.stash[_COLLECTED] = collections.Counter(item.path.name for item in items)


@pytest.fixture
def collected(request):
    """How many cases of each file were collected."""
    return request.config.stash[_COLLECTED]


@pytest.fixture
def waits(monkeypatch):
    """What each failure led to (seconds, None where the error stood), without the waiting."""
    recorded = []

    def at_once(self, error, attempt):
        recorded.append(_decide(self, error, attempt))
        return None if recorded[-1] is None else 0.0

    monkeypatch.setattr(_exchange._Retries, "delay", at_once)
    return recorded


@pytest.fixture(autouse=True, scope="module")
def _nothing_is_left():
    gc.collect()
    gc.freeze()  # what the imports made takes no time to look through
    yield
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.collect()
    gc.unfreeze()
    assert [str(w.message) for w in caught if w.category in {ResourceWarning, RuntimeWarning}] == []
