"""Capture for any WSGI app: one door for every site.

An ordinary request pays for a search of three letters in its query string and its Referer, and where
consent is asked for, for a look at its cookies. A request with a click in one of the two is decided
before the app runs; the cookie and the headers of its response (`Reply`) go out when that starts, when
scheme and host are read (so `ProxyFix` works inside or outside of this). The body is the app's own.

Security: a response that sets the cookie, or whose address has a click token, belongs to one visitor,
so it is `private, no-store` whatever the view decided. The cookie's value is a signed URL-safe string,
its name was checked at start and its domain comes from the public-suffix list or the settings: nothing
of the request reaches the header as it came. Nothing here can fail a page: every error is logged, and
the app's response passes unchanged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from os import getpid
from typing import TYPE_CHECKING, Any

from .capture.chain import came, hide
from .capture.cookie import (
    expire_cookie,
    read_suffixes,
    registrable_domain,
    set_cookie,
)
from .capture.headers import (
    Headers,
    for_one_visitor,
    reported_to_nobody,
    told_to_nobody,
    told_to_the_site,
)
from .capture.redirects import Asked, lands_secure, redirected
from .capture.visitors import CREDITED, Visit
from .click import Click
from .services import Services

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("flask_s2s.capture")


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
        *,
        has_token: bool,
    ) -> None:
        """`has_token`: a token came in the request's address, or in that of the page before."""
        self._services = services
        self._environ = environ
        self._start = start_response
        self._visit = visit
        self._has_token = has_token

    def of(self, app: WSGIApplication) -> Iterable[bytes]:
        """Let the app answer, or send the browser elsewhere."""
        if self._visit.moved is not None:
            app = _moved(self._visit.moved)
        return app(self._environ, self._start_response)

    def _start_response(self, status: str, headers: Headers, *exc_info: Any) -> Any:
        try:
            headers = self._headers(status, headers)
        except Exception:
            log.exception("s2s.reply.failed", extra={"action": "reply.failed"})
        return self._start(status, headers, *exc_info)

    def _headers(self, status: str, headers: Headers) -> Headers:
        came_as, visit = self._visit, self._services.visitors.answer(self._environ, self._visit)
        if CREDITED in self._environ and status < "4":
            headers = told_to_nobody(headers)
        elif came_as.told:
            headers = told_to_the_site(headers, has_token=came_as.has_token)
        if self._has_token:
            headers = reported_to_nobody(headers)
        if not (
            visit.is_landing or visit.click or visit.expires or visit.uncached or visit.has_token
        ):
            return headers
        headers = for_one_visitor(headers)
        if visit.is_landing and status.startswith("3") and came_as.moved is None:
            asked = self._asked()
            whole_domain = self._services.settings.cookie_domain is not None
            headers = redirected(
                headers, asked, self._services.visitors.formats, whole_domain=whole_domain
            )
            if lands_secure(headers, asked, self._services.visitors.formats):
                return headers
        return [*headers, *self._cookies(visit)]

    def _asked(self) -> Asked:
        environ = self._environ
        return Asked(
            scheme=environ.get("wsgi.url_scheme", "http"),
            host=environ.get("HTTP_HOST", ""),
            path=environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""),
            query=came(environ)[0],
        )

    def _cookies(self, visit: Visit) -> Headers:
        settings, click = self._services.settings, visit.click
        if click is None:
            return expiring(self._services, self._environ) if visit.expires else []
        now = self._services.clock.now()
        # A cookie that outlived its click's window would only be carried about.
        expires = self._services.signer.expires(click)
        left = (expires - now).total_seconds()
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
        if domain and self._services.visitors.evidence.has_cookie(self._environ):
            # What came may be one without a domain, and it would go on coming beside the new one.
            return [expire_cookie(name, domain=None, secure=secure), kept]
        return [kept]


def _moved(location: str) -> WSGIApplication:
    headers = [
        ("Location", location),
        ("Content-Length", "0"),
        # A cache that kept it would send others away from an address that is theirs.
        ("Cache-Control", "private, no-store"),
        ("Referrer-Policy", "same-origin"),
    ]

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("302 Found", headers)
        return []

    return app


#: Where the wrapped app finds the visitor's click: a `Click`, or None.
CLICK = "flask_s2s.click"


class S2SMiddleware:
    """Wraps a WSGI app; `services` does the deciding.

    The app finds the visitor's click in `environ["flask_s2s.click"]`, on every request. `expose`
    switches that off where the app asks by itself: reading a cookie has its price.
    """

    def __init__(self, app: WSGIApplication, services: Services, *, expose: bool = True) -> None:
        self.app = app
        self._services = services
        self._expose = expose
        self._formats = services.visitors.formats
        #: What an address must have to be looked at. Empty, which is in every text, where each request
        #: is: its visitor may withdraw, or its app ask for the click.
        self._sign = "" if expose or services.visitors.asks else self._formats.sign
        if services.settings.cookie_domain == "auto":
            read_suffixes()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if self._services.serving_pid != getpid():
            self._services.start_serving()
        # Written out, because a call would cost an ordinary request as much as all the rest here.
        if self._sign in (environ.get("QUERY_STRING") or "").lower() or (
            "HTTP_REFERER" in environ and self._sign in environ["HTTP_REFERER"].lower()
        ):
            return self._look(environ, start_response)
        return self.app(environ, start_response)

    def _look(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        query, referer = environ.get("QUERY_STRING") or "", environ.get("HTTP_REFERER", "")
        brings = self._formats.may_be_in(query) or self._formats.may_be_in(referer)
        visit = None
        if brings or self._services.visitors.asks:
            try:
                visit = self._services.visitors.arrive(environ)
            except Exception:
                log.exception("s2s.click.failed", extra={"action": "click.failed"})
        if self._expose:
            environ[CLICK] = self._click_of(environ)
        # An app around this one may have hidden it already.
        has_token = (brings or visit is not None) and hide(environ)
        if visit is None:
            return self.app(environ, start_response)
        reply = Reply(self._services, environ, start_response, visit, has_token=has_token)
        return reply.of(self.app)

    def _click_of(self, environ: WSGIEnvironment) -> Click | None:
        try:
            return self._services.visitors.attribution_of(environ).best
        except Exception:
            log.exception("s2s.click.unreadable", extra={"action": "click.unreadable"})
            return None
