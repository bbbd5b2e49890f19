"""One SQLite connection behind one lock, and the schema of the network's books.

One connection because `:memory:` exists only once per connection; a lock because the server is
threaded. At the rates of one machine the lock is held for microseconds, so a pool would buy
nothing.
"""

import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

SCHEMA = """
CREATE TABLE IF NOT EXISTS click (
    id INTEGER PRIMARY KEY,
    xid TEXT NOT NULL UNIQUE,
    partner TEXT NOT NULL,
    sub_ids TEXT NOT NULL,
    params TEXT NOT NULL,
    created_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS click_by_partner ON click (partner);
CREATE TABLE IF NOT EXISTS click_sub_id (
    sub_id TEXT NOT NULL,
    click_id INTEGER NOT NULL REFERENCES click (id),
    PRIMARY KEY (click_id, sub_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS token (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    hint TEXT NOT NULL,
    test INTEGER NOT NULL CHECK (test IN (0, 1)),
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
);
CREATE TABLE IF NOT EXISTS customer (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    external_key TEXT NOT NULL,
    test INTEGER NOT NULL CHECK (test IN (0, 1)),
    xid TEXT NOT NULL,
    partner TEXT NOT NULL,
    sub_ids TEXT NOT NULL,
    posted_sub_ids TEXT NOT NULL,
    details TEXT NOT NULL,
    fields TEXT NOT NULL,
    email TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
);
CREATE UNIQUE INDEX IF NOT EXISTS customer_once
    ON customer (external_key, test) WHERE deleted_at IS NULL;
CREATE INDEX IF NOT EXISTS customer_by_external_key ON customer (external_key, test);
CREATE INDEX IF NOT EXISTS customer_by_email ON customer (email) WHERE email IS NOT NULL;
CREATE INDEX IF NOT EXISTS customer_by_partner ON customer (partner, xid);
CREATE TABLE IF NOT EXISTS customer_sub_id (
    sub_id TEXT NOT NULL,
    customer_id INTEGER NOT NULL REFERENCES customer (id),
    PRIMARY KEY (customer_id, sub_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS conversion_post (
    id INTEGER PRIMARY KEY,
    customer_key TEXT,
    status INTEGER,
    created_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS conversion_post_by_key ON conversion_post (customer_key, status);
CREATE TABLE IF NOT EXISTS reward (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('action', 'transaction')),
    key TEXT NOT NULL,
    external_key TEXT,
    test INTEGER NOT NULL CHECK (test IN (0, 1)),
    customer_id INTEGER REFERENCES customer (id),
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    archived_at INTEGER
);
CREATE INDEX IF NOT EXISTS reward_by_key ON reward (kind, key);
CREATE INDEX IF NOT EXISTS reward_by_external_key ON reward (kind, external_key);
CREATE INDEX IF NOT EXISTS reward_by_customer ON reward (customer_id);
"""

#: Emptied by a reset, children first. Tokens are settings, not data, and stay.
DATA_TABLES = (
    "DELETE FROM reward",
    "DELETE FROM conversion_post",
    "DELETE FROM customer_sub_id",
    "DELETE FROM customer",
    "DELETE FROM click_sub_id",
    "DELETE FROM click",
)

Parameters = Sequence[str | int | None]


class Database:
    """The books' file, or memory for `:memory:`. Safe to share between threads."""

    def __init__(self, path: str) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(
            path, check_same_thread=False, isolation_level=None, timeout=10
        )
        # An open connection that is garbage collected is a ResourceWarning from Python 3.13 on.
        weakref.finalize(self, self._connection.close)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.executescript(SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a block as one transaction that no other thread can come between."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def all(self, sql: str, parameters: Parameters = ()) -> list[sqlite3.Row]:
        """Return every row of one statement."""
        with self._lock:
            return self._connection.execute(sql, parameters).fetchall()

    def one(self, sql: str, parameters: Parameters = ()) -> sqlite3.Row | None:
        """Return the first row of one statement, or None."""
        with self._lock:
            row: sqlite3.Row | None = self._connection.execute(sql, parameters).fetchone()
            return row

    def write(self, sql: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        """Run one statement that commits by itself."""
        with self._lock:
            return self._connection.execute(sql, parameters)

    def empty(self) -> None:
        """Delete all data: clicks, customers, posts, actions and transactions."""
        with self.transaction() as connection:
            for statement in DATA_TABLES:
                connection.execute(statement)
