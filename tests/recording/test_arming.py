"""A decorated view between the commit and its end: when its row is released, withdrawn or new."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Response, g
from sqlalchemy import event, text

from tests.recording.desk import Boom, Desk
from tests.recording.rows import conversions, customers


def visit(desk: Desk, view: Callable[[], Any], key: Callable[[], Any] | None = None) -> int:
    """Post to `view`, decorated; the customer is the one that it put into `g`."""
    key = key or (lambda: g.user.id)
    return desk.post(desk.s2s.conversion(customer_key=key, session=desk.db.session)(view))


@pytest.mark.parametrize(("status", "expected"), [(200, "pending"), (500, "withdrawn")])
@pytest.mark.parametrize("then", ["read", "write", "call again"])
def test_an_open_transaction_at_the_end_of_the_view(
    database_url: str, status: int, expected: str, then: str
) -> None:
    """It may hold the lock that the row's release needs."""
    desk = Desk(database_url)

    def view() -> tuple[str, int]:
        g.user = desk.new_user()
        desk.db.session.commit()
        assert g.user.id
        if then == "write":
            g.user.email = "never committed"
            desk.db.session.flush()
        elif then == "call again":
            desk.call(g.user)
        return "", status

    visit(desk, view)
    if then == "call again":
        expected = "pending"  # A call waits for no view, whatever the view answers.
    assert conversions(database_url) == [("1", expected)]


@pytest.mark.parametrize(("ending", "expected"), [("return", "pending"), ("raise", None)])
def test_a_key_that_comes_after_the_commit(desk: Desk, ending: str, expected: str | None) -> None:
    def view() -> str:
        user = desk.new_user()
        desk.db.session.commit()
        g.user = user
        desk.new_user("never committed")
        desk.db.session.flush()
        if ending == "raise":
            raise Boom
        return ""

    visit(desk, view)
    assert conversions(desk.uri) == ([("1", expected)] if expected else [])


class TestSavepointInTheView:
    """Its release writes the row; the commit comes after the view, or never."""

    @pytest.fixture
    def committing(self, desk: Desk) -> Desk:
        @desk.app.after_request
        def commit(response: Response) -> Response:
            desk.db.session.commit()
            return response

        return desk

    def view(self, desk: Desk, status: int, undo: bool = False) -> Callable[[], Any]:
        def view() -> tuple[str, int]:
            g.user = desk.new_user()
            desk.db.session.flush()
            outer = desk.db.session.begin_nested()
            with desk.db.session.begin_nested():
                desk.db.session.execute(text("SELECT 1"))
            outer.rollback() if undo else outer.commit()
            return "", status

        return view

    @pytest.mark.parametrize("undo", [False, True])
    def test_success(self, committing: Desk, undo: bool) -> None:
        visit(committing, self.view(committing, 200, undo))
        committing.expect_exactly_the_customers(1)

    def test_error(self, committing: Desk) -> None:
        visit(committing, self.view(committing, 400))
        assert conversions(committing.uri) == [("1", "withdrawn")]

    def test_error_and_undone(self, committing: Desk) -> None:
        visit(committing, self.view(committing, 400, undo=True))
        assert len(customers(committing.uri)) == 1
        assert conversions(committing.uri) == []

    def test_never_committed(self, desk: Desk) -> None:
        visit(desk, self.view(desk, 200))
        assert (customers(desk.uri), conversions(desk.uri)) == ([], [])


def test_a_commit_that_fails(desk: Desk) -> None:
    """The row was written into it; the next commit writes it again."""

    def view() -> str:
        g.user = desk.new_user()
        session = desk.db.session()

        @event.listens_for(session, "before_commit", once=True)
        def fail(_: Any) -> None:
            raise Boom

        with pytest.raises(Boom):
            session.commit()
        session.rollback()
        g.user = desk.new_user()
        session.commit()
        assert conversions(desk.uri) == [("1", "armed")], "a kill now would lose it"
        return ""

    visit(desk, view)
    desk.expect_exactly_the_customers(1)


def test_a_signal_whose_own_transaction_finds_a_lock(sqlite_url: str) -> None:
    """The host's reading keeps the file locked until its session is closed: then it is recorded."""
    desk = Desk(
        sqlite_url,
        TESTING=False,
        S2S_WORKER="external",
        SQLALCHEMY_ENGINE_OPTIONS={"connect_args": {"timeout": 3}},
    )
    with desk.app.app_context():
        engine = desk.db.engine

    # What SQLAlchemy's documentation tells those who want savepoints on SQLite.
    @event.listens_for(engine, "connect")
    def no_begin(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    engine.dispose()

    def view() -> None:
        user = desk.new_user()
        desk.db.session.commit()
        desk.db.session.execute(text("SELECT * FROM s2s_delivery"))
        desk.send(user)

    desk.post(view)
    desk.expect_exactly_the_customers(1)
