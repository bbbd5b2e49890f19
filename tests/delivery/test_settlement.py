"""A delivery's next status after each outcome: pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from flask_s2s import Click, Delivery, Signup, Status
from flask_s2s.networks.messages import (
    Accepted,
    Ambiguous,
    Duplicate,
    NotThere,
    Outcome,
    Refused,
    RetryLater,
    Unauthorised,
)
from flask_s2s.rules.delivery import deadline, expire, settle
from flask_s2s.rules.retry import RetryPolicy

NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)
DELIVERY = Delivery(
    id=1,
    network="partnerstack",
    lane="partnerstack/tracking",
    kind="signup",
    status=Status.SENDING,
    reason="cookie",
    customer_key="42",
    conversion=Signup(customer_key="42"),
    click=Click(click_id="click1", at=NOW),
    attempts=3,
    created_at=NOW,
    due_at=NOW + timedelta(seconds=60),
    deadline_at=NOW + timedelta(days=90),
    lease_token="t",
)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("outcome", "status", "wait", "ambiguous", "alarm"),
    [
        pytest.param(Accepted(detail="d"), Status.DELIVERED, None, False, False, id="accepted"),
        pytest.param(Duplicate(detail="d"), Status.DELIVERED, None, False, False, id="duplicate"),
        pytest.param(
            NotThere(detail="d"), Status.PENDING, 4 * SECOND, False, False, id="not there"
        ),
        pytest.param(Refused(detail="d"), Status.REFUSED, None, False, True, id="refused"),
        pytest.param(
            Unauthorised(detail="d"), Status.HELD, 0 * SECOND, False, True, id="unauthorised"
        ),
        pytest.param(RetryLater(detail="d"), Status.PENDING, 4 * SECOND, False, False, id="later"),
        pytest.param(
            RetryLater(detail="d", after=30 * SECOND),
            Status.PENDING,
            30 * SECOND,
            False,
            False,
            id="later, as asked",
        ),
        pytest.param(
            RetryLater(detail="d", alarm=True),
            Status.PENDING,
            4 * SECOND,
            False,
            True,
            id="later, unexpected",
        ),
        pytest.param(
            Ambiguous(detail="d"), Status.PENDING, 4 * SECOND, True, False, id="ambiguous"
        ),
        pytest.param(
            Ambiguous(detail="d", after=30 * SECOND),
            Status.PENDING,
            30 * SECOND,
            True,
            False,
            id="ambiguous, as asked",
        ),
    ],
)
def test_an_outcome_decides_the_next_state(
    outcome: Outcome, status: Status, wait: timedelta | None, ambiguous: bool, alarm: bool
) -> None:
    settlement = settle(DELIVERY, outcome, NOW, RetryPolicy(), 0.5)
    assert settlement.status is status
    assert settlement.due_at == (None if wait is None else NOW + wait)
    assert settlement.ambiguous_at == (NOW if ambiguous else None)
    assert settlement.alarm is alarm


@pytest.mark.parametrize(
    "outcome",
    [RetryLater(detail="d"), Unauthorised(detail="d"), NotThere(detail="d")],
    ids=lambda outcome: outcome.word,
)
def test_what_did_not_arrive_says_nothing_of_an_earlier_attempt(outcome: Outcome) -> None:
    tried = replace(DELIVERY, ambiguous_at=NOW - SECOND, read_to="key_1")
    settlement = settle(tried, outcome, NOW, RetryPolicy(), 0.5)
    assert (settlement.ambiguous_at, settlement.read_to) == (NOW - SECOND, "key_1")


def test_the_last_try_is_on_the_deadline_and_not_after_it() -> None:
    late = DELIVERY.deadline_at - SECOND
    asked = RetryLater(detail="d", after=timedelta(minutes=5))
    assert settle(DELIVERY, asked, late, RetryPolicy(), 0.5).due_at == DELIVERY.deadline_at


def test_expiry_tells_the_last_word_and_raises_the_alarm() -> None:
    settlement = expire(DELIVERY)
    assert (settlement.status, settlement.due_at, settlement.alarm) == (Status.EXPIRED, None, True)
    assert "never tried" in settlement.detail


@pytest.mark.parametrize(
    ("clicked_days_ago", "days_left"),
    [
        pytest.param(None, 30, id="no click"),
        pytest.param(0, 90, id="a fresh click: its window"),
        pytest.param(89, 30, id="an old click: at least thirty days"),
    ],
)
def test_the_deadline_is_the_later_of_window_and_patience(
    clicked_days_ago: int | None, days_left: int
) -> None:
    clicked = None if clicked_days_ago is None else NOW - timedelta(days=clicked_days_ago)
    days = timedelta(days=days_left)
    assert deadline(clicked, NOW, timedelta(days=90), timedelta(days=30)) == NOW + days
