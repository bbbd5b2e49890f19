"""The cookie, as bytes on the wire: reading every one of a name, and the header that sets it.

`http.cookies.SimpleCookie` drops a whole header for one illegal name somewhere in it, and a browser
may send two cookies of one name (host-only and domain), so the header is read by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from email.utils import format_datetime

_MAX_HEADER = 65536
#: Headers by which a cache in front of the app would keep the response all the same; with those
#: that end in "cache-control", the standard's one for CDNs and each vendor's own.
_CACHING = frozenset({"surrogate-control", "edge-control", "x-accel-expires", "expires", "pragma"})
_LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)

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


def expire_host_only(name: str, *, secure: bool) -> tuple[str, str]:
    """Return the header that ends the cookie without a domain.

    It goes before the one that sets the cookie for the domain: by RFC 6265 they are one and the
    same at the domain's own host, and the later header counts.
    """
    parts = [f"{name}=", "Expires=Thu, 01 Jan 1970 00:00:00 GMT", "Max-Age=0", "Path=/"]
    parts += ["HttpOnly", "SameSite=Lax"]
    if secure:
        parts.append("Secure")
    return ("Set-Cookie", "; ".join(parts))


def expire_cookie(name: str, *, domain: str | None, secure: bool) -> tuple[str, str]:
    """Return the header that makes a browser drop the cookie of exactly this domain (None: host)."""
    return set_cookie(name, "", domain=domain, secure=secure, expires=_LONG_AGO, seconds=0)


def for_one_visitor(headers: Sequence[tuple[str, str]]) -> Headers:
    """Return the headers such that no shared cache keeps the response."""
    kept = [(name, value) for name, value in headers if not _lets_cache(name)]
    return [*kept, ("Cache-Control", "private, no-store")]


def _lets_cache(name: str) -> bool:
    lower = name.lower()
    return lower in _CACHING or lower.endswith("cache-control")
