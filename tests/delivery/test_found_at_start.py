"""Mistakes that are seen when the app is made, or at its first request; no page fails for one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from flask_s2s import S2S, ConfigError, Late, Services, Settings, StorageError, UsageError
from flask_s2s.cli import s2s as commands
from flask_s2s.operations.check.installation import thrown_away, within_container
from flask_s2s.testing import ScriptedTransport
from tests.delivery.shop import CONFIG


def site(folder: Path, **config: Any) -> tuple[Flask, S2S]:
    app = Flask("site", instance_path=str(folder))
    app.config.update(CONFIG, S2S_WORKER="external")
    app.config.update(config)
    s2s = S2S(app, transport=ScriptedTransport())
    app.add_url_rule("/", view_func=lambda: "hello")
    return app, s2s


ADDRESSES = {
    "postgres://ada:hush@db/shop": "postgresql+psycopg://",
    "db.example:5432 user=ada password=hush": "cannot be read",
    "postgresql+psycopg://ada:hush@db:port/shop": "cannot be read",
    "oracle+nothing://ada:hush@db/shop": "does not know",
    "mysql+mysqldb://ada:hush@db/shop": "MySQLdb, which is not installed. Write mariadb+pymysql://",
    "postgresql+pg8000://ada:hush@db/shop": "pip install pg8000",
    "sqlite+aiosqlite:////tmp/hush.sqlite3": "asynchronous",
    "sqlite://": "in memory",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_read_when_the_app_is_made(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        site(tmp_path, S2S_DATABASE_URI=address)
    assert caught.value.key == "S2S_DATABASE_URI"
    assert ADDRESSES[address] in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("named", [False, True], ids=["folder", "URL"])
def test_a_relative_place_is_that_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    config = {**CONFIG, **({"S2S_DATABASE_URI": "sqlite:///var/own.sqlite3"} if named else {})}
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    services = Services.build(Settings.from_mapping(config), folder="var")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert services.track_signup(customer_key="1")
    name = "own.sqlite3" if named else "flask_s2s.sqlite3"
    assert (tmp_path / "var" / name).exists()
    services.close()


class TestAFolderThatTakesNothing:
    """A read-only container: here, a file where the folder would be."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "taken").write_text("")
        return tmp_path / "taken" / "instance"

    @pytest.mark.parametrize("named", [False, True], ids=["instance", "URL"])
    def test_costs_no_page_and_says_what_to_set(
        self, folder: Path, named: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        uri = {"S2S_DATABASE_URI": f"sqlite:///{folder}/own.sqlite3"} if named else {}
        app, s2s = site(folder, **uri)
        assert [one.levelno for one in caplog.records] == [logging.CRITICAL] * named

        @app.post("/join")
        def join() -> str:
            assert isinstance(s2s.track_signup(customer_key=1), Late)
            return "welcome"

        client = app.test_client()
        assert client.get("/?ps_xid=click1").text == "hello"
        assert client.post("/join").text == "welcome"
        told = app.test_cli_runner().invoke(commands, ["check"])
        assert told.exit_code == 1
        assert str(folder) in told.output.replace("\n", "")
        assert "S2S_DATABASE_URI" in told.output
        app.extensions["s2s"].close()

    def test_is_used_as_soon_as_it_takes_something(self, folder: Path) -> None:
        app, s2s = site(folder)
        with app.app_context():
            assert isinstance(s2s.track_signup(customer_key=1), Late)
            folder.parent.unlink()
            assert s2s.track_signup(customer_key=2)
        app.extensions["s2s"].close()


@pytest.mark.service
def test_a_database_that_refuses_is_told_in_its_own_words(
    postgresql_url: str, tmp_path: Path
) -> None:
    app, _ = site(tmp_path, S2S_DATABASE_URI=postgresql_url.replace("s2s_test", "s2s_gone"))
    told = app.test_cli_runner().invoke(commands, ["check"])
    assert "does not exist" in told.output
    app.extensions["s2s"].close()


@pytest.mark.parametrize("joined", [Session, Engine.connect], ids=["session", "connection"])
def test_tables_that_are_missing_are_told_with_what_to_do(
    database_url: str, tmp_path: Path, joined: Callable[[Engine], AbstractContextManager[Any]]
) -> None:
    app, s2s = site(tmp_path, S2S_DATABASE_URI=database_url, TESTING=True)
    engine = create_engine(database_url)
    with app.test_request_context(), joined(engine) as session:
        with pytest.raises(StorageError, match=r"flask s2s init-db.*S2S_SCHEMA"):
            s2s.track_signup(customer_key=1, session=session)
    engine.dispose()
    app.extensions["s2s"].close()


def test_a_hosts_database_without_our_tables_is_told_while_testing(database_url: str) -> None:
    engine = create_engine(database_url)
    settings = Settings.from_mapping({**CONFIG, "TESTING": True})
    services = Services.build(settings, host_engine=lambda: engine)
    with pytest.raises(StorageError, match="flask s2s init-db"):
        services.track_signup(customer_key=1)
    services.close()
    engine.dispose()


class TestDecorators:
    @pytest.mark.parametrize("above", [True, False])
    @pytest.mark.parametrize("between", ["nothing", "another"])
    def test_above_the_route_is_told_at_the_first_request(
        self, tmp_path: Path, above: bool, between: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        app, s2s = site(tmp_path)
        recorded = s2s.conversion(customer_key=lambda: 1)
        pages = Blueprint("pages", __name__)
        routed = pages.post("/join")

        def join() -> str:
            return "welcome"

        if between == "another":

            def another(view: Any) -> Any:
                return wraps(view)(lambda: view())

            recorded(another(routed(join))) if above else routed(another(recorded(join)))
        else:
            recorded(routed(join)) if above else routed(recorded(join))
        if not above:
            pages.get("/form", endpoint="form")(join)
        app.register_blueprint(pages)
        client = app.test_client()
        for _ in range(2):
            assert client.get("/").text == "hello"
        told = [one for one in caplog.records if "conversion.unused" in one.getMessage()]
        assert len(told) == above
        app.extensions["s2s"].close()

    @pytest.mark.parametrize("argument", ["customer_key", "when"])
    def test_a_value_where_a_function_belongs_is_a_mistake_at_once(
        self, tmp_path: Path, argument: str
    ) -> None:
        _, s2s = site(tmp_path)
        values: dict[str, Any] = {"customer_key": lambda: 1, argument: "42"}
        with pytest.raises(UsageError, match=f"{argument}=lambda"):
            s2s.conversion(**values)(lambda: "")


def test_what_is_no_app_is_a_mistake_at_once() -> None:
    with pytest.raises(UsageError, match="a Flask app, not str"):
        S2S("shop")  # type: ignore[arg-type]


class TestThrownAway:
    @pytest.mark.parametrize(
        ("file", "environ"),
        [
            ("/srv/shop/own.sqlite3", {"DYNO": "web.1"}),
            ("/srv/shop/own.sqlite3", {"K_SERVICE": "shop"}),
            ("/srv/shop/releases/20261130/instance/own.sqlite3", {}),
            ("/run/own.sqlite3", {}),
        ],
    )
    def test_places_that_a_deploy_empties(self, file: str, environ: dict[str, str]) -> None:
        assert thrown_away(Path(file), environ) is not None

    def test_a_container_without_a_volume(self, tmp_path: Path) -> None:
        file = tmp_path / "instance" / "own.sqlite3"
        assert not within_container(file, tmp_path)
        (tmp_path / ".dockerenv").write_text("")
        assert within_container(file, tmp_path)
        assert not within_container(Path("/proc/volume"), tmp_path)

    def test_a_place_that_stays(self) -> None:
        assert thrown_away(Path("/srv/shop/shared/own.sqlite3"), {}, Path("/nowhere")) is None

    def test_is_a_note_of_check(self, tmp_path: Path) -> None:
        app, _ = site(tmp_path)
        told = app.test_cli_runner(env={"DYNO": "web.1"}).invoke(commands, ["check"])
        assert "what is still to be sent would go with it" in told.output.replace("\n", " ")
        assert "DYNO" not in os.environ
        app.extensions["s2s"].close()
