"""One SQLite file for all histories, emptied between them, whose connections are seams.

Every process of a history uses it through connections that belong to nobody for long: what a
process that dies has not committed is rolled back, as the operating system would do it. Triggers
write down what no row may ever do, so that a state that was wrong only for a while is seen too.
Writing a row as it was is no fault: that is how it is locked here.
"""

from __future__ import annotations

import sqlite3
from copy import copy
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

from sqlalchemy import BigInteger, Column, Integer, String, Table, create_engine, event
from sqlalchemy.engine import Engine

from flask_s2s.rules.states import Status
from flask_s2s.store.database.storage import Storage
from flask_s2s.store.outbox.claims import Claims
from flask_s2s.store.outbox.outbox import Outbox
from flask_s2s.store.outbox.settling import Settling
from flask_s2s.store.privacy.keyring import Keyring
from flask_s2s.store.restores import Memory
from flask_s2s.store.schema import Tables
from tests.simulation.world import World

_MOVES = [(old, new) for old in Status for new in Status if old.may_become(new)]
_TRIGGERS = """
CREATE TABLE sim_log (what TEXT, delivery INTEGER);
CREATE TABLE sim_moves (old TEXT, new TEXT, PRIMARY KEY (old, new));
CREATE TRIGGER sim_closed_twice AFTER UPDATE ON s2s_attempt
WHEN OLD.closed_at IS NOT NULL
BEGIN INSERT INTO sim_log VALUES ('an attempt was closed twice', NEW.delivery_id); END;
CREATE TRIGGER sim_reopened AFTER UPDATE OF status ON s2s_delivery
WHEN OLD.status IN ('delivered', 'confirmed') AND NEW.status NOT IN ('delivered', 'confirmed')
AND NOT (OLD.status = 'delivered' AND (NEW.resent = OLD.resent + 1 OR NEW.status = 'missing'))
BEGIN INSERT INTO sim_log VALUES ('a delivered row was reopened', NEW.id); END;
CREATE TRIGGER sim_settled_twice AFTER UPDATE OF status ON s2s_delivery
WHEN NEW.status = 'delivered' AND OLD.status != 'sending'
AND (OLD.status != 'delivered' OR OLD.settled_at IS NOT NEW.settled_at)
BEGIN INSERT INTO sim_log VALUES ('settled without a lease', NEW.id); END;
CREATE TRIGGER sim_renewed AFTER UPDATE OF status ON s2s_delivery
WHEN OLD.status = 'sending' AND NEW.status = 'sending' AND OLD.lease_token = NEW.lease_token
AND OLD.due_at IS NOT NEW.due_at
BEGIN INSERT INTO sim_log VALUES ('a lease was renewed', NEW.id); END;
CREATE TRIGGER sim_off_the_table AFTER UPDATE OF status ON s2s_delivery
WHEN NOT EXISTS (SELECT 1 FROM sim_moves WHERE old = OLD.status AND new = NEW.status)
BEGIN INSERT INTO sim_log VALUES
 ('may not follow: ' || OLD.status || ' > ' || NEW.status, NEW.id); END;
"""
_NEXT = {
    "sending": "SELECT min(at) FROM (SELECT min(due_at) AS at FROM s2s_delivery"
    " WHERE due_at NOT NULL AND lane NOT IN (SELECT lane FROM s2s_breaker)"
    " UNION ALL SELECT min(probe_at) FROM s2s_breaker)",
    "verifying": "SELECT min(verify_at) FROM s2s_delivery WHERE verify_at NOT NULL",
}
_KEPT = ("s2s_attempt", "s2s_delivery", "s2s_breaker", "sim_truth")
_EMPTY = ("s2s_attempt", "s2s_delivery", "s2s_breaker", "sim_truth", "sim_log")


class Seams:
    """Where the connections find the world of the history that is played."""

    world: World | None = None

    @classmethod
    def at(cls, label: str, *, interrupts: bool = True) -> None:
        if cls.world is not None:
            cls.world.seam(label, interrupts=interrupts)


class _Cursor(sqlite3.Cursor):
    def execute(self, statement: str, parameters: Any = ()) -> _Cursor:
        Seams.at("database.before")
        super().execute(statement, parameters)
        self._note(statement)
        # A statement that is still being read keeps other connections from committing.
        Seams.at("database.after", interrupts=False)
        return self

    def executemany(self, statement: str, parameters: Any) -> _Cursor:
        Seams.at("database.before")
        super().executemany(statement, parameters)
        self._note(statement)
        # A statement that is still being read keeps other connections from committing.
        Seams.at("database.after", interrupts=False)
        return self

    def _note(self, statement: str) -> None:
        if self.connection.in_transaction:
            if Seams.world is not None:
                Seams.world.writing = self.connection
        elif not statement.startswith("SELECT"):
            _Connection.changes += 1


class _Connection(sqlite3.Connection):
    #: Those that exist, for whoever died without closing theirs.
    every: ClassVar[WeakSet[_Connection]] = WeakSet()
    #: How often something was committed, by whichever.
    changes: ClassVar[int] = 0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.every.add(self)
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()

    def cursor(self, factory: Any = _Cursor) -> Any:
        cursor = super().cursor(factory)
        self._cursors.add(cursor)
        return cursor

    def let_go(self) -> None:
        """End what is begun. A statement that is still held somewhere would keep its locks."""
        for cursor in list(self._cursors):
            cursor.close()
        self.rollback()

    def close(self) -> None:
        self.every.discard(self)
        self.let_go()
        super().close()

    def commit(self) -> None:
        if not self.in_transaction:
            super().commit()
            return
        try:
            Seams.at("database.commit")
        except sqlite3.OperationalError:
            # What cannot be written is rolled back by SQLite itself.
            self.rollback()
            raise
        super().commit()
        _Connection.changes += 1
        self._ended()
        Seams.at("database.committed")

    def rollback(self) -> None:
        super().rollback()
        self._ended()

    def _ended(self) -> None:
        if Seams.world is not None and Seams.world.writing is self:
            Seams.world.writing = None


def _need_not_survive_a_power_cut(connection: sqlite3.Connection, _record: object) -> None:
    # Not a cursor of its own class: connecting is no seam.
    cursor = sqlite3.Cursor(connection)
    for pragma in ("journal_mode=MEMORY", "synchronous=OFF"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


class Database:
    """The file, its engine, and questions asked behind everybody's back."""

    def __init__(self, folder: Path) -> None:
        path = folder / "simulation.sqlite3"
        self.engine: Engine = create_engine(
            f"sqlite:///{path}",
            connect_args={"factory": _Connection, "timeout": 0},
            pool_size=30,
        )
        event.listen(self.engine, "connect", _need_not_survive_a_power_cut)
        #: Of every process that records: making the tables takes longer than most histories.
        self.storage = Storage(uri=None, host=lambda: self.engine, folder=folder)
        self.metadata = self.storage.metadata
        self.tables: Tables = self.storage.tables
        self.keyring = Keyring(self.storage, ["a-key-for-tests-only"])
        self._outbox = Outbox(self.storage, self.keyring)
        self._claims = Claims(self.storage, lambda _: None)
        #: What a caller's own transaction wrote: the customers that really exist.
        self.truth = Table(
            "sim_truth",
            self.metadata,
            Column("id", Integer, primary_key=True),
            Column("record", BigInteger, nullable=False),
            Column("note", String(16)),
        )
        # Outside every history: SQLAlchemy holds a lock while an engine connects for the first time,
        # and who waits for that in one thread waits for ever.
        self.metadata.create_all(self.engine)
        self.keyring.prepare()
        self.raw = sqlite3.connect(path, isolation_level=None)
        self.raw.executescript("PRAGMA synchronous=OFF;" + _TRIGGERS)
        self.raw.executemany("INSERT INTO sim_moves VALUES (?, ?)", _MOVES)
        self._next: dict[str, tuple[int, int | None]] = {}

    def empty(self) -> None:
        """Forget the last history."""
        for connection in list(_Connection.every):
            connection.let_go()
        self.raw.execute("BEGIN")
        for table in _EMPTY:
            self.raw.execute(f"DELETE FROM {table}")  # noqa: S608 - names of our own
        self.raw.execute("COMMIT")
        _Connection.changes += 1

    def backup(self) -> dict[str, list[dict[str, Any]]]:
        """Return all rows as they are committed now."""
        return {name: self.rows(f"SELECT * FROM {name}") for name in _KEPT}  # noqa: S608 - ours

    def restore(self, kept: dict[str, list[dict[str, Any]]]) -> None:
        """Put back what was there, and break every connection."""
        self.raw.execute("BEGIN IMMEDIATE")
        for name, rows in kept.items():
            self.raw.execute(f"DELETE FROM {name}")  # noqa: S608 - names of our own
            for row in rows:
                places = ", ".join("?" * len(row))
                inserting = f"INSERT INTO {name} ({', '.join(row)}) VALUES ({places})"  # noqa: S608
                self.raw.execute(inserting, tuple(row.values()))
        self.raw.execute("COMMIT")
        _Connection.changes += 1
        self.engine.dispose()

    def deliveries(self) -> tuple[Claims, Settling, Memory]:
        """Return a worker's view of the deliveries, as `outbox` does."""
        memory = Memory(self.storage)
        settling = Settling(self.storage, self._outbox.add, memory)
        return copy(self._claims), settling, memory

    def outbox(self) -> Outbox:
        """Return an outbox that knows nothing yet, but whose statements are compiled."""
        return copy(self._outbox)

    def next_work(self, sort: str) -> int | None:
        """Return when the next thing is due that a worker, or a verifier, would find."""
        changes, moment = self._next.get(sort, (-1, None))
        if changes != _Connection.changes:
            (moment,) = self.raw.execute(_NEXT[sort]).fetchone()
            self._next[sort] = _Connection.changes, moment
        return moment

    def rows(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        """Read as it is committed now."""
        cursor = self.raw.execute(statement, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def close(self) -> None:
        self.raw.close()
        self.engine.dispose()
