"""Accepted deliveries that the network's own record must still confirm: the SQL of `verify_at`.

`verify_at` is when a row is looked at next, and the lease of whoever looks: claiming pushes it on,
to a moment that nobody else writes (random microseconds), and settling filters on that moment. A
verifier that dies loses its lease by the clock; one that comes late changes nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    exists,
    false,
    func,
    or_,
    select,
    update,
)

from ...networks.reading import GRACE
from ...rules.delivery import Delivery, told
from ...rules.states import ACCEPTED, SENT, UNCONFIRMED, Status
from ...rules.verification import (
    Confirmed,
    LookAgain,
    Missing,
    SendAgain,
    Undoing,
    Undone,
    Unmoved,
    Unproven,
    Verdict,
)
from ..database.storage import Storage
from ..dialects.statements import inserting_once
from ..row_locks import take_free, update_many
from .dependents import call_dependents
from .overdue import looked_at_too_late
from .rows import delivery_of

_TEST_SEEN = "test_seen"
#: After so long the first look is over: what has not told by then does not tell.
UNREAD = timedelta(minutes=45)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """How many wait for records that the network does not show."""

    #: Accepted, and neither found nor missed since.
    accepted: int
    #: Not sent, because the network does not tell whether it has them, or their customer.
    waiting: int
    last_word: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """An operator's choice of deliveries: those in verification, one, a customer's, or all unproven."""

    delivery: int | None = None
    customer: str | None = None
    all: bool = False


class VerificationQueue:
    """The unconfirmed deliveries of one database."""

    def __init__(
        self,
        storage: Storage,
        read_back: Sequence[tuple[str, Sequence[str]]],
    ) -> None:
        """`read_back` are the kinds whose records are read, of each network."""
        self._storage = storage
        self._read_back = read_back
        self._rows = storage.tables.delivery
        self._meta = storage.tables.meta

    def claim(
        self, *, limit: int, now: datetime, lease: timedelta, like: Delivery | None = None
    ) -> list[Delivery]:
        """Take up to `limit` rows that are to be looked at now; `like`: of its network and kind."""
        rows = self._rows
        due = rows.c.verify_at <= now
        if like is not None:
            due = and_(due, rows.c.network == like.network, rows.c.kind == like.kind)
        oldest = select(rows.c.id).where(due).order_by(rows.c.verify_at).limit(limit)
        # Apart from the claim: one that has read may not be let write (`begin_writing`).
        with self._storage.connect() as connection:
            ids = list(connection.scalars(oldest))
        if not ids:
            return []
        until = now + lease + timedelta(microseconds=secrets.randbelow(1_000_000))

        def take(connection: Connection) -> list[Delivery]:
            free = take_free(connection, rows, ids, due)
            taking = update(rows).where(rows.c.id.in_(free), due).values(verify_at=until)
            if not free or not connection.execute(taking).rowcount:
                return []
            mine = select(rows).where(rows.c.id.in_(free), rows.c.verify_at == until)
            return [delivery_of(row) for row in connection.execute(mine).mappings()]

        return self._storage.write(take)

    def pull_in(self, now: datetime) -> int:
        """Look in a while at what a wrong clock has put off; return how many."""
        rows = self._rows
        far = looked_at_too_late(rows, now)
        with self._storage.connect() as connection:
            if connection.scalar(select(rows.c.id).where(far).limit(1)) is None:
                return 0
        return update_many(self._storage, rows, update(rows).values(verify_at=now + GRACE), far)

    def next_at(self) -> datetime | None:
        """Return when the next row is to be looked at."""
        rows = self._rows
        soonest = select(func.min(rows.c.verify_at)).where(rows.c.verify_at.is_not(None))
        with self._storage.connect() as connection:
            moment: datetime | None = connection.scalar(soonest)
        return moment

    def settle(self, judged: Sequence[tuple[Delivery, Verdict]], now: datetime) -> list[bool]:
        """Write verdicts, in one transaction; return for each whether the row was still ours."""

        def judge(connection: Connection) -> list[bool]:
            ours = [self._settle(connection, *one, now) for one in judged]
            moved = [
                delivery
                for (delivery, verdict), mine in zip(judged, ours, strict=True)
                if mine and isinstance(verdict, Confirmed | Missing | Unproven)
            ]
            call_dependents(connection, self._rows, moved, now)
            return ours

        ours = self._storage.write(judge)
        if any(isinstance(verdict, Confirmed) and verdict.test for _, verdict in judged):
            self.note_test(now)
        return ours

    # -- by hand ------------------------------------------------------------------------------

    def count(self, chosen: Chosen) -> int:
        """Count what `page` goes through."""
        counted = select(func.count()).select_from(self._rows).where(*self._choosing(chosen))
        with self._storage.connect() as connection:
            return connection.scalar(counted) or 0

    def page(self, chosen: Chosen, *, after: int, limit: int) -> list[Delivery]:
        """Return the chosen deliveries behind delivery number `after`, without taking them."""
        rows = self._rows
        found: Select[Any] = select(rows).where(rows.c.id > after, *self._choosing(chosen))
        with self._storage.connect() as connection:
            listed = connection.execute(found.order_by(rows.c.id).limit(limit)).mappings()
            return [delivery_of(row) for row in listed]

    def undoing(self, delivery: Delivery) -> Undoing:
        """Say how far a reversal of this one has come."""
        rows = self._rows
        theirs = (rows.c.network == delivery.network, rows.c.parent == delivery.dedupe)
        found = select(rows.c.status, rows.c.ambiguous_at).where(*theirs, rows.c.kind == "reversal")
        with self._storage.connect() as connection:
            reversals = connection.execute(found).all()
        if any(one.status in ACCEPTED for one in reversals):
            return Undoing.DONE
        asked = any(
            one.status == Status.SENDING or one.ambiguous_at is not None for one in reversals
        )
        return Undoing.OPEN if asked else Undoing.NONE

    def unread(self, now: datetime) -> Unread:
        """Count what waits for the network's records in vain: for longer than a look takes to come."""
        rows, before = self._rows, now - UNREAD
        accepted = and_(
            rows.c.verify_at.is_not(None),
            rows.c.status == Status.DELIVERED.value,
            rows.c.settled_at < before,
            # After a first look that found nothing, the second one comes later.
            or_(rows.c.checks == 0, rows.c.settled_at < now - 4 * UNREAD),
        )
        parents = rows.alias("parents")
        known = exists().where(
            parents.c.network == rows.c.network, parents.c.dedupe == rows.c.parent
        )
        # Of what was sent without an answer, and of a customer that nobody here knows.
        doubtful = or_(rows.c.ambiguous_at < before, and_(rows.c.ambiguous_at.is_(None), ~known))
        waiting = and_(
            rows.c.status == Status.WAITING.value,
            rows.c.created_at < before,
            rows.c.kind.in_(("action", "transaction")),
            doubtful,
        )
        with self._storage.connect() as connection:
            read = [_counted(connection, rows, these) for these in (accepted, waiting)]
        words = [word for count, word in read if count]
        return Unread(
            accepted=read[0][0], waiting=read[1][0], last_word=words[0] if words else None
        )

    def test_seen(self) -> datetime | None:
        """Return when a record last came back as a test that should not be one."""
        meta = self._meta
        named = select(meta.c.value).where(meta.c.name == _TEST_SEEN)
        with self._storage.connect() as connection:
            seen = connection.scalar(named)
        return None if seen is None else datetime.fromisoformat(seen)

    def note_test(self, now: datetime) -> None:
        """Remember when a record came back as a test that should not be one."""
        meta = self._meta
        seen = {"value": now.isoformat()}
        again = update(meta).where(meta.c.name == _TEST_SEEN).values(seen)

        def note(connection: Connection) -> None:
            if not connection.execute(again).rowcount:
                connection.execute(inserting_once(connection, meta), {"name": _TEST_SEEN, **seen})

        self._storage.write(note)

    # -----------------------------------------------------------------------------------------

    def _choosing(self, chosen: Chosen) -> list[ColumnElement[bool]]:
        rows = self._rows
        wanted: list[ColumnElement[bool]] = [
            or_(
                false(),
                *(
                    and_(rows.c.network == network, rows.c.kind.in_(kinds))
                    for network, kinds in self._read_back
                ),
            ),
            rows.c.customer_key.is_not(None),
        ]
        if chosen.delivery is not None:
            wanted += [rows.c.id == chosen.delivery, rows.c.status.in_(SENT)]
        elif chosen.customer is not None:
            wanted += [rows.c.customer_key == chosen.customer, rows.c.status.in_(SENT)]
        elif chosen.all:
            wanted.append(rows.c.status.in_(UNCONFIRMED))
        else:
            wanted.append(rows.c.verify_at.is_not(None))
        return wanted

    def _settle(
        self, connection: Connection, delivery: Delivery, verdict: Verdict, now: datetime
    ) -> bool:
        values = self._values(delivery, verdict, now)
        if values is None:
            return True
        rows = self._rows
        if not take_free(connection, rows, [delivery.id]):
            return False  # a host holds it: it is looked at again
        same_time = (
            rows.c.verify_at.is_(None)
            if delivery.verify_at is None
            else rows.c.verify_at == delivery.verify_at
        )
        ours = update(rows).where(
            rows.c.id == delivery.id,
            rows.c.status == delivery.status.value,
            rows.c.attempts == delivery.attempts,
            same_time,
        )
        return connection.execute(ours.values(**values)).rowcount == 1

    def _values(self, delivery: Delivery, verdict: Verdict, now: datetime) -> dict[str, Any] | None:
        if isinstance(verdict, Unmoved):
            return None
        values: dict[str, Any] = {"detail": told(delivery, verdict.detail), "verify_at": None}
        match verdict:
            case Confirmed():
                values["status"] = Status.CONFIRMED.value
            case Missing():
                values["status"] = Status.MISSING.value
            case LookAgain(at=at, absences=absences):
                values |= {"verify_at": at, "checks": absences, "read_to": verdict.read_to}
            case SendAgain():
                values |= {"status": Status.PENDING.value, "due_at": now, "settled_at": None}
                values |= {"checks": 0, "resent": delivery.resent + 1}
            case Unproven() | Undone():
                pass
        return values


def _counted(
    connection: Connection, rows: Table, these: ColumnElement[bool]
) -> tuple[int, str | None]:
    counted = select(func.count(), func.max(rows.c.id)).select_from(rows).where(these)
    count, newest = connection.execute(counted).one()
    its_word = select(rows.c.detail).where(rows.c.id == newest)
    return count, connection.scalar(its_word) if count else None
