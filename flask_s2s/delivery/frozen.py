"""Rows that a move to another database has put out of every worker's sight, and those it has taken.

A frozen row is still open, and due in the year 3000: one that stays so is what an interrupted move
has left. Its place in time is kept, so that thawing it is one subtraction.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import ColumnElement, Table

#: Added to `due_at` of a frozen row.
FROZEN = timedelta(days=365_000)
#: Whatever is due later than this is frozen: no deadline is that far away.
FROZEN_FROM = datetime(2500, 1, 1, tzinfo=timezone.utc)
#: The `detail` of a row that is settled here because it is in another database now.
MOVED = "moved to another database"


def frozen(rows: Table) -> ColumnElement[bool]:
    """Say whether a row is frozen."""
    return rows.c.due_at >= FROZEN_FROM


def thawed(due_at: datetime | None) -> datetime | None:
    """Return when a row was due before it was frozen, if it was."""
    return due_at - FROZEN if due_at is not None and due_at >= FROZEN_FROM else due_at


def has_moved_away(row: Any) -> bool:
    """Say whether a row is in another database now."""
    return bool(row["status"] == "withdrawn" and row["detail"] == MOVED)
