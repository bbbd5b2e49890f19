"""Misdated rows: they lie further ahead than any wait of ours. A clock that was ahead put them there.

Maintenance brings them near, and `status` and `check` tell of those that nobody has brought near yet.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Table, and_, not_, or_

from ...config.parsing import LONGEST_LEASE
from ...networks.reading import GRACE
from ...rules.retry import LONGEST_WAIT, RetryPolicy
from ...rules.states import LEASED, Status

#: The longest waits that are ever set: between two tries, for another delivery, and of a lease.
_LONGEST_RETRY = max(RetryPolicy().maximum, RetryPolicy().longest_asked)
_SHORTEST = min(_LONGEST_RETRY, LONGEST_WAIT, LONGEST_LEASE)
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
