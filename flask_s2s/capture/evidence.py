"""What a browser presents of its visitor's click: its cookies, and the handle that came along.

Read once for a request, where somebody asks. A handle counts where one of the site's own pages led
here, or in the one host or page that it was made for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..click import Click
from ..clock import Clock
from ..config import Settings
from .attribution import Attribution, Reason, earlier, newest_click
from .cookie import read_cookies
from .handle import PARAMETER, Carried, HandleSealer
from .landing import winner
from .record import Kept, RecordSigner
from .scripted import read_script_cookies

#: What a request is found to have, and the handle that brought it.
ATTRIBUTION = "flask_s2s.attribution"
CARRIED = "flask_s2s.carried"
#: Whether the click came from another site.
HANDED_OVER = "flask_s2s.handed_over"
#: Whether it has a good handle that no page of this site led here with.
COPIED = "flask_s2s.copied"
_SAME_SITE = ("same-origin", "same-site")
Environ = dict[str, Any]
NO_FORM: Callable[[], str | None] = lambda: None  # noqa: E731


class Evidence:
    """Reads what the browsers of one site's visitors present."""

    def __init__(
        self, *, settings: Settings, signer: RecordSigner, sealer: HandleSealer, clock: Clock
    ) -> None:
        self._settings = settings
        self._signer = signer
        self._sealer = sealer
        self._clock = clock

    def found(self, environ: Environ, form: Callable[[], str | None] = NO_FORM) -> Attribution:
        """Return which click the browser presents, or why none.

        `form` gives the handle that a form's field brought; it is asked where there is no click yet.
        """
        found: Attribution | None = environ.get(ATTRIBUTION)
        if found is None:
            found = environ[ATTRIBUTION] = self._with_fallback(environ, self._presented(environ))
        if found.click is None and (handle := form()):
            carried = self._open(environ, handle)
            if carried is not None:
                found = environ[ATTRIBUTION] = replace(carried, fallback=found.fallback)
        return found

    def clicks(self, environ: Environ, form: Callable[[], str | None] = NO_FORM) -> list[Click]:
        """Return every click that the request has in its cookies, in its handle or in its URL."""
        found, now = self.found(environ, form), self._clock.now()
        records = [self._signer.read(cookie, now) for cookie in self._cookies(environ)]
        kept = [(one.click, *one.touches) for one in records if isinstance(one, Kept)]
        brought = () if found.click is None else (found.click, *found.touches)
        return list(dict.fromkeys(click for clicks in (*kept, brought) for click in clicks))

    def has_cookie(self, environ: Environ) -> bool:
        """Say whether the browser presents a cookie of ours, readable or not."""
        return bool(self._cookies(environ))

    def is_proven(self, environ: Environ) -> bool:
        """Say whether a good cookie came: it has been seen to come back."""
        now = self._clock.now()
        records = [self._signer.read(cookie, now) for cookie in self._cookies(environ)]
        return newest_click(records).reason is Reason.COOKIE

    def _with_fallback(self, environ: Environ, found: Attribution) -> Attribution:
        """Add what the network's own script has kept, where the cookie did not settle it."""
        if not self._settings.script_cookies or found.reason is Reason.COOKIE:
            return found
        cookies = environ.get("HTTP_COOKIE", "")
        return replace(found, fallback=read_script_cookies(cookies, self._clock.now()))

    def _cookies(self, environ: Environ) -> list[str]:
        return read_cookies(environ.get("HTTP_COOKIE", ""), self._settings.cookie_name)

    def _presented(self, environ: Environ) -> Attribution:
        """Decide among what the browser presents: its cookies and its URL's handle."""
        now = self._clock.now()
        kept = newest_click([self._signer.read(cookie, now) for cookie in self._cookies(environ)])
        query = environ.get("QUERY_STRING") or ""
        if PARAMETER not in query:
            return kept
        handles = parse_qs(query[:65536], max_num_fields=None).get(PARAMETER, ())
        carried = self._open(environ, handles[0]) if handles else None
        if carried is None or carried.click is None:
            return kept
        if kept.click is not None:
            if winner(kept.click, carried.click, self._settings.attribution) is kept.click:
                return kept
            if kept.click.at >= carried.click.at and self._settings.attribution == "last":
                return kept
        return replace(carried, touches=earlier(carried.click, kept))

    def _open(self, environ: Environ, handle: str) -> Attribution | None:
        carried = self._sealer.open(handle, self._clock.now())
        if carried is None:
            return None
        if not self._is_honoured(carried, environ):
            environ[COPIED] = carried.to in (None, environ.get("HTTP_HOST", "").lower())
            return None
        if carried.to is not None:
            # It was for the way here: what the pages carry from here on is a handle of this site,
            # and always the same one, so that all that comes of it serves one customer.
            environ[HANDED_OVER] = carried.to == environ.get("HTTP_HOST", "").lower()
            handle = self._sealer.settle(carried)
            carried = self._sealer.open(handle, self._clock.now()) or carried
        environ[CARRIED] = handle
        return Attribution(carried.click, Reason.CARRIED, handle=carried.token)

    def _is_honoured(self, carried: Carried, environ: Environ) -> bool:
        """A handle counts where one of the site's own pages led here, or in the one host it is for."""
        host: str = environ.get("HTTP_HOST", "").lower()
        if carried.to is not None:
            # A link that is opened by hand was copied: one that is followed says where from.
            followed = environ.get("HTTP_SEC_FETCH_SITE") != "none"
            return carried.to == page_of(environ) or (carried.to == host and followed)
        came_from: str | None = environ.get("HTTP_SEC_FETCH_SITE")
        if came_from is not None:
            own = _SAME_SITE if self._settings.cookie_domain is not None else _SAME_SITE[:1]
            return came_from in own
        try:
            return urlsplit(environ.get("HTTP_REFERER", "")).netloc.lower() == host != ""
        except ValueError:
            return False


def page_of(environ: Environ) -> str:
    """Return what a handle for one page alone is bound to."""
    return f"{environ.get('HTTP_HOST', '').lower()}{path_of(environ) or '/'}"


def path_of(environ: Environ) -> str:
    return f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
