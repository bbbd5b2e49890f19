"""Which domain a cookie may be set for: the registrable one, by the public-suffix list.

The private section counts too: `github.io` is a suffix, or one tenant could set another's cookie.
The host is the visitor's word, so what is no plain DNS name gets a host-only cookie, and nothing of
it reaches a header. So does a name with the root's dot at its end, for which a browser would refuse
a domain without the dot.
"""

from __future__ import annotations

import re
from functools import lru_cache

from publicsuffixlist import PublicSuffixList

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
