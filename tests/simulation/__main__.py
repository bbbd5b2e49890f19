"""Play many histories: `python -m tests.simulation --histories 100000 --seed 1 --jobs 2`.

Prints what was played, and for a broken promise its seed and the shortest history found that breaks
it. Exits with 1 when one was broken; with `--plant NAME`, a bug is put into a copy of the package
first, and it exits with 1 when no history shows that bug.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import flask_s2s
from tests.simulation.database import Database
from tests.simulation.events import History, Outage, make_history
from tests.simulation.plants import PLANTS, run_planted
from tests.simulation.play import play, quieten
from tests.simulation.shrinking import shrink, sort_of

#: Histories that one process plays before it reports.
_BATCH = 50

_Batch = tuple[list[tuple[int, list[str]]], Counter[str]]


def main() -> int:
    arguments = _arguments()
    if arguments.plant:
        return _planted(arguments)
    if arguments.planted:
        sys.stdout.write(f"the package: {Path(flask_s2s.__file__).parent}\n")
    started, totals, broken = time.monotonic(), Counter[str](), list[tuple[int, list[str]]]()
    for found, counts in _batches(arguments):
        totals += counts
        broken += found
        if arguments.progress:
            seconds = time.monotonic() - started
            _say(f"{totals['histories']} histories, {len(broken)} broken, {seconds:.0f} s")
        if broken and not arguments.all:
            break
    _report(totals, time.monotonic() - started)
    if not broken:
        _say("0 promises broken")
        return 0
    for seed, violations in broken:
        _say(f"seed {seed}: {'; '.join(violations)}")
    if not arguments.no_shrink:
        _show_shortest(*broken[0])
    return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first history")
    parser.add_argument("--jobs", type=int, default=1, help="processes that play at once")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="put this bug in first")
    parser.add_argument("--all", action="store_true", help="go on after a broken promise")
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--progress", action="store_true")
    parser.add_argument("--planted", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _batches(arguments: argparse.Namespace) -> Iterator[_Batch]:
    last = arguments.seed + arguments.histories
    seeds = [
        range(first, min(first + _BATCH, last)) for first in range(arguments.seed, last, _BATCH)
    ]
    if arguments.jobs == 1:
        yield from (_play_batch(batch, arguments.all) for batch in seeds)
        return
    with ProcessPoolExecutor(arguments.jobs) as pool:
        yield from pool.map(_play_batch, seeds, [arguments.all] * len(seeds))


def _folder() -> str | None:
    """Memory, where the machine has a folder of it."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _play_batch(seeds: range, go_on: bool = True) -> _Batch:
    quieten()
    counts: Counter[str] = Counter()
    broken = []
    with tempfile.TemporaryDirectory(dir=_folder()) as folder:
        database = Database(Path(folder))
        for seed in seeds:
            history = make_history(seed)
            played = play(history, database)
            counts["histories"] += 1
            counts["deliveries"] += played.deliveries
            counts["attempts"] += played.attempts
            counts["deaths"] += sum(played.deaths.values())
            counts["deaths between write and settle"] += sum(
                played.deaths[label] for label in ("transport.written", "transport.after", "jitter")
            )
            counts["histories with skewed clocks"] += any(history.skews)
            week = 7 * 86400
            counts["outages of a week"] += sum(
                isinstance(event, Outage) and event.seconds >= week for event in history.events
            )
            if played.violations:
                broken.append((seed, played.violations))
                if not go_on:
                    break
        database.close()
    return broken, counts


def _report(totals: Counter[str], seconds: float) -> None:
    for name, count in totals.items():
        _say(f"{name}: {count}")
    _say(f"histories a minute: {totals['histories'] * 60 / max(seconds, 1e-9):.0f}")


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
            f"second_reward={shortest.second_reward}, rings={shortest.rings}, "
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
