"""Actions and transactions: what earns a partner a reward beyond the sign-up."""

import json
import secrets
import sqlite3
from dataclasses import dataclass
from typing import Any, Literal

from flask_s2s.sandbox.books.database import Database
from flask_s2s.sandbox.books.moments import Clock, milliseconds
from flask_s2s.sandbox.books.paging import Span
from flask_s2s.sandbox.switches import Switches

Kind = Literal["action", "transaction"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """One recorded action or transaction."""

    id: int
    kind: Kind
    key: str
    #: The caller's own key, if one was given.
    external_key: str | None
    test: bool
    customer_id: int | None
    #: What was posted, without its key.
    body: dict[str, Any]
    created_at: int
    archived_at: int | None


class Rewards:
    """The recorded actions and transactions."""

    def __init__(self, database: Database, now: Clock) -> None:
        self._database = database
        self._now = now

    def record(
        self,
        kind: Kind,
        body: dict[str, Any],
        *,
        key: str | None,
        customer_id: int | None,
        test: bool,
        switches: Switches,
    ) -> Reward | None:
        """Record one; None when its key is taken and repeats are refused.

        A repeat that is ignored answers with the first.
        """
        at = body.get("created_at") or milliseconds(self._now())
        with self._database.transaction() as connection:
            earlier = self._first(kind, key, test=test) if key is not None else None
            if earlier is not None and switches.repeated_reward != "second":
                return None if switches.repeated_reward == "conflict" else earlier
            cursor = connection.execute(
                "INSERT INTO reward (kind, key, external_key, test, customer_id, body, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (kind, _new_key(kind), key, int(test), customer_id, json.dumps(body), at),
            )
            row = connection.execute(
                "SELECT * FROM reward WHERE id = ?", (cursor.lastrowid,)
            ).fetchone()
        return reward_of(row)

    def _first(self, kind: Kind, key: str, *, test: bool) -> Reward | None:
        row = self._database.one(
            "SELECT * FROM reward WHERE kind = ? AND external_key = ? AND test = ?"
            " AND archived_at IS NULL ORDER BY id LIMIT 1",
            (kind, key, int(test)),
        )
        return None if row is None else reward_of(row)

    def find(self, kind: Kind, key: str, *, test: bool) -> Reward | None:
        """Return a live one by either key."""
        row = self._database.one(
            "SELECT * FROM reward WHERE kind = ? AND (key = ? OR external_key = ?) AND test = ?"
            " AND archived_at IS NULL ORDER BY id LIMIT 1",
            (kind, key, key, int(test)),
        )
        return None if row is None else reward_of(row)

    def archive(self, kind: Kind, key: str, *, test: bool) -> bool:
        """Archive all that carry this key; False when there is none."""
        cursor = self._database.write(
            "UPDATE reward SET archived_at = ? WHERE kind = ? AND (key = ? OR external_key = ?)"
            " AND test = ? AND archived_at IS NULL",
            (milliseconds(self._now()), kind, key, key, int(test)),
        )
        return cursor.rowcount > 0

    def page(self, kind: Kind, span: Span, *, test: bool) -> tuple[list[Reward], bool]:
        """Return one page of the live ones, and whether more follow."""
        sql = (
            "SELECT * FROM reward WHERE id < ? AND kind = ? AND test = ? AND archived_at IS NULL"
            " AND created_at BETWEEN ? AND ? ORDER BY id DESC LIMIT ?"
            if span.downwards
            else "SELECT * FROM reward WHERE id > ? AND kind = ? AND test = ?"
            " AND archived_at IS NULL AND created_at BETWEEN ? AND ? ORDER BY id LIMIT ?"
        )
        rows = self._database.all(sql, span.parameters(kind, int(test)))
        return span.cut([reward_of(row) for row in rows])

    def of_customer(self, customer_id: int) -> list[Reward]:
        """Return all of one customer's, the newest first, archived ones too."""
        rows = self._database.all(
            "SELECT * FROM reward WHERE customer_id = ? ORDER BY id DESC", (customer_id,)
        )
        return [reward_of(row) for row in rows]


def _new_key(kind: Kind) -> str:
    return ("act_" if kind == "action" else "txn_") + secrets.token_hex(8)


def reward_of(row: sqlite3.Row) -> Reward:
    """Return a row of the reward table as a value."""
    values = dict(row)
    values["body"] = json.loads(values["body"])
    return Reward(**{**values, "test": bool(values["test"])})
