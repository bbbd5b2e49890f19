"""The databases that tests get are real, empty, and gone afterwards."""

from __future__ import annotations

import pathlib
import subprocess

import pytest
from sqlalchemy import create_engine, inspect, make_url, text
from sqlalchemy.pool import NullPool

from tests.services import reachable, throw_away_database


def test_a_database_is_empty_and_writable(database_url: str) -> None:
    engine = create_engine(database_url, poolclass=NullPool)
    assert inspect(engine).get_table_names() == []
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER)"))
        connection.execute(text("INSERT INTO t VALUES (42)"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT n FROM t")).scalar() == 42


@pytest.mark.service
@pytest.mark.parametrize(
    ("name", "listing"),
    [("postgresql", "SELECT datname FROM pg_database"), ("mariadb", "SHOW DATABASES")],
)
def test_a_database_is_dropped_while_a_connection_is_open(name: str, listing: str) -> None:
    databases = throw_away_database(name)
    url = next(databases)
    left_behind = create_engine(url, poolclass=NullPool).connect()
    left_behind.execute(text("SELECT 1"))
    assert list(databases) == []
    with create_engine(reachable(name), poolclass=NullPool).connect() as connection:
        names = [row[0] for row in connection.execute(text(listing))]
    assert make_url(url).database not in names
    left_behind.invalidate()


@pytest.mark.browser
@pytest.mark.parametrize(
    ("browser", "name"), [("chromium_path", "Chrom"), ("firefox_path", "Firefox")]
)
def test_a_browser_says_its_version(
    request: pytest.FixtureRequest, browser: str, name: str, tmp_path: pathlib.Path
) -> None:
    done = subprocess.run(
        [request.getfixturevalue(browser), "--version", f"--user-data-dir={tmp_path}"],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    assert name in done.stdout
