"""On one connection that all use, no transaction of ours ends a caller's."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select, text

from flask_s2s import Late, NotStored, StorageError
from tests.recording.desk import Desk


def rows(desk: Desk) -> tuple[int, int]:
    """Count the committed users and conversions."""
    with desk.app.app_context():
        users = desk.db.session.scalar(select(func.count()).select_from(desk.user_model))
        found = desk.db.session.scalar(text("SELECT count(*) FROM s2s_delivery"))
        return users or 0, found or 0


KINDS: dict[str, dict[str, Any]] = {
    "signup": {},
    "action": {"type": "trial", "key": "a-1"},
    "transaction": {"amount": 1, "currency": "EUR", "key": "inv-1"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("ending", "users"), [("rollback", 0), ("commit", 1)])
def test_a_call_without_a_session_ends_no_open_transaction(
    kind: str, ending: str, users: int
) -> None:
    desk = Desk("sqlite://")

    def view() -> None:
        desk.new_user()
        desk.db.session.flush()
        getattr(desk.s2s, f"track_{kind}")(customer_key="42", **KINDS[kind])
        getattr(desk.db.session, ending)()

    desk.post(view)
    assert rows(desk) == (users, users)


@pytest.mark.parametrize(("ending", "users"), [("rollback", 0), ("commit", 1)])
def test_nor_does_one_that_wants_a_transaction_of_its_own(ending: str, users: int) -> None:
    desk = Desk("sqlite://")

    def view() -> None:
        desk.new_user()
        desk.db.session.flush()
        assert isinstance(desk.s2s.track_signup(customer_key="42", session=None), Late)
        getattr(desk.db.session, ending)()

    desk.post(view)
    assert rows(desk) == (users, 1), "recorded after the other, however that ended"


def test_a_transaction_without_a_session_is_not_ended() -> None:
    desk = Desk("sqlite://")
    with desk.app.app_context(), desk.db.engine.connect() as connection:
        connection.execute(text("INSERT INTO user (email) VALUES ('a@b.example')"))
        with pytest.raises(StorageError, match="Pass session="):
            desk.s2s.track_signup(customer_key="42")
        connection.rollback()
    assert rows(desk) == (0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_without_a_session_is_recorded_where_nothing_was_written(kind: str) -> None:
    desk = Desk("sqlite://")

    def view() -> None:
        desk.db.session.scalar(select(func.count()).select_from(desk.user_model))
        getattr(desk.s2s, f"track_{kind}")(customer_key="42", **KINDS[kind])
        desk.db.session.rollback()

    desk.post(view)
    assert rows(desk) == (0, 1)


@pytest.mark.parametrize(("ending", "users"), [("rollback", 0), ("commit", 1)])
def test_nor_does_a_lead_form(ending: str, users: int) -> None:
    desk = Desk("sqlite://")
    bound = []

    def view() -> None:
        desk.new_user()
        desk.db.session.flush()
        bound.append(desk.s2s.identify(email="ada@shop.example"))
        getattr(desk.db.session, ending)()

    desk.post(view)
    assert bound == [True]
    assert rows(desk) == (users, 0)
    with desk.app.app_context():
        assert desk.db.session.scalar(text("SELECT count(*) FROM s2s_binding")) == 1


def test_in_production_it_is_said_and_the_page_and_its_transaction_are_fine(
    caplog: pytest.LogCaptureFixture,
) -> None:
    desk = Desk("sqlite://", TESTING=False)

    def view() -> None:
        with desk.db.engine.connect() as connection:
            connection.execute(text("INSERT INTO user (email) VALUES ('a@b.example')"))
            assert isinstance(desk.s2s.track_signup(customer_key="42"), NotStored)
            connection.rollback()

    assert desk.post(view) == 200
    assert rows(desk) == (0, 0)
    assert "s2s.conversion.not_stored: StorageError" in caplog.text
