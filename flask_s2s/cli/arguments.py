"""What is typed after a command, as far as it can be meant at all."""

from __future__ import annotations

from datetime import datetime, timezone

import click

#: The largest number that a database has for a row.
DELIVERY_ID = click.IntRange(1, 2**63 - 1)
SINCE = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"])


def utf8(value: str) -> str:
    """Take text that is UTF-8: what is not, no database, network or pipe takes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise click.BadParameter("is not UTF-8") from None
    return value


def utc(moment: datetime | None) -> datetime | None:
    """Read a time typed without a zone as UTC."""
    return None if moment is None else moment.replace(tzinfo=timezone.utc)
