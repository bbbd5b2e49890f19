"""One response to a visit that brought a click: its cookie, its headers, and its page filled.

Security: a response that sets the cookie or carries a handle belongs to one visitor, so it is
`private, no-store` whatever the view decided. The cookie's value is a signed URL-safe string, its
name was checked at start and its domain comes from the public-suffix list or the settings: nothing
of the request reaches the header as it came.

A page that said how long it is is filled as a whole, and says so again; one that streams is filled
as it streams. Whatever goes wrong in here is logged, and the app's response passes unchanged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .capture.answering import (
    can_be_filled,
    declared_length,
    discreet,
    of_filled,
)
from .capture.cookie import (
    Headers,
    expire_cookie,
    for_one_visitor,
    read_cookies,
    set_cookie,
)
from .capture.domain import registrable_domain
from .capture.filling import Filler
from .capture.redirecting import Asked, lands_secure, redirected
from .capture.visitors import Visit
from .services import Services

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("flask_s2s.capture")

#: A page that says to be longer than this, in bytes, is not held back to be filled.
_LONGEST_PAGE = 8 * 1024 * 1024


def expiring(services: Services, environ: WSGIEnvironment) -> Headers:
    """Return the headers that end our cookie, for the host alone and for its domain."""
    domain = services.settings.cookie_domain
    if domain == "auto":
        domain = registrable_domain(environ.get("HTTP_HOST", ""))
    secure = environ.get("wsgi.url_scheme") == "https"
    return [
        expire_cookie(services.settings.cookie_name, domain=one, secure=secure)
        for one in dict.fromkeys((None, domain))
    ]


class Reply:
    """Stands between the app and the server for one request."""

    def __init__(
        self,
        services: Services,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        visit: Visit,
    ) -> None:
        self._services = services
        self._environ = environ
        self._start = start_response
        self._visit = visit
        self._filler: Filler | None = None
        if visit.handle is not None and environ.get("REQUEST_METHOD") != "HEAD":
            self._filler = Filler(
                visit.handle,
                host=environ.get("HTTP_HOST", ""),
                query=environ.get("QUERY_STRING") or "",
                everywhere=services.settings.carry == "auto",
                static=services.static_path,
            )
        #: Whether the app has said how it answers, and whether its body is filled.
        self._started = self._fills = False
        #: The status and the headers, while the whole page is waited for.
        self._held: tuple[str, Headers, tuple[Any, ...]] | None = None
        #: What there is of that page.
        self._written: list[bytes] = []

    def of(self, app: WSGIApplication) -> Iterable[bytes]:
        """Let the app answer."""
        if self._visit.moved is not None:
            app = _moved(self._visit.moved)
        if self._filler is not None:
            # A page that the app has compressed cannot be filled.
            self._environ.pop("HTTP_ACCEPT_ENCODING", None)
        body = app(self._environ, self._start_response)
        if self._filler is None or (self._started and not self._fills):
            return body
        return _Page(self._filled(body), body)

    def _start_response(self, status: str, headers: Headers, *exc_info: Any) -> Any:
        try:
            said = self._headers(status, headers)
        except Exception:
            log.exception("s2s.reply.failed", extra={"action": "reply.failed"})
            said, self._fills = headers, False
        self._started = True
        length = declared_length(said)
        if self._fills and length is not None and length <= _LONGEST_PAGE:
            self._held = (status, said, exc_info)
            return self._written.append
        self._held = None
        if not self._fills:
            return self._start(status, said, *exc_info)
        write: Callable[[bytes], object] = self._start(status, of_filled(said, None), *exc_info)
        return lambda piece: write(self._fed(piece))

    def _headers(self, status: str, headers: Headers) -> Headers:
        environ = self._environ
        visit = self._services.visitors.answer(environ, self._visit)
        if visit.handle is None:
            self._filler = None
        self._fills = False
        if not (visit.landed or visit.click or visit.expires or self._filler):
            return headers
        headers = for_one_visitor(headers)
        self._fills = self._filler is not None and can_be_filled(status, headers)
        if not visit.landed and self._visit.click is not None:
            headers = discreet(headers)
        if not status.startswith("3") or self._visit.moved is not None:
            return [*headers, *self._cookies(visit)]
        asked = Asked(
            scheme=environ.get("wsgi.url_scheme", "http"),
            host=environ.get("HTTP_HOST", ""),
            path=environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""),
            query=environ.get("QUERY_STRING") or "",
        )
        headers = redirected(
            headers,
            asked,
            landed=visit.landed,
            whole_domain=self._services.settings.cookie_domain is not None,
            filler=self._filler,
        )
        if visit.landed and lands_secure(headers, asked):
            return headers
        return [*headers, *self._cookies(visit)]

    def _cookies(self, visit: Visit) -> Headers:
        settings, click = self._services.settings, visit.click
        if click is None:
            return expiring(self._services, self._environ) if visit.expires else []
        # A cookie that outlived its click's window would only be carried about.
        expires = click.at + settings.window_of(click.network)
        left = (expires - self._services.clock.now()).total_seconds()
        domain = settings.cookie_domain
        if domain == "auto":
            domain = registrable_domain(self._environ.get("HTTP_HOST", ""))
        name, secure = settings.cookie_name, self._environ.get("wsgi.url_scheme") == "https"
        kept = set_cookie(
            name,
            self._services.signer.dumps(click, visit.touches),
            domain=domain,
            secure=secure,
            expires=expires,
            seconds=max(round(left), 0),
        )
        if domain and read_cookies(self._environ.get("HTTP_COOKIE", ""), name):
            # What came may be one without a domain, and it would go on coming beside the new one.
            return [expire_cookie(name, domain=None, secure=secure), kept]
        return [kept]

    def _filled(self, body: Iterable[bytes]) -> Iterator[bytes]:
        for piece in body:
            if self._held is not None:
                self._written.append(piece)
            elif self._fills:
                yield self._fed(piece)
            else:
                yield piece
        if self._held is not None:
            yield self._whole(*self._held)
        elif self._fills and self._filler is not None:
            yield self._filler.end()

    def _whole(self, status: str, headers: Headers, exc_info: tuple[Any, ...]) -> bytes:
        filled = page = b"".join(self._written)
        if self._filler is not None and self._filler.has_places(page):
            filled = self._filler.feed(page) + self._filler.end()
        if filled != page:
            headers = of_filled(headers, len(filled))
        self._start(status, headers, *exc_info)
        return filled

    def _fed(self, piece: bytes) -> bytes:
        return piece if self._filler is None else self._filler.feed(piece)


def _moved(location: str) -> WSGIApplication:
    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # A cache that kept it would send others away from an address that is theirs.
        headers = [("Location", location), ("Content-Length", "0"), ("Cache-Control", "no-store")]
        start_response("302 Found", headers)
        return []

    return app


class _Page:
    """The filled body; its end is the app's own body's, even if nobody has read it."""

    def __init__(self, pieces: Iterator[bytes], body: Iterable[bytes]) -> None:
        self._pieces = pieces
        self.close: Callable[[], object] = getattr(body, "close", lambda: None)

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces
