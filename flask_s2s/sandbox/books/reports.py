"""Sums over the books: the programme at a glance, the sub-ID report, the ledger for tests."""

import json
from dataclasses import dataclass

from flask_s2s.sandbox.books.database import Database

_REWARDS = """
SELECT json_group_array(json_object(
    'id', id, 'kind', kind, 'key', key, 'external_key', external_key,
    'test', json(CASE test WHEN 1 THEN 'true' ELSE 'false' END), 'customer_id', customer_id,
    'body', json(body), 'created_at', created_at, 'archived_at', archived_at
)) FROM (SELECT * FROM reward WHERE kind = '{kind}' ORDER BY id)
"""

#: Part of the ledger -> the statement that writes it.
LEDGER = {
    "clicks": """
SELECT json_group_array(json_object(
    'id', id, 'xid', xid, 'partner', partner, 'sub_ids', json(sub_ids), 'params', json(params),
    'created_at', created_at
)) FROM (SELECT * FROM click ORDER BY id)
""",
    "customers": """
SELECT json_group_array(json_object(
    'id', id, 'key', key, 'external_key', external_key,
    'test', json(CASE test WHEN 1 THEN 'true' ELSE 'false' END), 'xid', xid, 'partner', partner,
    'sub_ids', json(sub_ids), 'posted_sub_ids', json(posted_sub_ids), 'details', json(details),
    'fields', json(fields), 'created_at', created_at, 'updated_at', updated_at,
    'deleted_at', deleted_at
)) FROM (SELECT * FROM customer ORDER BY id)
""",
    "conversion_posts": """
SELECT json_group_object(customer_key, n) FROM (
    SELECT customer_key, count(*) AS n FROM conversion_post
    WHERE customer_key IS NOT NULL GROUP BY customer_key
)
""",
    "accepted_posts": """
SELECT json_group_object(customer_key, n) FROM (
    SELECT customer_key, count(*) AS n FROM conversion_post
    WHERE customer_key IS NOT NULL AND status BETWEEN 200 AND 299 GROUP BY customer_key
)
""",
    "actions": _REWARDS.format(kind="action"),
    "transactions": _REWARDS.format(kind="transaction"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """One line of the sub-ID report; `sub_id` is None for clicks that carried none."""

    partner: str
    sub_id: str | None
    clicks: int
    signups: int


class Reports:
    """Read-only views of all books."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def totals(self) -> dict[str, int]:
        """Count everything once."""
        row = self._database.one(
            "SELECT (SELECT count(*) FROM click) AS clicks,"
            " (SELECT count(*) FROM customer WHERE deleted_at IS NULL) AS customers,"
            " (SELECT count(*) FROM conversion_post) AS conversion_posts,"
            " (SELECT count(*) FROM reward WHERE kind = 'action' AND archived_at IS NULL)"
            " AS actions,"
            " (SELECT count(*) FROM reward WHERE kind = 'transaction' AND archived_at IS NULL)"
            " AS transactions"
        )
        return dict(row) if row is not None else {}

    def by_partner(self) -> dict[str, tuple[int, int]]:
        """Return clicks and sign-ups of each partner that has any."""
        clicks = self._database.all("SELECT partner, count(*) AS n FROM click GROUP BY partner")
        signups = self._database.all(
            "SELECT partner, count(*) AS n FROM customer WHERE deleted_at IS NULL GROUP BY partner"
        )
        signed = {row["partner"]: row["n"] for row in signups}
        clicked = {row["partner"]: row["n"] for row in clicks}
        return {name: (clicked.get(name, 0), signed.get(name, 0)) for name in {*clicked, *signed}}

    def sources(self) -> list[SourceRow]:
        """Return clicks and sign-ups by sub ID and partner, the most sign-ups first.

        A click with several sub IDs counts under each; a sign-up counts once under each sub ID of
        its click or of its post.
        """
        rows = self._database.all(
            "SELECT partner, sub_id, sum(clicks) AS clicks, sum(signups) AS signups FROM ("
            " SELECT c.partner, s.sub_id, count(*) AS clicks, 0 AS signups"
            " FROM click c LEFT JOIN click_sub_id s ON s.click_id = c.id"
            " GROUP BY c.partner, s.sub_id"
            " UNION ALL"
            " SELECT c.partner, s.sub_id, 0, count(*)"
            " FROM customer c LEFT JOIN customer_sub_id s ON s.customer_id = c.id"
            " WHERE c.deleted_at IS NULL GROUP BY c.partner, s.sub_id"
            ") GROUP BY partner, sub_id ORDER BY signups DESC, clicks DESC, partner, sub_id"
        )
        return [SourceRow(**dict(row)) for row in rows]

    def ledger(self) -> str:
        """Return the whole record as JSON, for a test to hold against the client's.

        SQLite writes the JSON: with tens of thousands of customers Python would take seconds, and
        the stand-in would answer nobody meanwhile.
        """
        parts = {name: self._text(sql) for name, sql in LEDGER.items()}
        parts["totals"] = json.dumps(self.totals())
        return "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in parts.items()) + "}"

    def _text(self, sql: str) -> str:
        row = self._database.one(sql)
        return str(row[0]) if row is not None else "null"
