"""Visitors of a site that asks for consent: nothing is kept of them before they have said yes.

So what a landing brings is only looked at when it comes, and kept when the response starts: by then
the view has run, and a Flask app's own context is there for `S2S_CONSENT` to look into. Pending, it
travels in the page's handle. Denied, what was kept before is erased: the cookie goes once that is
done, because without it nobody could find the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ..click import Click, may_carry_click
from .attribution import Attribution, Reason
from .consent import Consent, Permission, has_withdrawn
from .evidence import ATTRIBUTION, CARRIED, NO_FORM, Environ
from .visitors import Visit, Visitors

#: A landing's click that has no row yet.
_HELD = "flask_s2s.held"
#: A click that is the visitor's, once it may be kept.
_ACCEPTED = "flask_s2s.accepted"
#: A handle in a form's field is known only once the app has read the form.
_WITH_FORMS = ("POST", "PUT", "PATCH")


class AskingVisitors(Visitors):
    """Reads requests, and remembers what it may."""

    asks = True

    def __init__(
        self, *, consent: Consent, erase: Callable[[Sequence[Click]], bool], **rest: Any
    ) -> None:
        """`erase` forgets what was stored of these clicks' visits; False: not yet. Never raises."""
        super().__init__(**rest)
        self._consent = consent
        self._erase = erase

    def arrive(self, environ: Environ) -> Visit | None:
        """Decide on any request; None: its response is the site's own whatever the visitor says."""
        visit = None
        if may_carry_click(environ.get("QUERY_STRING") or ""):
            visit = super().arrive(environ)
        if visit is not None:
            return visit
        concerned = _HELD in environ or environ.get("REQUEST_METHOD") in _WITH_FORMS
        return Visit(None, False, None) if concerned or self.evidence.has_cookie(environ) else None

    def answer(self, environ: Environ, visit: Visit) -> Visit:
        """Ask, now that the response starts, and return what it does."""
        match self._consent.of(environ):
            case Permission.GRANTED:
                return self._kept(environ, visit)
            case Permission.PENDING:
                return replace(visit, click=None)
            case Permission.DENIED:
                return Visit(None, visit.landed, None, expires=self._erased(environ))

    def attribution_of(
        self, environ: Environ | None, form: Callable[[], str | None] = NO_FORM
    ) -> Attribution:
        """Ask, and return the click that may be known, or why it may not."""
        if environ is None:
            return Attribution(None, Reason.OUTSIDE_REQUEST)
        said = self._consent.of(environ)
        if said is Permission.DENIED:
            return Attribution(None, Reason.CONSENT_DENIED)
        found = self.evidence.found(environ, form)
        return found if said is Permission.GRANTED else Attribution(None, Reason.CONSENT_PENDING)

    def _denies(self, environ: Environ) -> bool:
        return self._consent.of(environ) is Permission.DENIED

    def _brought(self, environ: Environ, click: Click, now: datetime) -> None:
        environ[_HELD] = click

    def _accepted(self, environ: Environ, click: Click) -> None:
        environ[_ACCEPTED] = click

    def _is_carried(self, kept: Attribution) -> bool:
        """It may be the only way, until the response starts."""
        return True

    def _kept(self, environ: Environ, visit: Visit) -> Visit:
        found: Attribution | None = environ.get(ATTRIBUTION)
        if visit.click is None and found is not None and found.reason is Reason.CARRIED:
            visit = replace(visit, click=found.click, touches=found.touches)
        row = environ.get(_HELD) or visit.click
        if row is not None:
            self._touches.remember(row, self._clock.now())
        # Carried here it may be new: nobody was told when it came.
        new = environ.get(_ACCEPTED) or (None if visit.landed else visit.click)
        if new is not None:
            self._captured(new)
        return replace(visit, handle=None) if self.evidence.is_proven(environ) else visit

    def _erased(self, environ: Environ) -> bool:
        """Erase what the visitor presents; say whether its cookie may go now."""
        has_cookie = self.evidence.has_cookie(environ)
        if has_withdrawn(environ) or not (has_cookie or CARRIED in environ):
            return has_cookie
        clicks = self.evidence.clicks(environ)
        return (not clicks or self._erase(clicks)) and has_cookie
