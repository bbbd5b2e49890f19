"""The two books of a run, and what they say when they are held against each other."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, TypeVar

from sqlalchemy import Connection, MetaData, create_engine, func, or_, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from flask_s2s.store.schema import define_tables
from tests.chaos.plan import LEASE, Plan
from tests.chaos.site import User
from tests.chaos.visitors import request
from tests.waiting import wait_until

T = TypeVar("T")

#: Somewhat longer than the longest wait between two looks for a record.
_FAR = timedelta(hours=25)


class SiteBooks:
    """The advertiser's database, read from outside."""

    def __init__(self, plan: Plan) -> None:
        options = {"timeout": 30} if plan.database.startswith("sqlite") else {}
        self._engine = create_engine(plan.database, poolclass=NullPool, connect_args=options)
        tables = define_tables(MetaData())
        self._rows, self._attempts = tables.delivery, tables.attempt

    def any_sending(self, keys: Iterable[str]) -> bool:
        """Say whether a delivery of these customers has an attempt that nobody has closed."""
        customers = {key.removeprefix("t-").removeprefix("a-") for key in keys}
        rows = self._rows
        found = select(func.count()).where(
            rows.c.customer_key.in_(customers), rows.c.status == "sending"
        )
        return bool(self._scalar(found))

    def orphans(self, killed_at: datetime) -> int:
        """Count what was leased before `killed_at` and is not claimed again yet."""
        rows = self._rows
        leased = (rows.c.status == "sending", rows.c.due_at <= killed_at + timedelta(seconds=LEASE))
        return int(self._scalar(select(func.count()).where(*leased)))

    def due(self, now: datetime) -> int:
        """Count what there is to send now."""
        return int(self._scalar(select(func.count()).where(self._rows.c.due_at <= now)))

    def overdue(self, now: datetime) -> int:
        """Count what there is to do now: to send, or to verify."""
        rows = self._rows
        return int(
            self._scalar(
                select(func.count()).where(or_(rows.c.due_at <= now, rows.c.verify_at <= now))
            )
        )

    def put_off(self, now: datetime) -> int:
        """Count what is put off further than any wait of ours: by a clock that was ahead."""
        rows, far = self._rows, now + _FAR
        return int(
            self._scalar(
                select(func.count()).where(or_(rows.c.due_at > far, rows.c.verify_at > far))
            )
        )

    def last_moment(self) -> datetime | None:
        """Return when the last thing that is left to do will be due."""
        rows = self._rows
        last = select(func.max(rows.c.due_at), func.max(rows.c.verify_at))
        moments = self._ask(lambda connection: connection.execute(last).one())
        return max((moment for moment in moments if moment), default=None)

    def users(self) -> list[Any]:
        table: Any = User.__table__
        return self._ask(lambda connection: list(connection.execute(select(table))))

    def statuses(self) -> dict[str, Counter[str]]:
        """Count deliveries by kind and status."""
        rows = self._rows
        counted: dict[str, Counter[str]] = {}
        by = select(rows.c.kind, rows.c.status, func.count()).group_by(rows.c.kind, rows.c.status)
        for kind, status, count in self._ask(lambda connection: connection.execute(by).all()):
            counted.setdefault(kind, Counter())[status] = count
        return counted

    def resumptions(
        self, kills: Sequence[datetime], served: datetime | None = None
    ) -> tuple[list[float], int]:
        """Return how long orphaned sign-ups waited for their next attempt, in seconds.

        Counted from the moment after the kill in which any delivery was claimed again: from then on
        the site works; of what the database's failure met, from when that had `served` again. Also
        the number of other orphaned attempts: of deliveries that must not be repeated unasked.
        """
        attempts, rows = self._attempts, self._rows
        nobody_knows = or_(attempts.c.closed_at.is_(None), attempts.c.outcome == "ambiguous")
        torn = select(attempts.c.delivery_id).where(nobody_knows)
        every = (
            select(rows.c.kind, attempts)
            .join(rows, rows.c.id == attempts.c.delivery_id)
            .where(rows.c.id.in_(torn))
            .order_by(attempts.c.delivery_id, attempts.c.number)
        )
        found = self._ask(lambda connection: connection.execute(every).all())
        opened = select(attempts.c.opened_at).distinct()
        claims = sorted(self._ask(lambda connection: connection.scalars(opened).all()))
        waited: list[float] = []
        careful = 0
        for _, group in groupby(found, key=lambda attempt: attempt.delivery_id):
            tries = list(group)
            for this, after in zip(tries, [*tries[1:], None], strict=True):
                # Whoever takes over closes what it finds open.
                taken_over = after is not None and this.closed_at == after.opened_at
                if this.closed_at is not None and not taken_over:
                    continue
                if this.kind != "signup":
                    careful += 1
                elif after is None:
                    waited.append(float("inf"))
                else:
                    works = _next(claims, _next(kills, this.opened_at))
                    if served is not None and works < served < after.opened_at:
                        works = _next(claims, served)
                    waited.append((after.opened_at - works).total_seconds())
        return waited, careful

    def _ask(self, read: Callable[[Connection], T]) -> T:
        """Ask, as soon as a server that fails over answers again."""

        def asked() -> tuple[T] | None:
            try:
                with self._engine.connect() as connection:
                    return (read(connection),)
            except DBAPIError:
                return None

        answer = wait_until(asked, 60.0, what="the database")
        assert answer is not None
        return answer[0]

    def _scalar(self, statement: Any) -> Any:
        return self._ask(lambda connection: connection.scalar(statement))


def _next(moments: Sequence[datetime], after: datetime) -> datetime:
    """Return the first moment after another; that one itself if there is none."""
    place = bisect_right(moments, after)
    return moments[place] if place < len(moments) else after


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The broken promises, by key: none, if all is well."""

    #: Committed, and not on the network's record.
    lost: list[str]
    #: On the network's record more than once.
    twice: list[str]
    #: On the network's record, and never committed.
    invented: list[str]
    #: Credited to another click than the one that brought the customer.
    misattributed: list[str]

    @property
    def clean(self) -> bool:
        return not (self.lost or self.twice or self.invented or self.misattributed)


def network_ledger(plan: Plan) -> dict[str, Any]:
    """Return the network's own record."""
    ledger: dict[str, Any] = json.loads(request(plan.network_port, "GET", "/sandbox/ledger")[2])
    return ledger


def compare(users: list[Any], ledger: dict[str, Any]) -> Verdict:
    """Hold what was committed against what the network has."""
    clicks = {user.key: user.xid for user in users}
    due = {f"t-{user.key}" for user in users if user.pays}
    due |= {f"a-{user.key}" for user in users if user.acts}
    customers = Counter(customer["external_key"] for customer in ledger["customers"])
    rewards = ledger["actions"] + ledger["transactions"]
    there = customers + Counter(reward["external_key"] for reward in rewards)
    credited = {customer["external_key"]: customer["xid"] for customer in ledger["customers"]}
    expected = clicks.keys() | due
    return Verdict(
        lost=sorted(expected - there.keys()),
        twice=sorted(key for key, count in there.items() if count > 1),
        invented=sorted(there.keys() - expected),
        misattributed=sorted(k for k, xid in credited.items() if clicks.get(k, xid) != xid),
    )
