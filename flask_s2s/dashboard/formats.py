"""The templates' filters: numbers, money and times in words. Pure."""

from __future__ import annotations

import re
import shlex
import unicodedata
from datetime import datetime, timedelta
from typing import Any

from markupsafe import Markup, escape

from ..conversion.money import major_units
from ..operations import causes

_MINUS = "\u2212"


def number(value: int | float) -> str:
    """Return "23,717"."""
    whole = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
    return whole.replace("-", _MINUS)


def share(part: int, whole: int) -> str:
    """Return "2.7 %"; an en dash for a share of nothing."""
    if not whole:
        return "\u2013"
    percent = 100 * part / whole
    return "<0.1 %" if 0 < percent < 0.1 else f"{percent:.1f} %"


def money(minor: int, currency: str) -> str:
    """Return minor units as people write them, without the currency."""
    return major_units(minor, currency)


def clock(at: datetime, now: datetime, *, seconds: bool = False) -> str:
    """Return "14:02" today, "28 Nov, 14:02" this year, and the year with other ones, in the zone of `now`."""
    at = at.astimezone(now.tzinfo)
    time = f"{at:%H:%M:%S}" if seconds else f"{at:%H:%M}"
    if at.date() == now.date():
        return time
    year = "" if at.year == now.year else f" {at.year}"
    return f"{at.day} {at:%b}{year}, {time}"


def day(at: datetime) -> str:
    """Return "28 Nov"."""
    return f"{at.day} {at:%b}"


def span(length: timedelta) -> str:
    """Return a length of time in two units at most: "2 days 2 hours"."""
    left = abs(int(length.total_seconds()))
    parts = []
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}{'' if count == 1 else 's'}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 seconds"


def plain(text: Any) -> str:
    """Return what strangers wrote with its invisible and turning characters made visible."""
    return "".join(
        f"U+{ord(char):04X}"
        if unicodedata.category(char) in ("Cc", "Cf") and char != "\n"
        else char
        for char in str(text)
    )


_KINDS = {"signup": "sign-up", "transaction": "payment", "action": "action", "reversal": "refund"}
_ANOTHER = re.compile(r"\b(signup|transaction|action|reversal) \(delivery (\d+)\)")


def said(text: Any) -> str:
    """Return a conversion's last word in the words of the pages, however it is stored."""
    words = causes.said(str(text))
    return plain(_ANOTHER.sub(lambda one: f"{_KINDS[one[1]]} (number {int(one[2]):,})", words))


def shell(text: Any) -> str:
    """Return a word as a shell takes it, with its invisible characters made visible."""
    return shlex.quote(plain(text))


def commands(text: str) -> Markup:
    """Return a sentence, with its first letter in capitals and its commands, in backticks, as code."""
    first = text.partition(" ")[0]
    # A lane's name is no word that a sentence begins with.
    parts = plain(text if "/" in first else text[:1].upper() + text[1:]).split("`")
    whole = len(parts) % 2 == 1
    return Markup("").join(
        command(part) if whole and place % 2 else escape(part) for place, part in enumerate(parts)
    )


def command(text: str) -> Markup:
    """Return a command as code whose lines break between its words, never after a hyphen."""
    words = (Markup("<span>{}</span>").format(word) for word in text.split(" "))
    return Markup('<code class="command">{}</code>').format(Markup(" ").join(words))


def hidden_email(address: str) -> str:
    """Return "m...@example.com"."""
    name, at, host = address.partition("@")
    return f"{name[:1]}...{at}{host}" if at else f"{address[:6]}..."


#: Fields of a request that say who somebody is.
_PERSONAL = ("email", "name", "ip_address", "user_agent")


def hidden(field: str, value: Any) -> Any:
    """Return a field of a request as somebody sees it who may only look."""
    if field not in _PERSONAL or not value:
        return value
    return hidden_email(str(value)) if field == "email" else f"{str(value)[:1]}..."


def nice_top(value: int) -> int:
    """Return the top of a chart: 2, 4, 6, 8 or 10 times a power of ten, so its middle is whole."""
    top = 2
    while top < value:
        scale = 10 ** (len(str(top)) - 1)
        lead = top // scale
        steps = {1: 2, 2: 4, 4: 6, 6: 8, 8: 10}
        top = steps[lead] * scale
    return top
