"""A power cut on our own SQLite file costs nothing that was committed.

SIGKILL loses nothing that was written, because the kernel still has it; a power cut does. What is
simulated: a real program signs customers up into our own file while `strace` notes its system calls,
and after every one of them the disk is cut (`disk.py`): what was synced is there, of the rest
anything. What is not simulated: a disk or virtual machine that says "synced" and is not, a file
system that loses a file's name or damages what was synced, and the first moments in which the file
and its tables are made (a site that has no tables yet has no conversions either).

SQLite's `synchronous` level is a decision here: in WAL mode `NORMAL` cannot damage the file, but
forgets the latest commits, as the second test shows; `FULL` costs one `fdatasync` a commit (about
two milliseconds on a small virtual disk). On a database that is not ours its own settings decide:
`PRAGMA synchronous` on SQLite, `synchronous_commit` and `fsync` on PostgreSQL,
`innodb_flush_log_at_trx_commit` on MariaDB. `flask s2s check` tells when they may forget.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flask_s2s.store.database.opening import FILE_NAME
from tests.chaos import disk, signing

ROOT = Path(__file__).parents[2]
#: How many ways each moment's cut is tried.
WAYS = 2


def signed_up(folder: Path, level: str) -> list[disk.Call]:
    """Sign customers up in a traced program; return its system calls."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace, to see what is synced when")
    log = folder.with_suffix(".strace")
    trace = ["strace", "-f", "-y", "-xx", "-s", "100000", "-e", f"trace={disk.CALLS}"]
    program = [sys.executable, "-m", "tests.chaos.signing", str(folder), level]
    done = subprocess.run(
        [*trace, "-o", str(log), *program], cwd=ROOT, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.split()[-1] == str(signing.SIGNUPS).encode()
    return list(disk.read_calls(log))


def after_cuts(calls: list[disk.Call], folder: Path, seed: int) -> Iterator[tuple[int, int, str]]:
    """Cut the power after each call; yield what was told, what is found, and SQLite's own check."""
    chance = random.Random(seed)
    whole = disk.Disk(folder)
    told = -1
    for call in calls:
        changed = whole.apply(call)
        if call.name == "write" and call.data.strip().isdigit():
            told = int(call.data)
        elif call.name == "write" and call.data.strip() == signing.READY.encode():
            told = 0
        if told < 0 or not (changed or call.name == "write"):
            continue
        for _ in range(WAYS):
            yield told, *opened_again(whole, folder, chance)


def opened_again(whole: disk.Disk, folder: Path, chance: random.Random) -> tuple[int, str]:
    """Return how many sign-ups are there after a cut, and what SQLite says of the file."""
    left = folder.with_suffix(".left")
    shutil.rmtree(left, ignore_errors=True)
    left.mkdir()
    whole.leave(left, chance)
    with closing(sqlite3.connect(left / FILE_NAME)) as database:
        made = database.execute("SELECT 1 FROM sqlite_master WHERE name = 's2s_delivery'")
        every = "SELECT customer_key FROM s2s_delivery ORDER BY id"
        rows = database.execute(every).fetchall() if made.fetchone() else []
        found = [key for (key,) in rows]
        # No gaps: what is forgotten is forgotten from the end.
        assert found == [f"customer{number:03}" for number in range(len(found))]
        return len(found), str(database.execute("PRAGMA integrity_check").fetchone()[0])


@pytest.mark.slow
def test_a_committed_conversion_survives_a_power_cut_at_any_moment(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    calls = signed_up(folder, "own")
    cuts = list(after_cuts(calls, folder, seed=1))
    assert {told for told, _, _ in cuts} == set(range(signing.SIGNUPS + 1))
    assert [check for _, _, check in cuts if check != "ok"] == []
    assert [(told, found) for told, found, _ in cuts if found < told] == []
    # Not forgotten is not the same as invented: at most the one that was under way.
    assert [(told, found) for told, found, _ in cuts if found > told + 1] == []
    # The log was carried over into the file in between: those moments were cut as well.
    carried = [c for c in calls if c.name == "pwrite64" and c.file.endswith(FILE_NAME)]
    assert len(carried) > signing.SIGNUPS


@pytest.mark.slow
def test_a_weaker_level_would_forget_commits_and_not_damage_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "normal"
    cuts = list(after_cuts(signed_up(folder, "NORMAL"), folder, seed=1))
    assert [check for _, _, check in cuts if check != "ok"] == []
    assert [(told, found) for told, found, _ in cuts if found < told] != []
