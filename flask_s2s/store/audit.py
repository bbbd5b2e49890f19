"""The audit log of operators' acts, and their blocks.

An entry says what an operator did by hand, when, who and why. It names no customer, so that it may
outlive one who is forgotten: its `subject` is a hash under the person key, by which `explain` finds
it. It is written after the act, in a transaction of its own: an act that failed is none.

A block names a partner or a click that nobody is credited to. Blocks are few, and asked for by every
sign-up with a click: a process remembers them for `_FRESH`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, delete, exists, func, or_, select, update

from .database.storage import Storage
from .dialects.servers import begin_writing
from .dialects.statements import inserting_once
from .privacy.keyring import Keyring

#: Of whom an act was; none: of nobody in particular.
NOBODY = ""
_IDS = "ids"
_WHO, _WHY = 128, 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One act."""

    at: datetime
    #: credit, discard, retry, ack, pause, resume, restored, forget, export, block, unblock, keys, backfill
    #: rename, verify or explained.
    act: str
    #: The operating system's user.
    who: str
    #: What `--why` said.
    why: str | None
    #: What it was done to, without anything personal.
    detail: Mapping[str, Any]
    #: Its number, once it is written.
    id: int = 0

    @property
    def told(self) -> Mapping[str, Any]:
        """Return what it was done to, in a few words: without the numbers of many."""
        return {name: value for name, value in self.detail.items() if name != _IDS}

    @property
    def ids(self) -> Sequence[int]:
        """The deliveries that an act on many was done to, as far as it names them."""
        named: Sequence[int] = self.detail.get(_IDS, ())
        return named


class Audit:
    """The audit log of one database."""

    def __init__(self, storage: Storage, keyring: Keyring) -> None:
        self._storage = storage
        self._rows = storage.tables.audit
        self._keyring = keyring

    def write(self, entry: Entry, customers: Iterable[str] = ()) -> int:
        """Write what was done: for each customer, or once where it was of none in particular.

        One on many names its deliveries in a row that is nobody's. Returns the number of the act.
        """
        row = {
            "at": entry.at,
            "act": entry.act,
            "who": entry.who[:_WHO],
            "why": None if entry.why is None else entry.why[:_WHY],
            "detail": dict(entry.told),
        }
        meant, rows = list(customers), self._rows

        def add(connection: Connection) -> int:
            adding = inserting_once(connection, rows)
            subjects = {self._subject(connection, one) for one in meant}
            each = {one: {**row, "subject": one} for one in subjects}
            if entry.ids or not each:
                each[NOBODY] = {**row, "subject": NOBODY, "detail": dict(entry.detail)}
            connection.execute(adding, [each[one] for one in sorted(each)])
            same = (rows.c.at == entry.at, rows.c.act == entry.act, rows.c.subject == min(each))
            return connection.scalar(select(rows.c.id).where(*same)) or 0

        return self._storage.write(add)

    def of(self, customer: str) -> list[Entry]:
        """Return what was done about a customer, the newest first."""
        with self._storage.connect() as connection:
            subject = self._subject(connection, customer)
            if subject == NOBODY:
                return []
            listed = self._listed().where(self._rows.c.subject == subject)
            return [_entry(row) for row in connection.execute(listed).mappings()]

    def rename(self, connection: Connection, old: str, new: str) -> None:
        """Let what was done about one customer be about another."""
        rows = self._rows
        before, after = (self._subject(connection, one) for one in (old, new))
        if NOBODY in (before, after):
            return
        same = select(rows.c.at, rows.c.act).where(rows.c.subject == after)
        there = {(at, act) for at, act in connection.execute(same)}
        acts = select(rows.c.id, rows.c.at, rows.c.act).where(rows.c.subject == before)
        for id, at, act in connection.execute(acts).all():
            # One act on many names both.
            this = rows.c.id == id
            moving = update(rows).where(this).values(subject=after)
            connection.execute(delete(rows).where(this) if (at, act) in there else moving)

    def newest(self, limit: int, act: str | None = None) -> list[Entry]:
        """Return the last acts, of one sort or any, the newest first; one on many is one."""
        rows, whole = self._rows, self._rows.alias("whole")
        same = (whole.c.at == rows.c.at, whole.c.act == rows.c.act, whole.c.subject == NOBODY)
        listed = self._listed().where(or_(rows.c.subject == NOBODY, ~exists().where(*same)))
        if act is not None:
            listed = listed.where(rows.c.act == act)
        with self._storage.connect() as connection:
            return [_entry(row) for row in connection.execute(listed.limit(limit)).mappings()]

    def get(self, number: int) -> Entry | None:
        """Return one act; None: there is none, or it was pruned."""
        this = select(self._rows).where(self._rows.c.id == number)
        with self._storage.connect() as connection:
            row = connection.execute(this).mappings().first()
        return None if row is None else _entry(row)

    def details(self, act: str, name: str) -> set[Any]:
        """Return what all acts of a sort have under one name of their detail."""
        rows = self._rows
        listed = select(rows.c.detail).where(rows.c.act == act)
        with self._storage.connect() as connection:
            return {detail.get(name) for detail in connection.scalars(listed)}

    def count(self, before: datetime) -> int:
        """Return how many entries are older."""
        counted = select(func.count()).select_from(self._rows).where(self._rows.c.at < before)
        with self._storage.connect() as connection:
            return connection.scalar(counted) or 0

    def prune(self, before: datetime) -> None:
        """Delete the entries that are older."""
        old = delete(self._rows).where(self._rows.c.at < before)
        self._storage.write(lambda connection: connection.execute(old))

    def _listed(self) -> Any:
        return select(self._rows).order_by(self._rows.c.at.desc(), self._rows.c.id.desc())

    def _subject(self, connection: Connection, customer: str) -> str:
        key = self._keyring.person(connection)
        return NOBODY if key is None else key.hash("customer", customer)


def _entry(row: Any) -> Entry:
    return Entry(**{name: row[name] for name in Entry.__slots__})


Kind = Literal["partner", "click"]
_FRESH = timedelta(seconds=10)
#: A click's network, ID and partner.
Named = tuple[str, str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One of them, and since when."""

    network: str
    kind: str
    name: str
    at: datetime


class Blocks:
    """The blocks of one database."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._rows = storage.tables.block
        self._known: set[Named] = set()
        self._read_at: datetime | None = None

    def known(self, connection: Connection, now: datetime) -> Set[Named]:
        """Return the network, kind and name of each, as they were within the last moments."""
        if self._read_at is None or abs(now - self._read_at) >= _FRESH:
            found = select(self._rows.c.network, self._rows.c.kind, self._rows.c.name)
            self._known = {(row[0], row[1], row[2]) for row in connection.execute(found)}
            self._read_at = now
        return self._known

    def add(self, network: str, kind: Kind, name: str, now: datetime) -> bool:
        """Block; say whether that is new."""
        rows = self._rows
        row = {"network": network, "kind": kind, "name": name, "at": now}
        this = (rows.c.network == network, rows.c.kind == kind, rows.c.name == name)
        self._read_at = None

        def block(connection: Connection) -> bool:
            begin_writing(connection, rows)
            there = connection.scalar(select(rows.c.id).where(*this)) is not None
            connection.execute(inserting_once(connection, rows), row)
            return not there

        return self._storage.write(block)

    def remove(self, network: str, kind: Kind, name: str) -> bool:
        """Unblock; say whether it was blocked."""
        rows = self._rows
        this = (rows.c.network == network, rows.c.kind == kind, rows.c.name == name)
        gone = delete(rows).where(*this)
        self._read_at = None
        return self._storage.write(lambda connection: connection.execute(gone).rowcount == 1)

    def all(self) -> list[Block]:
        """Return all, the newest first."""
        listed = select(self._rows).order_by(self._rows.c.id.desc())
        with self._storage.connect() as connection:
            return [
                Block(**{name: row[name] for name in Block.__slots__})
                for row in connection.execute(listed).mappings()
            ]
