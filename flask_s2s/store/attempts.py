"""The attempts of all deliveries together: how the tries of each lane ended, and when the last went well.

Each question is answered by an index of the table's own, or by the deliveries that have work left:
it costs the same with ten settled deliveries or ten million.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, Connection, case, func, select, type_coerce

from ..networks.messages import SUCCESSES, RetryLater
from .database.storage import Storage
from .dialects.statements import EPOCH

_MINUTE = 60_000_000
#: The answer to a click ID that the network does not know, or to a path that is wrong.
NOT_FOUND = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneCount:
    """The work in one lane, and how its tries of the last minutes ended."""

    lane: str
    #: Due now, and later.
    due: int
    later: int
    oldest_due: datetime | None
    #: Outcome word -> number, of the tries that were closed lately.
    tries: dict[str, int]
    #: How many of them are to be tried again, and were answered 404.
    not_found: int
    last_success: datetime | None


class Attempts:
    """The attempts of one database."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._deliveries = storage.tables.delivery
        self._rows = storage.tables.attempt

    def lanes(self, lanes: Iterable[str], now: datetime, lately: timedelta) -> list[LaneCount]:
        """Count the work in each lane, and how its tries of the last minutes ended."""
        tried = self._rows
        unknown = func.sum(case((tried.c.http_status == NOT_FOUND, 1), else_=0))
        ended = (
            select(tried.c.lane, tried.c.outcome, func.count(), unknown)
            .where(tried.c.closed_at > now - lately)
            .group_by(tried.c.lane, tried.c.outcome)
        )
        with self._storage.connect() as connection:
            tries: dict[str, dict[str, int]] = {}
            not_found: dict[str, int] = {}
            for lane, outcome, number, answered_404 in connection.execute(ended):
                tries.setdefault(lane, {})[outcome] = number
                if outcome == RetryLater.word:
                    not_found[lane] = int(answered_404)
            known = dict.fromkeys((*lanes, *tries))
            counted = [
                self._lane(connection, lane, tries.get(lane, {}), not_found.get(lane, 0), now)
                for lane in dict.fromkeys((*known, *self._used(connection)))
            ]
        return [one for one in counted if one.lane in known or one.due or one.later]

    def _used(self, connection: Connection) -> Iterator[str]:
        """Return the lanes that anything was ever recorded in: one look at the index for each."""
        lane, last = self._deliveries.c.lane, ""
        while True:
            following = select(lane).where(lane > last).order_by(lane).limit(1)
            found = connection.scalar(following)
            if found is None:
                return
            yield found
            last = found

    def _lane(
        self,
        connection: Connection,
        lane: str,
        tries: dict[str, int],
        not_found: int,
        now: datetime,
    ) -> LaneCount:
        rows = self._deliveries
        is_due = case((rows.c.due_at <= now, 1), else_=0)
        counted = select(func.sum(is_due), func.count(), func.min(rows.c.due_at)).where(
            rows.c.lane == lane, rows.c.due_at.is_not(None)
        )
        due, waiting, oldest = connection.execute(counted).one()
        return LaneCount(
            lane=lane,
            due=int(due or 0),
            later=waiting - int(due or 0),
            oldest_due=oldest if oldest is not None and oldest <= now else None,
            tries=tries,
            not_found=not_found,
            last_success=self._last_success(connection, lane),
        )

    def by_minute(self, since: datetime) -> dict[tuple[datetime, str], int]:
        """Count the tries that were closed since then, by minute and outcome."""
        tried = self._rows
        at = type_coerce(tried.c.closed_at, BigInteger)
        minute = (at - at % _MINUTE).label("minute")
        found = select(minute, tried.c.outcome, func.count().label("number")).where(
            tried.c.closed_at > since
        )
        with self._storage.connect() as connection:
            return {
                (EPOCH + timedelta(microseconds=int(row.minute)), row.outcome): row.number
                for row in connection.execute(found.group_by(minute, tried.c.outcome))
            }

    def _last_success(self, connection: Connection, lane: str) -> datetime | None:
        tried, last = self._rows, []
        for outcome in SUCCESSES:
            this = (tried.c.lane == lane, tried.c.outcome == outcome)
            newest = select(tried.c.closed_at).where(*this).order_by(tried.c.closed_at.desc())
            last.append(connection.scalar(newest.limit(1)))
        return max((at for at in last if at is not None), default=None)
