"""Sessions: plain, made, scoped, asynchronous, shared with a test, of another database."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
from blinker import Signal
from flask import Flask, g
from sqlalchemy import String, create_engine, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session
from sqlalchemy.orm import sessionmaker as make_sessionmaker
from werkzeug.local import LocalProxy

from flask_s2s import S2S, ConfigError, Signup, UsageError, signup_completed
from flask_s2s.testing import ManualClock, ScriptedTransport
from tests.recording.desk import LANDING, Boom, Desk
from tests.recording.rows import conversions, customers


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))


def plain_app(uri: str, **config: Any) -> tuple[Flask, S2S]:
    """An app that uses SQLAlchemy by itself, and keeps the request's session in `g`."""
    app = Flask("plain")
    app.config.update(SECRET_KEY="plain", S2S_DATABASE_URI=uri, S2S_TOKEN="token", TESTING=True)
    app.config.update(config)
    s2s = S2S(app, transport=ScriptedTransport(), clock=ManualClock())
    app.extensions["s2s"].storage.create()
    return app, s2s


KINDS: dict[str, Callable[[Any], Any]] = {
    "Session": lambda engine: Session(engine),
    "sessionmaker": lambda engine: make_sessionmaker(engine)(),
    "subclass": lambda engine: make_sessionmaker(engine, class_=type("Own", (Session,), {}))(),
    "scoped_session": lambda engine: scoped_session(make_sessionmaker(engine)),
    "autobegin off": lambda engine: Session(engine, autobegin=False),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("door", ["call", "decorator", "signal"])
@pytest.mark.parametrize("ending", ["commit", "rollback", "raise"])
def test_any_session(sqlite_url: str, kind: str, door: str, ending: str) -> None:
    app, s2s = plain_app(sqlite_url)
    engine = create_engine(sqlite_url)
    Base.metadata.create_all(engine)
    told = Signal("told")
    in_use = lambda: g.session  # noqa: E731
    s2s.connect(told, lambda sender, user: Signup(customer_key=user.id), session=in_use)

    def view() -> str:
        session = g.session
        if kind == "autobegin off":
            session.begin()
        g.user = User(name="x")
        session.add(g.user)
        if door == "call":
            session.flush()
            s2s.track_signup(customer_key=g.user.id, session=session)
        elif door == "signal":
            told.send(app, user=g.user)
        if ending == "raise":
            raise Boom
        session.commit() if ending == "commit" else session.rollback()
        return ""

    if door == "decorator":
        has_key = lambda: "user" in g and ending != "rollback"  # noqa: E731
        wrap = s2s.conversion(customer_key=lambda: g.user.id, when=has_key, session=in_use)
        view = wrap(view)

    app.add_url_rule("/", view_func=lambda: "", endpoint="landing")
    app.add_url_rule("/do", view_func=view, methods=["POST"])
    app.before_request(lambda: setattr(g, "session", KINDS[kind](engine)))

    @app.teardown_request
    def close(error: BaseException | None) -> None:
        g.session.remove() if kind == "scoped_session" else g.session.close()

    client = app.test_client()
    client.get(LANDING)
    try:
        client.post("/do")
    except Boom:
        assert ending == "raise"
    expected = [("1", "pending")] if ending == "commit" else []
    assert conversions(sqlite_url) == expected
    assert len(customers(sqlite_url)) == len(expected)


def test_a_session_that_lives_as_long_as_the_process(sqlite_url: str) -> None:
    app, s2s = plain_app(sqlite_url)
    engine = create_engine(sqlite_url)
    Base.metadata.create_all(engine)
    session = Session(engine)
    told = Signal("told")
    s2s.connect(told, lambda sender, user: Signup(customer_key=user.id), session=lambda: session)
    for ending in ("commit", "rollback", "close", "commit"):
        with app.test_request_context():
            user = User(name=ending)
            session.add(user)
            told.send(app, user=user)
            getattr(session, ending)()
    session.close()
    assert len(customers(sqlite_url)) == 2
    assert [key for key, _ in conversions(sqlite_url)] == customers(sqlite_url)


def test_a_job_that_comes_before_the_first_request(tmp_path: pathlib.Path) -> None:
    app = Flask("job", instance_path=str(tmp_path))
    app.config.update(SECRET_KEY="job")
    s2s = S2S(app)
    with app.app_context():
        assert s2s.track_signup(customer_key=42)
    uri = f"sqlite:///{tmp_path / 'flask_s2s.sqlite3'}"
    assert conversions(uri) == [("42", "unattributed")]


class TestAnotherDatabase:
    @pytest.fixture
    def other(self, tmp_path: pathlib.Path) -> Session:
        return Session(create_engine(f"sqlite:///{tmp_path / 'other.sqlite3'}"))

    def test_a_call(self, desk: Desk, other: Session) -> None:
        with desk.app.test_request_context(), pytest.raises(ConfigError, match="S2S_DATABASE_URI"):
            desk.s2s.track_signup(customer_key=1, session=other)

    def test_a_signal(self, desk: Desk, other: Session) -> None:
        with desk.app.test_request_context(), pytest.raises(ConfigError, match="S2S_DATABASE_URI"):
            signup_completed.send(desk.app, customer_key=1, session=other)

    def test_a_view_at_its_first_call(self, desk: Desk, other: Session) -> None:
        key = lambda: 1  # noqa: E731
        view = desk.s2s.conversion(customer_key=key, session=lambda: other)(lambda: "")
        with pytest.raises(ConfigError, match="S2S_DATABASE_URI"):
            desk.post(view)

    def test_a_session_without_a_database(self, desk: Desk) -> None:
        with desk.app.test_request_context(), pytest.raises(UsageError, match="bound to no"):
            desk.s2s.track_signup(customer_key=1, session=Session())


@pytest.mark.parametrize(
    "session",
    [object(), make_sessionmaker(), lambda: None, "db.session"],
    ids=["object", "sessionmaker", "nothing", "text"],
)
def test_what_is_no_session_is_refused_by_name(desk: Desk, session: Any) -> None:
    with desk.app.test_request_context(), pytest.raises(UsageError, match="must be a SQLAlchemy"):
        desk.s2s.track_signup(customer_key=1, session=session)


@pytest.mark.parametrize("stands_for", ["Session", "Connection", "scoped_session"])
def test_a_local_proxy_is_what_it_stands_for(desk: Desk, stands_for: str) -> None:
    """`LocalProxy(lambda: g.session)`, as Flask's own documentation has it for a database."""
    engine = create_engine(desk.uri)
    makes: dict[str, Callable[[], Any]] = {
        "Session": lambda: Session(engine),
        "Connection": engine.connect,
        "scoped_session": lambda: scoped_session(make_sessionmaker(engine)),
    }
    in_use = makes[stands_for]()
    with desk.app.test_request_context():
        desk.s2s.track_signup(customer_key=1, session=LocalProxy(lambda: in_use))
    in_use.rollback()
    assert conversions(desk.uri) == []
    with desk.app.test_request_context():
        desk.s2s.track_signup(customer_key=1, session=LocalProxy(lambda: in_use))
    in_use.commit()
    assert [key for key, _ in conversions(desk.uri)] == ["1"]
    in_use.close()
    engine.dispose()


@pytest.mark.parametrize("made", ["Session", "Connection", "scoped_session"])
def test_a_callable_that_makes_a_session_each_time_is_refused(desk: Desk, made: str) -> None:
    """What is recorded with one would be committed by nobody."""
    engine = create_engine(desk.uri)
    makes: dict[str, Callable[[], Any]] = {
        "Session": lambda: Session(engine),
        "Connection": engine.connect,
        "scoped_session": lambda: scoped_session(make_sessionmaker(engine)),
    }
    with desk.app.test_request_context(), pytest.raises(UsageError, match="makes a new"):
        desk.s2s.track_signup(customer_key=1, session=makes[made])
    engine.dispose()


class TestAsyncSession:
    def test_is_refused_with_what_to_write(self, desk: Desk) -> None:
        async def sign_up() -> None:
            async with AsyncSession(create_async_engine("sqlite+aiosqlite://")) as session:
                passed: Any = session
                desk.s2s.track_signup(customer_key=1, session=passed)

        with desk.app.test_request_context(), pytest.raises(UsageError, match="run_sync"):
            asyncio.run(sign_up())

    @pytest.mark.parametrize("ending", ["commit", "rollback", "close"])
    def test_what_to_write_works(self, sqlite_url: str, ending: str) -> None:
        app, s2s = plain_app(sqlite_url)
        Base.metadata.create_all(create_engine(sqlite_url))
        engine = create_async_engine(sqlite_url.replace("sqlite:", "sqlite+aiosqlite:"))
        sessions = async_sessionmaker(engine)

        async def sign_up() -> None:
            async with sessions() as session:
                user = User(name="x")
                session.add(user)
                await session.flush()
                key = user.id
                await session.run_sync(
                    lambda sync: s2s.track_signup(customer_key=key, session=sync)
                )
                await getattr(session, ending)()
            await engine.dispose()

        with app.test_request_context():
            asyncio.run(sign_up())
        expected = ["1"] if ending == "commit" else []
        assert customers(sqlite_url) == expected
        assert [key for key, _ in conversions(sqlite_url)] == expected


class TestOneSharedConnection:
    """A test-suite on `sqlite://`: one connection, so our commit would be the caller's."""

    @pytest.fixture
    def desk(self) -> Desk:
        return Desk("sqlite://")

    def rows(self, desk: Desk) -> tuple[int, list[str]]:
        with desk.app.app_context():
            users = desk.db.session.scalar(select(func.count()).select_from(desk.user_model))
            found = desk.db.session.execute(text("SELECT status FROM s2s_delivery"))
            return users or 0, list(found.scalars())

    @pytest.mark.parametrize("door", ["call", "signal"])
    def test_rolled_back(self, desk: Desk, door: str) -> None:
        def view() -> None:
            desk.tell(door, desk.new_user())
            desk.db.session.rollback()

        desk.post(view)
        assert self.rows(desk) == (0, [])

    @pytest.mark.parametrize("door", ["call", "signal"])
    def test_committed(self, desk: Desk, door: str) -> None:
        def view() -> None:
            desk.tell(door, desk.new_user())
            desk.db.session.commit()

        desk.post(view)
        assert self.rows(desk) == (1, ["pending"])
        assert desk.drain() == ["1"]

    @pytest.mark.parametrize(
        ("status", "expected"), [(200, "pending"), (500, "withdrawn")], ids=["good", "bad"]
    )
    def test_a_view_that_leaves_something_uncommitted(
        self, desk: Desk, status: int, expected: str
    ) -> None:
        def view() -> Any:
            g.user = desk.new_user()
            desk.db.session.commit()
            desk.new_user("never committed")
            desk.db.session.flush()
            return "", status

        key = lambda: g.user.id  # noqa: E731
        desk.post(desk.s2s.conversion(customer_key=key, session=desk.db.session)(view))
        assert self.rows(desk) == (1, [expected])
