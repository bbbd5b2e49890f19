"""Capture for any WSGI app: one door for every site.

An ordinary request pays for a search of three letters in its query string. A landing is decided
before the app runs; the cookie goes out with the response's headers, when scheme and host are read
(so `ProxyFix` works inside or outside of this). Nothing here can fail a page: whatever goes wrong
is logged, and the app's response passes unchanged.

Security: a response that sets the cookie belongs to one visitor, so it is `private, no-store`
whatever the view decided. The cookie's value is a signed URL-safe string, its name was checked at
start and its domain comes from the public-suffix list or the settings: nothing of the request
reaches the header as it came.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from os import getpid
from typing import TYPE_CHECKING, Any

from .capture.cookie import Headers, for_one_visitor, set_cookie
from .capture.domain import read_suffixes, registrable_domain
from .click import Click, may_carry_click
from .services import Services

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("flask_s2s.capture")


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
        if services.settings.cookie_domain == "auto":
            read_suffixes()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if self._services.serving_pid != getpid():
            self._services.start_serving()
        if may_carry_click(environ.get("QUERY_STRING") or ""):
            start_response = self._landing(environ, start_response)
        if self._expose:
            environ[CLICK] = self._click_of(environ)
        return self.app(environ, start_response)

    def _click_of(self, environ: WSGIEnvironment) -> Click | None:
        try:
            return self._services.attribution_of(environ).click
        except Exception:
            log.exception("s2s.click.unreadable", extra={"action": "click.unreadable"})
            return None

    def _landing(self, environ: WSGIEnvironment, start_response: StartResponse) -> StartResponse:
        try:
            click = self._services.land(environ)
        except Exception:
            log.exception("s2s.click.failed", extra={"action": "click.failed"})
            return start_response
        if click is None:
            return start_response

        def capturing(status: str, headers: Headers, *exc_info: Any) -> Any:
            return start_response(status, self._with_cookie(environ, headers, click), *exc_info)

        return capturing

    def _with_cookie(self, environ: WSGIEnvironment, headers: Headers, click: Click) -> Headers:
        try:
            settings = self._services.settings
            domain = settings.cookie_domain
            if domain == "auto":
                domain = registrable_domain(environ.get("HTTP_HOST", ""))
            window = settings.window
            cookie = set_cookie(
                settings.cookie_name,
                self._services.signer.dumps(click),
                domain=domain,
                secure=environ.get("wsgi.url_scheme") == "https",
                expires=click.at + window,
                seconds=int(window.total_seconds()),
            )
            return [*for_one_visitor(headers), cookie]
        except Exception:
            log.exception("s2s.cookie.failed", extra={"action": "cookie.failed"})
            return headers
