"""`flask s2s move-to` refuses what cannot work before anything is touched, and says what to do then."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_s2s import S2S
from flask_s2s.testing import ManualClock, ScriptedTransport
from tests.operations.site import Site


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_memory_is_no_place_to_move_to(old: Site, url: str) -> None:
    old.sign_up("42")
    before = old.rows()

    result = old.run("move-to", url, "--yes")

    assert result.exit_code == 2
    assert "in memory" in result.output
    assert old.rows() == before


def test_a_database_that_is_not_there_is_told_of(old: Site, tmp_path: Path) -> None:
    old.sign_up("42")
    before = old.rows()

    result = old.run("move-to", f"sqlite:///{tmp_path / 'nowhere' / 'new.db'}", "--yes")

    assert result.exit_code == 1
    assert "The new database cannot be used" in result.output
    assert "Nothing was moved" in result.output
    assert "flask s2s check" not in result.output, "it looks at the old one"
    assert old.rows() == before


def test_what_is_no_url_is_told_of(old: Site) -> None:
    result = old.run("move-to", "somewhere", "--yes")
    assert result.exit_code == 2
    assert "postgresql+psycopg://" in result.output


def test_a_site_with_a_database_of_our_own_is_told_to_set_it(old: Site, sqlite_url: str) -> None:
    assert "Set S2S_DATABASE_URI" in old.run("move-to", sqlite_url, "--yes").output


def test_a_site_that_shares_its_database_is_told_to_move_that(tmp_path: Path) -> None:
    app = Flask("site", instance_path=str(tmp_path))
    app.config.update(SECRET_KEY="k" * 32, TESTING=True, S2S_TOKEN="token")
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / 'site.db'}"
    database, clock, transport = SQLAlchemy(app), ManualClock(), ScriptedTransport()
    site = Site(app, S2S(app, transport=transport, clock=clock), clock, transport)
    assert site.run("init-db").exit_code == 0

    told = site.run("move-to", f"sqlite:///{tmp_path / 'new.db'}", "--yes")

    assert told.exit_code == 0, told.output
    assert "SQLALCHEMY_DATABASE_URI" in told.output
    assert "Set S2S_DATABASE_URI" not in told.output
    with app.app_context():
        database.engine.dispose()
