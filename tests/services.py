"""Where tests get their services from: databases, Redis, RabbitMQ, Chromium, Firefox.

Each fixture answers an address that works, or skips the test with what to set. `S2S_TEST_REQUIRE`
turns such a skip into a failure: `all`, or names with commas between them (`postgresql,chromium`).

Databases are created for one test and dropped after it, so tests may run side by side and a
developer's own data is never touched.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import socket
import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tests.requiring import required

#: name -> (variable, default address)
ADDRESSES = {
    "postgresql": ("S2S_TEST_POSTGRESQL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"),
    # Without TLS, for which PyMySQL reads all authorities' certificates at each connection.
    "mariadb": (
        "S2S_TEST_MARIADB",
        "mariadb+pymysql://root@127.0.0.1:3306/?charset=utf8mb4&ssl_disabled=true",
    ),
    "redis": ("S2S_TEST_REDIS", "redis://127.0.0.1:6379/0"),
    "rabbitmq": ("S2S_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672/"),
}
DROP = {
    # FORCE ends connections that a killed process or a pool has left behind.
    "postgresql": "DROP DATABASE IF EXISTS {} WITH (FORCE)",
    # A transaction left open holds a lock that DROP waits for, a day by default.
    "mariadb": "SET STATEMENT lock_wait_timeout=10 FOR DROP DATABASE IF EXISTS {}",
}
#: name -> (variable, commands to look for)
BROWSERS = {
    "chromium": ("S2S_TEST_CHROMIUM", ("chromium", "chromium-browser", "google-chrome")),
    "firefox": ("S2S_TEST_FIREFOX", ("firefox-esr", "firefox")),
}
DEFAULT_PORTS = {"postgresql": 5432, "mariadb": 3306, "redis": 6379, "rabbitmq": 5672}


def unavailable(name: str, variable: str, why: str) -> None:
    """Skip the running test, or fail it where `S2S_TEST_REQUIRE` names the service."""
    reason = f"needs {name}: {why}. Set {variable} to where one is."
    if required() & {"all", name}:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def reachable(name: str) -> URL:
    """The service's address, once something has accepted a connection there within a second."""
    variable, default = ADDRESSES[name]
    url = make_url(os.environ.get(variable) or default)
    host, port = url.host or "127.0.0.1", url.port or DEFAULT_PORTS[name]
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError as error:
        unavailable(name, variable, f"{host}:{port} does not answer ({error.strerror or error})")
    return url


def execute(server: URL, statement: str) -> None:
    """Run one statement outside a transaction, on a connection of its own."""
    engine = create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))


def throw_away_database(name: str) -> Iterator[str]:
    """Create an empty database on the service called `name`; drop it afterwards."""
    server = reachable(name)
    database = f"s2s_test_{uuid.uuid4().hex[:16]}"
    try:
        execute(server, f"CREATE DATABASE {database}")
    except OperationalError as error:
        unavailable(name, ADDRESSES[name][0], f"it refused to create a database ({error.orig})")
    try:
        yield server.set(database=database).render_as_string(hide_password=False)
    finally:
        execute(server, DROP[name].format(database))


@pytest.fixture
def postgresql_url() -> Iterator[str]:
    """SQLAlchemy URL of an empty PostgreSQL database, by psycopg 3."""
    yield from throw_away_database("postgresql")


@pytest.fixture
def mariadb_url() -> Iterator[str]:
    """SQLAlchemy URL of an empty MariaDB database, by PyMySQL."""
    yield from throw_away_database("mariadb")


@pytest.fixture
def guarded_mariadb_url(mariadb_url: str) -> str:
    """The same, where whoever runs the server lets nothing be changed that no key finds."""
    guarded = {"init_command": "SET sql_safe_updates = 1"}
    return make_url(mariadb_url).update_query_dict(guarded).render_as_string(hide_password=False)


@pytest.fixture
def sqlite_url(tmp_path: pathlib.Path) -> str:
    """SQLAlchemy URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 's2s.sqlite3'}"


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.service),
        pytest.param("mariadb", marks=pytest.mark.service),
    ]
)
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind in turn: what holds for one must hold for all."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def redis_url() -> str:
    return reachable("redis").render_as_string(hide_password=False)


@pytest.fixture
def rabbitmq_url() -> str:
    return reachable("rabbitmq").render_as_string(hide_password=False)


def _candidates(name: str, *preferred: str) -> list[str]:
    variable, commands = BROWSERS[name]
    return [os.environ[variable]] if os.environ.get(variable) else [*preferred, *commands]


def _found(candidates: list[str]) -> str | None:
    return next(filter(None, map(shutil.which, candidates)), None)


def installed(name: str, *preferred: str) -> str:
    """The browser's executable; neither it nor Playwright is downloaded here."""
    candidates = _candidates(name, *preferred)
    if (found := _found(candidates)) is None:
        unavailable(name, BROWSERS[name][0], f"none of {', '.join(candidates)} is installed")
        raise AssertionError("unreachable")
    return found


@pytest.fixture(scope="session")
def a_browser() -> str:
    """Either: where there is none, nothing is built for one to look at."""
    return _found(_candidates("firefox")) or installed("chromium")


@pytest.fixture(scope="session")
def chromium_path() -> str:
    return installed("chromium")


@pytest.fixture(scope="session")
def headless_chromium_path() -> str:
    """Chromium for looking at pages: without profiles, extensions and windows, which cost a third."""
    return installed("chromium", "chromium-headless-shell")


@pytest.fixture(scope="session")
def firefox_path() -> str:
    return installed("firefox")
