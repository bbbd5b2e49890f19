"""The decision: the last word on a conversion's click, with what the database knows.

It is asked in the transaction that writes the conversion's row, so it holds if and only if that row
does. The order: the click that the caller names; what the browser presents itself (a carried click,
which is then spent on this one customer, or the cookie's); the click that the customer's e-mail
address or user ID was bound to; the network's own script's. Anybody can type a stranger's address
into a form, so a binding never outranks a browser. A block comes after all of them, and then the
site's own rule.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from traceback import extract_tb

from sqlalchemy import Connection

from ..click import Click
from ..config.settings import Settings
from ..conversion import Conversion, Signup
from ..rules.attribution import UNPROVED, Attribution, Facts, Reason
from ..rules.identity import identities
from ..store.clicks import spent_by
from ..store.stores import Stores

log = logging.getLogger("flask_s2s.capture")

#: Nothing is decided by these: others may know of a click.
_OPEN = frozenset(
    {
        Reason.NO_CLICK,
        Reason.EXPIRED,
        Reason.BAD_SIGNATURE,
        Reason.TOKEN_USED,
        Reason.OUTSIDE_REQUEST,
    }
)
#: They say less to whoever asks why than that a bound click was too old.
_LESS_THAN_EXPIRED = frozenset({Reason.NO_CLICK, Reason.OUTSIDE_REQUEST})
#: What `s2s_delivery.detail` holds.
_LONGEST = 255


class Decision:
    """Decides for one app."""

    def __init__(self, stores: Stores, settings: Settings) -> None:
        self._tokens = stores.storage.tables.click_token
        self._hashed = stores.outbox.hashed
        self._bindings, self._blocks = stores.bindings, stores.blocks
        #: Says by which moment the windows of clicks are judged.
        self._shut = stores.times.witness.shut
        self._rule = settings.rule
        self._reviews = settings.rule_error == "review"

    def __call__(
        self, connection: Connection, conversion: Conversion, found: Attribution, now: datetime
    ) -> Attribution:
        """Return the attribution that counts. Raises what the database raises."""
        if not isinstance(conversion, Signup):
            return found
        if found.token is not None and found.click is not None:
            if not self._spend(connection, found.token, conversion, now):
                found = Attribution(None, Reason.TOKEN_USED, fallback=found.fallback)
        if found.click is None and found.reason in _OPEN:
            found = self._without_click(connection, conversion, found, now)
        if found.click is None or found.reason is Reason.CREDITED:
            return found
        if self._blocked(connection, [found.click], now):
            return Attribution(None, Reason.BLOCKED)
        return self._allowed(conversion, found, found.click, now)

    def _without_click(
        self, connection: Connection, conversion: Signup, found: Attribution, now: datetime
    ) -> Attribution:
        """Decide where the browser presents no click of its own."""
        who = identities(conversion.email, conversion.customer_key)

        def barred(clicks: Sequence[Click]) -> list[Click]:
            return self._blocked(connection, clicks, now)

        bound = self._bindings.find(connection, who, self._shut(now), barred)
        if bound is not None and bound.click is not None:
            return bound
        if found.fallback is not None:
            return Attribution(found.fallback, Reason.SCRIPT_COOKIE)
        return bound if bound is not None and found.reason in _LESS_THAN_EXPIRED else found

    def _blocked(
        self, connection: Connection, clicks: Sequence[Click], now: datetime
    ) -> list[Click]:
        shut = self._blocks.known(connection, now)
        return [
            one
            for one in clicks
            if (one.network, "click", one.click_id) in shut
            or (one.network, "partner", one.partner_key) in shut
        ]

    def _allowed(
        self, conversion: Signup, found: Attribution, click: Click, now: datetime
    ) -> Attribution:
        """Ask the site's own rule, which nobody can make lose a conversion."""
        if self._rule is None:
            return found
        facts = Facts(
            reason=str(found.reason),
            unproved=found.detail == UNPROVED,
            touches=found.touches,
            seconds=(now - click.at).total_seconds(),
        )
        try:
            said: object = self._rule(conversion, click, facts)
        except Exception as error:  # noqa: BLE001 - logged, without its text: it may be personal
            line, file = _place(error)
            why = f"{type(error).__name__} in line {line}"
            return self._failed(why, f" of {file}", found, conversion.customer_key)
        if said is not None and not isinstance(said, str):
            why = f"it answered {type(said).__name__}, neither None nor text"
            return self._failed(why, "", found, conversion.customer_key)
        if said is None or not said.strip():
            return found
        return Attribution(None, Reason.RULE, detail=_storable(said))

    def _failed(self, why: str, where: str, found: Attribution, customer_key: str) -> Attribution:
        what = "waits for `flask s2s credit` or `discard`" if self._reviews else "is credited"
        log.error(
            "s2s.rule.failed: %s%s; the sign-up of customer %r %s",
            why,
            where,
            customer_key,
            what,
            extra={"action": "rule.failed", "customer_key": customer_key},
        )
        if not self._reviews:
            return found
        detail = _storable(f"{found.reason}; S2S_RULE failed: {why}")
        return replace(found, reason=Reason.REVIEW, detail=detail)

    def _spend(self, connection: Connection, token: str, conversion: Signup, now: datetime) -> bool:
        """Say whether the click token is this customer's: who comes first has it."""
        customer = self._hashed(connection, conversion.identity)
        return spent_by(connection, self._tokens, token, customer, now) == customer


def _place(error: Exception) -> tuple[int, str]:
    """Return the line, and the file, in which an error was raised."""
    frame = extract_tb(error.__traceback__)[-1]
    return frame.lineno or 0, frame.filename


def _storable(text: str) -> str:
    """Return a rule's reason as every database takes it."""
    kept = "".join(letter if letter.isprintable() else " " for letter in text)
    return kept.strip()[:_LONGEST]
