"""How long a delivery waits: pure."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_s2s.rules.retry import RetryPolicy

POLICY = RetryPolicy()
ATTEMPTS = st.integers(min_value=-3, max_value=10**9)
JITTER = st.floats(min_value=0, max_value=1, exclude_max=True)
ASKED = st.none() | st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=10**6))
POLICIES = st.builds(
    RetryPolicy,
    initial=st.timedeltas(min_value=timedelta(milliseconds=1), max_value=timedelta(days=1)),
    maximum=st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=30)),
    factor=st.floats(min_value=1, max_value=1000),
    longest_asked=st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=30)),
)


@given(policy=POLICIES, attempt=ATTEMPTS, jitter=JITTER, asked=ASKED)
def test_a_wait_is_never_negative_and_always_bounded(
    policy: RetryPolicy, attempt: int, jitter: float, asked: timedelta | None
) -> None:
    wait = policy.wait(attempt, jitter, asked)
    assert timedelta(0) < wait <= max(policy.maximum, policy.longest_asked)


@given(attempt=ATTEMPTS, jitter=JITTER, asked=st.timedeltas(timedelta(0), timedelta(hours=1)))
def test_what_the_network_asks_for_is_a_lower_bound(
    attempt: int, jitter: float, asked: timedelta
) -> None:
    assert POLICY.wait(attempt, jitter, asked) >= asked


@given(attempt=st.integers(min_value=1, max_value=100), jitter=JITTER)
def test_more_attempts_never_shorten_the_wait(attempt: int, jitter: float) -> None:
    assert POLICY.wait(attempt + 1, jitter) >= POLICY.wait(attempt, jitter)


@pytest.mark.parametrize(
    ("attempt", "bound"),
    [(1, 2), (2, 4), (3, 8), (8, 256), (11, 2048), (12, 3600), (13, 3600), (10**9, 3600)],
)
def test_the_bound_doubles_up_to_an_hour(attempt: int, bound: int) -> None:
    assert POLICY.wait(attempt, 0.5) == timedelta(seconds=bound / 2)
    assert POLICY.wait(attempt, 0.0) == timedelta(seconds=0.05)


@pytest.mark.parametrize(
    ("asked", "waited"),
    [
        pytest.param(timedelta(0), timedelta(seconds=1), id="nothing: our own wait"),
        pytest.param(timedelta(seconds=30), timedelta(seconds=30), id="more than our own"),
        pytest.param(timedelta(days=4000), timedelta(hours=1), id="a decade: capped"),
    ],
)
def test_retry_after_is_honoured_and_capped(asked: timedelta, waited: timedelta) -> None:
    assert POLICY.wait(1, 0.5, asked) == waited
