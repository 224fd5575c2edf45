"""`_exchange`, part by part; its loops run over real sockets in `chat_models/`."""

from __future__ import annotations

import openai
import pytest

from langchain_glm import _exchange
from langchain_glm._exchange import _Attempt, _Retries, read_timeout
from langchain_glm.errors import GLMQuotaError, GLMServerError

# read_timeout


@pytest.mark.parametrize(
    ("timeout", "silence", "connect", "read"),
    [
        pytest.param(None, None, None, None, id="no limits"),
        pytest.param(None, 3, None, 3, id="silence alone"),
        pytest.param(5, None, 5, 5, id="timeout alone"),
        pytest.param(5, 3, 5, 3, id="silence is shorter"),
        pytest.param(2, 3, 2, 2, id="timeout is shorter"),
        pytest.param(5, 0, 5, 5, id="0 is no limit"),
        pytest.param((1, 9), 3, 1, 3, id="(connect, read)"),
        pytest.param((1, 2, 3, 4), 3, 1, 2, id="(connect, read, write, pool)"),
        pytest.param(openai.Timeout(9, connect=1), 3, 1, 3, id="Timeout"),
        pytest.param(openai.Timeout(9, read=None), 3, 9, 3, id="Timeout without a read limit"),
    ],
)
def test_read_timeout(timeout, silence, connect, read):
    limits = read_timeout(timeout, silence)
    assert isinstance(limits, openai.Timeout)
    assert (limits.connect, limits.read) == (connect, read)


def test_read_timeout_leaves_the_other_limits():
    limits = read_timeout(openai.Timeout(9, write=7, pool=8), 3)
    assert (limits.write, limits.pool) == (7, 8)


# _Retries


def failure(cls=GLMServerError, retry_after=None):
    error = cls("no")
    error.retry_after = retry_after
    return error


def delays(most, error, times):
    retries = _Retries(most)
    return [retries.delay(error, _Attempt(None)) for _ in range(times)]


@pytest.mark.parametrize(
    ("most", "sent_again"), [(0, 0), (1, 1), (3, 3), (None, openai.DEFAULT_MAX_RETRIES)]
)
def test_retries_are_counted(most, sent_again):
    given = [delay is not None for delay in delays(most, failure(), 5)]
    assert given == [True] * sent_again + [False] * (5 - sent_again)


def test_back_off_doubles_up_to_its_limit(monkeypatch):
    monkeypatch.setattr(_exchange.random, "uniform", lambda low, high: high)
    assert delays(7, failure(), 7) == [0.5, 1, 2, 4, 8, 8, 8]


def test_back_off_is_jittered_downwards(monkeypatch):
    monkeypatch.setattr(_exchange.random, "uniform", lambda low, high: low)
    assert delays(7, failure(), 7) == [0.375, 0.75, 1.5, 3, 6, 6, 6]


@pytest.mark.parametrize(
    ("retry_after", "delay"),
    [(0.01, 0.01), (7.0, 7.0), (120.0, 120.0), (120.1, None), (float("inf"), None)],
)
def test_retry_after_wins(retry_after, delay):
    assert delays(2, failure(retry_after=retry_after), 2) == [delay, delay]


def test_what_was_delivered_is_not_sent_again():
    attempt = _Attempt(None)
    attempt.delivered = True
    assert _Retries(5).delay(failure(), attempt) is None


def test_what_is_not_retryable_is_not_sent_again():
    assert _Retries(5).delay(failure(GLMQuotaError, retry_after=1.0), _Attempt(None)) is None
