"""One site's visitors: what a request brings, and what its response is to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from ..click import Click, read_click
from ..clock import Clock
from ..config import Settings
from .attribution import Attribution, Reason, earlier
from .consent import has_withdrawn
from .evidence import (
    ATTRIBUTION,
    CARRIED,
    COPIED,
    HANDED_OVER,
    NO_FORM,
    Environ,
    Evidence,
    page_of,
    path_of,
)
from .handle import NONCE, PARAMETER, HandleSealer
from .handover import host_of, with_handle
from .landing import ignored_because, winner
from .record import MAX_TOUCHES
from .redirecting import PARAMETER as HOPS
from .redirecting import cleaned
from .touches import Touches


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that brought a click in its URL, and what its response is to do."""

    #: To keep in the cookie; None: nothing is kept.
    click: Click | None
    #: Whether the network's link brought it now: then it gets a row.
    landed: bool
    #: What its page carries further, where no cookie has been seen to come back.
    #: It is made when a page has a place for it.
    handle: Callable[[], str] | None
    #: The visitor's earlier clicks, which the cookie keeps too.
    touches: tuple[Click, ...] = ()
    #: Whether the cookie that the browser has is to go.
    expires: bool = False
    #: Where the browser is sent instead: to the same page, by an address without the click.
    moved: str | None = None


class Visitors:
    """Reads requests (WSGI environs) and remembers the clicks that they bring."""

    #: Whether a request that brings nothing has to be looked at too.
    asks = False

    def __init__(
        self,
        *,
        settings: Settings,
        evidence: Evidence,
        sealer: HandleSealer,
        touches: Touches,
        clock: Clock,
        chance: Callable[[int], bytes],
        captured: Callable[[Click], None],
    ) -> None:
        self._settings = settings
        self.evidence = evidence
        self._sealer = sealer
        self._touches = touches
        self._clock = clock
        self._chance = chance
        self._captured = captured

    def arrive(self, environ: Environ) -> Visit | None:
        """Decide on a request with a click or a handle in its URL; None: it changes nothing."""
        visit = self._land(environ) or self._carried(environ) or self._copied(environ)
        # A script's request has an Origin, and does not follow a redirect to a page.
        if self._settings.strip_params and not self.asks and "HTTP_ORIGIN" not in environ:
            return self._stripped(environ, visit)
        return visit

    def _carried(self, environ: Environ) -> Visit | None:
        found = self.evidence.found(environ)
        if found.reason is not Reason.CARRIED or found.click is None:
            return None
        if environ.get(HANDED_OVER):
            self._brought(environ, found.click, self._clock.now())
            self._accepted(environ, found.click)
        return Visit(found.click, False, lambda: str(environ[CARRIED]), found.touches)

    def _copied(self, environ: Environ) -> Visit | None:
        """Send whoever opened a copied address to the same page without its handle.

        Left there it would count after all, once a form of that page is sent to its own address: it
        would be the site's own page that led there.
        """
        if not environ.get(COPIED) or environ.get("REQUEST_METHOD") != "GET":
            return None
        moved = cleaned(path_of(environ), environ["QUERY_STRING"], None)
        return Visit(None, False, None, moved=moved) if moved else None

    def _stripped(self, environ: Environ, visit: Visit | None) -> Visit | None:
        """Send the browser to the address without the click, once it is certain to keep it.

        A cookie that came back proves that. Until then the click goes along in a handle for this
        very page, because a browser that keeps no cookie would have lost it.
        """
        query, handle = environ.get("QUERY_STRING") or "", None
        if self.evidence.is_proven(environ):
            if visit is None:
                visit = self._at_a_spent_address(environ)
        elif visit is None or visit.click is None or visit.handle is None or PARAMETER in query:
            return visit
        else:
            now, nonce = self._clock.now(), self._chance(NONCE)
            handle = self._sealer.seal(visit.click, now, nonce, to=page_of(environ))
        moved = visit and cleaned(path_of(environ), query, handle)
        return replace(visit, handle=None, moved=moved) if visit and moved else visit

    def _at_a_spent_address(self, environ: Environ) -> Visit | None:
        """Return a visit with a handle in its URL that the cookie has made unnecessary."""
        found = self.evidence.found(environ)
        spent = PARAMETER in environ["QUERY_STRING"] and found.reason is Reason.COOKIE
        if not spent or ignored_because(environ) is not None:
            return None
        return Visit(found.click, False, None, found.touches)

    def answer(self, environ: Environ, visit: Visit) -> Visit:
        """Return what the response does after all, now that it starts."""
        if not self._denies(environ):
            return visit
        return Visit(None, visit.landed, None, expires=self.evidence.has_cookie(environ))

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
        return self.evidence.found(environ, form)

    def handle_of(self, environ: Environ, form: Callable[[], str | None] = NO_FORM) -> str | None:
        """Return the handle that brought the visitor's click to this request, to carry it on."""
        if self._denies(environ) or self.evidence.found(environ, form).reason is not Reason.CARRIED:
            return None
        handle: str = environ[CARRIED]
        return handle

    def hand_over(self, environ: Environ, url: str) -> str:
        """Return `url` with this visitor's click in it, where it leads to another site."""
        click, host = self.attribution_of(environ).click, host_of(url)
        if click is None or host is None or host == environ.get("HTTP_HOST", "").lower():
            return url
        now, nonce = self._clock.now(), self._chance(NONCE)
        return with_handle(url, self._sealer.seal(click, now, nonce, to=host))

    def fetch(self, environ: Environ) -> Visit | None:
        """Decide on a click that the script of a landing page tells of."""
        return self._land(environ, "empty")

    def _land(self, environ: Environ, destination: str = "document") -> Visit | None:
        if ignored_because(environ, destination) is not None:
            return None
        now = self._clock.now()
        new = read_click(environ.get("QUERY_STRING", ""), now)
        if new is None:
            return None
        kept = self.evidence.found(environ)
        self._brought(environ, new, now)
        if winner(kept.click, new, self._settings.attribution) is not new:
            if kept.click is None or kept.click.click_id != new.click_id:
                return self._passed_over(environ, kept, new)
            # A redirect of the site's own brought it: the next host may not have the cookie.
            passed_on = HOPS in environ["QUERY_STRING"] and kept.reason is Reason.COOKIE
            return Visit(kept.click, True, None, kept.touches) if passed_on else None
        touches = earlier(new, kept)
        environ[ATTRIBUTION] = Attribution(new, Reason.LANDING, touches=touches)
        self._accepted(environ, new)
        handle = None
        if self._settings.carry != "off" and self._is_carried(kept):
            handle = partial(self._seal, new, now)
        return Visit(new, True, handle, touches)

    def _seal(self, click: Click, now: datetime) -> str:
        return self._sealer.seal(click, now, self._chance(NONCE))

    def _passed_over(self, environ: Environ, kept: Attribution, new: Click) -> Visit | None:
        """The first click counts, and the cookie keeps this one for the history."""
        known = {(touch.network, touch.click_id) for touch in kept.touches}
        if kept.click is None or kept.reason is not Reason.COOKIE:
            return None
        if (new.network, new.click_id) in known:
            return None
        touches = (new, *kept.touches)[:MAX_TOUCHES]
        environ[ATTRIBUTION] = replace(kept, touches=touches)
        return Visit(kept.click, True, None, touches)

    def _denies(self, environ: Environ) -> bool:
        return has_withdrawn(environ)

    def _brought(self, environ: Environ, click: Click, now: datetime) -> None:
        """A landing brought a click."""
        self._touches.remember(click, now)

    def _accepted(self, environ: Environ, click: Click) -> None:
        """It is the visitor's from now on."""
        self._captured(click)

    def _is_carried(self, kept: Attribution) -> bool:
        """Say whether a new click travels without the cookie: none has been seen to come back."""
        return kept.reason is not Reason.COOKIE
