"""One site's visitors: what a request brings, and which click its visitor has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..click import Click, read_click
from ..clock import Clock
from ..config import Settings
from .attribution import Attribution, Reason, earlier, newest_click
from .consent import has_withdrawn
from .cookie import read_cookies
from .handle import NONCE, PARAMETER, Carried, HandleSealer
from .landing import ignored_because, winner
from .record import Kept, RecordSigner
from .scripted import read_script_cookies
from .touches import Touches

#: What a request is found to have, and the handle that brought it.
ATTRIBUTION = "flask_s2s.attribution"
CARRIED = "flask_s2s.carried"
_SAME_SITE = ("same-origin", "same-site")
Environ = dict[str, Any]
NO_FORM: Callable[[], str | None] = lambda: None  # noqa: E731


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that brought a click in its URL, and what its response is to do."""

    #: To keep in the cookie; None: nothing is kept.
    click: Click | None
    #: Whether the network's link brought it now: then it gets a row.
    landed: bool
    #: What its page carries further, where no cookie has been seen to come back.
    handle: str | None
    #: The visitor's earlier clicks, which the cookie keeps too.
    touches: tuple[Click, ...] = ()
    #: Whether the cookie that the browser has is to go.
    expires: bool = False


class Visitors:
    """Reads requests (WSGI environs) and remembers the clicks that they bring."""

    #: Whether a request that brings nothing has to be looked at too.
    asks = False

    def __init__(
        self,
        *,
        settings: Settings,
        signer: RecordSigner,
        sealer: HandleSealer,
        touches: Touches,
        clock: Clock,
        chance: Callable[[int], bytes],
        captured: Callable[[Click], None],
    ) -> None:
        self._settings = settings
        self._signer = signer
        self._sealer = sealer
        self._touches = touches
        self._clock = clock
        self._chance = chance
        self._captured = captured

    def arrive(self, environ: Environ) -> Visit | None:
        """Decide on a request with a click or a handle in its URL; None: it changes nothing."""
        landing = self._land(environ)
        if landing is not None:
            return landing
        found = self._found(environ, NO_FORM)
        if found.reason is not Reason.CARRIED or found.click is None:
            return None
        return Visit(found.click, False, environ[CARRIED], found.touches)

    def answer(self, environ: Environ, visit: Visit) -> Visit:
        """Return what the response does after all, now that it starts."""
        if not self._denies(environ):
            return visit
        return Visit(None, visit.landed, None, expires=self.has_cookie(environ))

    def presented(self, environ: Environ, form: Callable[[], str | None] = NO_FORM) -> list[Click]:
        """Return every click that the request has in its cookies, in its handle or in its URL."""
        found, now = self._found(environ, form), self._clock.now()
        records = [self._signer.read(cookie, now) for cookie in self._cookies(environ)]
        kept = [(one.click, *one.touches) for one in records if isinstance(one, Kept)]
        brought = () if found.click is None else (found.click, *found.touches)
        return list(dict.fromkeys(click for clicks in (*kept, brought) for click in clicks))

    def has_cookie(self, environ: Environ) -> bool:
        """Say whether the browser presents a cookie of ours, readable or not."""
        return bool(self._cookies(environ))

    def attribution_of(
        self, environ: Environ | None, form: Callable[[], str | None] = NO_FORM
    ) -> Attribution:
        """Return which click this request's visitor has, and why, or why none. Read once.

        `form` gives the handle that a form's field brought; it is asked where there is no click yet.
        """
        if environ is None:
            return Attribution(None, Reason.OUTSIDE_REQUEST)
        if self._denies(environ):
            return Attribution(None, Reason.CONSENT_DENIED)
        return self._found(environ, form)

    def handle_of(self, environ: Environ, form: Callable[[], str | None] = NO_FORM) -> str | None:
        """Return the handle that brought the visitor's click to this request, to carry it on."""
        if self._denies(environ) or self._found(environ, form).reason is not Reason.CARRIED:
            return None
        handle: str = environ[CARRIED]
        return handle

    def _found(self, environ: Environ, form: Callable[[], str | None]) -> Attribution:
        found: Attribution | None = environ.get(ATTRIBUTION)
        if found is None:
            found = environ[ATTRIBUTION] = self._with_fallback(environ, self._presented(environ))
        if found.click is None and (handle := form()):
            carried = self._open(environ, handle)
            if carried is not None:
                found = environ[ATTRIBUTION] = replace(carried, fallback=found.fallback)
        return found

    def _with_fallback(self, environ: Environ, found: Attribution) -> Attribution:
        """Add what the network's own script has kept, where the cookie did not settle it."""
        if not self._settings.script_cookies or found.reason is Reason.COOKIE:
            return found
        cookies = environ.get("HTTP_COOKIE", "")
        return replace(found, fallback=read_script_cookies(cookies, self._clock.now()))

    def _land(self, environ: Environ) -> Visit | None:
        if ignored_because(environ) is not None:
            return None
        now = self._clock.now()
        new = read_click(environ.get("QUERY_STRING", ""), now)
        if new is None:
            return None
        kept = self._found(environ, NO_FORM)
        self._brought(environ, new, now)
        if winner(kept.click, new, self._settings.attribution) is not new:
            return None
        touches = earlier(new, kept)
        environ[ATTRIBUTION] = Attribution(new, Reason.LANDING, touches=touches)
        self._accepted(new)
        handle = None
        if self._settings.carry != "off" and self._is_carried(kept):
            handle = self._sealer.seal(new, now, self._chance(NONCE))
        return Visit(new, True, handle, touches)

    def _denies(self, environ: Environ) -> bool:
        return has_withdrawn(environ)

    def _brought(self, environ: Environ, click: Click, now: datetime) -> None:
        """A landing brought a click."""
        self._touches.remember(click, now)

    def _accepted(self, click: Click) -> None:
        """It is the visitor's from now on."""
        self._captured(click)

    def _is_carried(self, kept: Attribution) -> bool:
        """Say whether a new click travels without the cookie: none has been seen to come back."""
        return kept.reason is not Reason.COOKIE

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
        if carried is None or not self._is_honoured(carried, environ):
            return None
        environ[CARRIED] = handle
        return Attribution(carried.click, Reason.CARRIED, handle=carried.token)

    def _is_honoured(self, carried: Carried, environ: Environ) -> bool:
        """A handle counts where one of the site's own pages led here, or in the one host it is for."""
        host: str = environ.get("HTTP_HOST", "").lower()
        if carried.to is not None:
            return carried.to == host
        came_from: str | None = environ.get("HTTP_SEC_FETCH_SITE")
        if came_from is not None:
            own = _SAME_SITE if self._settings.cookie_domain is not None else _SAME_SITE[:1]
            return came_from in own
        try:
            return urlsplit(environ.get("HTTP_REFERER", "")).netloc.lower() == host != ""
        except ValueError:
            return False
