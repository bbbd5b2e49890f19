"""The chain: without a cookie, a click goes from page to page by the address of the page before.

A browser tells a site, and nobody else, the whole address of the site's page that a link or a form
was on (Referer). The landing's has the click. A page that is opened from there without our cookie is
answered with one redirect to itself with a click token in its address, and so on. A form needs
nothing: the address of its page is enough.

Security: no byte of any page is read or written, so no markup, encoding, template or foreign text
matters. Nothing of a request reaches a header but its own query string, printable ASCII, behind a
"?": a redirect leads to the same page or nowhere. No other site can forge Referer or Sec-Fetch-Site,
and a visitor who does gains what typing the partner's link gains. A token counts only where the page
before had the same click in its address, so a copied or planted one moves nobody's credit; other
sites are told none. The app never sees it, so it can neither store, cache nor print it. Whoever
sends our cookie is redirected only where a copied token is to be cleaned away.

Filling links and forms was the alternative: it takes a browser's own parser to be right.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from ..click import MAX_QUERY
from ..click.formats import Clicks
from .landing import ignored_because
from .redirects import same_page
from .token import PARAMETER

#: The query string and the Referer as they came, before the token was hidden from the app.
_CAME = "flask_s2s.came"
#: A page, or a script of one. Never a frame, an image or a style: they are another site's to place.
_OF_A_PAGE = ("document", "empty")
#: What the last part of a path may end in and still be a page.
_PAGES = frozenset({"htm", "html", "xhtml", "php", "asp", "aspx", "jsp", "cgi"})
#: Browsers cut a Referer of more than 4,096 characters down to its origin.
_LONGEST = 4000
#: Within this, a page that was sent to itself and comes again without the token is left alone: a
#: layer in front takes parameters away that it does not know, and would make a loop of it.
_PATIENCE = timedelta(seconds=10)
#: How many redirects are remembered.
_REMEMBERED = 4096


def came(environ: dict[str, Any]) -> tuple[str, str]:
    """Return the request's query string and Referer as they came."""
    kept: tuple[str, str] | None = environ.get(_CAME)
    return kept or (environ.get("QUERY_STRING") or "", environ.get("HTTP_REFERER", ""))


def has_token(environ: dict[str, Any]) -> bool:
    """Say whether the page's address, or that of the page before, came with a token."""
    query, referer = came(environ)
    return PARAMETER in query or PARAMETER in referer


def hide(environ: dict[str, Any]) -> bool:
    """Take the token out of the request, before the app reads it; say whether one came."""
    if not has_token(environ):
        return False
    environ[_CAME] = came(environ)
    # Servers and proxies write the target down too, each under names of its own.
    for name, text in list(environ.items()):
        if isinstance(text, str) and PARAMETER in text and name != "HTTP_COOKIE":
            if name.endswith("QUERY_STRING"):
                environ[name] = without_token(text)
            else:
                front, _, rest = text.partition("?")
                kept = without_token(rest)
                environ[name] = f"{front}?{kept}" if kept else front
    return True


def is_of_a_page(environ: dict[str, Any]) -> bool:
    """Say whether a page asks, or a script of one: no frame and no picture."""
    return environ.get("HTTP_SEC_FETCH_DEST", "document") in _OF_A_PAGE


def query_before(environ: dict[str, Any], formats: Clicks) -> str:
    """Return the query string of the page that led here; nothing where it is none of this site's."""
    referer = came(environ)[1]
    if not referer or not formats.may_be_in(referer) or not is_of_a_page(environ):
        return ""
    try:
        page = urlsplit(referer)
    except ValueError:
        return ""
    site = environ.get("HTTP_SEC_FETCH_SITE")
    if site is None:
        # The scheme does not count: behind a proxy that ends TLS it is another one here.
        here = page.netloc.lower() == environ.get("HTTP_HOST", "").lower() != ""
        return page.query if here else ""
    return page.query if site == "same-origin" else ""


def may_be_redirected(environ: dict[str, Any], static: str | None) -> bool:
    """Say whether this is a person's own way to a page, which a redirect to itself cannot hurt."""
    if ignored_because(environ) is not None or not _is_page(environ.get("PATH_INFO", ""), static):
        return False
    if "HTTP_UPGRADE" in environ or "HTTP_SERVICE_WORKER" in environ:
        return False
    says = "HTTP_SEC_FETCH_DEST" in environ or "text/html" in environ.get("HTTP_ACCEPT", "")
    return says and "HTTP_ORIGIN" not in environ


def with_token(environ: dict[str, Any], token: str | None) -> str | None:
    """Return the address of the same page with the token, or without any; all else stays as it is.

    None: it cannot be written, or no browser would tell it to the next page.
    """
    query = came(environ)[0]
    if len(query) > MAX_QUERY or not (query.isascii() and query.isprintable()):
        return None
    kept = without_token(query)
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    if token is None:
        return same_page(path, kept)
    moved = f"?{kept}&{PARAMETER}={token}" if kept else f"?{PARAMETER}={token}"
    # A path may be percent-encoded, three characters for each byte.
    length = len(environ.get("HTTP_HOST", "")) + 3 * len(path) + len(moved)
    return moved if length <= _LONGEST else None


def token_in(query: str) -> str | None:
    """Return the token in a query string."""
    if PARAMETER not in query:
        return None
    found = (part for part in query[:MAX_QUERY].split("&") if part.startswith(f"{PARAMETER}="))
    return next((part.partition("=")[2] for part in found), None)


def without_token(query: str) -> str:
    """Return a query string without any token; all else stays byte for byte."""
    if PARAMETER not in query:
        return query
    return "&".join(part for part in query.split("&") if part.partition("=")[0] != PARAMETER)


def _is_page(path: str, static: str | None) -> bool:
    if static and path.startswith(static.rstrip("/") + "/"):
        return False
    _, dot, ending = path.rpartition("/")[2].rpartition(".")
    return not dot or ending.lower() in _PAGES


class LoopGuard:
    """Remembers which pages were sent to themselves, until they come through. Keeps no address."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sent: dict[int, datetime] = {}

    def lets(self, environ: dict[str, Any], now: datetime) -> bool:
        """Say whether this page may be sent to itself; what may is remembered."""
        key = _key(environ)
        with self._lock:
            before = self._sent.pop(key, None)
            if before is not None and now - before <= _PATIENCE:
                self._sent[key] = before
                return False
            while len(self._sent) >= _REMEMBERED:
                del self._sent[next(iter(self._sent))]
            self._sent[key] = now
            return True

    def came_through(self, environ: dict[str, Any]) -> None:
        """A page came with its token."""
        with self._lock:
            self._sent.pop(_key(environ), None)


def _key(environ: dict[str, Any]) -> int:
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    query, referer = came(environ)
    return hash((referer, environ.get("HTTP_HOST", ""), path, without_token(query)))
