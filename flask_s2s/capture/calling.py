"""Which pages may tell the site of a click by a script of theirs: pages of the same site. Pure.

A browser says where a request comes from, and no script can change that. Without a word of it the
request is refused: every browser that has `fetch` says it.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from .domain import registrable_domain
from .redirecting import without_www


def refused_because(
    *,
    scheme: str,
    host: str,
    origin: str | None,
    came_from: str | None,
    whole_domain: bool,
    allowed: Collection[str] | None,
) -> str | None:
    """Return why this caller is refused, or None.

    `origin` and `came_from` are the headers Origin and Sec-Fetch-Site; `allowed` are the origins
    that the site has named, which must be of its domain all the same. Where the cookie is not for
    the whole domain, its other hosts may be other people's, so they have to be named.
    """
    if came_from not in (None, "same-origin", "same-site"):
        return "cross_site"
    if origin is None:
        return None if came_from == "same-origin" else "no_origin"
    if origin == f"{scheme}://{host}":
        return None
    try:
        said = urlsplit(origin)
    except ValueError:
        return "bad_origin"
    if said.scheme not in ("http", "https") or origin != f"{said.scheme}://{said.netloc}":
        return "bad_origin"
    if scheme == "https" and said.scheme == "http":
        return "insecure"
    domain = registrable_domain(host)
    if domain is None or registrable_domain(said.netloc) != domain:
        return "cross_site"
    named = allowed is not None and origin in allowed
    ours = allowed is None and (whole_domain or without_www(said.netloc) == without_www(host))
    return None if named or ours else "not_allowed"
