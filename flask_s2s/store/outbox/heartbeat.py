"""The heartbeat: the outbox at a glance, and the signs of life of the processes that deliver.

Each process that delivers says who it is, how many it has in flight and which lanes rest.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib import metadata
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    func,
    or_,
    select,
    update,
)

from ...conversion import Signup
from ...rules.attribution import Reason
from ...rules.states import ACCEPTED, ALARMING, OPEN, QUEUED, Status
from ..attempts import NOT_FOUND
from ..database.storage import Storage
from ..dialects.statements import least, unindexed, upsert
from ..losses import LATELY
from .overdue import looked_at_too_late, sent_too_late

#: How long before its deadline an undelivered conversion raises the alarm.
EXPIRING = timedelta(days=5)
#: From this many tries on, and after this long, an undelivered conversion is stuck.
STUBBORN = 5
_PATIENCE = timedelta(hours=1)
#: More than these are not looked at one by one: they are no stranger's.
_HANDFUL = 100
#: From so many missing sign-ups on, where no more are on record, it is more than somebody's links.
FEW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The outbox at a glance."""

    #: By status: of all, or of failures alone.
    counts: dict[str, int]
    #: The earliest `due_at` of anything open.
    oldest_due: datetime | None
    #: How many open ones pass their deadline within the next days.
    expiring: int
    #: How many open ones were tried again and again, and are not held.
    stuck: int
    #: The network's last word on the one of them that was tried most.
    last_word: str | None
    #: How many failed within the last days and are not acknowledged, by status.
    failed_lately: dict[str, int]
    #: Whether what is missing of that is the network's doing, or only sign-ups by a few click IDs,
    #: which anybody can write into a link: the others of these days are on its record.
    missing_alarms: bool
    #: When a worker last said that it lives.
    worker_seen: datetime | None
    #: How many lie further ahead than any wait of ours, because a clock was.
    put_off: int
    #: How many sign-ups wait for somebody, because the site's rule failed.
    review: int
    #: How many of those that are `expiring`, `stuck` and `expired` lately may be strangers' doing.
    strangers: dict[str, int]


class Heartbeat:
    """The signs of life of one database's deliveries."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._rows = storage.tables.delivery
        self._attempts = storage.tables.attempt
        meta = storage.tables.meta
        self._meta = meta
        due = storage.tables.delivery.c.due_at
        self._oldest_due = least(due)
        self._alive = select(meta.c.value).where(meta.c.name == "worker_seen")

    def pulse(self) -> tuple[datetime | None, datetime | None]:
        """Return since when work waits, and when a worker was seen last: two look-ups."""
        with self._storage.connect() as connection:
            return self._pulse(connection)

    def _pulse(self, connection: Connection) -> tuple[datetime | None, datetime | None]:
        seen = connection.scalar(self._alive)
        seen_at = datetime.fromisoformat(seen) if seen else None
        return connection.scalar(self._oldest_due), seen_at

    def summary(self, now: datetime, *, all_counts: bool = True) -> Summary:
        """Count deliveries by status, and say since when work waits.

        Without `all_counts` failures alone are counted: the others are very many, in time.
        """
        rows = self._rows
        # By their statuses: SQLite would read all rows to find those that have a `due_at`.
        expiring = (rows.c.status.in_(OPEN), rows.c.deadline_at <= now + EXPIRING)
        still = select(func.count()).select_from(rows).where(*expiring)
        counted = select(rows.c.status, func.count()).group_by(rows.c.status)
        alarming = rows.c.status.in_(ALARMING)
        failed = self._failed_lately(now)
        review = select(func.count()).select_from(rows)
        review = review.where(
            unindexed(rows.c.status) == Status.UNATTRIBUTED.value,
            rows.c.reason == Reason.REVIEW.value,
        )
        put_off = [
            select(func.count()).select_from(rows).where(far(rows, now))
            for far in (sent_too_late, looked_at_too_late)
        ]
        with self._storage.connect() as connection:
            oldest_due, worker_seen = self._pulse(connection)
            stuck, last_word = self._stuck(connection, now)
            strangers = {
                "expiring": self._strangers(connection, now, expiring),
                "stuck": self._strangers(connection, now, self._is_stuck(now)),
                "expired": self._strangers(
                    connection, now, (rows.c.status == Status.EXPIRED.value, failed)
                ),
            }
            return Summary(
                counts=_pairs(
                    connection.execute(counted if all_counts else counted.where(alarming))
                ),
                oldest_due=oldest_due,
                expiring=connection.scalar(still) or 0,
                stuck=stuck,
                last_word=last_word,
                failed_lately=_pairs(connection.execute(counted.where(alarming, failed))),
                missing_alarms=self._missing_alarms(connection, now),
                worker_seen=worker_seen,
                put_off=sum(connection.scalar(counted) or 0 for counted in put_off),
                review=connection.scalar(review) or 0,
                strangers=strangers,
            )

    def _failed_lately(self, now: datetime) -> ColumnElement[bool]:
        """Of what failed: lately, and nobody has said since that they know."""
        rows = self._rows
        unknown = or_(rows.c.acked_at.is_(None), rows.c.acked_at < rows.c.settled_at)
        return and_(rows.c.settled_at > now - LATELY, unknown)

    def _missing_alarms(self, connection: Connection, now: datetime) -> bool:
        rows = self._rows
        missing = (rows.c.status == Status.MISSING.value, self._failed_lately(now))
        kind = unindexed(rows.c.kind)
        counted = select(kind, func.count()).where(*missing).group_by(kind)
        kinds = _pairs(connection.execute(counted))
        signups = kinds.pop(Signup.kind, 0)
        if kinds or not signups:
            return bool(kinds)
        known = self._went_well(connection, now, (Status.CONFIRMED.value,), signups)
        return signups >= FEW and known < signups

    def _went_well(
        self, connection: Connection, now: datetime, statuses: Sequence[str], most: int
    ) -> int:
        """Count the sign-ups of these days that have come so far; `most`: there may be very many."""
        rows = self._rows
        these = (rows.c.created_at > now - LATELY, rows.c.kind == Signup.kind)
        counted = 0
        for status in statuses:
            some = select(rows.c.id).where(rows.c.status == status, *these).limit(most).subquery()
            counted += connection.scalar(select(func.count()).select_from(some)) or 0
        return counted

    def _strangers(
        self, connection: Connection, now: datetime, these: Sequence[ColumnElement[bool]]
    ) -> int:
        """Count, of these, sign-ups whose click ID the network may not know: anybody can write one.

        They were answered 404, as by a path that is wrong; so as many others must have been accepted.
        """
        rows, tried = self._rows, self._attempts
        signups = select(rows.c.id).where(*these, unindexed(rows.c.kind) == Signup.kind)
        ids = connection.scalars(signups.limit(_HANDFUL + 1)).all()
        if not 0 < len(ids) <= _HANDFUL:
            return 0
        last = and_(tried.c.delivery_id == rows.c.id, tried.c.number == rows.c.attempts)
        unknown = (
            select(func.count())
            .select_from(rows)
            .join(tried, last)
            .where(rows.c.id.in_(ids), tried.c.http_status == NOT_FOUND)
        )
        number = connection.scalar(unknown) or 0
        return number if number <= self._went_well(connection, now, ACCEPTED, number) else 0

    def _stuck(self, connection: Connection, now: datetime) -> tuple[int, str | None]:
        """Count what is tried in vain; what is held, or waits for another one, has its own reason."""
        rows, these = self._rows, self._is_stuck(now)
        count = connection.scalar(select(func.count()).select_from(rows).where(*these)) or 0
        most = select(rows.c.detail).where(*these).order_by(rows.c.attempts.desc()).limit(1)
        return count, connection.scalar(most) if count else None

    def _is_stuck(self, now: datetime) -> tuple[ColumnElement[bool], ...]:
        rows = self._rows
        return (
            rows.c.due_at.is_not(None),
            rows.c.status.in_(QUEUED),
            rows.c.attempts >= STUBBORN,
            rows.c.created_at < now - _PATIENCE,
        )

    def seen(self, now: datetime) -> None:
        """A worker lives. Its row is made with the table: two workers must not race to insert it."""
        meta = self._meta
        mine = update(meta).where(meta.c.name == "worker_seen").values(value=now.isoformat())
        self._storage.write(lambda connection: connection.execute(mine))


def _pairs(found: Iterable[Any]) -> dict[str, int]:
    return {word: number for word, number in found}


#: After so long without a sign of life a process counts as dead, and is forgotten.
_SILENCE = timedelta(minutes=2)
_FORGOTTEN = timedelta(days=1)
#: Longest name of a machine that is kept.
_HOST = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSeen:
    """One process that delivers, as it said last."""

    name: str
    host: str
    version: str
    in_flight: int
    #: Lanes that their network asked to be left alone, and until when.
    rests: Mapping[str, datetime]
    seen_at: datetime

    def is_alive(self, now: datetime) -> bool:
        """Say whether it told so lately."""
        return now - self.seen_at <= _SILENCE


class Workers:
    """The signs of life in one database."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._rows = storage.tables.worker
        #: What this process is called there, once it has a row.
        self._told: str | None = None

    def report(self, now: datetime, in_flight: int, rests: Mapping[str, datetime]) -> None:
        """This process lives."""
        rows, host = self._rows, socket.gethostname()[:_HOST]
        name = f"{host}:{os.getpid()}"
        said = {
            "host": host,
            "version": version(),
            "in_flight": in_flight,
            "rests": {lane: until.isoformat() for lane, until in rests.items()},
            "seen_at": now,
        }

        saying = update(rows).where(rows.c.name == name).values(said)

        def tell(connection: Connection) -> None:
            if self._told == name and connection.execute(saying).rowcount:
                return
            # In one statement: what looks for a row first holds up others who would insert.
            connection.execute(
                upsert(
                    connection,
                    rows,
                    ["name"],
                    where=lambda given: given.seen_at >= rows.c.seen_at,
                    changes=lambda given: [(column, given[column]) for column in said],
                    values={"name": name, **said},
                )
            )
            gone = select(rows.c.name).where(rows.c.seen_at < now - _FORGOTTEN)
            for one in connection.scalars(gone).all():
                connection.execute(delete(rows).where(rows.c.name == one))

        self._storage.write(tell)
        self._told = name

    def all(self) -> list[WorkerSeen]:
        """Return the processes, the one that was seen last first."""
        rows = self._rows
        with self._storage.connect() as connection:
            found = connection.execute(select(rows).order_by(rows.c.seen_at.desc())).mappings()
            return [WorkerSeen(**{**row, "rests": _times(row["rests"])}) for row in found]


def _times(rests: Mapping[str, str]) -> dict[str, datetime]:
    return {lane: datetime.fromisoformat(until) for lane, until in rests.items()}


@cache
def version() -> str:
    """Return this package's version."""
    try:
        return metadata.version("flask-s2s")
    except metadata.PackageNotFoundError:
        return "unknown"
