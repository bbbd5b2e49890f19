"""How claimed deliveries are settled: only under the token that claimed them, each attempt once.

PostgreSQL takes a whole batch as one statement and says which leases were still ours. Elsewhere a
batch is written as if all were, and taken back if one was not: then each is settled by itself.
Every statement is built once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import compress
from types import SimpleNamespace
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Connection,
    Engine,
    Integer,
    String,
    Table,
    Text,
    bindparam,
    cast,
    column,
    delete,
    func,
    null,
    select,
    update,
)

from ..tables import Tables, microseconds
from .kin import call_children, has_moved
from .rows import CLOSED, MOVED, Settled, closing, settling
from .settlement import Delivery, Settlement, Status

TakeAlong = Callable[[Connection, Sequence[Delivery], datetime], None]


class _Held:
    """A claimed delivery in a statement that is built once and executed for many."""

    id: Any = bindparam("its_id")
    lease_token: Any = bindparam("its_token")
    number: Any = bindparam("its_number")


class Settling:
    """What ends the leases of one database."""

    def __init__(self, tables: Tables, take_along: TakeAlong) -> None:
        """`take_along` is told, within the transaction, what the network has taken."""
        self._take_along = take_along
        rows, attempts = tables.delivery, tables.attempt
        self._rows = rows
        self._moving = update(rows).where(*_fence(rows, _Held))
        self._closing = update(attempts).where(*_unclosed(attempts, _Held))
        self._unused = delete(attempts).where(
            attempts.c.delivery_id == _Held.id, attempts.c.lease_token == _Held.lease_token
        )
        self._at_once = _at_once(rows, attempts)

    def settle(self, engine: Engine, settled: Sequence[Settled], now: datetime) -> list[bool]:
        """Write what became of claimed deliveries, in one transaction.

        Returns, for each, whether the lease was still ours.
        """
        if engine.dialect.name == "postgresql":
            with engine.begin() as connection:
                return self._settle_at_once(connection, settled, now)
        with engine.connect() as connection:
            counts = connection.dialect.supports_sane_multi_rowcount
            if settled and counts and self._settle_all(connection, settled, now):
                return [True] * len(settled)
            with connection.begin():
                ours = [self._settle(connection, [one], now) for one in settled]
                self._tell_others(connection, list(compress(settled, ours)), now)
            return ours

    def _settle_at_once(
        self, connection: Connection, settled: Sequence[Settled], now: datetime
    ) -> list[bool]:
        batch = [{**settling(*one, now), **closing(*one, now)} for one in settled]
        told = {"batch": json.dumps(batch, default=microseconds)}
        ours = set(connection.scalars(self._at_once, told))
        # Not in the same statement: what it sees is older than the locks that it waits for.
        self._tell_others(connection, [one for one in settled if one[0].id in ours], now)
        return [delivery.id in ours for delivery, _, _ in settled]

    def _settle_all(
        self, connection: Connection, settled: Sequence[Settled], now: datetime
    ) -> bool:
        """Settle all if every lease is still ours, else none: which is not, only each by itself tells."""
        with connection.begin() as transaction:
            if self._settle(connection, settled, now):
                self._tell_others(connection, settled, now)
                return True
            transaction.rollback()
            return False

    def _settle(self, connection: Connection, batch: Sequence[Settled], now: datetime) -> bool:
        """Write a batch; say whether all of it was still ours. If not, part of it may be written."""
        moving = [settling(*one, now) for one in batch]
        if connection.execute(self._moving, moving).rowcount != len(batch):
            return False
        connection.execute(self._closing, [closing(*one, now) for one in batch])
        return True

    def _tell_others(
        self, connection: Connection, settled: Sequence[Settled], now: datetime
    ) -> None:
        moved = [delivery for delivery, settlement, _ in settled if settlement.settled]
        call_children(connection, self._rows, moved, now)
        taken = [one for one, settlement, _ in settled if settlement.status is Status.DELIVERED]
        self._take_along(connection, taken, now)

    # -- unsent -------------------------------------------------------------------------------

    def give_back(self, engine: Engine, delivery: Delivery, now: datetime) -> None:
        """Return a claimed delivery that was not sent, without having used an attempt."""
        with engine.begin() as connection:
            self._return(connection, delivery, status=Status.PENDING.value, due_at=now)

    def put_back(
        self,
        engine: Engine,
        delivery: Delivery,
        next_: Settlement,
        now: datetime,
        parent: Delivery | None,
    ) -> bool:
        """Let a claimed delivery wait, or end, unsent; return whether that is what became of it."""
        values = {
            "status": next_.status.value,
            "due_at": next_.due_at,
            "detail": next_.detail[:255],
            "read_to": next_.read_to,
        }
        with engine.begin() as connection:
            if parent is not None and has_moved(connection, self._rows, parent):
                self._return(connection, delivery, status=Status.WAITING.value, due_at=now)
                return False
            settled_at = now if next_.settled else None
            ours = self._return(connection, delivery, settled_at=settled_at, **values)
            if ours and next_.settled:
                call_children(connection, self._rows, [delivery], now)
            return ours

    def _return(self, connection: Connection, delivery: Delivery, **values: Any) -> bool:
        this = {"its_id": delivery.id, "its_token": delivery.lease_token}
        unused = {**this, **values, "lease_token": None, "attempts": delivery.attempts - 1}
        if not connection.execute(self._moving, unused).rowcount:
            return False
        connection.execute(self._unused, this)
        return True


def _fence(rows: Table, held: Any) -> tuple[Any, Any]:
    return (rows.c.id == held.id, rows.c.lease_token == held.lease_token)


def _unclosed(attempts: Table, held: Any) -> tuple[Any, Any, Any]:
    return (
        attempts.c.delivery_id == held.id,
        attempts.c.number == held.number,
        attempts.c.closed_at.is_(None),
    )


def _at_once(rows: Table, attempts: Table) -> Any:
    """Move and close a batch that comes as JSON; return the ids of those that were still ours."""
    kept = [rows.c[name] for name in MOVED] + [attempts.c[name] for name in CLOSED]
    given = (
        func.json_to_recordset(cast(bindparam("batch", type_=Text()), JSON))
        .table_valued(
            column("its_id", BigInteger()),
            column("its_token", String()),
            column("its_number", Integer()),
            *(column(one.name, one.type) for one in kept),
        )
        .render_derived(name="given", with_types=True)
    )
    held = SimpleNamespace(
        id=given.c.its_id, lease_token=given.c.its_token, number=given.c.its_number
    )
    moving = update(rows).where(*_fence(rows, held)).values({n: given.c[n] for n in MOVED})
    moved = moving.values(lease_token=null()).returning(rows.c.id).cte("moved")
    closing = update(attempts).where(*_unclosed(attempts, held), given.c.its_id == moved.c.id)
    closed = closing.values({name: given.c[name] for name in CLOSED}).cte("closed")
    return select(moved.c.id).add_cte(closed)
