"""Idling: an idle worker's questions, the stall alarm, pruning.

Counted and timed by PostgreSQL itself: what else the machine does is not in these figures.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from time import perf_counter

from sqlalchemy import Engine, make_url, text

from flask_s2s import Services
from tests.benchmarks.figures import Figure, Measured
from tests.benchmarks.filling import analyse, fill
from tests.benchmarks.running import answering, database, open_site, worker
from tests.waiting import wait_until

_SECONDS = 60
_SETTLED = 100_000
_TRANSACTIONS = text(
    "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = :name"
)
_CONNECTIONS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = :name AND pid <> pg_backend_pid()"
)


def idling() -> list[Figure]:
    """All of it, on PostgreSQL."""
    return [*_an_idle_worker(), *_pruning_and_looking()]


def _an_idle_worker() -> list[Figure]:
    with database("postgresql") as url, database("postgresql") as elsewhere, answering() as network:
        # Whoever looks does it from another database: its questions are not among those counted.
        site, watcher = open_site(url), open_site(elsewhere)
        with worker(url, network):
            site.close()
            name, engine = make_url(url).database or "", watcher.storage.engine()
            wait_until(lambda: _asked(engine, _CONNECTIONS, name) > 0, 60, what="it connects")
            threading.Event().wait(15)
            before = _asked(engine, _TRANSACTIONS, name)
            threading.Event().wait(_SECONDS)
            transactions = _asked(engine, _TRANSACTIONS, name) - before
            connections = _asked(engine, _CONNECTIONS, name)
        watcher.close()
    return [
        Measured(
            what="idle `work`, transactions",
            against="a second, as PostgreSQL counts them; each is a statement or two",
            value=transactions / _SECONDS,
            unit="/s",
            goal=1.0,
            at_most=True,
        ),
        Measured(
            what="idle `work`, connections",
            against="one of them listens",
            value=connections,
            goal=2,
            at_most=True,
        ),
    ]


def _asked(engine: Engine, question: object, name: str) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(question, {"name": name}) or 0)  # type: ignore[call-overload]


def _pruning_and_looking() -> list[Figure]:
    with database("postgresql") as url:
        site = open_site(url)
        fill(site, _SETTLED, prefix="old", settled=True)
        analyse(site.storage.engine())
        site.supervisor.summary()
        looking, summing = (
            _milliseconds(site.supervisor.heartbeat.pulse),
            _milliseconds(site.supervisor.summary),
        )
        seconds = _batches(site)
        site.close()
    tenth = len(seconds) // 10
    first, last = (sum(part) / tenth for part in (seconds[:tenth], seconds[-tenth:]))
    return [
        Measured(
            what="prune, last against first",
            against=f"a tenth of the batches each, of {_SETTLED:,} rows",
            value=last / first,
            goal=1.5,
            at_most=True,
            rest=f"{first * 1000:.0f} -> {last * 1000:.0f} ms a batch",
        ),
        Measured(
            what="the stall alarm's look",
            against="all that `status` asks",
            value=looking / summing,
            goal=0.25,
            at_most=True,
            rest=f"{summing:.1f} -> {looking:.2f} ms",
        ),
    ]


def _batches(site: Services) -> list[float]:
    """Prune everything; return the seconds of each batch."""
    now = site.clock.now() + timedelta(days=401)
    pruning = site.supervisor.retention(now)
    found, began = [], perf_counter()
    for _ in pruning.prune(now - timedelta(days=400)):
        found.append(perf_counter() - began)
        began = perf_counter()
    return found


def _milliseconds(act: Callable[[], object]) -> float:
    """Return the fastest of ten."""
    times = []
    for _ in range(10):
        began = perf_counter()
        act()
        times.append((perf_counter() - began) * 1000)
    return min(times)
