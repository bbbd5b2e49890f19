"""One site's visitors: what a landing changes, and which click a request's visitor has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..click import Click, read_click
from ..clock import Clock
from ..config import Settings
from .attribution import Attribution, Reason, newest_click
from .cookie import read_cookies
from .landing import ignored_because, winner
from .record import RecordSigner
from .touches import Touches

_ATTRIBUTION = "flask_s2s.attribution"
Environ = dict[str, Any]


class Visitors:
    """Reads requests (WSGI environs) and remembers the clicks that they bring."""

    def __init__(
        self,
        *,
        settings: Settings,
        signer: RecordSigner,
        touches: Touches,
        clock: Clock,
        captured: Callable[[Click], None],
    ) -> None:
        self._settings = settings
        self._signer = signer
        self._touches = touches
        self._clock = clock
        self._captured = captured

    def land(self, environ: Environ) -> Click | None:
        """Decide on a landing: return the click to keep in the cookie, or None to change nothing."""
        if ignored_because(environ) is not None:
            return None
        now = self._clock.now()
        new = read_click(environ.get("QUERY_STRING", ""), now)
        if new is None:
            return None
        kept = self.attribution_of(environ).click
        self._touches.remember(new, now)
        if winner(kept, new, self._settings.attribution) is not new:
            return None
        environ[_ATTRIBUTION] = Attribution(new, Reason.LANDING)
        self._captured(new)
        return new

    def attribution_of(self, environ: Environ | None) -> Attribution:
        """Return which click this request's visitor has, and why, or why none. Read once."""
        if environ is None:
            return Attribution(None, Reason.OUTSIDE_REQUEST)
        found: Attribution | None = environ.get(_ATTRIBUTION)
        if found is None:
            cookies = read_cookies(environ.get("HTTP_COOKIE", ""), self._settings.cookie_name)
            now = self._clock.now()
            found = newest_click([self._signer.loads(cookie, now) for cookie in cookies])
            environ[_ATTRIBUTION] = found
        return found
