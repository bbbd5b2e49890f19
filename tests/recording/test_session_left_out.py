"""`session=` forgotten, or refused with None: which transaction the row is written in."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import pytest
from flask import g
from sqlalchemy import create_engine, event, insert, text
from sqlalchemy.orm import Session

from flask_s2s import Late, signup_completed
from tests.recording.desk import Boom, Desk
from tests.recording.rows import conversions, customers
from tests.recording.test_sessions import Base, User, plain_app

#: What would hang is over at once: nothing waits for a lock, nor for a pool of one.
AT_ONCE: dict[str, Any] = {
    "SQLALCHEMY_ENGINE_OPTIONS": {"connect_args": {"timeout": 3}},
    "S2S_WORKER": "external",
}


@pytest.fixture
def desk(sqlite_url: str) -> Desk:
    return Desk(sqlite_url, **AT_ONCE)


def by_call(desk: Desk, user: Any) -> None:
    desk.db.session.flush()
    desk.s2s.track_signup(customer_key=user.id)


def by_signal(desk: Desk, user: Any) -> None:
    desk.db.session.flush()
    signup_completed.send(desk.app, customer_key=user.id)


doors = pytest.mark.parametrize("tell", [by_call, by_signal])


@doors
@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_it_stands_and_falls_with_writes_that_are_open(
    desk: Desk, tell: Callable[[Desk, Any], None], ending: str
) -> None:
    def view() -> None:
        tell(desk, desk.new_user())
        getattr(desk.db.session, ending)()

    assert desk.post(view) == 200
    desk.expect_exactly_the_customers(1 if ending == "commit" else 0)


@doors
@pytest.mark.parametrize("raises", [True, False])
def test_what_is_closed_undecided_is_written_all_the_same(
    desk: Desk, tell: Callable[[Desk, Any], None], raises: bool
) -> None:
    def view() -> None:
        tell(desk, desk.new_user())
        if raises:
            raise Boom

    desk.post(view)
    assert (customers(desk.uri), conversions(desk.uri)) == ([], [("1", "pending")])


@doors
def test_after_a_commit_it_is_written_at_once(
    desk: Desk, tell: Callable[[Desk, Any], None]
) -> None:
    def view() -> None:
        user = desk.new_user()
        desk.db.session.commit()
        tell(desk, user)
        assert conversions(desk.uri) == [("1", "pending")]

    assert desk.post(view) == 200
    desk.expect_exactly_the_customers(1)


@doors
def test_a_webhook_that_only_reads_is_not_joined(
    desk: Desk, tell: Callable[[Desk, Any], None]
) -> None:
    def view() -> None:
        desk.db.session.execute(text("SELECT 1"))
        tell(desk, desk.user_model(id=7, email="x"))
        assert conversions(desk.uri) == [("7", "pending")]
        desk.db.session.rollback()

    assert desk.post(view) == 200
    assert conversions(desk.uri) == [("7", "pending")]


@pytest.mark.parametrize("write", ["pending", "statement", "connection"])
def test_any_write_of_the_caller_s_counts(desk: Desk, write: str) -> None:
    values = insert(desk.user_model).values(id=7, email="x")

    def view() -> None:
        session = desk.db.session
        if write == "pending":
            session.add(desk.user_model(id=7, email="x"))
        else:
            (session if write == "statement" else session.connection()).execute(values)
        desk.s2s.track_signup(customer_key=7)
        session.rollback()

    assert desk.post(view) == 200
    assert conversions(desk.uri) == []


def test_in_a_job_or_a_command(desk: Desk) -> None:
    with desk.app.app_context():
        by_call(desk, desk.new_user())
        desk.db.session.commit()
    with desk.app.app_context():
        by_call(desk, desk.new_user())
        desk.db.session.rollback()
    assert (customers(desk.uri), conversions(desk.uri)) == (["1"], [("1", "unattributed")])


def test_a_signal_of_an_app_without_a_context(desk: Desk) -> None:
    signup_completed.send(desk.app, customer_key=7)
    assert conversions(desk.uri) == [("7", "unattributed")]


def test_a_session_that_no_extension_knows_is_found(sqlite_url: str) -> None:
    app, s2s = plain_app(sqlite_url)
    engine = create_engine(sqlite_url, connect_args={"timeout": 3})
    Base.metadata.create_all(engine)
    with app.test_request_context(), Session(engine) as session:
        session.add(User(name="x"))
        session.flush()
        assert s2s.track_signup(customer_key=1)
        session.rollback()
        assert conversions(sqlite_url) == []
        session.add(User(name="y"))
        session.flush()
        s2s.track_signup(customer_key=1)
        session.commit()
    assert [key for key, _ in conversions(sqlite_url)] == customers(sqlite_url) == ["1"]
    engine.dispose()


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_so_is_one_with_a_customer_that_is_only_added(sqlite_url: str, ending: str) -> None:
    """Its key is its own: a UUID, an address."""
    app, s2s = plain_app(sqlite_url)
    engine = create_engine(sqlite_url)
    Base.metadata.create_all(engine)
    with app.test_request_context():
        for _ in range(2):
            with Session(engine) as session:
                session.add(User(name="x"))
                s2s.track_signup(customer_key="1")
                getattr(session, ending)()
    count = 1 if ending == "commit" else 0
    assert [key for key, _ in conversions(sqlite_url)] == ["1"] * count
    assert len(customers(sqlite_url)) == 2 * count
    engine.dispose()


def test_a_session_of_another_database_is_left_alone(desk: Desk, tmp_path: pathlib.Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'other.sqlite3'}")
    Base.metadata.create_all(engine)
    with desk.app.test_request_context(), Session(engine) as session:
        session.add(User(name="x"))
        session.flush()
        desk.s2s.track_signup(customer_key=7)
        assert conversions(desk.uri) == [("7", "unattributed")]
        session.rollback()
    engine.dispose()


def test_the_outbox_in_a_bind_of_its_own(sqlite_url: str, tmp_path: pathlib.Path) -> None:
    """Users are in one database, the outbox in another: both are one session's."""
    outbox = f"sqlite:///{tmp_path / 'outbox.sqlite3'}"
    desk = Desk(
        sqlite_url,
        SQLALCHEMY_BINDS={"outbox": outbox},
        S2S_DATABASE_URI=outbox,
        S2S_WORKER="external",
    )

    def view() -> None:
        by_call(desk, desk.new_user())
        desk.db.session.commit()

    assert desk.post(view) == 200
    assert conversions(outbox) == [("1", "pending")]


@pytest.mark.parametrize("ending", ["commit", "rollback", "close"])
def test_none_wants_a_transaction_of_its_own(desk: Desk, ending: str) -> None:
    """On SQLite it comes after the one that is open: it would wait for it, in the same thread."""

    def view() -> None:
        user = desk.new_user()
        desk.db.session.flush()
        assert isinstance(desk.s2s.track_signup(customer_key=user.id, session=None), Late)
        getattr(desk.db.session, ending)()

    assert desk.post(view) == 200
    assert conversions(desk.uri) == [("1", "pending")]
    assert len(customers(desk.uri)) == (ending == "commit")


@pytest.mark.service
def test_none_on_a_server_waits_for_no_row_of_the_same_thread(postgresql_url: str) -> None:
    desk = Desk(postgresql_url, S2S_WORKER="external")

    def view() -> None:
        user = desk.new_user()
        desk.call(user)
        desk.s2s.track_signup(customer_key=user.id, session=None)
        desk.s2s.track_signup(customer_key="other")
        desk.db.session.rollback()

    assert desk.post(view) == 200
    assert conversions(desk.uri) == [("1", "pending")]


def test_a_lead_form_waits_for_no_lock_of_its_own_thread(desk: Desk) -> None:
    def view() -> None:
        desk.new_user()
        desk.db.session.flush()
        assert desk.s2s.identify(email="ada@shop.example")
        desk.db.session.commit()

    assert desk.post(view) == 200
    with desk.app.app_context():
        assert desk.db.session.scalar(text("SELECT count(*) FROM s2s_binding")) == 1


def test_a_withdrawal_waits_for_no_lock_of_its_own_thread(desk: Desk) -> None:
    def view() -> None:
        desk.new_user()
        desk.db.session.flush()
        desk.s2s.withdraw()
        desk.db.session.commit()

    assert desk.post(view) == 200
    assert len(customers(desk.uri)) == 1


@pytest.mark.parametrize(("status", "expected"), [(200, ["1"]), (500, [])])
def test_a_view_that_commits_after_it_returned(
    desk: Desk, status: int, expected: list[str]
) -> None:
    @desk.app.after_request
    def commit(response: Any) -> Any:
        desk.db.session.commit()
        return response

    def view() -> tuple[str, int]:
        g.user = desk.new_user()
        desk.db.session.flush()
        return "", status

    desk.post(desk.s2s.conversion(customer_key=lambda: g.user.id)(view))
    assert [key for key, _ in conversions(desk.uri)] == expected


def test_a_reader_that_locks_the_file_is_waited_for_by_nobody(sqlite_url: str) -> None:
    """SQLAlchemy's documented way to savepoints: a reader begins, too."""
    desk = Desk(sqlite_url, **AT_ONCE)
    with desk.app.app_context():
        engine = desk.db.engine
    event.listen(engine, "connect", lambda one, _: setattr(one, "isolation_level", None))
    event.listen(engine, "begin", lambda one: one.exec_driver_sql("BEGIN"))
    engine.dispose()

    def view() -> None:
        desk.db.session.execute(text("SELECT * FROM s2s_delivery"))
        desk.s2s.track_signup(customer_key=7)
        desk.db.session.rollback()

    assert desk.post(view) == 200
    assert conversions(desk.uri) == [("7", "pending")]


@pytest.mark.service
@pytest.mark.parametrize("session", [{}, {"session": None}], ids=["left out", "none"])
def test_a_reader_that_has_the_pool_s_only_connection(
    postgresql_url: str, session: dict[str, Any]
) -> None:
    pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 3}
    desk = Desk(postgresql_url, S2S_WORKER="external", SQLALCHEMY_ENGINE_OPTIONS=pool)

    def view() -> None:
        desk.db.session.execute(text("SELECT 1"))
        desk.s2s.track_signup(customer_key=7, **session)
        desk.db.session.rollback()

    assert desk.post(view) == 200
    assert conversions(desk.uri) == [("7", "pending")]


class TestARefusedRow:
    """A row that joined by itself costs the caller nothing, whatever the database says to it."""

    @pytest.fixture
    def broken(self, database_url: str) -> Desk:
        desk = Desk(database_url, TESTING=False, S2S_WORKER="external")
        with desk.app.app_context():
            desk.services.storage.tables.attempt.drop(desk.db.engine)
            desk.services.storage.tables.delivery.drop(desk.db.engine)
        return desk

    @pytest.mark.parametrize("tell", [by_call, by_signal])
    def test_the_customer_is_committed(
        self, broken: Desk, tell: Callable[[Desk, Any], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        def view() -> None:
            tell(broken, broken.new_user())
            broken.db.session.commit()

        assert broken.post(view) == 200
        assert customers(broken.uri) == ["1"]
        assert "s2s.conversion.late" in caplog.text
        broken.services.close()
