"""Consent: a visitor lets clicks be kept, or does not, by the site's word and the browser's. Pure.

Without `S2S_CONSENT` and `S2S_GPC` nobody is asked. Only a clear yes is one: a callable that fails, or
answers something else, leaves the visitor pending, which keeps nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum
from typing import Any

log = logging.getLogger("flask_s2s.capture")

#: What a callable's last answer to this request was.
_ANSWERED = "flask_s2s.consent"
#: The visitor withdrew in this very request, whatever the callable still says.
WITHDRAWN = "flask_s2s.withdrawn"


class Permission(str, Enum):
    """A visitor's answer."""

    GRANTED = "granted"
    #: No answer yet: a click is held in the request, and in what its page carries.
    PENDING = "pending"
    #: Never given, or withdrawn: what was kept before is erased.
    DENIED = "denied"


_MEANT = {True: Permission.GRANTED, False: Permission.DENIED, None: Permission.PENDING}


class Consent:
    """Asks one site's visitors."""

    def __init__(self, ask: Callable[[dict[str, Any]], Any] | None, *, gpc_denies: bool) -> None:
        """`gpc_denies`: Global Privacy Control (`Sec-GPC: 1`) means denied, and nobody is asked."""
        self._ask = ask
        self._gpc_denies = gpc_denies
        #: Whether an ordinary request may have to be answered differently.
        self.asks = ask is not None or gpc_denies

    def of(self, environ: dict[str, Any]) -> Permission:
        """Return what this request's visitor says now: a view may have changed it. Never raises."""
        if WITHDRAWN in environ:
            return Permission.DENIED
        if self._gpc_denies and environ.get("HTTP_SEC_GPC", "").strip() == "1":
            return Permission.DENIED
        if self._ask is None:
            return Permission.GRANTED
        try:
            said = read_answer(self._ask(environ))
        except Exception:
            # Out of the app's context, after the request: what it said within it holds.
            earlier: Permission | None = environ.get(_ANSWERED)
            if earlier is not None:
                return earlier
            log.exception("s2s.consent.failed", extra={"action": "consent.failed"})
            return Permission.PENDING
        environ[_ANSWERED] = said
        return said


def withdraw(environ: dict[str, Any]) -> None:
    """Let the rest of this request be one of a visitor who has said no."""
    environ[WITHDRAWN] = True


def read_answer(answer: object) -> Permission:
    """Return what `S2S_CONSENT` answered; also True, False and None are understood."""
    if answer is None or isinstance(answer, bool):
        return _MEANT[answer]
    if isinstance(answer, str):
        return Permission(answer)
    raise TypeError(f"S2S_CONSENT answered {type(answer).__name__}, not granted, pending or denied")
