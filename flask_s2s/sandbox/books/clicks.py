"""Clicks: recorded when a partner's link is followed, each with its own ID."""

import json
import secrets
import sqlite3
import string
from collections.abc import Sequence
from dataclasses import dataclass

from flask_s2s.sandbox.books.database import Database
from flask_s2s.sandbox.books.moments import Clock, milliseconds

XID_ALPHABET = string.ascii_letters + string.digits
XID_LENGTH = 14

#: Longer sub IDs are cut when they are recorded; the redirect passes them on unchanged.
SUB_ID_LENGTH = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """One visit through a partner's link."""

    id: int
    xid: str
    partner: str
    #: In the order of the link: `sid`, `sid1`, `sid2` ...
    sub_ids: list[str]
    #: The ad parameters that travelled along (`gclid`, `utm_source` ...).
    params: dict[str, str]
    #: Epoch milliseconds.
    created_at: int


def _new_xid() -> str:
    # Never seeded: a cookie of an earlier run must not name a click of this one.
    return "".join(secrets.choice(XID_ALPHABET) for _ in range(XID_LENGTH))


class Clicks:
    """The recorded clicks."""

    def __init__(self, database: Database, now: Clock) -> None:
        self._database = database
        self._now = now

    def record(self, partner: str, sub_ids: Sequence[str], params: dict[str, str]) -> str:
        """Record a click and return its click ID."""
        xid = _new_xid()
        kept = [sub_id[:SUB_ID_LENGTH] for sub_id in sub_ids]
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO click (xid, partner, sub_ids, params, created_at)"
                " VALUES (?, ?, ?, ?, ?)",
                (xid, partner, json.dumps(kept), json.dumps(params), milliseconds(self._now())),
            )
            connection.executemany(
                "INSERT OR IGNORE INTO click_sub_id (sub_id, click_id) VALUES (?, ?)",
                [(sub_id, cursor.lastrowid) for sub_id in kept],
            )
        return xid

    def find(self, xid: str) -> Click | None:
        """Return the click with this ID."""
        rows = self._read("SELECT * FROM click WHERE xid = ?", (xid,))
        return rows[0] if rows else None

    def latest(self, limit: int, before: int | None = None) -> list[Click]:
        """Return the newest clicks, or the newest that are older than the one with this id."""
        newest = 2**62 if before is None else before
        return self._read(
            "SELECT * FROM click WHERE id < ? ORDER BY id DESC LIMIT ?", (newest, limit)
        )

    def _read(self, sql: str, parameters: Sequence[str | int | None]) -> list[Click]:
        return [click_of(row) for row in self._database.all(sql, parameters)]


def click_of(row: sqlite3.Row) -> Click:
    """Return a row of the click table as a value."""
    values = dict(row)
    values["sub_ids"] = json.loads(values["sub_ids"])
    values["params"] = json.loads(values["params"])
    return Click(**values)
