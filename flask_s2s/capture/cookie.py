"""The cookie, as bytes on the wire: reading every one of a name, and the header that sets it.

`http.cookies.SimpleCookie` drops a whole header for one illegal name somewhere in it, and a browser
may send two cookies of one name (host-only and domain), so the header is read by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from email.utils import format_datetime

_MAX_HEADER = 65536
#: Headers by which a cache in front of the app would keep the response all the same; with those
#: that end in "cache-control", the standard's one for CDNs and each vendor's own.
_CACHING = frozenset({"surrogate-control", "edge-control", "x-accel-expires", "expires", "pragma"})

Headers = list[tuple[str, str]]


def read_cookies(header: str, name: str) -> list[str]:
    """Return every value of the cookie `name`, in the order sent."""
    values = []
    for piece in header[:_MAX_HEADER].split(";"):
        found, equals, value = piece.partition("=")
        if equals and found.strip() == name:
            values.append(value.strip().strip('"'))
    return values


def set_cookie(
    name: str, value: str, *, domain: str | None, secure: bool, expires: datetime, seconds: int
) -> tuple[str, str]:
    """Return the header that keeps `value` for `seconds`."""
    parts = [f"{name}={value}", f"Expires={format_datetime(expires, usegmt=True)}"]
    parts += [f"Max-Age={seconds}", "Path=/", "HttpOnly", "SameSite=Lax"]
    if domain:
        parts.append(f"Domain={domain}")
    if secure:
        parts.append("Secure")
    return ("Set-Cookie", "; ".join(parts))


def for_one_visitor(headers: Sequence[tuple[str, str]]) -> Headers:
    """Return the headers such that no shared cache keeps the response."""
    kept = [(name, value) for name, value in headers if not _lets_cache(name)]
    return [*kept, ("Cache-Control", "private, no-store")]


def _lets_cache(name: str) -> bool:
    lower = name.lower()
    return lower in _CACHING or lower.endswith("cache-control")
