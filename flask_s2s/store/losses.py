"""Losses: clicks that got no row and conversions that no database took, by day and reason (`s2s_loss`).

The database that could not take them cannot take their number either, nor is a page to wait for that. So a
process counts in its memory, and adds what it has counted in the background, tried again until the
database is there. What a process still holds when it ends is in its log alone. Numbers are whole, but for
one case: where the answer to a commit is lost, what it had added is added once more.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from .. import threads
from ..clock import Clock
from ..signals import click_not_stored, conversion_lost
from .background import Write
from .database.storage import Storage
from .dialects.statements import EPOCH, upsert

log = logging.getLogger("flask_s2s")

#: For how long a loss, or a failure, is news.
LATELY = timedelta(days=7)
#: What is lost of a click; of a conversion it is its kind.
CLICK = "click"

_Key = tuple[int, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """So many of one kind, lost for one reason."""

    #: `click`, or a conversion's kind.
    kind: str
    reason: str
    number: int


class Losses:
    """The losses of one database, and what this process has not added to them yet."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        later: Callable[[Write[None]], bool],
        tell: Callable[..., None],
    ) -> None:
        """`later` has something tried until it is done, if it can, and says so; `tell` sends a signal."""
        self._storage = storage
        self._rows = storage.tables.loss
        self._clock = clock
        self._later = later
        self._tell = tell
        self._lock = threads.lock()
        self._counted: Counter[_Key] = Counter()
        self._pid, self._is_asked = os.getpid(), False

    def click(self, reason: str) -> None:
        """A click got no row."""
        self.count(CLICK, reason)
        self._tell(click_not_stored, reason=reason)

    def click_after_all(self, reason: str) -> None:
        """It has one after all."""
        self.count(CLICK, reason, -1)

    def conversion(self, kind: str, customer_key: str | None, reason: str) -> None:
        """No database took a conversion."""
        self.count(kind, reason)
        self._tell(conversion_lost, kind=kind, customer_key=customer_key, reason=reason)

    def count(self, kind: str, reason: str, number: int = 1) -> None:
        """Count a loss; -1 where it came to none after all. Never waits for the database."""
        with self._lock:
            if self._pid != os.getpid():  # the parent of a fork adds its own
                self._counted, self._pid, self._is_asked = Counter(), os.getpid(), False
            self._counted[_day(self._clock.now()), kind, reason[:32]] += number
        self._ask()

    def _ask(self) -> None:
        with self._lock:
            if self._is_asked or not self._counted:
                return
            self._is_asked = True
        adding = Write(run=self.add, stored=self._added, lost=self._ended)
        if not self._later(adding):
            self._is_asked = False  # the next loss asks again

    def add(self) -> None:
        """Add what this process has counted. Raises what the database raises, and keeps it then."""
        with self._lock:
            taken, self._counted = self._counted, Counter()
        if not taken:
            return
        try:
            self._storage.write(lambda connection: self._add(connection, taken))
        except BaseException:
            with self._lock:
                taken.update(self._counted)
                self._counted = taken
            self._ask()  # of two tries side by side the other one had nothing to add
            raise

    def _add(self, connection: Connection, taken: Counter[_Key]) -> None:
        rows = self._rows
        for (day, kind, reason), number in sorted(taken.items()):
            connection.execute(
                upsert(
                    connection,
                    rows,
                    ("day", "kind", "reason"),
                    where=lambda given: given.day == rows.c.day,
                    changes=lambda given: [("number", rows.c.number + given.number)],
                    values={"day": day, "kind": kind, "reason": reason, "number": number},
                )
            )

    def _added(self, _: None) -> None:
        self._is_asked = False
        self._ask()

    def _ended(self, error: BaseException | None) -> None:
        self._is_asked = False
        log.error(
            "s2s.loss.not_added: %d losses are in this log alone: %s",
            sum(self._counted.values()),
            "the process ends" if error is None else type(error).__name__,
            extra={"action": "loss.not_added"},
        )

    def lately(self, now: datetime) -> list[Loss]:
        """Return what was lost in the last days, the most first."""
        rows = self._rows
        number = func.sum(rows.c.number).label("number")
        found = (
            select(rows.c.kind, rows.c.reason, number)
            .where(rows.c.day > _day(now - LATELY))
            .group_by(rows.c.kind, rows.c.reason)
        )
        with self._storage.connect() as connection:
            losses = [
                Loss(kind=row.kind, reason=row.reason, number=int(row.number))
                for row in connection.execute(found)
            ]
        return sorted(
            (one for one in losses if one.number > 0),
            key=lambda one: (one.kind == CLICK, -one.number, one.kind, one.reason),
        )


def _day(at: datetime) -> int:
    return (at - EPOCH).days
