"""Connections: sessions with several binds, none with a session, old character sets."""

from __future__ import annotations

import pathlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    Delete,
    Engine,
    MetaData,
    Update,
    create_engine,
    event,
    inspect,
    text,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from flask_s2s import S2S, Click, ConfigError, UsageError, define_tables
from flask_s2s.testing import ScriptedTransport
from tests.recording.rows import conversions, customers
from tests.recording.test_sessions import Base, User, plain_app


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    engine = create_engine(sqlite_url, connect_args={"timeout": 3})
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def other(tmp_path: pathlib.Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'other.sqlite3'}")
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def routed(leader: Engine, follower: Engine) -> Session:
    """SQLAlchemy's own recipe for read replicas."""

    class Routing(Session):
        def get_bind(self, mapper: Any = None, clause: Any = None, **_: Any) -> Engine:
            return leader if self._flushing or isinstance(clause, Update | Delete) else follower

    return Routing()


def routed_by_model(main: Engine, _: Engine) -> Session:
    """One that asks every model where it lives, and is never asked for anything else by its app."""

    class Routing(Session):
        def get_bind(self, mapper: Any = None, *_: Any, **__: Any) -> Engine:
            return {User: main}[mapper.class_]

    return Routing()


def of_sqlmodel(main: Engine, _: Engine) -> Session:
    """A subclass whose `exec` is its own; it warns where `execute` is used on it."""
    session: Session = pytest.importorskip("sqlmodel").Session(main)
    return session


SESSIONS: dict[str, Any] = {
    "get_bind": routed,
    "get_bind by model": routed_by_model,
    "SQLModel": of_sqlmodel,
    "binds by base": lambda main, other: sessionmaker(binds={Base: main})(),
    "binds by model": lambda main, other: sessionmaker(binds={User: main}, bind=other)(),
}


@pytest.mark.parametrize("kind", SESSIONS)
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_session_is_asked_for_our_tables_bind(
    sqlite_url: str, engine: Engine, other: Engine, kind: str, named: bool, ending: str
) -> None:
    app, s2s = plain_app(sqlite_url)
    with app.test_request_context(), SESSIONS[kind](engine, other) as session:
        session.add(User(name="x"))
        session.flush()
        passed: dict[str, Any] = {"session": session} if named else {}
        s2s.track_signup(customer_key=1, **passed)
        getattr(session, ending)()
    expected = ["1"] if ending == "commit" else []
    assert customers(sqlite_url) == [key for key, _ in conversions(sqlite_url)] == expected


class TestAConnection:
    @pytest.mark.parametrize("ending", ["commit", "rollback"])
    @pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "under a Session"])
    def test_is_as_good_as_a_session(
        self, sqlite_url: str, engine: Engine, ending: str, wrapped: bool
    ) -> None:
        app, s2s = plain_app(sqlite_url)
        woken = []
        app.extensions["s2s"].supervisor.on_wake.append(lambda: woken.append(1))
        with app.test_request_context(), engine.connect() as connection:
            connection.execute(text("INSERT INTO user (name) VALUES ('x')"))
            session = Session(connection) if wrapped else connection
            assert s2s.track_signup(customer_key=1, session=session)
            getattr(connection, ending)()
        expected = ["1"] if ending == "commit" else []
        assert customers(sqlite_url) == [key for key, _ in conversions(sqlite_url)] == expected
        assert bool(woken) == (ending == "commit" and not wrapped)

    def test_of_an_engine_with_options_wakes_the_worker_too(
        self, sqlite_url: str, engine: Engine
    ) -> None:
        """SQLAlchemy 2.0.20 refuses a listener there."""
        app, s2s = plain_app(sqlite_url)
        woken = []
        app.extensions["s2s"].supervisor.on_wake.append(lambda: woken.append(1))
        optioned = engine.execution_options(isolation_level="SERIALIZABLE")
        with app.test_request_context(), optioned.connect() as connection:
            assert s2s.track_signup(customer_key=1, session=connection)
            assert woken == []
            for _ in range(2):
                connection.commit()
                assert woken == [1]
        assert [key for key, _ in conversions(sqlite_url)] == ["1"]

    def test_of_another_database_is_refused(self, sqlite_url: str, other: Engine) -> None:
        app, s2s = plain_app(sqlite_url)
        with app.test_request_context(), other.connect() as connection:
            with pytest.raises(ConfigError, match="another database"):
                s2s.track_signup(customer_key=1, session=connection)

    def test_of_the_driver_s_is_refused_by_name(self, sqlite_url: str, engine: Engine) -> None:
        app, s2s = plain_app(sqlite_url)
        with app.test_request_context():
            raw: Any = sqlite3.connect(":memory:")
            with pytest.raises(UsageError, match=r"raw DB-API connection \(sqlite3.Connection\)"):
                s2s.track_signup(customer_key=1, session=raw)
            raw.close()
            pooled: Any = engine.raw_connection()
            with pytest.raises(UsageError, match="raw DB-API connection"):
                s2s.track_signup(customer_key=1, session=pooled)
            pooled.close()

    def test_cannot_arm_a_view(self, sqlite_url: str, engine: Engine) -> None:
        app, s2s = plain_app(sqlite_url)
        with engine.connect() as connection:
            in_use = lambda: connection  # noqa: E731
            view: Any = s2s.conversion(customer_key=lambda: 1, session=in_use)(lambda: "")
            with app.test_request_context(method="POST"):
                with pytest.raises(UsageError, match="must be a Session"):
                    view()


@pytest.mark.parametrize("mode", ["create_savepoint", "rollback_only"])
def test_a_test_suite_that_rolls_everything_back_can_drain(database_url: str, mode: Any) -> None:
    """SQLAlchemy's recipe: the session's connection has an outer transaction."""
    app, s2s = plain_app(database_url)
    engine = create_engine(database_url)
    Base.metadata.create_all(engine)
    click = Click(click_id="Click123456789", at=app.extensions["s2s"].clock.now())
    with engine.connect() as connection, app.app_context():
        outer = connection.begin()
        with Session(connection, join_transaction_mode=mode) as session:
            for key in ("1", "2"):
                session.add(User(name="x"))
                session.flush()
                s2s.track_signup(customer_key=key, click=click, session=session)
                session.commit()
                assert s2s.drain() == 1
        if engine.dialect.name != "sqlite":  # which has committed with the first savepoint
            outer.rollback()
            assert conversions(database_url) == []
            assert s2s.drain() == 0
    app.extensions["s2s"].close()
    engine.dispose()


def test_what_one_test_rolled_back_is_nothing_that_the_next_one_has_lost(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One app for a whole suite."""
    keys = {"S2S_PARTNERSTACK_PUBLIC_KEY": "public", "S2S_PARTNERSTACK_SECRET_KEY": "secret"}
    app, s2s = plain_app(database_url, SECRET_KEY="a-key-for-tests-only-0123456789", **keys)
    services, engine = app.extensions["s2s"], create_engine(database_url)
    if engine.dialect.name == "sqlite":  # SQLAlchemy's recipe for savepoints there
        event.listen(engine, "connect", lambda driver, _: setattr(driver, "isolation_level", None))
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    sent = []
    for _ in range(3):
        services.transport.transport.requests.clear()
        with engine.connect() as connection, app.app_context():
            outer = connection.begin()
            with Session(connection, join_transaction_mode="create_savepoint") as session:
                click = Click(click_id="Click123456789", at=services.clock.now())
                s2s.track_signup(customer_key="1", click=click, session=session)
                paid: Any = {"amount": 100, "currency": "USD", "key": "invoice"}
                s2s.track_transaction(customer_key="1", session=session, **paid)
                session.commit()
                s2s.drain()
                services.clock.advance(minutes=1)
                s2s.drain()
            outer.rollback()
        sent.append([request.url for request in services.transport.transport.requests])
    with app.app_context():
        assert s2s.drain() == 0
    assert sent[0] == sent[1] == sent[2]
    assert len(sent[0]) == 2
    assert caplog.messages == []
    services.close()
    engine.dispose()


def test_an_engine_that_commits_each_statement_is_told_once(
    sqlite_url: str, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    app, s2s = plain_app(sqlite_url)
    commits = create_engine(sqlite_url, isolation_level="AUTOCOMMIT")
    with app.test_request_context(), Session(commits) as session:
        for key in (1, 2):
            s2s.track_signup(customer_key=key, session=session)
        session.commit()
    told = [getattr(record, "action", "") for record in caplog.records]
    assert told.count("session.autocommit") == 1
    assert len(conversions(sqlite_url)) == 2
    commits.dispose()


@pytest.mark.parametrize("first", ["db", "s2s"])
def test_flask_sqlalchemy_lite_in_either_order(tmp_path: pathlib.Path, first: str) -> None:
    lite = pytest.importorskip("flask_sqlalchemy_lite")
    uri = f"sqlite:///{tmp_path / 'lite.sqlite3'}"
    app = Flask("lite", instance_path=str(tmp_path))
    app.config.update(SECRET_KEY="lite", TESTING=True, SQLALCHEMY_ENGINES={"default": uri})
    db, s2s = lite.SQLAlchemy(), S2S()
    for extension in (db, s2s) if first == "db" else (s2s, db):
        extension.init_app(app)
    with app.app_context():
        Base.metadata.create_all(db.engine)
        app.extensions["s2s"].storage.create()
        for ending in ("commit", "rollback"):
            db.session.add(User(name=ending))
            s2s.track_signup(customer_key=ending)
            getattr(db.session, ending)()
            s2s.track_signup(customer_key=f"named {ending}", session=db.session)
            getattr(db.session, ending)()
        db.engine.dispose()
    assert [key for key, _ in conversions(uri)] == ["commit", "named commit"]


def test_a_suite_s_own_session_outlives_the_look_for_the_app_s_engine(
    tmp_path: pathlib.Path,
) -> None:
    """It is one for the thread, which the end of any app context removes."""
    uri = f"sqlite:///{tmp_path / 'suite.sqlite3'}"
    app = Flask("suite", instance_path=str(tmp_path))
    app.config.update(SECRET_KEY="suite", TESTING=True, SQLALCHEMY_DATABASE_URI=uri)
    db, s2s = SQLAlchemy(app), S2S(app)

    class Member(db.Model):  # type: ignore[name-defined,misc]
        id = db.Column(db.Integer, primary_key=True)

    define_tables(db.metadata)
    with app.app_context():
        db.create_all()
        engine = db.engine
        db.session = scoped_session(sessionmaker(engine))  # type: ignore[arg-type]
        with app.test_request_context():
            db.session.add(Member())
            db.session.flush()
            s2s.track_signup(customer_key="1")
            db.session.commit()
            assert db.session.query(Member).count() == 1
    assert [key for key, _ in conversions(uri)] == ["1"]
    engine.dispose()


@pytest.mark.service
@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
@pytest.mark.parametrize("repeated", [False, True], ids=["new", "reported again"])
def test_a_host_whose_transactions_are_serializable(
    request: pytest.FixtureRequest, server: str, repeated: bool
) -> None:
    """They go on beside a worker's, which waits for none of them, and ends none."""
    server_url: str = request.getfixturevalue(f"{server}_url")
    app, s2s = plain_app(server_url)
    services = app.extensions["s2s"]
    engine = create_engine(server_url, isolation_level="SERIALIZABLE")
    Base.metadata.create_all(engine)
    click = Click(click_id="Click123456789", at=services.clock.now())
    with app.app_context():
        for key in ("before", *(["1"] if repeated else [])):
            assert s2s.track_signup(customer_key=key, click=click, session=None)
        with Session(engine) as session:
            session.add(User(name="x"))
            session.flush()
            assert s2s.track_signup(customer_key="1", click=click, session=session)
            # What the host's transaction holds is left alone.
            assert s2s.drain() >= 1
            session.commit()
        s2s.drain()
    assert dict(conversions(server_url)) == {"before": "delivered", "1": "delivered"}
    services.close()
    engine.dispose()


def test_tables_that_a_bind_of_flask_sqlalchemy_has(tmp_path: pathlib.Path) -> None:
    """There is no database but those of `SQLALCHEMY_BINDS`."""
    uri = f"sqlite:///{tmp_path / 'crm.sqlite3'}"
    app = Flask("binds", instance_path=str(tmp_path))
    app.config.update(SECRET_KEY="binds", TESTING=True, SQLALCHEMY_BINDS={"crm": uri})
    db, s2s = SQLAlchemy(app), S2S(app)

    class Member(db.Model):  # type: ignore[name-defined,misc]
        __bind_key__ = "crm"
        id = db.Column(db.Integer, primary_key=True)

    define_tables(db.metadatas["crm"])
    with app.app_context():
        db.create_all("crm")
        for ending in ("commit", "rollback"):
            db.session.add(Member())
            s2s.track_signup(customer_key=ending, session=db.session)
            getattr(db.session, ending)()
        db.engines["crm"].dispose()
    assert [key for key, _ in conversions(uri)] == ["commit"]


class TestSchema:
    def test_tables_are_defined_twice_in_any(self) -> None:
        for schema, argument in ((None, None), ("crm", None), (None, "crm")):
            metadata = MetaData(schema=schema)
            first = define_tables(metadata, argument)
            assert define_tables(metadata, argument) == first
            assert first.attempt.schema == (schema or argument)
            (key,) = first.attempt.foreign_keys
            assert key.column is first.delivery.c.id

    @pytest.mark.service
    def test_a_search_path_for_each_tenant(self, postgresql_url: str) -> None:
        engine = create_engine(postgresql_url)
        with engine.begin() as connection:
            connection.execute(text("CREATE SCHEMA crm"))
            connection.execute(text("CREATE SCHEMA tenant"))
            connection.execute(text("CREATE TABLE tenant.member (id serial primary key)"))
        app, s2s = plain_app(postgresql_url, S2S_SCHEMA="crm")
        app.extensions["s2s"].supervisor.prepare()
        click = Click(click_id="Click123456789", at=app.extensions["s2s"].clock.now())
        with app.test_request_context(), Session(engine) as session:
            session.execute(text("SET LOCAL search_path TO tenant"))
            session.execute(text("INSERT INTO member DEFAULT VALUES"))
            s2s.track_signup(customer_key=1, click=click, session=session)
            session.commit()
        with app.app_context():
            assert s2s.drain() == 1
        assert "s2s_delivery" in inspect(engine).get_table_names("crm")
        assert inspect(engine).get_table_names("public") == []
        engine.dispose()
        app.extensions["s2s"].close()

    @pytest.mark.service
    @pytest.mark.parametrize("kept", [None, "crm"], ids=["the default", "S2S_SCHEMA"])
    def test_a_schema_that_the_session_s_tables_are_moved_to(
        self, postgresql_url: str, kept: str | None
    ) -> None:
        """`schema_translate_map`: the worker knows of no tenant, so ours stay where they are."""
        engine = create_engine(postgresql_url)
        with engine.begin() as connection:
            for name in ("crm", "tenant"):
                connection.execute(text(f"CREATE SCHEMA {name}"))
            there = connection.execution_options(schema_translate_map={None: "tenant"})
            Base.metadata.create_all(there)
        app, s2s = plain_app(postgresql_url, S2S_SCHEMA=kept)
        now = app.extensions["s2s"].clock.now()
        moved = engine.execution_options(schema_translate_map={None: "tenant", "crm": "tenant"})
        with app.test_request_context(), Session(moved) as session:
            session.add(User(name="x"))
            session.flush()
            s2s.track_signup(
                customer_key=1,
                email="ann@example.com",
                click=Click(click_id="Click123456789", at=now),
                session=session,
            )
            assert s2s.withdraw(session=session) is not None
            session.commit()
            assert s2s.drain() == 1
        assert "s2s_delivery" in inspect(engine).get_table_names(kept or "public")
        assert inspect(engine).get_table_names("tenant") == ["user"]
        engine.dispose()
        app.extensions["s2s"].close()


@pytest.mark.service
@pytest.mark.parametrize("charset", ["utf8mb4", "utf8", "latin1"])
@pytest.mark.parametrize("named", [True, False])
def test_characters_that_the_connection_has_not(
    mariadb_url: str, charset: str, named: bool
) -> None:
    uri = mariadb_url.replace("utf8mb4", charset)
    transport = ScriptedTransport()
    app = Flask("old")
    app.config.update(SECRET_KEY="old", S2S_TOKEN="t", SQLALCHEMY_DATABASE_URI=uri, TESTING=True)
    db, s2s = SQLAlchemy(app), S2S(app, transport=transport)
    with app.app_context():
        app.extensions["s2s"].storage.create()
        who: dict[str, Any] = {"customer_key": "\U0001f600", "name": "Ünal \U0001f600"}
        who["click"] = Click(click_id="Click123456789", at=app.extensions["s2s"].clock.now())
        if named:
            who["session"] = db.session
        for _ in range(2):
            assert s2s.track_signup(**who)
        db.session.commit()
        assert s2s.drain() == 1
        db.engine.dispose()
    (sent,) = transport.requests
    assert (sent.body or {})["customer_key"] == "\U0001f600"
    assert conversions(mariadb_url) == [("\U0001f600", "delivered")]
