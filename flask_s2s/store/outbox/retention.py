"""Retention: old settled rows are emptied, old clicks and attempts deleted; so are bindings whose click
does not count any more, and used click tokens that are past their time anyway.

An emptied row keeps its status and its keyed de-duplication hash, so that the same customer is
still one delivery. Nothing with work left is ever touched, nor a delivery that is still to be
confirmed; refused, expired and missing ones stay until they are named.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, delete, func, select, update

from ...rules.states import DONE, FAILED
from ..bindings import Bindings
from ..database.storage import Storage
from ..row_locks import take_free

_BATCH = 500
_EMPTIED = ("conversion", "click", "click_id", "touches", "customer_key", "detail", "person")
#: How long a used click token is kept, which is good for hours.
_SPENT = timedelta(days=1)


def _delete_some(connection: Connection, key: Any, old: ColumnElement[bool]) -> int:
    """Delete a batch. Looked up first: ordinarily there is none, and a delete would take locks."""
    some = list(connection.scalars(select(key).where(old).limit(_BATCH)))
    if some:
        connection.execute(delete(key.table).where(key.in_(some), old))
    return len(some)


class Retention:
    """Empties what is old in one database."""

    def __init__(
        self,
        storage: Storage,
        bindings: Bindings,
        now: datetime,
        longest: timedelta,
    ) -> None:
        """`longest` is how long a click of any network counts."""
        self._storage = storage
        self._bindings = bindings
        self._now = now
        self._longest = longest
        self._tokens = storage.tables.click_token
        self._rows = storage.tables.delivery
        self._attempts = storage.tables.attempt
        self._clicks = storage.tables.click

    def count(self, before: datetime, *, dead_letters: bool = False) -> tuple[int, int, int]:
        """Return how many deliveries would be emptied, and how many clicks and bindings deleted."""
        rows, clicks = self._rows, self._clicks
        old = select(func.count()).select_from(rows).where(*self._old(before, dead_letters))
        seen = select(func.count()).select_from(clicks).where(clicks.c.at < before)
        with self._storage.connect() as connection:
            counts = connection.scalar(old) or 0, connection.scalar(seen) or 0
        return (*counts, self._bindings.count_outdated(self._now))

    def prune(self, before: datetime, *, dead_letters: bool = False) -> Iterator[int]:
        """Empty deliveries settled before `before`, and delete older clicks; yield each batch's size."""
        rows, attempts = self._rows, self._attempts
        last = 0
        while ids := self._some(before, dead_letters, last):
            last = ids[-1]
            with self._storage.engine().begin() as connection:
                # Asked again: a customer who came meanwhile may have taken a row over.
                free = take_free(connection, rows, ids)
                still = (rows.c.id.in_(free), *self._old(before, dead_letters))
                # What is recorded of the customer later is sent under that key.
                known = case((rows.c.kind == "signup", rows.c.known_as), else_=None)
                emptied_to = {**dict.fromkeys(_EMPTIED), "known_as": known}
                emptying = update(rows).where(*still).values(emptied_to)
                emptied = connection.execute(emptying).rowcount
                # By these alone: the others have an index, in which all emptied rows are alike.
                nothing = (rows.c.conversion.is_(None), rows.c.detail.is_(None))
                empty = connection.scalars(select(rows.c.id).where(rows.c.id.in_(ids), *nothing))
                theirs = attempts.c.delivery_id.in_(empty.all())
                connection.execute(delete(attempts).where(theirs))
            yield emptied
        with self._storage.engine().begin() as connection:
            connection.execute(delete(self._clicks).where(self._clicks.c.at < before))
            spent = self._tokens.c.at < self._now - _SPENT
            connection.execute(delete(self._tokens).where(spent))
            self._bindings.sweep(connection, self._now)

    def sweep(self) -> bool:
        """Delete a batch of what is past every window; say whether there may be more."""
        past = self._now - self._longest
        clicks, tokens = self._clicks, self._tokens
        work = [
            lambda connection: _delete_some(connection, clicks.c.id, clicks.c.at < past),
            lambda connection: _delete_some(
                connection, tokens.c.token, tokens.c.at < self._now - _SPENT
            ),
            lambda connection: self._bindings.sweep(connection, self._now, _BATCH),
        ]
        return max(self._storage.write(one) for one in work) == _BATCH

    def _some(self, before: datetime, dead_letters: bool, after: int) -> list[int]:
        # On from the last batch: from the beginning each would walk past all that is emptied.
        key = self._rows.c.id
        old = select(key).where(key > after, *self._old(before, dead_letters))
        ids = old.order_by(key).limit(_BATCH)
        with self._storage.connect() as connection:
            return list(connection.scalars(ids))

    def _old(self, before: datetime, dead_letters: bool) -> tuple[ColumnElement[bool], ...]:
        rows = self._rows
        statuses = (*DONE, *FAILED) if dead_letters else DONE
        return (
            rows.c.status.in_(statuses),
            rows.c.settled_at < before,
            rows.c.verify_at.is_(None),
            # What has been emptied already has no customer; an invalid row never had one.
            (rows.c.customer_key.is_not(None)) | (rows.c.detail.is_not(None)),
        )
