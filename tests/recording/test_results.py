"""Results of `track_*`: recorded, unattributed, late and lost are told apart without a row read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from typing import Any

import pytest

from flask_s2s import S2S, Click, Delivery, Late, NotStored, Status
from tests.recording.desk import LANDING, Desk

CLICK = Click(click_id="click1", at=datetime(2026, 1, 1, tzinfo=timezone.utc))
UNATTENDED: dict[str, Any] = {"TESTING": False, "S2S_WORKER": "external"}


def told(result: Delivery | Late | NotStored) -> str:
    match result:
        case Delivery(status=Status.UNATTRIBUTED, reason=reason):
            return f"unattributed: {reason}"
        case Delivery(status=status):
            return str(status)
        case Late(why=why):
            return f"late: {why}"
        case NotStored(why=why):
            return f"lost: {why}"


CALLS: list[tuple[Callable[[S2S], Delivery | Late | NotStored], str]] = [
    (lambda s2s: s2s.track_signup(customer_key=1, click=CLICK), "pending"),
    (lambda s2s: s2s.track_signup(customer_key=1), "unattributed: no_click"),
    (lambda s2s: s2s.track_action(customer_key=1, type="activated"), "pending"),
    (
        lambda s2s: s2s.track_transaction(customer_key=1, amount=5, currency="EUR", key="inv-1"),
        "pending",
    ),
    (lambda s2s: s2s.track_refund(customer_key=1, transaction_key="inv-1"), "pending"),
]


@pytest.mark.parametrize(("call", "expected"), CALLS)
def test_stored_is_a_delivery_that_says_what_becomes_of_it(
    desk: Desk, call: Callable[[S2S], Delivery | Late | NotStored], expected: str
) -> None:
    with desk.app.test_request_context("/join"):
        result = call(desk.s2s)
    assert (told(result), bool(result)) == (expected, True)


def test_what_is_not_acceptable_is_a_delivery_that_is_invalid(sqlite_url: str) -> None:
    desk = Desk(sqlite_url, **UNATTENDED)
    with desk.app.test_request_context(LANDING):
        assert told(desk.s2s.track_signup(customer_key="")) == "invalid"
        named = desk.s2s.track_action(customer_key=1, type="", session=desk.db.session)
        assert told(named) == "invalid"


def test_behind_the_thread_s_own_lock_it_is_late(sqlite_url: str) -> None:
    desk = Desk(sqlite_url, **UNATTENDED)
    with desk.app.test_request_context(LANDING):
        desk.new_user()
        desk.db.session.flush()
        result = desk.s2s.track_signup(customer_key=1, session=None)
        assert (told(result), bool(result)) == ("late: the open transaction comes first", False)


def test_a_database_that_refuses_for_now_is_late(sqlite_url: str) -> None:
    desk = Desk(sqlite_url, **UNATTENDED, S2S_RECORD_WAIT=0.05)
    with (
        closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as other,
        desk.app.test_request_context(LANDING),
    ):
        other.execute("BEGIN IMMEDIATE")
        result = desk.s2s.track_signup(customer_key=1, session=None)
        assert (told(result), bool(result)) == ("late: no answer in time", False)
