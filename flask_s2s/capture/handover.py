"""A link that takes a click to another site of the same owner, under another domain. Pure.

Its handle is bound to the one host that the link leads to, so a link that a page got from somebody
else tells nobody anything: the host that it leads to cannot open it, and the host that can does not
accept it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from .handle import PARAMETER

_PORTS = {"http": ":80", "https": ":443"}


def host_of(url: str) -> str | None:
    """Return the host of an absolute web address as a browser will send it, or None."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.encode("idna" if not parts.netloc.isascii() else "ascii").decode()
    except (UnicodeError, ValueError):
        return None
    if parts.scheme not in _PORTS or not parts.hostname or "@" in host or "\\" in url:
        return None
    return host.lower().removesuffix(_PORTS[parts.scheme])


def with_handle(url: str, handle: str) -> str:
    """Return `url` with the handle in its query string."""
    front, hash_, fragment = url.partition("#")
    front, _, query = front.partition("?")
    kept = [part for part in query.split("&") if part and part.partition("=")[0] != PARAMETER]
    return f"{front}?{'&'.join([*kept, f'{PARAMETER}={handle}'])}{hash_}{fragment}"
