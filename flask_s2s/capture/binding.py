"""Bindings: the click that somebody came by who has said who they are. Every SQL statement about them.

An identity is stored as a keyed hash, under keys of the installation's own: `s2s_meta` has one row
for each, the newest one writes, and a look-up tries all. So SECRET_KEY may rotate, and so may they.
Nothing is kept of the keys in memory: another process may have made a new one a moment ago.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    true,
)
from sqlalchemy.exc import SQLAlchemyError

from ..click import Click, dump_click, load_click
from ..config import Settings
from ..errors import StorageError
from ..meta import IDENTITY_KEY, fill_meta
from ..tables import Tables, inserting
from .attribution import Attribution, Reason
from .identity import Identity, IdentityKey

log = logging.getLogger("flask_s2s.capture")

_DAY = timedelta(days=1)


class Bindings:
    """The bindings of one database."""

    def __init__(self, engine: Callable[[], Engine], tables: Tables, settings: Settings) -> None:
        self._engine = engine
        self._meta = tables.meta
        self._rows = tables.binding
        self._settings = settings

    def bind_alone(
        self,
        who: Sequence[Identity],
        found: Attribution,
        now: datetime,
        create: Callable[[], object],
        ready: Callable[[], object] = bool,
    ) -> bool:
        """Bind in a transaction of our own; False where the database did not take it (logged).

        `create` makes the tables of a file of ours, and says whether it did; `ready` raises
        `StorageError` where a commit of our own would be a caller's.
        """
        try:
            ready()
            try:
                return self._bind_alone(who, found, now)
            except (SQLAlchemyError, StorageError):
                if not create():
                    raise
                return self._bind_alone(who, found, now)
        except (SQLAlchemyError, StorageError) as error:
            log.error(
                "s2s.identity.not_stored: %s; `flask s2s check` looks at the database",
                type(error).__name__,
                extra={"action": "identity.not_stored"},
            )
            return False

    def bind(
        self, connection: Connection, who: Sequence[Identity], found: Attribution, now: datetime
    ) -> bool:
        """Bind the click of `found`. One that is bound already and wins over it stays.

        Returns whether there was something to bind. Raises what the database raises.
        """
        if found.click is None or not who:
            return False
        _begin_writing(connection, self._meta)
        if not self.keys(connection):
            fill_meta(self._meta, connection)
        key = self.keys(connection)[-1]
        touches = [dump_click(touch) for touch in found.touches]
        row = {
            "key_id": key.id,
            "network": found.click.network,
            "click_id": found.click.click_id,
            "click": dump_click(found.click),
            "touches": touches or None,
            "at": found.click.at,
        }
        # In one order always: two requests that bind the same two must not wait for each other.
        for hashed in sorted(key.hash(one) for one in who):
            adding = self._adding(connection.dialect.name, found.click.network, now)
            connection.execute(adding, {**row, "identity": hashed})
        return True

    def find(
        self, connection: Connection, who: Sequence[Identity], now: datetime
    ) -> Attribution | None:
        """Return the click that the first of `who` with one was bound to; None: there is none.

        A binding that is past its click's window gives no click, and says so.
        """
        if not who:
            return None
        _begin_writing(connection, self._meta)
        keys = self.keys(connection)
        hashes = [{key.hash(one) for key in keys} for one in who]
        named = self._rows.c.identity.in_(sorted(set().union(*hashes)))
        rows = connection.execute(select(self._rows).where(named)).mappings().all()
        for known in hashes:
            bound = [_bound(row) for row in rows if row["identity"] in known]
            live = [one for one in bound if one is not None and self._is_live(one[0], now)]
            if live:
                chosen = max if self._settings.attribution == "last" else min
                click, touches = chosen(live, key=lambda one: one[0].at)
                return Attribution(click, Reason.IDENTITY, touches=touches)
        return Attribution(None, Reason.EXPIRED) if rows else None

    def keys(self, connection: Connection) -> list[IdentityKey]:
        """Return the keys, oldest first."""
        meta = self._meta
        named = select(meta.c.name, meta.c.value).where(meta.c.name.startswith(IDENTITY_KEY))
        found = connection.execute(named).all()
        keys = [IdentityKey.read(name.removeprefix(IDENTITY_KEY), value) for name, value in found]
        return sorted(keys, key=lambda key: (key.made, key.id))

    def rotate(self, now: datetime) -> str:
        """Make a new key, which writes from now on; return its ID. The old ones still read."""
        with self._engine().begin() as connection:
            _begin_writing(connection, self._meta)
            made = max(int(now.timestamp()), self.keys(connection)[-1].made + 1)
            key_id = secrets.token_hex(4)
            value = f"{made}:{secrets.token_hex(32)}"
            connection.execute(
                insert(self._meta), {"name": f"{IDENTITY_KEY}{key_id}", "value": value}
            )
        return key_id

    def count_outdated(self, now: datetime) -> int:
        """Return how many bindings are past their click's window."""
        counted = select(func.count()).select_from(self._rows).where(self._outdated(now))
        with self._engine().connect() as connection:
            return connection.scalar(counted) or 0

    def sweep(self, connection: Connection, now: datetime) -> None:
        """Delete the bindings past their click's window, and the keys that none can be under."""
        connection.execute(delete(self._rows).where(self._outdated(now)))
        keys = self.keys(connection)
        # A day more: a request that read the keys before the rotation may have written after it.
        past = int((now - self._settings.longest_window - _DAY).timestamp())
        for key, successor in pairwise(keys):
            if successor.made < past:
                name = f"{IDENTITY_KEY}{key.id}"
                connection.execute(delete(self._meta).where(self._meta.c.name == name))

    def _bind_alone(self, who: Sequence[Identity], found: Attribution, now: datetime) -> bool:
        with self._engine().begin() as connection:
            return self.bind(connection, who, found, now)

    def _is_live(self, click: Click, now: datetime) -> bool:
        return click.at >= now - self._settings.window_of(click.network)

    def _outdated(self, now: datetime) -> ColumnElement[bool]:
        rows, settings = self._rows, self._settings
        own = [
            and_(rows.c.network == network, rows.c.at < now - window)
            for network, window in settings.windows.items()
        ]
        others = rows.c.network.not_in(list(settings.windows)) if settings.windows else true()
        return or_(*own, and_(others, rows.c.at < now - settings.window))

    def _adding(self, dialect: str, network: str, now: datetime) -> Any:
        """Return the statement that binds one, or leaves the one that wins over it."""
        rows = self._rows
        adding = inserting(dialect)(rows)
        names = ("key_id", "click_id", "click", "touches", "at")
        if dialect in ("mysql", "mariadb"):
            new = adding.inserted
            wins = self._wins(new, network, now)
            # Assigned from left to right: `at` decides, so it goes last.
            return adding.on_duplicate_key_update(
                [(name, func.if_(wins, new[name], rows.c[name])) for name in names]
            )
        new = adding.excluded
        return adding.on_conflict_do_update(
            index_elements=["identity", "network"],
            set_={name: new[name] for name in names},
            where=self._wins(new, network, now),
        )

    def _wins(self, new: Any, network: str, now: datetime) -> ColumnElement[bool]:
        """Say whether a new binding takes the place of the one there is."""
        at = self._rows.c.at
        if self._settings.attribution == "last":
            newer: ColumnElement[bool] = new.at >= at
            return newer
        return or_(new.at < at, at < now - self._settings.window_of(network))


def _begin_writing(connection: Connection, meta: Any) -> None:
    """Take SQLite's lock: a transaction that begins by reading may not be let write."""
    if connection.dialect.name == "sqlite":
        connection.execute(delete(meta).where(meta.c.name == ""))


def _bound(row: RowMapping) -> tuple[Click, tuple[Click, ...]] | None:
    """Return a row's click and the earlier ones; None where another version wrote them."""
    try:
        touches = tuple(load_click(touch) for touch in row["touches"] or ())
        return load_click(row["click"]), touches
    except (LookupError, TypeError, ValueError, OverflowError):
        return None
