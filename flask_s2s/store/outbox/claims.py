"""Claims: due deliveries are leased; a lease and its open attempt are one transaction.

With one writer: one `UPDATE ... RETURNING`, which takes the write lock with its first byte and so
cannot fail as a read that wants to write, whatever transaction mode the host chose. Where writes can
be chained: all in one statement, which is a transaction by itself. Else the due rows are locked first.
The latter two skip what another worker has locked. Every statement is built once: a worker claims each
time around.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    Select,
    Table,
    bindparam,
    case,
    insert,
    literal,
    null,
    select,
    type_coerce,
    update,
)

from ...rules.delivery import Delivery
from ...rules.states import LEASED, Status
from ..database.storage import Storage
from ..dialects.servers import by_key, has_one_writer, skip_locked, whole
from ..dialects.statements import CompiledOnce, by_index, chains_writes, in_order, least
from .lanes import Lanes
from .rows import delivery_of, new_token

#: What came of an attempt whose lease ran out: nobody knows.
_ABANDONED = "ambiguous"
_NOW: Any = bindparam("its_now")
_UNTIL: Any = bindparam("its_until")
_TOKEN: Any = bindparam("its_token")
_IDS: Any = bindparam("its_ids", expanding=True)
#: The columns of an attempt that has just been opened.
_OPENED = ("delivery_id", "number", "lane", "lease_token", "opened_at")
#: Among how many that came due last a probe is chosen, and how many of them are tried to be had.
_LATEST, _CANDIDATES = 200, 3


class Claims:
    """Leases the due deliveries of one database."""

    def __init__(self, storage: Storage, meet: Callable[[Connection], None]) -> None:
        """`meet` is told each connection that claims: a new one may lead to another server."""
        self._storage = storage
        self._meet = meet
        rows = self._rows = storage.tables.delivery
        self._attempts = storage.tables.attempt
        self._lanes = Lanes(rows)
        self._next = least(rows.c.due_at)
        self._parents = select(rows).where(
            # By the unique index, which begins with the network.
            rows.c.network.in_(bindparam("networks", expanding=True)),
            rows.c.dedupe.in_(bindparam("wanted", expanding=True)),
        )
        opening = insert(storage.tables.attempt).inline()
        self._opening = CompiledOnce(storage.tables.attempt, lambda *_: opening, _OPENED)
        self._left_open, self._abandoning = _abandoned(storage.tables.attempt)
        self._orphans = [_orphans(rows, status) for status in LEASED]
        self._known: _Way | None = None

    def claim(
        self, *, limit: int, now: datetime, lease: timedelta, closed: Sequence[str] = ()
    ) -> list[Delivery]:
        """Lease up to `limit` due deliveries and open an attempt for each, in one transaction.

        They are the oldest ones, as they are then. Lanes in `closed` are left alone; then what is
        claimed is all of one lane, that whose oldest is the oldest.
        """
        found = {"its_now": now, "its_limit": limit}
        if not closed:
            return self._claim("any", found, lease)
        soonest = self._storage.read(lambda connection: self._lanes.soonest(connection, closed))
        for due, lane in soonest:
            # Of the first lane others may hold all that is due.
            if due <= now and (claimed := self._claim("lane", {**found, "its_only": lane}, lease)):
                return claimed
        return []

    def reclaim(
        self, *, limit: int, now: datetime, lease: timedelta, closed: Sequence[str] = ()
    ) -> list[Delivery]:
        """Claim only what somebody held whose lease has run out, however much else is due.

        An ordinary claim takes that as well, but in its turn.
        """
        found = {"its_now": now, "its_limit": limit}
        of_these = {**found, "its_closed": list(closed)}

        def orphans(connection: Connection) -> list[int]:
            # Without locks (see `skip_locked`): they would be of the place where others' claims go.
            return [id for look in self._orphans for id in connection.scalars(look, of_these)]

        ids = self._storage.read(orphans)
        return self._claim("orphans", {**found, "its_ids": ids}, lease) if ids else []

    def probe(self, lane: str, *, now: datetime, lease: timedelta) -> list[Delivery]:
        """Claim one delivery of a closed lane: of what came due last, the newest tried least.

        It tells most of the network; what failed before may do so wherever it is sent.
        """
        latest = self._way.latest
        these = {"its_only": lane, "its_now": now}
        found = self._storage.read(lambda connection: connection.execute(latest, these).all())
        for one in sorted(found, key=lambda one: (one.attempts, -one.id))[:_CANDIDATES]:
            this = {"its_now": now, "its_limit": 1, "its_ids": [one.id]}
            if claimed := self._claim("these", this, lease):
                return claimed
        return []

    def next_due(self, closed: Sequence[str] = ()) -> datetime | None:
        """Return when the next delivery is due, leaving out closed lanes."""

        def due(connection: Connection) -> datetime | None:
            if closed:
                soonest = self._lanes.soonest(connection, closed)
                return soonest[0][0] if soonest else None
            first: datetime | None = connection.scalar(self._next)
            return first

        return self._storage.read(due)

    def parents(self, deliveries: Sequence[Delivery]) -> dict[str, Delivery]:
        """Return the deliveries that these wait for, by their `dedupe`, as far as they are here."""
        wanted = {delivery.parent for delivery in deliveries if delivery.parent is not None}
        if not wanted:
            return {}
        theirs = {"networks": list({one.network for one in deliveries}), "wanted": list(wanted)}

        def parents(connection: Connection) -> dict[str, Delivery]:
            found = connection.execute(self._parents, theirs).mappings()
            return {row["dedupe"]: delivery_of(row) for row in found}

        return self._storage.read(parents)

    def _claim(self, which: str, found: dict[str, Any], lease: timedelta) -> list[Delivery]:
        """Lease some and open their attempts; each transaction has a token of its own."""
        now, way = found["its_now"], self._way
        statements, token = way.statements(which), new_token()
        stamp = {"its_token": token, "its_until": now + lease}

        def at_once(connection: Connection) -> list[Delivery]:
            self._meet(connection)
            return _read(connection.execute(statements[0], {**found, **stamp}))

        def in_steps(connection: Connection) -> list[Delivery]:
            if way.one_writer:
                claimed = at_once(connection)
            else:
                self._meet(connection)
                claimed = self._locked_first(connection, statements, found, stamp)
            if claimed:
                self._close_abandoned(connection, claimed, now)
                opened = [
                    {
                        "delivery_id": d.id,
                        "number": d.attempts,
                        "lane": d.lane,
                        "lease_token": token,
                        "opened_at": now,
                    }
                    for d in claimed
                ]
                self._opening.execute(connection, None, *opened)
            return claimed

        if way.chained:
            return self._storage.write(at_once, opened=whole)
        return self._storage.write(in_steps)

    @property
    def _way(self) -> _Way:
        if self._known is None:
            self._known = _Way(self._storage.engine(), self._rows, self._attempts)
        return self._known

    def _close_abandoned(
        self, connection: Connection, claimed: Sequence[Delivery], now: datetime
    ) -> None:
        """Close the attempts of whoever held these before: they can close none any more."""
        taken_over = [one.id for one in claimed if one.ambiguous_at is not None]
        if not taken_over:
            return
        # By their own keys (see `skip_locked`).
        attempts = list(connection.scalars(self._left_open, {"its_rows": taken_over}))
        if attempts:
            connection.execute(self._abandoning, {"its_attempts": attempts, "its_now": now})

    def _locked_first(
        self,
        connection: Connection,
        statements: tuple[Any, ...],
        found: dict[str, Any],
        stamp: dict[str, Any],
    ) -> list[Delivery]:
        locking, leasing, reading = statements
        ids = {"its_ids": list(connection.scalars(locking, found))}
        if not ids["its_ids"]:
            return []
        mine = {**ids, "its_token": stamp["its_token"]}
        connection.execute(leasing, {**mine, **stamp, "its_now": found["its_now"]})
        return _read(connection.execute(reading, mine))


class _Way:
    """The statements of one database, each built when it is first asked for."""

    def __init__(self, engine: Engine, rows: Table, attempts: Table) -> None:
        self.one_writer = has_one_writer(engine)
        self.chained = chains_writes(engine)
        self._rows = rows
        self._attempts = attempts
        lane: Any = bindparam("its_only")
        columns = (rows.c.lane, rows.c.due_at)
        due = _due(rows)
        self._due = {
            "any": due,
            "these": due.where(rows.c.id.in_(_IDS)),
            "orphans": due.where(rows.c.status.in_(LEASED), rows.c.id.in_(_IDS)),
            "lane": by_index(due, engine, columns, lane, _NOW),
        }
        latest = by_index(
            select(rows.c.id, rows.c.attempts).where(rows.c.due_at <= _NOW),
            engine,
            columns,
            lane,
            _NOW,
        )
        backwards = (rows.c.lane.desc(), rows.c.due_at.desc())
        #: What came due last in a lane.
        self.latest = latest.order_by(None).order_by(*backwards).limit(_LATEST)
        self._built: dict[str, tuple[Any, ...]] = {}

    def statements(self, which: str) -> tuple[Any, ...]:
        """Return the statements that claim what is due of these."""
        if which not in self._built:
            self._built[which] = self._build(self._due[which])
        return self._built[which]

    def _build(self, due: Select[Any]) -> tuple[Any, ...]:
        rows, leasing = self._rows, _leasing(self._rows)
        if self.one_writer:
            return (leasing.where(rows.c.id.in_(due)).returning(*rows.c),)
        locking = skip_locked(due)
        if self.chained:
            return (self._at_once(locking, leasing),)
        these = rows.c.id.in_(_IDS)
        # Where the driver was told to commit each statement, the locks are gone by now.
        leased = by_key(leasing.where(these, rows.c.due_at <= _NOW), rows)
        return locking, leased, select(rows).where(these, rows.c.lease_token == _TOKEN)

    def _at_once(self, locking: Select[Any], leasing: Any) -> Any:
        rows, due = self._rows, locking.cte("due")
        leased = leasing.where(rows.c.id == due.c.id).returning(*rows.c).cte("leased")
        attempt = {
            "delivery_id": leased.c.id,
            "number": leased.c.attempts,
            "lane": leased.c.lane,
            "lease_token": leased.c.lease_token,
            "opened_at": bindparam("its_now", type_=self._attempts.c.opened_at.type),
        }
        opening = insert(self._attempts).from_select(list(attempt), select(*attempt.values()))
        attempts = self._attempts
        left_open = (attempts.c.delivery_id == leased.c.id, attempts.c.closed_at.is_(None))
        abandoned = (
            update(attempts)
            .where(*left_open, leased.c.ambiguous_at.is_not(None))
            .values(closed_at=attempt["opened_at"], outcome=_ABANDONED)
        )
        return select(leased).add_cte(opening.cte("opened"), abandoned.cte("abandoned"))


def _due(rows: Table) -> Select[Any]:
    """Select the ids of what is due, oldest first; leased rows are due when their lease ends."""
    found = select(rows.c.id).where(rows.c.due_at <= _NOW).order_by(rows.c.due_at)
    return found.limit(bindparam("its_limit"))


def _orphans(rows: Table, status: str) -> Select[Any]:
    """Select the ids of what somebody still holds in this way, and whose lease has ended.

    Few are held at a time, and the index on `status` finds them. That on `due_at`, of no use to a
    sum, would be read through all that is due; and the order is that of the index, or SQLite, which
    knows only how many rows a status has on average, would read the table.
    """
    ended = type_coerce(type_coerce(rows.c.due_at, BigInteger) + 0, rows.c.due_at.type)
    held = rows.c.status == literal(status, literal_execute=True)
    closed: Any = bindparam("its_closed", expanding=True)
    found = select(rows.c.id).where(held, ended <= _NOW, rows.c.lane.not_in(closed))
    return found.order_by(rows.c.created_at).limit(bindparam("its_limit"))


def _abandoned(attempts: Table) -> tuple[Any, Any]:
    """Return what finds the open attempts of some deliveries, and what closes attempts."""
    these = attempts.c.delivery_id.in_(bindparam("its_rows", expanding=True))
    finding = select(attempts.c.id).where(these, attempts.c.closed_at.is_(None))
    closing = update(attempts).where(attempts.c.id.in_(bindparam("its_attempts", expanding=True)))
    now: Any = bindparam("its_now", type_=attempts.c.closed_at.type)
    return finding, closing.values(closed_at=now, outcome=_ABANDONED)


def _leasing(rows: Table) -> Any:
    # A row that is still `sending` has an attempt that nobody closed: it may have arrived, at the
    # latest when its lease ended.
    unjudged = case(
        (rows.c.status == Status.SENDING.value, rows.c.due_at), else_=rows.c.ambiguous_at
    )
    # And its record would be newer than any that was read.
    anew = case((rows.c.status == Status.SENDING.value, null()), else_=rows.c.read_to)
    return in_order(
        update(rows),
        (rows.c.ambiguous_at, unjudged),
        (rows.c.read_to, anew),
        (rows.c.status, Status.SENDING.value),
        (rows.c.lease_token, _TOKEN),
        (rows.c.due_at, _UNTIL),
        (rows.c.attempts, rows.c.attempts + 1),
    )


def _read(result: Any) -> list[Delivery]:
    return [delivery_of(row) for row in result.mappings()]
