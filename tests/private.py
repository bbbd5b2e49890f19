"""Servers of a test's own, from Debian's binaries, to be failed over and put in the way."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tests.services import unavailable
from tests.waiting import wait_until

_POOLER = """
[databases]
* = host={host} port={port} user={user} {password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
max_client_conn = 200
"""
_SERVER = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_prepared_transactions = 10
fsync = off
"""


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _beside(program: str, variable: str, *folders: str) -> str:
    """Return a program's path, or skip the test with what to install."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *folders])
    found = shutil.which(os.environ.get(variable) or program, path=path)
    if found is None:
        unavailable(program, variable, "it is not installed")
    assert found is not None
    return found


def _as_somebody() -> dict[str, object]:
    """Return what makes a process run as an ordinary user: these servers refuse to be root's."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="s2s-", ignore_cleanup_errors=True) as name:
        if os.geteuid() == 0:
            shutil.chown(name, "nobody")
        yield Path(name)


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(
        command,
        capture_output=True,
        check=False,
        cwd=folder,
        **_as_somebody(),  # type: ignore[call-overload]
    )
    assert done.returncode == 0, done.stderr.decode()


class Server:
    """A process on a port, which answers SQL."""

    def __init__(self, url: URL, folder: Path, *command: str, **variables: str) -> None:
        self.url = url
        self._variables = variables
        self._folder = folder
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._variables},
                **_as_somebody(),  # type: ignore[call-overload]
            )
        wait_until(self._answers)

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it; SIGINT is PostgreSQL's fast end, and PgBouncer's slow one."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(60)

    def execute(self, statement: str) -> None:
        engine = create_engine(self.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))

    def _answers(self) -> bool:
        process = self._process
        if process is not None and process.poll() is not None:
            raise AssertionError((self._folder / "log").read_text())
        engine = create_engine(self.url, poolclass=NullPool)
        try:
            with engine.connect() as connection:
                return bool(connection.scalar(text("SELECT 1")))
        except OperationalError:
            return False


@contextmanager
def pooler(server: str) -> Iterator[str]:
    """Run a PgBouncer in transaction mode before a database; yield the URL through it."""
    program = _beside("pgbouncer", "S2S_TEST_PGBOUNCER", "/usr/sbin")
    url = make_url(server)
    with _folder() as folder:
        through = url.set(port=free_port())
        said = "" if url.password is None else f"password={url.password}"
        rules = _POOLER.format(
            host=url.host,
            port=url.port or 5432,
            user=url.username,
            password=said,
            listen=through.port,
        )
        (folder / "ini").write_text(rules)
        running = Server(through, folder, program, str(folder / "ini"))
        running.start()
        try:
            yield through.render_as_string(hide_password=False)
        finally:
            running.stop(signal.SIGTERM)


class Pair:
    """A PostgreSQL server and its standby."""

    def __init__(self, folder: Path) -> None:
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        self._bin = Path(_beside("postgres", "S2S_TEST_POSTGRES", *found[-1:])).resolve().parent
        self._folder = folder
        self.primary = self._server("primary")
        self.standby = self._server("standby")

    def _server(self, name: str) -> Server:
        url = URL.create("postgresql+psycopg", "postgres", host="127.0.0.1", port=free_port())
        data = self._folder / name
        command = (str(self._bin / "postgres"), "-D", str(data), "-p", str(url.port))
        return Server(url.set(database="postgres"), self._folder, *command)

    def _run(self, program: str, *arguments: str) -> None:
        _run(self._folder, str(self._bin / program), *arguments)

    def start_primary(self) -> None:
        data = self._folder / "primary"
        self._run(
            "initdb",
            "-D",
            str(data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
            "--locale=C",
            "-E",
            "UTF8",
        )
        with open(data / "postgresql.conf", "a", encoding="utf-8") as settings:
            settings.write(_SERVER)
        self.primary.start()

    def start_standby(self) -> None:
        """Copy the primary; from then on a commit waits until the standby has it."""
        data, url = self._folder / "standby", self.primary.url
        source = ("-h", "127.0.0.1", "-p", str(url.port), "-U", "postgres")
        self._run("pg_basebackup", "-D", str(data), *source, "-R", "-c", "fast", "--no-sync")
        self.standby.start()
        self.primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.primary.execute("SELECT pg_reload_conf()")

    def promote(self) -> None:
        self.standby.execute("SELECT pg_promote()")

    def stop(self) -> None:
        for server in (self.standby, self.primary):
            server.stop(signal.SIGQUIT)


@contextmanager
def postgresql_pair() -> Iterator[Pair]:
    """Run a PostgreSQL server of the test's own; its standby starts when it is asked to."""
    with _folder() as folder:
        pair = Pair(folder)
        try:
            pair.start_primary()
            yield pair
        finally:
            pair.stop()


@contextmanager
def mariadb_server(**variables: str) -> Iterator[Server]:
    """Run a MariaDB server of the test's own, with these variables of the environment."""
    install = _beside("mariadb-install-db", "S2S_TEST_MARIADB_INSTALL_DB")
    program = _beside("mariadbd", "S2S_TEST_MARIADBD", "/usr/sbin")
    with _folder() as folder:
        data = ("--no-defaults", f"--datadir={folder / 'data'}")
        _run(folder, install, *data, "--auth-root-authentication-method=normal", "--skip-test-db")
        url = URL.create("mariadb+pymysql", "root", host="127.0.0.1", port=free_port())
        places = (f"--port={url.port}", f"--socket={folder / 'socket'}", "--bind-address=127.0.0.1")
        command = (program, *data, *places, "--skip-name-resolve")
        server = Server(url, folder, *command, **variables)
        try:
            server.start()
            yield server
        finally:
            server.stop(signal.SIGTERM)


@pytest.fixture
def pooled_url(postgresql_url: str) -> Iterator[str]:
    """An empty PostgreSQL database, through a PgBouncer in transaction mode."""
    with pooler(postgresql_url) as url:
        yield url


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A PostgreSQL server that can be failed over."""
    with postgresql_pair() as pair:
        yield pair
