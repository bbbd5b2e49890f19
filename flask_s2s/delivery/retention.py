"""Forgetting what is done: old settled rows are emptied, old clicks and attempts deleted; so are
bindings whose click does not count any more, and handles that are past their time anyway.

An emptied row keeps its status and its keyed de-duplication hash, so that the same customer is
still one delivery. Nothing with work left is ever touched, nor a delivery that is still to be
confirmed; refused, expired and missing ones stay until they are named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Engine, delete, func, select, update

from ..capture.binding import Bindings
from ..tables import Tables

DONE = ("delivered", "confirmed", "unattributed", "invalid", "withdrawn", "dry_run")
DEAD = ("refused", "expired", "missing")
_BATCH = 500
_EMPTIED = ("conversion", "click", "click_id", "touches", "customer_key", "detail")
#: How long it is kept who has used a handle, which is good for hours.
_SPENT = timedelta(days=1)


class Retention:
    """Empties what is old in one database."""

    def __init__(
        self, engine: Callable[[], Engine], tables: Tables, bindings: Bindings, now: datetime
    ) -> None:
        self._engine = engine
        self._bindings = bindings
        self._now = now
        self._handles = tables.handle
        self._rows = tables.delivery
        self._attempts = tables.attempt
        self._clicks = tables.click

    def count(self, before: datetime, *, dead_letters: bool = False) -> tuple[int, int, int]:
        """Return how many deliveries would be emptied, and how many clicks and bindings deleted."""
        rows, clicks = self._rows, self._clicks
        old = select(func.count()).select_from(rows).where(*self._old(before, dead_letters))
        seen = select(func.count()).select_from(clicks).where(clicks.c.at < before)
        with self._engine().connect() as connection:
            counts = connection.scalar(old) or 0, connection.scalar(seen) or 0
        return (*counts, self._bindings.count_outdated(self._now))

    def prune(self, before: datetime, *, dead_letters: bool = False) -> Iterator[int]:
        """Empty deliveries settled before `before`, and delete older clicks; yield each batch's size."""
        rows, attempts = self._rows, self._attempts
        while ids := self._some(before, dead_letters):
            with self._engine().begin() as connection:
                # Asked again: a customer who came meanwhile may have taken a row over.
                still = (rows.c.id.in_(ids), *self._old(before, dead_letters))
                emptying = update(rows).where(*still).values({name: None for name in _EMPTIED})
                emptied = connection.execute(emptying).rowcount
                empty = select(rows.c.id).where(
                    rows.c.id.in_(ids), *(rows.c[name].is_(None) for name in _EMPTIED)
                )
                connection.execute(delete(attempts).where(attempts.c.delivery_id.in_(empty)))
            yield emptied
        with self._engine().begin() as connection:
            connection.execute(delete(self._clicks).where(self._clicks.c.at < before))
            spent = self._handles.c.at < self._now - _SPENT
            connection.execute(delete(self._handles).where(spent))
            self._bindings.sweep(connection, self._now)

    def _some(self, before: datetime, dead_letters: bool) -> list[int]:
        ids = select(self._rows.c.id).where(*self._old(before, dead_letters)).limit(_BATCH)
        with self._engine().connect() as connection:
            return list(connection.scalars(ids))

    def _old(self, before: datetime, dead_letters: bool) -> tuple[ColumnElement[bool], ...]:
        rows = self._rows
        statuses = (*DONE, *DEAD) if dead_letters else DONE
        return (
            rows.c.status.in_(statuses),
            rows.c.settled_at < before,
            rows.c.verify_at.is_(None),
            # What has been emptied already has no customer; an invalid row never had one.
            (rows.c.customer_key.is_not(None)) | (rows.c.detail.is_not(None)),
        )
