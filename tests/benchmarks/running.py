"""The processes that are measured, and where their databases come from."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
import requests
from sqlalchemy import Column, Engine, func, select

from flask_s2s import Services, Settings
from tests.benchmarks.processes import ROOT, CannotMeasure
from tests.services import ADDRESSES, throw_away_database
from tests.waiting import wait_until

TOKEN = "sandbox-token"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@contextmanager
def database(kind: str) -> Iterator[str]:
    """Yield the URL of an empty database of a kind, and drop it."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="flask-s2s-benchmark.") as name:
            yield f"sqlite:///{Path(name) / 'outbox.sqlite3'}"
        return
    if kind not in ADDRESSES:
        raise CannotMeasure(f"{kind!r} is not one of sqlite, postgresql, mariadb")
    try:
        yield from throw_away_database(kind)
    except (pytest.skip.Exception, pytest.fail.Exception) as missing:
        raise CannotMeasure(str(missing)) from None


def open_site(url: str, **config: object) -> Services:
    """Return the services of a site on that database, in this process, with its tables."""
    base = {"SECRET_KEY": "benchmark", "S2S_TOKEN": TOKEN, "S2S_DATABASE_URI": url}
    services = Services.build(Settings.from_mapping({**base, **config}))
    services.storage.create()
    services.supervisor.prepare()
    return services


class Process:
    """A Python process of ours that ends with its standard input, or is ended."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("FLASK_", "S2S_"))}
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**kept, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def line(self) -> str:
        """Return the next line that it prints."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise CannotMeasure(f"a measured process ended with {self._process.wait()}")
        return line.strip()

    def has_logged(self, words: bytes) -> bool:
        """Say whether it has written something to its standard error; or raise if it has ended."""
        if self._process.poll() is not None:
            raise CannotMeasure(f"a measured process ended:\n{self._logged().decode()}")
        return words in self._logged()

    def _logged(self) -> bytes:
        return os.pread(self._log.fileno(), 65536, 0)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def cpu(self) -> float:
        """Return the seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self) -> float:
        """Return its resident memory, in MiB."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE / 2**20

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                stream.close()


@contextmanager
def answering(milliseconds: float = 0) -> Iterator[str]:
    """Yield the URL of a network that answers after so long."""
    with Process("-m", "tests.benchmarks.subjects.answering", str(milliseconds)) as network:
        yield f"http://127.0.0.1:{network.line()}"


@contextmanager
def sandbox() -> Iterator[str]:
    """Yield the URL of the package's own stand-in network."""
    with Process("-u", "-m", "flask_s2s.sandbox", "--port", "0") as network:
        url = network.line().split()[-1].rstrip("/")
        yield url


def worker(url: str, network: str, concurrency: int = 8) -> Process:
    """Start `flask s2s work` on a database, with its log in a file, and wait until it works."""
    settings = {
        "FLASK_SECRET_KEY": "benchmark",
        "FLASK_S2S_TOKEN": TOKEN,
        "FLASK_S2S_DATABASE_URI": url,
        "FLASK_S2S_PARTNERSTACK_URL": network,
        "FLASK_S2S_CONCURRENCY": str(concurrency),
    }
    command = ["-m", "flask", "--app", "tests.benchmarks.subjects.site", "s2s", "work"]
    process = Process(*command, **settings)
    wait_until(lambda: process.has_logged(b"Working."), 120, what="the worker works")
    return process


def delivered(services: Services, count: int, prefix: str, seconds: float = 600.0) -> float:
    """Wait until rows are delivered; return the seconds from the first claim to the last settle.

    The times are the workers' own, as they stamp them on attempts and deliveries.
    """
    rows, attempts = services.storage.tables.delivery, services.storage.tables.attempt
    engine = services.storage.engine()
    wait_until(lambda: not _anything_due(engine, rows.c.due_at), seconds, interval=0.1)
    mine = rows.c.customer_key.like(f"{prefix}%") & (rows.c.status == "delivered")
    joined = rows.join(attempts, attempts.c.delivery_id == rows.c.id)
    span = select(func.count(), func.min(attempts.c.opened_at), func.max(rows.c.settled_at))
    with engine.connect() as connection:
        found, first, last = connection.execute(span.select_from(joined).where(mine)).one()
    if found != count:
        raise CannotMeasure(f"{found} attempts for {count} deliveries")
    return float((last - first).total_seconds())


def _anything_due(engine: Engine, due_at: Column[datetime]) -> bool:
    with engine.connect() as connection:
        return connection.scalar(select(func.max(due_at))) is not None


def arrivals(network: str) -> dict[str, float]:
    """Return when each customer key came to the network, and let it forget them."""
    found: dict[str, float] = requests.get(f"{network}/arrivals", timeout=60).json()
    return found
