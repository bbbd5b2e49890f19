"""Whether deliveries move: the outbox at a glance, and a worker's sign of life."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, and_, func, not_, select, update

from ..tables import Tables
from .frozen import frozen

#: How long before its deadline an undelivered conversion raises the alarm.
EXPIRING = timedelta(days=5)
#: From this many tries on, and after this long, an undelivered conversion is stuck.
STUBBORN = 5
_PATIENCE = timedelta(hours=1)
#: For how long what was given up on is news.
LATELY = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The outbox at a glance."""

    counts: dict[str, int]
    #: The earliest `due_at` of anything open that no move has put out of sight.
    oldest_due: datetime | None
    #: How many open ones pass their deadline within the next days.
    expiring: int
    #: How many open ones an unfinished move to another database has put out of sight.
    frozen: int
    #: How many open ones were tried again and again, and are not held.
    stuck: int
    #: The network's last word on the one of them that was tried most.
    last_word: str | None
    #: How many were refused, and how many expired, within the last days.
    dead_lately: dict[str, int]
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
        rows, meta = self._rows, self._meta
        still = select(func.count()).select_from(rows).where(rows.c.due_at.is_not(None))
        counted = select(rows.c.status, func.count()).group_by(rows.c.status)
        due = select(func.min(rows.c.due_at)).where(not_(frozen(rows)))
        alive = select(meta.c.value).where(meta.c.name == "worker_seen")
        settled_lately = counted.where(
            rows.c.status.in_(("refused", "expired")), rows.c.settled_at > now - LATELY
        )
        with self._engine().connect() as connection:
            seen = connection.scalar(alive)
            stuck, last_word = self._stuck(connection, now)
            return Summary(
                counts=_pairs(connection.execute(counted)),
                oldest_due=connection.scalar(due),
                expiring=connection.scalar(still.where(rows.c.deadline_at <= now + EXPIRING)) or 0,
                frozen=connection.scalar(still.where(frozen(rows))) or 0,
                stuck=stuck,
                last_word=last_word,
                dead_lately=_pairs(connection.execute(settled_lately)),
                worker_seen=datetime.fromisoformat(seen) if seen else None,
            )

    def _stuck(self, connection: Connection, now: datetime) -> tuple[int, str | None]:
        """Count what is tried in vain; what is held, or waits for another one, has its own reason."""
        rows = self._rows
        these = and_(
            rows.c.due_at.is_not(None),
            not_(frozen(rows)),
            rows.c.status.in_(("pending", "sending")),
            rows.c.attempts >= STUBBORN,
            rows.c.created_at < now - _PATIENCE,
        )
        count = connection.scalar(select(func.count()).select_from(rows).where(these)) or 0
        most = select(rows.c.detail).where(these).order_by(rows.c.attempts.desc()).limit(1)
        return count, connection.scalar(most) if count else None

    def seen(self, now: datetime) -> None:
        """A worker lives. Its row is made with the table: two workers must not race to insert it."""
        meta = self._meta
        mine = update(meta).where(meta.c.name == "worker_seen").values(value=now.isoformat())
        with self._engine().begin() as connection:
            connection.execute(mine)


def _pairs(found: Iterable[Any]) -> dict[str, int]:
    return {word: number for word, number in found}
