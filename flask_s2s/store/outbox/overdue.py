"""Overdue and misdated rows: their deadline has passed, or they lie further ahead than any wait of ours.

A clock that was ahead put the latter there. A worker brings them near, and `status` and `check` tell
of those that nobody has brought near yet.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Table,
    and_,
    case,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    type_coerce,
    update,
)

from ...config.parsing import LONGEST_LEASE
from ...networks.reading import GRACE
from ...rules.retry import LONGEST_WAIT, RetryPolicy
from ...rules.states import LEASED, OPEN, Status
from ..database.storage import Storage
from ..dialects.servers import whole
from ..dialects.statements import microseconds
from ..row_locks import update_many

#: The longest waits that are ever set: between two tries, for another delivery, and of a lease.
_LONGEST_RETRY = max(RetryPolicy().maximum, RetryPolicy().longest_asked)
_SHORTEST = min(_LONGEST_RETRY, LONGEST_WAIT, LONGEST_LEASE)
#: The microsecond of its second in which a lease ends that was extended.
_EXTENDED = 999_999
#: What the clocks of those who set them may differ by.
_MARGIN = timedelta(minutes=1)


def sent_too_late(rows: Table, now: datetime) -> ColumnElement[bool]:
    """Say whether a row is due later than it can have been put off."""
    ahead = now + _MARGIN
    held = rows.c.status.in_(LEASED)
    waits = rows.c.status == Status.WAITING.value
    far = or_(
        and_(held, rows.c.due_at > ahead + LONGEST_LEASE),
        and_(waits, rows.c.due_at > ahead + LONGEST_WAIT),
        and_(not_(held), not_(waits), rows.c.due_at > ahead + _LONGEST_RETRY),
    )
    # By the index on `due_at`, from its far end.
    return and_(rows.c.due_at > ahead + _SHORTEST, far)


def looked_at_too_late(rows: Table, now: datetime) -> ColumnElement[bool]:
    """Say whether a row is to be verified later than it can have been put off."""
    return rows.c.verify_at > now + LONGEST_WAIT + GRACE


class Overdue:
    """The overdue and the misdated deliveries of one database."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._rows, self._attempts = storage.tables.delivery, storage.tables.attempt

    def expire(self, now: datetime, passed: datetime) -> int:
        """Expire what nobody holds and whose deadline is not after `passed`; return how many."""
        rows = self._rows
        overdue = and_(
            rows.c.due_at.is_not(None), rows.c.deadline_at <= passed, rows.c.status.not_in(LEASED)
        )
        expired = update(rows).values(status=Status.EXPIRED.value, due_at=None, settled_at=now)
        with whole(self._storage.engine()) as connection:
            # Ordinarily there is none, and looking with locks meets those of a claim (`skip_locked`).
            if connection.scalar(select(rows.c.id).where(overdue).limit(1)) is None:
                return 0
        return update_many(self._storage, rows, expired, overdue)

    def pull_in(self, now: datetime, lease: timedelta) -> int:
        """Bring near what lies further ahead than any wait of ours; return how many.

        A clock that was ahead put it there. A lease gets its whole time again: who holds it may
        still be sending. It may be as long as others choose: so a shorter one is known by its attempt,
        or its row, that is of the future, and one that was extended by our own `lease`.
        """
        rows = self._rows
        held = rows.c.status.in_(LEASED)
        soon, at_once = (literal(at, rows.c.due_at.type) for at in (now + lease, now))
        near = update(rows).values(due_at=case((held, soon), else_=at_once))
        ends = type_coerce(rows.c.due_at, BigInteger)
        far, tries = ends + 0 > microseconds(now + lease + _MARGIN), self._attempts
        ahead = tries.c.closed_at.is_(None) & (tries.c.opened_at > now + _MARGIN)
        from_ahead = or_(
            ends % 1_000_000 == _EXTENDED,
            rows.c.created_at > now + _MARGIN,
            exists().where(tries.c.delivery_id == rows.c.id, ahead),
        )
        pulled = 0
        for put_off in (sent_too_late(rows, now), and_(held, far, from_ahead)):
            with whole(self._storage.engine()) as connection:
                there = connection.scalar(select(rows.c.id).where(put_off).limit(1))
            if there is not None:
                pulled += update_many(self._storage, rows, near, put_off)
        return pulled

    def extend(self, until: datetime, now: datetime, passed: datetime) -> None:
        """Let leases that a clock which jumped has ended last until then, once, but for those that ended
        before `passed`.

        Where a machine's clock differs from the database's, each process that begins sees a jump.
        """
        rows = self._rows
        ended = and_(rows.c.due_at <= now, rows.c.due_at > passed, rows.c.status.in_(LEASED))
        once = type_coerce(rows.c.due_at, BigInteger) % 1_000_000 != _EXTENDED
        longer = update(rows).values(due_at=until.replace(microsecond=_EXTENDED))
        update_many(self._storage, rows, longer, ended, once)

    def count_expiring(self, before: datetime) -> int:
        """Count what is not delivered and whose deadline passes before `before`."""
        rows = self._rows
        soon = and_(rows.c.status.in_(OPEN), rows.c.deadline_at <= before)
        with self._storage.connect() as connection:
            return connection.scalar(select(func.count()).select_from(rows).where(soon)) or 0
