"""The cookie on the wire: reading it, setting it, and the domain that it must keep to.

`http.cookies.SimpleCookie` drops a whole header for one illegal name somewhere in it, and a browser
may send two cookies of one name (host-only and domain), so the header is read by hand.

A cookie's widest domain is the registrable one, by the public-suffix list. The private section counts
too: `github.io` is a suffix, or one tenant could set another's cookie. The host is the visitor's word,
so a host that is no plain DNS name gets a host-only cookie, and nothing of it reaches a header. So does
a name with the root's dot at its end, for which a browser would refuse a domain without the dot.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from email.utils import format_datetime
from functools import lru_cache

from publicsuffixlist import PublicSuffixList

_MAX_HEADER = 65536
#: So many cookies of one name are looked at: each is a signature to verify. A browser sends one for
#: each domain and path that set it.
_MOST = 200
_LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)


def read_cookies(header: str, name: str) -> list[str]:
    """Return every value of the cookie `name`, in the order sent."""
    values = []
    for piece in header[:_MAX_HEADER].split(";"):
        if name not in piece:
            continue  # the site's own, mostly
        found, equals, value = piece.partition("=")
        if equals and found.strip() == name:
            values.append(value.strip().strip('"'))
            if len(values) == _MOST:
                break
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


def expire_cookie(name: str, *, domain: str | None, secure: bool) -> tuple[str, str]:
    """Return the header that makes a browser drop the cookie of exactly this domain (None: host)."""
    return set_cookie(name, "", domain=domain, secure=secure, expires=_LONG_AGO, seconds=0)


#: Labels of a name in its ASCII form. No top-level domain begins with a digit; an IPv4 address
#: does, in every spelling that a browser knows ("127.1", "0x7f.1").
_NAME = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])\Z"
)
_PORT = re.compile(r":[0-9]*\Z")


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


@lru_cache(maxsize=1024)
def registrable_domain(host: str) -> str | None:
    """Return the registrable domain of `host` (with or without a port).

    None where a cookie must be host-only: IP addresses, single labels and public suffixes.
    """
    name = _PORT.sub("", host).lower()
    if not _NAME.match(name):
        return None
    domain = _suffixes().privatesuffix(name)
    return domain if isinstance(domain, str) else None


def read_suffixes() -> None:
    """Read the list now (about 50 ms), so that no visitor waits for it."""
    _suffixes()
