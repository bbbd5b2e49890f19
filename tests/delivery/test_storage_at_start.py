"""A database that is not ready is loud at the first request; one that is another is refused."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, get_ident

import pytest
from flask import Flask
from sqlalchemy import Engine, create_engine, event, inspect, make_url
from sqlalchemy.orm import Session

from flask_s2s import S2S, Click, ConfigError, InvalidConversion, Services, Settings, StorageError
from flask_s2s.cli import s2s as commands
from flask_s2s.sandbox import create_sandbox
from flask_s2s.sandbox.server import serve
from flask_s2s.store.dialects.engines import make_file_engine
from flask_s2s.testing import ScriptedTransport
from tests.delivery.shop import CONFIG, Shop
from tests.loopback import LoopbackOnly
from tests.waiting import wait_until

LANE = "ix_s2s_delivery_lane"


@pytest.fixture
def host_engine(tmp_path: Path) -> Iterator[Engine]:
    """The host's own database, whose tables are the host's to make."""
    engine = create_engine(f"sqlite:///{tmp_path / 'host.sqlite3'}")
    yield engine
    engine.dispose()


class Database:
    """The part of Flask-SQLAlchemy that the extension looks for."""

    def __init__(self, engine: Engine) -> None:
        self.engines = {None: engine}
        self.session = Session(engine)


@pytest.fixture
def app(host_engine: Engine, tmp_path: Path) -> Flask:
    app = Flask(__name__, instance_path=str(tmp_path))
    app.config.update(CONFIG, S2S_WORKER="external")
    app.extensions["sqlalchemy"] = Database(host_engine)
    S2S(app, transport=ScriptedTransport())
    app.add_url_rule("/", view_func=lambda: "hello")
    return app


def test_missing_tables_are_loud_at_the_first_request_and_the_page_is_fine(
    app: Flask, host_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    answer = app.test_client().get("/?ps_xid=click1")
    assert answer.text == "hello"
    (told,) = [r for r in caplog.records if r.levelno == logging.CRITICAL]
    assert "flask s2s init-db" in told.getMessage()
    assert inspect(host_engine).get_table_names() == [], "a host's database is the host's"


def test_missing_tables_are_an_error_of_check_and_of_work(app: Flask) -> None:
    for command in ("check", "work", "status"):
        result = app.test_cli_runner().invoke(commands, [command])
        assert result.exit_code == 1
        assert "flask s2s init-db" in result.output
    assert app.test_cli_runner().invoke(commands, ["init-db"]).exit_code == 0
    assert app.test_cli_runner().invoke(commands, ["status"]).exit_code == 0


@pytest.mark.parametrize(
    ("version", "remedy"),
    [("2", "Drop the tables whose names begin with s2s_"), ("99", "Install the newer Flask-S2S")],
)
def test_tables_of_another_version_say_what_to_do(shop: Shop, version: str, remedy: str) -> None:
    meta = shop.services.storage.tables.meta
    other = meta.update().where(meta.c.name == "schema_version").values(value=version)
    with shop.services.storage.engine().begin() as connection:
        connection.execute(other)
    with pytest.raises(StorageError, match=remedy):
        shop.another()


def test_init_db_makes_the_indexes_that_are_missing(any_shop: Shop) -> None:
    storage = any_shop.services.storage
    wanted = {index.name for index in storage.tables.delivery.indexes}
    (newest,) = (one for one in storage.tables.delivery.indexes if one.name == LANE)
    newest.drop(storage.engine())
    storage.complete()
    made = inspect(storage.engine()).get_indexes(storage.tables.delivery.name)
    assert {one["name"] for one in made} >= wanted
    storage.complete()


def test_several_may_open_a_new_file_in_one_moment(tmp_path: Path) -> None:
    """Turning to WAL, SQLite answers all but one that the file is locked, however long they would wait."""
    begun = Barrier(4)

    def open_it(engine: Engine) -> None:
        begun.wait(60)
        engine.connect().close()

    with ThreadPoolExecutor(4) as threads:
        for n in range(60):
            url = make_url(f"sqlite:///{tmp_path / str(n)}")
            engines = [make_file_engine(url, {}) for _ in range(4)]
            list(threads.map(open_it, engines))
            for engine in engines:
                engine.dispose()


def test_several_may_make_the_tables_in_one_moment(database_url: str) -> None:
    several = [
        Services.build(Settings.from_mapping({**CONFIG, "S2S_DATABASE_URI": database_url}))
        for _ in range(4)
    ]
    begun = Barrier(len(several))

    def make(services: Services) -> int:
        services.storage.engine().connect().close()
        begun.wait(60)
        return len(services.storage.complete())

    with ThreadPoolExecutor(len(several)) as threads:
        made = list(threads.map(make, several))
    assert len(several[0].storage.metadata.tables) in made
    for services in several:
        services.supervisor.prepare()
        services.close()


def test_a_session_of_another_database_is_refused_at_the_first_call(
    shop: Shop, host_engine: Engine
) -> None:
    click = Click(click_id="click1", at=shop.clock.now())
    with Session(host_engine) as session:
        with pytest.raises(ConfigError, match="another database") as caught:
            shop.services.track_signup(customer_key="42", click=click, session=session)
    assert caught.value.key == "S2S_DATABASE_URI"
    assert shop.statuses() == {}


def test_our_own_file_is_made_by_whoever_comes_first(tmp_path: Path) -> None:
    services = Services.build(Settings.from_mapping(CONFIG), folder=tmp_path / "made")
    services.supervisor.prepare()
    assert services.ledger.find() == []
    services.storage.engine().dispose()


@pytest.mark.parametrize("when", ["before", "after", "never", "no more", "at first"])
def test_the_embedded_thread_starts_with_the_first_request_and_never_under_testing(
    tmp_path: Path, when: str
) -> None:
    """Flask's own recipe sets it on the app that the factory returned."""
    testing = when in ("before", "after")
    with serve(create_sandbox()) as network:
        app = Flask(__name__, instance_path=str(tmp_path))
        app.config.update(CONFIG, S2S_TOKEN="sandbox-token", TESTING=when in ("before", "no more"))
        app.config.update(S2S_PARTNERSTACK_URL=network.url)
        S2S(app)
        services: Services = app.extensions["s2s"]
        if when == "at first":  # a site that looks whether it answers, before it serves
            app.config["TESTING"] = True
            app.test_client().get("/")
        app.config["TESTING"] = testing
        assert not services.supervisor.embedded.alive
        app.test_client().get("/")
        assert services.supervisor.embedded.alive is not testing
        click = Click(click_id="click1", at=services.clock.now())
        services.track_signup(customer_key="42", click=click)
        if testing:
            assert services.drain() == 1
        wait_until(lambda: [d.status.value for d in services.ledger.find()] == ["delivered"])
        services.supervisor.embedded.stop()
        services.storage.engine().dispose()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_suite_that_names_no_database_leaves_none_behind(tmp_path: Path, when: str) -> None:
    """Its second run is as its first: nobody is known from before."""
    folders = set()
    for _ in range(2):
        app = Flask("shop", instance_path=str(tmp_path))
        app.config.update(SECRET_KEY="for-tests-only-0123456789", S2S_TOKEN="tok")
        app.testing = when == "before"
        transport = ScriptedTransport()
        s2s = S2S(app, transport=transport)
        app.testing = True
        services: Services = app.extensions["s2s"]
        with app.app_context():
            click = Click(click_id="Click123456789", at=services.clock.now())
            assert services.track_signup(customer_key="1", click=click)
            assert (s2s.drain(), len(transport.requests)) == (1, 1)
        folders.add(Path(str(services.storage.engine().url.database)).parent)
        services.close()
    del app, s2s, services
    gc.collect()
    assert (len(folders), [one for one in folders if one.exists()]) == (2, [])
    assert list(tmp_path.iterdir()) == []


def test_a_test_that_says_so_after_the_factory_is_one_in_all(
    tmp_path: Path, loopback_only: LoopbackOnly
) -> None:
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update(CONFIG)
    s2s = S2S(app)
    app.config.update(TESTING=True)
    services: Services = app.extensions["s2s"]
    with app.app_context():
        with pytest.raises(InvalidConversion):
            s2s.track_transaction(customer_key="1", amount=4.5, currency="USD", key="i")  # type: ignore[arg-type]
        click = Click(click_id="click1", at=services.clock.now())
        assert s2s.track_signup(customer_key="42", click=click)
        with pytest.raises(ConfigError, match="live network"):
            s2s.drain()
    assert loopback_only.refused == []
    services.close()


def test_a_test_that_says_so_after_the_factory_looks_for_no_worker_in_a_thread(
    tmp_path: Path,
) -> None:
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update(CONFIG, S2S_WORKER="external")
    S2S(app)
    app.config.update(TESTING=True)
    services: Services = app.extensions["s2s"]
    services.supervisor.prepare()
    used: set[int] = set()
    event.listen(services.storage.engine(), "engine_connect", lambda _: used.add(get_ident()))
    click = Click(click_id="click1", at=services.clock.now())
    assert services.track_signup(customer_key="42", click=click)
    for thread in threading.enumerate():
        if thread.name == "s2s-watch":
            thread.join()
    assert used == {get_ident()}
    services.close()
