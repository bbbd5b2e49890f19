"""What is typed after a command, as far as it can be meant at all."""

from __future__ import annotations

from datetime import datetime, timezone

import click

#: The largest number that a database has for a row.
DELIVERY_ID = click.IntRange(1, 2**63 - 1)


def moment(value: str) -> datetime:
    """Take a time as `list` or the JSON prints it, or a part of one; without a zone it is UTC."""
    try:
        at = datetime.fromisoformat(value)
        return at.replace(tzinfo=at.tzinfo or timezone.utc).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            "is no time: write 2026-01-31, '2026-01-31 18:30:00' or 2026-01-31T18:30:00+00:00"
        ) from None


def utf8(value: str) -> str:
    """Take text that is UTF-8: what is not, no database, network or pipe takes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise click.BadParameter("is not UTF-8") from None
    return value
