"""Credentials: tracking tokens for conversions, key pairs for the vendor API.

The two are different secrets at the real network as well, and each alone decides whether a call
is test or production. Tokens are kept as digests: a list can show which is which, not what it is.
"""

import hashlib
import secrets
from dataclasses import dataclass

from flask_s2s.sandbox.books.database import Database
from flask_s2s.sandbox.books.moments import Clock, milliseconds

DEFAULT_TOKENS = (("sandbox-token", "Default", False), ("sandbox-test-token", "Test", True))

#: Public key -> (secret key, whether it is the test pair).
API_KEYS = {
    "pk_sandbox": ("sk_sandbox", False),
    "pk_sandbox_test": ("sk_sandbox_test", True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A tracking token as a list may show it."""

    id: int
    name: str
    hint: str
    test: bool
    created_at: int
    revoked_at: int | None


def mask(secret: str) -> str:
    """Return enough of a secret to recognise it, and no more than a third of it."""
    shown = min(4, len(secret) // 3)
    return "••••" + (secret[-shown:] if shown else "")


def api_environment(public_key: str, secret_key: str) -> bool | None:
    """Return whether this pair is the test pair; None when it is no pair of ours."""
    expected, test = API_KEYS.get(public_key, ("", False))
    known = secrets.compare_digest(expected.encode(), secret_key.encode()) and bool(expected)
    return test if known else None


class Tokens:
    """The tracking tokens of the programme."""

    def __init__(self, database: Database, now: Clock) -> None:
        self._database = database
        self._now = now
        if database.one("SELECT 1 FROM token LIMIT 1") is None:
            for token, name, test in DEFAULT_TOKENS:
                self._add(token, name, test=test)

    def _add(self, token: str, name: str, *, test: bool) -> int:
        cursor = self._database.write(
            "INSERT INTO token (name, digest, hint, test, created_at) VALUES (?, ?, ?, ?, ?)",
            (name, _digest(token), mask(token), int(test), milliseconds(self._now())),
        )
        return int(cursor.lastrowid or 0)

    def create(self, name: str, *, test: bool = False) -> tuple[int, str]:
        """Make a token and return its id with its value, which is never readable again."""
        token = secrets.token_urlsafe(24)
        return self._add(token, name, test=test), token

    def all(self) -> list[Token]:
        """Return all tokens, the newest first."""
        rows = self._database.all(
            "SELECT id, name, hint, test, created_at, revoked_at FROM token ORDER BY id DESC"
        )
        return [Token(**{**dict(row), "test": bool(row["test"])}) for row in rows]

    def revoke(self, token_id: int) -> bool:
        """Revoke a token for good; False when there is no such token."""
        cursor = self._database.write(
            "UPDATE token SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?",
            (milliseconds(self._now()), token_id),
        )
        return cursor.rowcount == 1

    def environment(self, token: str) -> bool | None:
        """Return whether a live token is a test token; None when it is unknown or revoked."""
        row = self._database.one(
            "SELECT test FROM token WHERE digest = ? AND revoked_at IS NULL", (_digest(token),)
        )
        return None if row is None else bool(row["test"])


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
