"""Other uses of a session: savepoints, several commits, statements, early closes."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from blinker import Signal
from sqlalchemy import insert, text

from flask_s2s import Signup
from tests.recording.desk import Boom, Desk
from tests.recording.rows import conversions, customers

both_doors = pytest.mark.parametrize("door", ["call", "signal"])


@both_doors
class TestSeveral:
    def test_commits_in_one_view(self, desk: Desk, door: str) -> None:
        def view() -> None:
            for number in range(3):
                desk.tell(door, desk.new_user(f"{number}@b.example"))
                desk.db.session.commit()

        desk.post(view)
        desk.expect_exactly_the_customers(3)

    def test_conversions_in_one_transaction(self, desk: Desk, door: str) -> None:
        def view() -> None:
            for number in range(3):
                desk.tell(door, desk.new_user(f"{number}@b.example"))
            desk.db.session.commit()

        desk.post(view)
        desk.expect_exactly_the_customers(3)
        assert sorted(desk.drain()) == customers(desk.uri)

    def test_a_commit_then_a_rollback(self, desk: Desk, door: str) -> None:
        def view() -> None:
            desk.tell(door, desk.new_user("kept@b.example"))
            desk.db.session.commit()
            desk.tell(door, desk.new_user("gone@b.example"))
            desk.db.session.rollback()

        desk.post(view)
        desk.expect_exactly_the_customers(1)

    def test_a_rollback_then_a_commit(self, desk: Desk, door: str) -> None:
        def view() -> None:
            desk.tell(door, desk.new_user("gone@b.example"))
            desk.db.session.rollback()
            desk.tell(door, desk.new_user("kept@b.example"))
            desk.db.session.commit()

        desk.post(view)
        desk.expect_exactly_the_customers(1)

    def test_told_twice_after_the_commit(self, desk: Desk, door: str) -> None:
        """Our own transaction must not wait for a row of ours that the session holds."""

        def view() -> None:
            user = desk.new_user()
            desk.db.session.commit()
            desk.call(user)
            desk.tell(door, user)

        desk.post(view)
        desk.expect_exactly_the_customers(1)


class TestCommittedBefore:
    """The host committed, and told us in a transaction that is only closed."""

    @both_doors
    def test_and_read_since(self, desk: Desk, door: str) -> None:
        def view() -> None:
            user = desk.new_user()
            desk.db.session.commit()
            assert user.email
            desk.tell(door, user)
            desk.db.session.execute(text("WITH one AS (SELECT 1) SELECT * FROM one"))

        desk.post(view)
        desk.expect_exactly_the_customers(1)

    @both_doors
    @pytest.mark.parametrize("expire", [True, False])
    def test_with_and_without_expiry(self, sqlite_url: str, door: str, expire: bool) -> None:
        desk = Desk(sqlite_url, session_options={"expire_on_commit": expire})

        def view() -> None:
            user = desk.new_user()
            desk.db.session.commit()
            desk.tell(door, user)

        desk.post(view)
        desk.expect_exactly_the_customers(1)

    def test_a_call_that_is_rolled_back_all_the_same(self, desk: Desk) -> None:
        def view() -> None:
            user = desk.new_user()
            desk.db.session.commit()
            desk.call(user)
            desk.db.session.rollback()

        desk.post(view)
        assert conversions(desk.uri) == []

    def test_a_signal_before_anything_was_begun(self, desk: Desk) -> None:
        """The customer was committed elsewhere: this session has nothing to do with it."""
        desk.post(lambda: desk.send(desk.user_model(id=7, email="a@b.example")))
        assert conversions(desk.uri) == [("7", "pending")]

    def test_a_signal_in_a_transaction_that_only_read(self, desk: Desk) -> None:
        def view() -> None:
            desk.db.session.execute(text("SELECT 1"))
            desk.send(desk.user_model(id=7, email="a@b.example"))
            assert conversions(desk.uri) == [], "a rollback may follow"

        desk.post(view)
        assert conversions(desk.uri) == [("7", "pending")]

    def test_a_signal_in_a_transaction_that_only_read_and_is_rolled_back(self, desk: Desk) -> None:
        def view() -> None:
            desk.db.session.execute(text("SELECT 1"))
            desk.send(desk.user_model(id=7, email="a@b.example"))
            desk.db.session.rollback()

        desk.post(view)
        assert conversions(desk.uri) == []


WRITES: dict[str, Any] = {
    "insert": lambda session, user: session.execute(insert(user).values(id=7, email="x")),
    "text": lambda session, user: session.execute(text(INSERT)),
    "bulk": lambda session, user: session.bulk_save_objects([user(id=7, email="x")]),
    "mappings": lambda session, user: session.bulk_insert_mappings(user, [{"id": 7, "email": "x"}]),
    "flush": lambda session, user: (session.add(user(id=7, email="x")), session.flush()),
}
INSERT = "INSERT INTO user (id, email) VALUES (7, 'x')"


@pytest.mark.parametrize("write", WRITES)
class TestStatements:
    """A write is a write, whatever it was made with."""

    def test_committed(self, desk: Desk, write: str) -> None:
        def view() -> None:
            WRITES[write](desk.db.session, desk.user_model)
            desk.send(desk.user_model(id=7, email="x"))
            desk.db.session.commit()

        desk.post(view)
        desk.expect_exactly_the_customers(1)

    def test_closed_by_a_teardown(self, desk: Desk, write: str) -> None:
        def view() -> None:
            WRITES[write](desk.db.session, desk.user_model)
            desk.send(desk.user_model(id=7, email="x"))
            raise Boom

        assert desk.post(view) == 0
        assert (customers(desk.uri), conversions(desk.uri)) == ([], [])

    def test_committed_before_told(self, desk: Desk, write: str) -> None:
        def view() -> None:
            WRITES[write](desk.db.session, desk.user_model)
            desk.db.session.commit()
            desk.db.session.execute(text("SELECT 1"))
            desk.s2s.track_signup(customer_key=7, session=desk.db.session)

        desk.post(view)
        desk.expect_exactly_the_customers(1)


@pytest.mark.service
def test_a_statement_that_writes_within_a_select(postgresql_url: str) -> None:
    desk = Desk(postgresql_url)
    writing = """
        WITH added AS (INSERT INTO "user" (id, email) VALUES (7, 'x') RETURNING id)
        SELECT * FROM added
    """

    def view() -> None:
        desk.db.session.execute(text(writing))
        desk.send(desk.user_model(id=7, email="x"))
        raise Boom

    assert desk.post(view) == 0
    assert (customers(desk.uri), conversions(desk.uri)) == ([], [])


@both_doors
def test_what_is_dropped_is_told(desk: Desk, door: str, caplog: pytest.LogCaptureFixture) -> None:
    """A host that forgot to commit has no user and no conversion, and finds it in its log."""
    with caplog.at_level(logging.WARNING, "flask_s2s.conversion"):
        desk.post(lambda: desk.tell(door, desk.new_user()))
    assert (customers(desk.uri), conversions(desk.uri)) == ([], [])
    assert [r.action for r in caplog.records] == ["conversion.dropped"]  # type: ignore[attr-defined]


def test_a_call_does_not_flush(desk: Desk) -> None:
    def view() -> None:
        user = desk.new_user()
        desk.s2s.track_signup(customer_key="early", session=desk.db.session)
        assert user.id is None
        desk.db.session.commit()

    desk.post(view)
    assert conversions(desk.uri) == [("early", "pending")]


def test_a_key_made_of_an_id_that_is_not_there_yet(desk: Desk) -> None:
    """`"user-None"` looks like a key: where objects have none yet, the mapper runs in the commit."""
    late = Signal("late")
    desk.s2s.connect(
        late,
        lambda sender, user: Signup(customer_key=f"user-{user.id}"),
        session=desk.db.session,
    )

    def view() -> None:
        late.send(desk.app, user=desk.new_user())
        desk.db.session.commit()

    desk.post(view)
    assert conversions(desk.uri) == [("user-1", "pending")]
