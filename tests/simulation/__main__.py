"""Play many histories: `python -m tests.simulation --histories 100000 --seed 1 --jobs 2`.

Tells every half minute how far it is, and at the end, or when it is interrupted, what was played;
and for a broken promise its seed and the shortest history found that breaks it. Exits with 1 when
one was broken; with `--plant NAME`, a bug is put into a copy of the package first, and it exits with
1 when no history shows that bug.
"""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path

import flask_s2s
from tests.simulation.database import Database
from tests.simulation.events import Failover, History, Outage, make_history
from tests.simulation.plants import PLANTS, run_planted
from tests.simulation.play import play, quieten
from tests.simulation.shrinking import shrink, sort_of

#: Histories that one process plays before it reports.
_BATCH = 50
#: How often a long run tells how far it is, in seconds.
_TELL_EVERY = 30.0

_Batch = tuple[list[tuple[int, list[str]]], Counter[str]]


def main() -> int:
    arguments = _arguments()
    if arguments.plant:
        return _planted(arguments)
    if arguments.planted:
        sys.stdout.write(f"the package: {Path(flask_s2s.__file__).parent}\n")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tally = _Tally()
    with closing(_batches(arguments)) as batches:
        try:
            _say(f"{arguments.histories} histories from seed {arguments.seed}")
            for batch in batches:
                tally.add(batch)
                if tally.broken and not arguments.all:
                    break
        except (KeyboardInterrupt, BrokenProcessPool):
            # At once: what others are playing has to come to its end before they leave.
            _say("interrupted; what was played until then:")
            tally.report()
            return 1 if tally.broken else 130
    tally.report()
    if tally.broken and not arguments.no_shrink:
        _show_shortest(*tally.broken[0])
    return 1 if tally.broken else 0


class _Tally:
    """The histories that were played so far."""

    def __init__(self) -> None:
        self.broken: list[tuple[int, list[str]]] = []
        self._totals: Counter[str] = Counter()
        self._started = self._told = time.monotonic()

    def add(self, batch: _Batch) -> None:
        """Count a batch, and tell from time to time."""
        broken, counts = batch
        self.broken += broken
        self._totals.update(counts)
        if time.monotonic() - self._told >= _TELL_EVERY:
            self._told = time.monotonic()
            named = ("histories", "crashes", "failovers", "outages of a week")
            counted = ", ".join(f"{self._totals[name]} {name}" for name in named)
            _say(f"{counted}, {len(self.broken)} broken, {self._rate():.0f} histories a minute")

    def report(self) -> None:
        """Say all that is known."""
        for name, count in self._totals.items():
            _say(f"{name}: {count}")
        _say(f"histories a minute: {self._rate():.0f}")
        for seed, violations in self.broken:
            _say(f"seed {seed}: {'; '.join(violations)}")
        _say(f"{len(self.broken)} histories broke a promise")

    def _rate(self) -> float:
        return self._totals["histories"] * 60 / max(time.monotonic() - self._started, 1e-9)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first history")
    parser.add_argument("--jobs", type=int, default=1, help="processes that play at once")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="put this bug in first")
    parser.add_argument("--all", action="store_true", help="go on after a broken promise")
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--planted", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _batches(arguments: argparse.Namespace) -> Generator[_Batch, None, None]:
    last = arguments.seed + arguments.histories
    seeds = [
        range(first, min(first + _BATCH, last)) for first in range(arguments.seed, last, _BATCH)
    ]
    if arguments.jobs == 1:
        yield from (_play_batch(batch, arguments.all) for batch in seeds)
        return
    with ProcessPoolExecutor(arguments.jobs, initializer=_leave_interrupts) as pool:
        yield from pool.map(_play_batch, seeds, [arguments.all] * len(seeds))


def _leave_interrupts() -> None:
    """The process that began this one ends it: both would get an interrupt from a terminal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _folder() -> str | None:
    """Memory, where the machine has a folder of it."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _play_batch(seeds: range, go_on: bool = True) -> _Batch:
    quieten()
    # What is there by now stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    counts: Counter[str] = Counter()
    began = time.process_time()
    broken = []
    with tempfile.TemporaryDirectory(dir=_folder()) as folder:
        database = Database(Path(folder))
        for seed in seeds:
            history = make_history(seed)
            played = play(history, database)
            counts["histories"] += 1
            counts["deliveries"] += played.deliveries
            counts["attempts"] += played.attempts
            counts["crashes"] += sum(played.deaths.values())
            counts["crashes between write and settle"] += sum(
                played.deaths[label] for label in ("transport.written", "transport.after", "jitter")
            )
            counts["histories with skewed clocks"] += any(history.skews)
            week = 7 * 86400
            counts["outages of a week"] += sum(
                isinstance(event, Outage) and event.seconds >= week for event in history.events
            )
            counts["failovers"] += sum(isinstance(event, Failover) for event in history.events)
            if played.violations:
                broken.append((seed, played.violations))
                if not go_on:
                    break
        database.close()
    counts["milliseconds of processor time"] = round((time.process_time() - began) * 1000)
    return broken, counts


def _show_shortest(seed: int, violations: list[str]) -> None:
    sorts = {sort_of(violation) for violation in violations}
    with tempfile.TemporaryDirectory(dir=_folder()) as folder:
        database = Database(Path(folder))

        def breaks(history: History) -> bool:
            return bool(sorts & {sort_of(one) for one in play(history, database).violations})

        shortest = shrink(make_history(seed), breaks)
        _say(f"the shortest history found ({len(shortest.events)} events):")
        for event in shortest.events:
            _say(f"  {event}")
        _say(
            f"  seed={shortest.seed}, skews={shortest.skews}, lag={shortest.lag}, "
            f"second_reward={shortest.second_reward}, wakes={shortest.wakes}, "
            f"older={shortest.older}"
        )
        for violation in play(shortest, database).violations:
            _say(f"  => {violation}")
        database.close()


def _planted(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        given = ["--histories", str(arguments.histories), "--seed", str(arguments.seed)]
        given += ["--no-shrink"] * arguments.no_shrink
        done = run_planted(arguments.plant, Path(folder), *given)
    sys.stdout.write(done.stdout + done.stderr)
    shown = any(sign in done.stdout for sign in PLANTS[arguments.plant].shows)
    _say("found" if done.returncode == 1 and shown else "NOT FOUND")
    return 0 if done.returncode == 1 and shown else 1


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
