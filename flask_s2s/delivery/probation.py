"""Delivered sign-ups that the network's own record must still confirm: the SQL of `verify_at`.

`verify_at` is when a row is looked at next, and the lease of whoever looks: claiming pushes it on,
to a moment that nobody else writes (random microseconds), and settling filters on that moment. A
verifier that dies loses its lease by the clock; one that comes late changes nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Select, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from ..tables import Tables
from .kin import call_children
from .rows import delivery_of
from .settlement import Delivery, Status
from .verdict import Confirmed, LookAgain, Missing, SendAgain, Unmoved, Unproven, Verdict

_TEST_SEEN = "test_seen"
_ASKABLE = (Status.DELIVERED.value, Status.CONFIRMED.value, Status.MISSING.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which sign-ups are asked for by hand: those on probation, one customer's, or all unproven."""

    customer: str | None = None
    all: bool = False


class Probation:
    """The unconfirmed sign-ups of one database."""

    def __init__(self, engine: Callable[[], Engine], tables: Tables) -> None:
        self._engine = engine
        self._rows = tables.delivery
        self._meta = tables.meta

    def claim(self, *, limit: int, now: datetime, lease: timedelta) -> list[Delivery]:
        """Take up to `limit` rows that are to be looked at now."""
        rows = self._rows
        due = rows.c.verify_at <= now
        oldest = select(rows.c.id).where(due).order_by(rows.c.verify_at).limit(limit)
        # Apart from the claim: on SQLite a transaction that has read may not be let write.
        with self._engine().connect() as connection:
            ids = list(connection.scalars(oldest))
        if not ids:
            return []
        until = now + lease + timedelta(microseconds=secrets.randbelow(1_000_000))
        with self._engine().begin() as connection:
            if connection.dialect.name != "sqlite":
                free = select(rows.c.id).where(rows.c.id.in_(ids), due)
                ids = list(connection.scalars(free.with_for_update(skip_locked=True)))
            taking = update(rows).where(rows.c.id.in_(ids), due).values(verify_at=until)
            if not ids or not connection.execute(taking).rowcount:
                return []
            mine = select(rows).where(rows.c.id.in_(ids), rows.c.verify_at == until)
            return [delivery_of(row) for row in connection.execute(mine).mappings()]

    def next_at(self) -> datetime | None:
        """Return when the next row is to be looked at."""
        rows = self._rows
        soonest = select(func.min(rows.c.verify_at)).where(rows.c.verify_at.is_not(None))
        with self._engine().connect() as connection:
            moment: datetime | None = connection.scalar(soonest)
        return moment

    def settle(self, judged: Sequence[tuple[Delivery, Verdict]], now: datetime) -> list[bool]:
        """Write verdicts, in one transaction; return for each whether the row was still ours."""
        with self._engine().begin() as connection:
            ours = [self._settle(connection, *one, now) for one in judged]
            moved = [
                delivery
                for (delivery, verdict), mine in zip(judged, ours, strict=True)
                if mine and isinstance(verdict, Confirmed | Missing | Unproven)
            ]
            call_children(connection, self._rows, moved, now)
        if any(isinstance(verdict, Confirmed) and verdict.test for _, verdict in judged):
            self.note_test(now)
        return ours

    # -- by hand ------------------------------------------------------------------------------

    def count(self, chosen: Chosen) -> int:
        """Count what `page` goes through."""
        counted = select(func.count()).select_from(self._rows).where(*self._choosing(chosen))
        with self._engine().connect() as connection:
            return connection.scalar(counted) or 0

    def page(self, chosen: Chosen, *, after: int, limit: int) -> list[Delivery]:
        """Return the chosen sign-ups behind delivery number `after`, without taking them."""
        rows = self._rows
        found: Select[Any] = select(rows).where(rows.c.id > after, *self._choosing(chosen))
        with self._engine().connect() as connection:
            listed = connection.execute(found.order_by(rows.c.id).limit(limit)).mappings()
            return [delivery_of(row) for row in listed]

    def test_seen(self) -> datetime | None:
        """Return when a record last came back as a test that should not be one."""
        meta = self._meta
        named = select(meta.c.value).where(meta.c.name == _TEST_SEEN)
        with self._engine().connect() as connection:
            seen = connection.scalar(named)
        return None if seen is None else datetime.fromisoformat(seen)

    def note_test(self, now: datetime) -> None:
        """Remember when a record came back as a test that should not be one."""
        meta = self._meta
        seen = {"value": now.isoformat()}
        again = update(meta).where(meta.c.name == _TEST_SEEN).values(seen)
        try:
            with self._engine().begin() as connection:
                if not connection.execute(again).rowcount:
                    connection.execute(insert(meta), {"name": _TEST_SEEN, **seen})
        except IntegrityError:
            pass  # another process noted it in the same moment

    # -----------------------------------------------------------------------------------------

    def _choosing(self, chosen: Chosen) -> list[ColumnElement[bool]]:
        rows = self._rows
        wanted = [rows.c.kind == "signup", rows.c.customer_key.is_not(None)]
        if chosen.customer is not None:
            wanted += [rows.c.customer_key == chosen.customer, rows.c.status.in_(_ASKABLE)]
        elif chosen.all:
            wanted.append(rows.c.status.in_((Status.DELIVERED.value, Status.MISSING.value)))
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
        values: dict[str, Any] = {"detail": verdict.detail[:255], "verify_at": None}
        match verdict:
            case Confirmed():
                values["status"] = Status.CONFIRMED.value
            case Missing():
                values["status"] = Status.MISSING.value
            case LookAgain(at=at, absences=absences):
                values |= {"verify_at": at, "checks": absences}
            case SendAgain():
                values |= {"status": Status.PENDING.value, "due_at": now, "settled_at": None}
                values |= {"checks": 0, "resent": delivery.resent + 1}
            case Unproven():
                pass
        return values
