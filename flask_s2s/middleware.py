"""Capture for any WSGI app: one door for every site.

An ordinary request pays for a search of three letters in its query string, and where consent is
asked for, for a look at its cookies. A request with a click or a handle in its URL is decided before
the app runs; what its response needs goes out when that starts, when scheme and host are read (so
`ProxyFix` works inside or outside of this). Nothing here can fail a page: whatever goes wrong is
logged, and the app's response passes unchanged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from os import getpid
from typing import TYPE_CHECKING

from .capture.domain import read_suffixes
from .capture.visitors import Visit
from .click import SIGN, Click
from .reply import Reply
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
        #: Whether every request is looked at: its visitor may withdraw, or its app ask for the click.
        self._looks = expose or services.visitors.asks
        if services.settings.cookie_domain == "auto":
            read_suffixes()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if self._services.serving_pid != getpid():
            self._services.start_serving()
        # Written out, because a call would cost an ordinary request as much as all the rest here.
        if self._looks or SIGN in (environ.get("QUERY_STRING") or ""):
            return self._look(environ, start_response)
        return self.app(environ, start_response)

    def _look(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        visit = None
        if self._services.visitors.asks or SIGN in (environ.get("QUERY_STRING") or ""):
            visit = self._arrive(environ)
        if self._expose:
            environ[CLICK] = self._click_of(environ)
        if visit is None:
            return self.app(environ, start_response)
        return Reply(self._services, environ, start_response, visit).of(self.app)

    def _arrive(self, environ: WSGIEnvironment) -> Visit | None:
        try:
            return self._services.visitors.arrive(environ)
        except Exception:
            log.exception("s2s.click.failed", extra={"action": "click.failed"})
            return None

    def _click_of(self, environ: WSGIEnvironment) -> Click | None:
        try:
            return self._services.attribution_of(environ).best
        except Exception:
            log.exception("s2s.click.unreadable", extra={"action": "click.unreadable"})
            return None
