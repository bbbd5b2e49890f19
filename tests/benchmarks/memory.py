"""The memory of a worker while it drains a long queue: flat, however long it is."""

from __future__ import annotations

import threading
from statistics import median

from tests.benchmarks.figures import Figure, Measured
from tests.benchmarks.filling import fill
from tests.benchmarks.running import (
    Process,
    answering,
    database,
    delivered,
    open_site,
    worker,
)

ROWS = 200_000


def memory() -> list[Figure]:
    """Drain `ROWS` rows of a SQLite file, and look at the worker's resident memory every second."""
    with database("sqlite") as url, answering() as network:
        site = open_site(url)
        fill(site, ROWS, prefix="m")
        with worker(url, network, 32) as process:
            watched = _Watched(process)
            seconds = delivered(site, ROWS, "m", seconds=3600)
            seen = watched.end()
        site.close()
    tenth = max(len(seen) // 10, 1)
    warm, most = median(seen[tenth : 2 * tenth] or seen), max(seen[tenth:] or seen)
    return [
        Measured(
            what=f"memory over {ROWS:,} rows",
            against="the most after warm-up, to the second tenth of the time",
            value=most / warm,
            goal=1.2,
            at_most=True,
            rest=f"{warm:.0f} -> {most:.0f} MiB, last {seen[-1]:.0f}; {ROWS / seconds:,.0f}/s",
        )
    ]


class _Watched:
    def __init__(self, process: Process) -> None:
        self._process = process
        self._seen: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(1.0):
            self._seen.append(self._process.memory())

    def end(self) -> list[float]:
        self._over.set()
        self._thread.join()
        return self._seen
