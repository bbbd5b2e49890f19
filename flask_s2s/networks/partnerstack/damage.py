"""Damaged click IDs: links change between a partner's page and the site, and are read all the same.

Only a click ID in the form that PartnerStack publishes (14 letters and digits, 12 in old links) is
ever read out of something else: with any other text nobody could say where it begins and ends. A
value within an address of its own (`next=https://...`) is that address's, and is left to it. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_plus

from ...click.placeholders import is_placeholder, wordless

#: How often something is percent-encoded at most: twice on its way, and once as it should be.
_ENCODED = 3
#: Whole and apart: what follows it is no part of a longer ID, or the same address once more.
_PUBLISHED = re.compile(
    r"(?:[A-Za-z0-9]{14}|[A-Za-z0-9]{12})(?:(?=https?:)|(?![A-Za-z0-9_~-]|\.[A-Za-z0-9]))"
)
#: A mail's "=" (quoted-printable), which is longer than an ID only before the longer form.
_QUOTED = re.compile(r"3D(?=[\"']?[A-Za-z0-9]{14}(?![A-Za-z0-9_.~-]))", re.IGNORECASE)
#: Characters that nobody sees, and the ends of lines: copied along, also within.
_UNSEEN = re.compile(
    "[\x00-\x08\t\n\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)
#: A parameter's name, in capitals, escaped for Markdown (`ps\_xid`), or behind whatever a tool has
#: made of "&" and "?"; as one of a list (`[]`, `[0]`, `.0`); and whatever a tool, or a keyboard, has
#: made of "=". A colon is one only where the name begins: within another parameter people write about
#: it (`q=ps_xid: ...`).
_NAMED = re.compile(
    rf"(?:(?P<first>\A[?\s{_UNSEEN.pattern[1:]}*)|(?<![A-Za-z0-9_-])|(?<=u0026)|(?<=&amp)|\Aamp)"
    rf"(?:ps\\?_xid|gsxid)(?:\[\d*\]|\.\d)?[\s{_UNSEEN.pattern[1:]}*"
    r"(?:[=\uff1d]|\\u003d|(?(first):|(?!)))+(?P<value>.*)",
    re.IGNORECASE | re.DOTALL,
)
#: What stands before an ID that was copied with its quotes, also those of Windows, which are no UTF-8.
_BEFORE = re.compile(r"[\s\"'`\u2018-\u201e\u00ab\u00bb\ufffd]*")
#: Names of its parameter, which tools and people leave where the ID belongs.
_NAMES = frozenset("psxid gsxid psclickid psclickxid partnerstackclickid psid yourpsxid".split())


def names_itself(value: str) -> bool:
    """Say whether a value stands for a click ID that was never put in."""
    return is_placeholder(value) or wordless(value) in _NAMES


def mended(value: str) -> str:
    """Return a click ID without the full stop that was copied along."""
    found = _published(value)
    whole = _QUOTED.sub("", value, count=1).rstrip(".")
    return found if found and whole == found else value


def repaired(pieces: Iterable[str]) -> str | None:
    """Return the click ID in the damaged parts of a query string (cut at `&`), if it is published."""
    for piece in pieces:
        if "xid" in piece.lower() and (found := _in_piece(piece)) is not None:
            return found
    return None


def _in_piece(piece: str) -> str | None:
    # As WSGI has it: bytes as Latin-1.
    text = piece.encode("latin-1", "replace").decode("utf-8", "replace")
    for _ in range(_ENCODED):
        text = unquote_plus(text, errors="replace")
        named = _NAMED.search(text)
        if named and not _is_an_address(text[: named.start()]):
            found = _published(named["value"])
            if found is not None:
                return found
        if "%" not in text:
            break
    return None


def _is_an_address(before: str) -> bool:
    """Say whether what stands before a name begins an address, whose parameter it is."""
    value = before.partition("=")[2].lstrip()
    return "//" in before or "\\\\" in before or value.startswith("/")


def _published(value: str) -> str | None:
    """Return the published form that a value begins with, but for what nobody meant."""
    text = _UNSEEN.sub("", value)
    begins = _BEFORE.match(text)
    start = begins.end() if begins else 0
    if quoted := _QUOTED.match(text, start):
        start = quoted.end() + (text[quoted.end()] in "\"'")
    found = _PUBLISHED.match(text, start)
    return found[0] if found and not names_itself(found[0]) else None
