"""Bugs that a simulation worth its name must find, as changes to the text of the package.

They are made in a copy of the package, which a process of its own then imports: nothing here can
reach the code that is tested otherwise.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import flask_s2s

_ROOT = Path(__file__).resolve().parents[2]
#: The checkout's, or the installed one.
_PACKAGE = Path(flask_s2s.__file__).parent


@dataclass(frozen=True, slots=True)
class Plant:
    """One bug: in which file, which text becomes which, and what a history must say of it."""

    file: str
    old: str
    new: str
    #: How a violation begins that this bug must cause.
    shows: tuple[str, ...]


PLANTS = {
    "no-fence": Plant(
        "delivery/settling.py",
        "rows.c.lease_token == held.lease_token)",
        "rows.c.id.is_not(None))",
        (
            "settled without a lease",
            "a delivered row was reopened",
            "rewarded twice",
            "an attempt was never closed",
        ),
    ),
    "no-unique-key": Plant(
        "delivery/outbox.py",
        "        if not identity:\n",
        "        if identity or not identity:\n",
        ("rewarded twice", "a customer sent under two clicks"),
    ),
    "pending-at-once": Plant(
        "delivery/writer.py",
        "if armed is not None and draft.status is Status.PENDING:",
        "if False:",
        ("sent, and never committed",),
    ),
    "no-armed-row": Plant(
        "delivery/arming.py",
        "        if conversion is None:\n            return not self._running\n",
        "        if conversion is None or self._running:\n            return not self._running\n",
        ("lost",),
    ),
    "no-read-back": Plant(
        "delivery/sending.py",
        "if written is None or exchange",
        "if True or exchange",
        ("rewarded twice",),
    ),
    "attempts-never-closed": Plant(
        "delivery/settling.py",
        "attempts.c.closed_at.is_(None),",
        "attempts.c.closed_at.is_not(None),",
        ("an attempt was never closed",),
    ),
    "no-grace": Plant(
        "networks/reading.py",
        "GRACE = timedelta(minutes=15)",
        "GRACE = timedelta(seconds=1)",
        ("rewarded twice",),
    ),
    "crash-is-no-attempt": Plant(
        "delivery/claiming.py",
        "(rows.c.status == Status.SENDING.value, rows.c.due_at)",
        "(rows.c.status == Status.HELD.value, rows.c.due_at)",
        ("rewarded twice",),
    ),
    "children-first": Plant(
        "delivery/ordering.py",
        "    if parent.status not in _THERE:\n",
        "    if parent.status not in _THERE:\n        return Go()\n",
        ("lost",),
    ),
    "orphans-stay": Plant(
        "delivery/claiming.py",
        "where(rows.c.due_at <= _NOW)",
        'where(rows.c.due_at <= _NOW, rows.c.status != "sending")',
        ("not resumed within one lease", "something is stuck"),
    ),
    "parts-stay": Plant(
        "delivery/refunds.py",
        "if part.status not in _NOT_THERE:",
        "if False:",
        ("a part of an undone payment stands",),
    ),
    "own-clock": Plant(
        "delivery/databaseclock.py",
        "return self._machine.now() + self.offset",
        "return self._machine.now()",
        ("rewarded twice", "sent, and never committed", "lost", "not resumed"),
    ),
    "accepted-at-any-answer": Plant(
        "networks/partnerstack.py",
        "        if status >= 500 or status == 408:",
        '        if status >= 500:\n            return Accepted(detail="")\n        if status == 408:',
        ("lost", "delivered without a 2xx"),
    ),
    "unknown-confirms": Plant(
        "delivery/verdict.py",
        "            return _unknown(delivery, now, detail)\n",
        "            return Confirmed(detail=detail)\n",
        ("confirmed without a record",),
    ),
}


def planted(name: str, folder: Path) -> Path:
    """Copy the package into `folder`, with the bug in it; return what goes first on the path."""
    plant = PLANTS[name]
    shutil.copytree(_PACKAGE, folder / "flask_s2s", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "flask_s2s" / plant.file
    text = path.read_text(encoding="utf-8")
    if plant.old not in text:
        raise LookupError(f"{name}: {plant.file} does not have the text that this bug changes")
    path.write_text(text.replace(plant.old, plant.new), encoding="utf-8")
    return folder


def run_planted(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the simulation on a copy with the bug in it."""
    path = os.pathsep.join((str(planted(name, folder)), str(_ROOT)))
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--planted", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        # What it is run in comes first, whatever the path says: here, the copy.
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
