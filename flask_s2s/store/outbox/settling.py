"""Settling: claimed deliveries end only under the token that claimed them, each attempt once.

PostgreSQL takes a whole batch as one statement and says which leases were still ours; on MariaDB the
rows are locked first. Both leave out a row that somebody else holds, which is settled later. On SQLite
a batch is written as if all leases were ours, and taken back if one was not: then each is settled by
itself. Every statement is built once.

A lease has a fence: each claim stamps a token of its own, and whatever ends it filters on that. One
that has run out is claimed by the ordinary claim, because a leased row's `due_at` is its end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
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
    and_,
    bindparam,
    cast,
    column,
    delete,
    func,
    null,
    select,
    update,
)

from ...conversion import Reversal
from ...networks.messages import Exchanged
from ...rules.attribution import Reason
from ...rules.delivery import Delivery, Settlement, told
from ...rules.states import Status
from ..database.storage import Storage
from ..dialects.servers import has_one_writer, skip_locked
from ..dialects.statements import CompiledOnce, chains_writes, counts_batches, microseconds
from ..restores import Memory
from ..row_locks import take_free
from .dependents import Add, look_again, tell_dependents, undo_parts

#: A delivery, what becomes of it, and how its attempt went.
Settled = tuple[Delivery, Settlement, Exchanged]

#: What `_moved` gives anew, but for the token, which it takes away.
MOVED = (
    "status",
    "detail",
    "due_at",
    "ambiguous_at",
    "settled_at",
    "verify_at",
    "checks",
    "read_to",
)
#: What `_closed` gives.
CLOSED = ("closed_at", "outcome", "http_status", "duration_ms", "request", "answer")


_Batch = Callable[[Connection, Sequence[Settled], datetime], Sequence[bool | None]]
_Way = tuple[_Batch, Callable[[Engine], AbstractContextManager[Connection]]]


class _Held:
    """A claimed delivery in a statement that is built once and executed for many."""

    id: Any = bindparam("its_id")
    lease_token: Any = bindparam("its_token")
    number: Any = bindparam("its_number")


class Settling:
    """Ends the leases of one database."""

    def __init__(self, storage: Storage, add: Add, memory: Memory) -> None:
        """`add` records what is to be undone with what the network has taken."""
        self._storage = storage
        self._add = add
        self._memory = memory
        rows, attempts = storage.tables.delivery, storage.tables.attempt
        self._rows = rows
        self._moving = update(rows).where(*_fence(rows, _Held))
        closing = update(attempts).where(*_unclosed(attempts, _Held))
        self._moving_all = CompiledOnce(rows, lambda *_: self._moving, (*MOVED, "lease_token"))
        self._closing_all = CompiledOnce(attempts, lambda *_: closing, CLOSED)
        self._unused = delete(attempts).where(
            attempts.c.delivery_id == _Held.id, attempts.c.lease_token == _Held.lease_token
        )
        self._at_once = _at_once(rows, attempts)
        self._known: _Way | None = None

    def settle(self, settled: Sequence[Settled], now: datetime) -> list[bool | None]:
        """Write what became of claimed deliveries, in one transaction.

        Returns, for each, whether the lease was still ours: a stale worker changes nothing. None:
        somebody else holds its row (a host that reports it again); it is to be settled later. What
        takes others along has a transaction of its own.
        """
        apart = [one for one in settled if _undoes_parts(*one)]
        together = [one for one in settled if one not in apart] if apart else settled
        ended: dict[int, bool | None] = {}
        for batch in (together, *([one] for one in apart)):
            if batch:
                kept = zip(batch, self._settle_batch(batch, now), strict=True)
                ended |= {delivery.id: mine for (delivery, _, _), mine in kept}
        ours = [ended[delivery.id] for delivery, _, _ in settled]
        if closed := list(compress(settled, ours)):
            last = closed[-1][0]
            self._memory.keep(last.id, last.attempts, last.lease_token, now)
        if False in ours:
            # Taken over by another, or forgotten with the database.
            lost = settled[ours.index(False)][0]
            self._memory.miss(lost.id, lost.attempts, lost.lease_token, now)
        return ours

    def _settle_batch(self, settled: Sequence[Settled], now: datetime) -> Sequence[bool | None]:
        if self._known is None:
            self._known = self._way(self._storage.engine())
        settle, opened = self._known
        return self._storage.write(lambda connection: settle(connection, settled, now), opened)

    def _way(self, engine: Engine) -> _Way:
        """Return how a batch is settled there, and how a connection is opened for that."""
        if not has_one_writer(engine):
            settle = self._settle_at_once if chains_writes(engine) else self._settle_locked
            return settle, Engine.begin
        if counts_batches(engine):
            return self._settle_all_or_each, Engine.connect
        return self._settle_each, Engine.begin

    def _settle_all_or_each(
        self, connection: Connection, settled: Sequence[Settled], now: datetime
    ) -> Sequence[bool | None]:
        """Settle all if every lease is still ours; which is not, only each by itself tells."""
        with connection.begin() as transaction:
            if self._settle(connection, settled, now):
                self._tell_others(connection, settled, now)
                return [True] * len(settled)
            transaction.rollback()
        with connection.begin():
            return self._settle_each(connection, settled, now)

    def _settle_each(
        self, connection: Connection, settled: Sequence[Settled], now: datetime
    ) -> Sequence[bool | None]:
        ours = [self._settle(connection, [one], now) for one in settled]
        self._tell_others(connection, list(compress(settled, ours)), now)
        return ours

    def _settle_locked(
        self, connection: Connection, settled: Sequence[Settled], now: datetime
    ) -> Sequence[bool | None]:
        ids = [delivery.id for delivery, _, _ in settled]
        free = set(take_free(connection, self._rows, ids, self._held_with(settled)))
        mine = [one for one in settled if one[0].id in free]
        if mine:
            self._settle(connection, mine, now)
            self._tell_others(connection, mine, now)
        return self._ended(connection, settled, free)

    def _settle_at_once(
        self, connection: Connection, settled: Sequence[Settled], now: datetime
    ) -> Sequence[bool | None]:
        batch = [{**_moved(*one, now), **_closed(*one, now)} for one in settled]
        given = {"batch": json.dumps(batch, default=microseconds)}
        ours = set(connection.scalars(self._at_once, given))
        # Not in the same statement: what it sees is older than the locks that it takes.
        self._tell_others(connection, [one for one in settled if one[0].id in ours], now)
        return self._ended(connection, settled, ours)

    def _held_with(self, settled: Sequence[Settled]) -> Any:
        return self._rows.c.lease_token.in_([one.lease_token for one, _, _ in settled])

    def _ended(
        self, connection: Connection, settled: Sequence[Settled], ours: set[int]
    ) -> list[bool | None]:
        """Say of each whether it was ours; None: it still is, but somebody else holds its row."""
        left = [delivery.id for delivery, _, _ in settled if delivery.id not in ours]
        locked: set[int] = set()
        if left:
            still = (self._rows.c.id.in_(left), self._held_with(settled))
            locked = set(connection.scalars(select(self._rows.c.id).where(*still)))
        return [None if one.id in locked else one.id in ours for one, _, _ in settled]

    def _settle(self, connection: Connection, batch: Sequence[Settled], now: datetime) -> bool:
        """Write a batch; say whether all of it was still ours. If not, part of it may be written."""
        moving = [_moved(*one, now) for one in batch]
        closing = [_closed(*one, now) for one in batch]
        if self._moving_all.execute(connection, None, *moving).rowcount != len(batch):
            return False
        self._closing_all.execute(connection, None, *closing)
        return True

    def _tell_others(
        self, connection: Connection, settled: Sequence[Settled], now: datetime
    ) -> None:
        moved = [delivery for delivery, settlement, _ in settled if settlement.settled]
        tell_dependents(connection, self._rows, moved, now)
        for one in settled:
            if _undoes_parts(*one):
                undo_parts(connection, self._rows, self._add, one[0], now)

    # -- unsent -------------------------------------------------------------------------------

    def give_back(self, deliveries: Sequence[Delivery], now: datetime) -> None:
        """Return claimed deliveries that were not sent, without having used an attempt."""
        back: dict[str, Any] = {"status": Status.PENDING.value, "due_at": now}
        for one in deliveries:
            self._storage.write(partial(self._return, delivery=one, **back))

    def put_back(
        self, delivery: Delivery, next_: Settlement, now: datetime, parent: Delivery | None
    ) -> bool | None:
        """Let a claimed delivery wait, or end, unsent and without having used an attempt.

        `parent` is what that was decided on: where it has moved since, the delivery is due at once.
        Returns whether it became what was decided; None: somebody else holds its row, and nothing
        was written.
        """
        values = {
            "status": next_.status.value,
            "due_at": next_.due_at,
            "detail": told(delivery, next_.detail),
            "read_to": next_.read_to,
        }
        if next_.status is Status.UNATTRIBUTED:
            values["reason"] = Reason.PARENT.value

        def putting(connection: Connection) -> bool | None:
            held = self._rows.c.lease_token == delivery.lease_token
            if not take_free(connection, self._rows, [delivery.id], held):
                stays = select(self._rows.c.id).where(self._rows.c.id == delivery.id, held)
                return False if connection.scalar(stays) is None else None
            look = None if parent is None else look_again(connection, self._rows, parent)
            if look is not None:
                back = {"status": Status.WAITING.value, "due_at": now + look}
                self._return(connection, delivery, **back)
                return False
            settled_at = now if next_.settled else None
            ours = self._return(connection, delivery, settled_at=settled_at, **values)
            if ours and next_.settled:
                tell_dependents(connection, self._rows, [delivery], now)
            return ours

        return self._storage.write(putting)

    def _return(self, connection: Connection, delivery: Delivery, **values: Any) -> bool:
        this = {"its_id": delivery.id, "its_token": delivery.lease_token}
        unused = {**this, **values, "lease_token": None, "attempts": delivery.attempts - 1}
        if not connection.execute(self._moving, unused).rowcount:
            return False
        connection.execute(self._unused, this)
        return True


def _undoes_parts(delivery: Delivery, settlement: Settlement, _: Exchanged) -> bool:
    """Say whether `undo_parts` may have something to do for it."""
    conversion = delivery.conversion
    undoes = isinstance(conversion, Reversal) or getattr(conversion, "refunds", None) is not None
    return undoes and settlement.status.accepted


def _moved(
    delivery: Delivery, settlement: Settlement, _: Exchanged, now: datetime
) -> dict[str, Any]:
    """Return the parameters that settle the row; `its_` are those that find it."""
    return {
        "its_id": delivery.id,
        "its_token": delivery.lease_token,
        "status": settlement.status.value,
        "detail": told(delivery, settlement.detail),
        "due_at": settlement.due_at,
        "ambiguous_at": settlement.ambiguous_at,
        "settled_at": now if settlement.settled else None,
        "verify_at": settlement.verify_at,
        "checks": 0,
        "read_to": settlement.read_to,
        "lease_token": None,
    }


def _closed(
    delivery: Delivery, _: Settlement, exchanged: Exchanged, now: datetime
) -> dict[str, Any]:
    """Return the parameters that close the attempt; `its_` are those that find it."""
    return {
        "its_id": delivery.id,
        "its_number": delivery.attempts,
        "closed_at": now,
        "outcome": exchanged.outcome.word,
        "http_status": exchanged.http_status,
        "duration_ms": exchanged.duration_ms,
        "request": exchanged.request,
        "answer": exchanged.answer,
    }


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
    # Each is locked before any is written, but for those that somebody else holds.
    locking = select(rows.c.id).join(given, and_(*_fence(rows, held)))
    locked = skip_locked(locking, of=rows).cte("locked")
    these = (rows.c.id == given.c.its_id, rows.c.id == locked.c.id)
    moving = update(rows).where(*these).values({n: given.c[n] for n in MOVED})
    moved = moving.values(lease_token=null()).returning(rows.c.id).cte("moved")
    closing = update(attempts).where(*_unclosed(attempts, held), given.c.its_id == moved.c.id)
    closed = closing.values({name: given.c[name] for name in CLOSED}).cte("closed")
    return select(moved.c.id).add_cte(closed)
