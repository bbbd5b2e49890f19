"""Adding a conversion, and losing one: ours, two task queues, and two analytics SDKs.

Every system keeps its default settings, and runs against servers of this machine only. *Lost* is
what the caller was told is taken, and what does not arrive after everything named was killed with
SIGKILL in the moment of the last acknowledgement, and started again. Needs the extra `compare` and
a `redis-server`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import monotonic

from tests.benchmarks.figures import Figure, Measured
from tests.benchmarks.processes import CannotMeasure
from tests.benchmarks.running import Process, answering, arrivals, database, worker
from tests.integrations.brokers import free_port
from tests.waiting import wait_until

ADDED = 200
_ROUNDS = 3
#: A worker that was killed holds what it had claimed until its lease ends; Celery and Huey have
#: nothing alike that would end so soon.
_LEASE = 60.0
_PACKAGES = ("celery", "huey", "posthog", "redis", "segment")


def side_by_side() -> list[Figure]:
    """Both tables."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing or shutil.which("redis-server") is None:
        raise CannotMeasure(f"missing: {', '.join(missing) or 'redis-server'} (extra: compare)")
    return [*_adding(), *_losing()]


class Redis:
    """A redis-server with its own default settings, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["redis-server", "--port", str(self._port), "--dir", str(self._folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(self._answers, what="redis answers")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        import redis

        try:
            with redis.Redis(port=self._port) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


@contextmanager
def _redis() -> Iterator[Redis]:
    with tempfile.TemporaryDirectory(prefix="flask-s2s-benchmark.") as folder:
        server = Redis(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def _place(kind: str) -> Iterator[str]:
    if kind == "redis":
        with _redis() as server:
            yield server.url
    elif kind == "file":
        with tempfile.TemporaryDirectory(prefix="flask-s2s-benchmark.") as folder:
            yield str(Path(folder) / "queue.sqlite3")
    else:
        with database(kind) as url:
            yield url


def _start(system: str, what: str, place: str, network: str) -> Process:
    module = "tests.benchmarks.subjects.adding"
    return Process("-m", module, system, what, str(ADDED), place, network)


# -- adding ---------------------------------------------------------------------------------------

_WAYS = (
    ("ours, in an open transaction", "ours-open", "sqlite", "SQLite; the site's commit pays"),
    ("ours, with a commit each", "ours", "sqlite", "SQLite, synchronous=FULL"),
    ("ours, in an open transaction", "ours-open", "postgresql", "PostgreSQL; as above"),
    ("ours, with a commit each", "ours", "postgresql", "PostgreSQL"),
    ("Celery's .delay()", "celery", "redis", "Redis, which has not written it to a disk"),
    ("SqliteHuey's enqueue", "huey", "file", "a SQLite file"),
)


def _adding() -> list[Figure]:
    spans: dict[tuple[str, str], list[float]] = {}
    for _ in range(_ROUNDS):
        for _, system, kind, _ in _WAYS:
            with _place(kind) as place, _start(system, "add", place, "http://127.0.0.1:9") as site:
                spans.setdefault((system, kind), []).extend(json.loads(site.line()))
    figures: list[Figure] = []
    for what, system, kind, where in _WAYS:
        found = spans[system, kind]
        figures.append(
            Measured(
                what=what,
                against=where,
                value=median(found) * 1000,
                unit=" ms",
                goal=None,
                rest=f"{len(found) / sum(found):,.0f} a second",
            )
        )
    return figures


# -- losing ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A kill, and how the system looks then."""

    what: str
    system: str
    place: str
    #: Whether a worker runs beside the adding process, and whether that is killed as well.
    works_beside: bool = False
    kills_worker: bool = False
    kills_broker: bool = False
    patience: float = 10.0
    killed: str = "killed: the process that added"


_LOSSES = (
    Loss(
        what="ours, worker in the site",
        system="ours",
        place="sqlite",
        patience=_LEASE + 30,
        killed="killed: the process that added and delivers",
    ),
    Loss(what="Celery on Redis", system="celery", place="redis", works_beside=True),
    Loss(
        what="Celery on Redis",
        system="celery",
        place="redis",
        works_beside=True,
        kills_worker=True,
        killed="killed: that and the worker (its messages come back after an hour, if unacked)",
    ),
    Loss(
        what="Celery on Redis",
        system="celery",
        place="redis",
        works_beside=True,
        kills_worker=True,
        kills_broker=True,
        killed="killed: that, the worker and Redis",
    ),
    Loss(
        what="SqliteHuey",
        system="huey",
        place="file",
        works_beside=True,
        kills_worker=True,
        killed="killed: the process that added, and the consumer",
    ),
    Loss(what="posthog's SDK", system="posthog", place="file"),
    Loss(what="segment's SDK", system="segment", place="file"),
)


def _losing() -> list[Figure]:
    return [_lost(case) for case in _LOSSES]


def _lost(case: Loss) -> Figure:
    """Add, kill, start again; return how many of those that were acknowledged never came."""
    found: list[int] = []
    for _ in range(_ROUNDS):
        with answering(50) as network:
            if case.place == "redis":
                with _redis() as broker:
                    _add_and_kill(case, broker.url, network, broker)
                    found.append(_missing(case, broker.url, network))
            else:
                with _place(case.place) as place:
                    _add_and_kill(case, place, network, None)
                    found.append(_missing(case, place, network))
    return Measured(
        what=f"lost by {case.what}",
        against=f"of {ADDED} acknowledged; {case.killed}",
        value=median(found),
        goal=0 if case.system == "ours" else None,
        at_most=True,
        rest=f"in {len(found)} runs: {', '.join(map(str, found))}",
    )


def _add_and_kill(case: Loss, place: str, network: str, broker: Redis | None) -> None:
    beside = _start(case.system, "work", place, network) if case.works_beside else None
    if beside is not None:
        beside.line()
    what = "both" if case.system == "ours" else "add"
    with _start(case.system, what, place, network) as site:
        site.line()
        if case.kills_broker and broker is not None:
            broker.kill()
        site.kill()
        if beside is not None and case.kills_worker:
            beside.kill()
    if beside is not None:
        _let_go(beside, case, network)
    if case.kills_broker and broker is not None:
        broker.start()


def _let_go(beside: Process, case: Loss, network: str) -> None:
    """A worker that lives on delivers first, then ends."""
    with beside:
        if not case.kills_worker:
            _gather(network, case.patience)


_seen: dict[str, set[str]] = {}


def _gather(network: str, patience: float) -> set[str]:
    """Return every key that has come, once all have or nothing comes for so many seconds."""
    seen = _seen.setdefault(network, set())
    until = monotonic() + patience

    def is_over() -> bool:
        nonlocal until
        new = arrivals(network).keys() - seen
        if new:
            seen.update(new)
            until = monotonic() + patience
        return len(seen - {"first"}) >= ADDED or monotonic() > until

    wait_until(is_over, 600, interval=0.2)
    return seen - {"first"}


def _missing(case: Loss, place: str, network: str) -> int:
    """Start again what was killed, and count what never comes."""
    again: Sequence[Process] = ()
    if case.system == "ours":
        again = [worker(place, network)]
    elif case.kills_worker:
        again = [_start(case.system, "work", place, network)]
    seen = _gather(network, case.patience)
    for process in again:
        with process:
            pass
    return ADDED - len(seen)
