"""The simulation keeps every promise on the code as it is, and finds each planted bug.

What runs here is short; `python -m tests.simulation --histories 100000 --jobs 2` is the long run.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from tests.simulation.database import Database, Seams
from tests.simulation.events import Record, make_history
from tests.simulation.plants import PLANTS, planted, run_planted
from tests.simulation.play import play
from tests.simulation.shrinking import shrink
from tests.simulation.world import World

HISTORIES = 150
_ROOT = Path(__file__).resolve().parents[2]


def test_no_history_breaks_a_promise(database: Database) -> None:
    deaths: Counter[str] = Counter()
    attempts = 0
    for seed in range(HISTORIES):
        played = play(make_history(seed), database)
        assert not played.violations, f"python -m tests.simulation --histories 1 --seed {seed}"
        deaths += played.deaths
        attempts += played.attempts
    # Else nothing was tested.
    assert attempts > 2 * HISTORIES
    assert len(deaths) >= 5


def test_a_history_plays_alike_every_time(database: Database) -> None:
    first, second = (play(make_history(20), database) for _ in range(2))
    assert (first.attempts, first.requests, first.statuses) == (
        second.attempts,
        second.requests,
        second.statuses,
    )


def test_connecting_is_no_seam(database: Database) -> None:
    # SQLAlchemy connects under a lock: whoever parked there would leave the one thread waiting.
    labels: list[str] = []

    class Listening(World):
        def seam(self, label: str, *, interrupts: bool = True) -> None:
            labels.append(label)

    database.engine.dispose()
    Seams.world = Listening(1, database.next_work)
    try:
        with database.engine.connect():
            pass
    finally:
        Seams.world = None
    assert labels == []


def test_shrinking_leaves_only_what_a_failure_needs() -> None:
    history = make_history(13)
    needed = next(event for event in history.events if isinstance(event, Record))
    shortest = shrink(history, lambda candidate: needed in candidate.events)
    assert shortest.events == (needed,)


def test_an_interrupted_run_tells_what_it_played() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--histories", "1000000"]
    with Popen(command, cwd=_ROOT, stdout=PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "1000000 histories from seed 0\n"
        run.terminate()
        told = run.stdout.read()
    assert run.returncode == 130
    assert "interrupted" in told
    assert "histories a minute: " in told
    assert "0 histories broke a promise" in told


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("no-fence", "no-unique-key", "no-armed-row", "pending-at-once", "no-read-back"),
        *("one-clock-expires", "restores-are-not-noticed"),
    ],
)
def test_a_planted_bug_is_found(name: str, tmp_path: Path) -> None:
    done = run_planted(name, tmp_path, "--histories", "1000", "--no-shrink")
    assert str(tmp_path) in done.stdout, "the copy was not what ran"
    assert done.returncode == 1, done.stdout + done.stderr
    assert any(sign in done.stdout for sign in PLANTS[name].shows), done.stdout


@pytest.mark.parametrize("name", sorted(PLANTS))
def test_every_bug_still_has_a_place_to_be_planted(name: str, tmp_path: Path) -> None:
    planted(name, tmp_path)
