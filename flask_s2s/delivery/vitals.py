"""Whether deliveries move: the outbox at a glance, and a worker's sign of life."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, func, select, update

from ..tables import Tables

#: How long before its deadline an undelivered conversion raises the alarm.
EXPIRING = timedelta(days=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The outbox at a glance."""

    counts: dict[str, int]
    #: The earliest `due_at` of anything open.
    oldest_due: datetime | None
    #: How many open ones pass their deadline within the next days.
    expiring: int
    #: When a worker last said that it lives.
    worker_seen: datetime | None


class Vitals:
    """The signs of life of one database's deliveries."""

    def __init__(self, engine: Callable[[], Engine], tables: Tables) -> None:
        self._engine = engine
        self._rows = tables.delivery
        self._meta = tables.meta

    def summary(self, now: datetime) -> Summary:
        """Count deliveries by status, and say since when work waits."""
        rows = self._rows
        soon = select(func.count()).select_from(rows).where(rows.c.due_at.is_not(None))
        counted = select(rows.c.status, func.count()).group_by(rows.c.status)
        with self._engine().connect() as connection:
            counts = {status: number for status, number in connection.execute(counted)}
            oldest = connection.scalar(select(func.min(rows.c.due_at)))
            expiring = connection.scalar(soon.where(rows.c.deadline_at <= now + EXPIRING))
            seen = connection.scalar(
                select(self._meta.c.value).where(self._meta.c.name == "worker_seen")
            )
        return Summary(
            counts=counts,
            oldest_due=oldest,
            expiring=expiring or 0,
            worker_seen=datetime.fromisoformat(seen) if seen else None,
        )

    def seen(self, now: datetime) -> None:
        """A worker lives. Its row is made with the table: two workers must not race to insert it."""
        meta = self._meta
        mine = update(meta).where(meta.c.name == "worker_seen").values(value=now.isoformat())
        with self._engine().begin() as connection:
            connection.execute(mine)
