"""Bugs that a simulation worth its name must find, as changes to the package's code.

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

from tests.mutation import PACKAGE, Mutation

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant(Mutation):
    """One bug, and what a history must say of it."""

    #: How a violation begins that this bug must cause.
    shows: tuple[str, ...]


PLANTS = {
    "no-fence": Plant(
        where="_fence",
        code="rows.c.lease_token == held.lease_token)",
        without="rows.c.id.is_not(None))",
        shows=(
            "settled without a lease",
            "a delivered row was reopened",
            "rewarded twice",
            "an attempt was never closed",
        ),
    ),
    "no-unique-key": Plant(
        where="Outbox.hashed",
        code="    if not identity:\n",
        without="    if identity or not identity:\n",
        shows=("rewarded twice", "a customer sent under two clicks", "withdrawn, and sent"),
    ),
    "pending-at-once": Plant(
        where="Writer._record",
        code="if armed is not None and draft.status is Status.PENDING:",
        without="if False:",
        shows=("sent, and never committed",),
    ),
    "no-armed-row": Plant(
        where="ArmedView.write",
        code="    if conversion is None:\n        return not self._running\n",
        without="    if conversion is None or self._running:\n        return not self._running\n",
        shows=("lost",),
    ),
    "no-read-back": Plant(
        where="Executor._judged",
        code="if written is None or exchange",
        without="if True or exchange",
        shows=("rewarded twice",),
    ),
    "attempts-never-closed": Plant(
        where="_unclosed",
        code="attempts.c.closed_at.is_(None),",
        without="attempts.c.closed_at.is_not(None),",
        shows=("an attempt was never closed",),
    ),
    "no-grace": Plant(
        where="GRACE",
        code="GRACE = timedelta(minutes=15)",
        without="GRACE = timedelta(seconds=1)",
        shows=("rewarded twice",),
    ),
    "crash-is-no-attempt": Plant(
        where="_leasing",
        code="(rows.c.status == Status.SENDING.value, rows.c.due_at)",
        without="(rows.c.status == Status.HELD.value, rows.c.due_at)",
        shows=("rewarded twice",),
    ),
    "payments-are-not-read-back": Plant(
        where="TRAITS",
        code='verified_by="list"',
        without="verified_by=None",
        shows=("accepted, never recorded, and not told",),
    ),
    "undone-is-missed": Plant(
        where="Verifier._judge",
        code="undoing=self._verification_queue.undoing(delivery) if absent else Undoing.NONE",
        without="undoing=Undoing.NONE",
        shows=("never came to its end",),
    ),
    "children-first": Plant(
        where="decide",
        code="    if not parent.status.accepted:\n",
        without="    if not parent.status.accepted:\n        return Go()\n",
        shows=("lost",),
    ),
    "orphans-stay": Plant(
        where="_due",
        code="where(rows.c.due_at <= _NOW)",
        without='where(rows.c.due_at <= _NOW, rows.c.status != "sending")',
        shows=("not resumed within one lease", "something is stuck"),
    ),
    "parts-stay": Plant(
        where="undo_parts",
        code="if not part.status.absent:",
        without="if False:",
        shows=("a part of an undone payment stands",),
    ),
    "own-clock": Plant(
        where="DatabaseClock.now",
        code="    if said is None:\n        return self._machine.now()\n",
        without="    if True:\n        return self._machine.now()\n",
        shows=("rewarded twice", "sent, and never committed", "lost", "not resumed"),
    ),
    "accepted-at-any-answer": Plant(
        where="PartnerStack.outcome",
        code="    if status >= 500 or status == 408:",
        without="    if status >= 500:\n        return read_success(Response(status=200))\n    if status == 408:",
        shows=("lost", "delivered without a 2xx"),
    ),
    "off-the-table": Plant(
        where="decide",
        code="return Stop(Status.UNATTRIBUTED, why, parent)",
        without="return Stop(Status.INVALID, why, parent)",
        shows=("may not follow: sending > invalid",),
    ),
    "restores-are-not-noticed": Plant(
        where="Housekeeping.__call__",
        code="if self._memory.forgot(now):",
        without="if False:",
        shows=("rewarded twice",),
    ),
    "one-clock-expires": Plant(
        where="Witness.passed",
        code="last = now - enough if now - self.look(now) >= enough else EPOCH",
        without="last = now",
        shows=("lost",),
    ),
    "put-off-for-ever": Plant(
        where="Housekeeping._sweep",
        code="sum(pull(now) for pull in self._pulling)",
        without="0",
        shows=("something is stuck", "never came to its end"),
    ),
    "unknown-confirms": Plant(
        where="judge",
        code="            return _unknown(delivery, now, passed, reading)\n",
        without="            return Confirmed(detail=detail)\n",
        shows=("confirmed without a record",),
    ),
}


def planted(name: str, folder: Path) -> Path:
    """Copy the package into `folder`, with the bug in it; return what goes first on the path."""
    shutil.copytree(PACKAGE, folder / "flask_s2s", ignore=shutil.ignore_patterns("__pycache__"))
    PLANTS[name].write(folder / "flask_s2s")
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
