"""Every signal, in one place. They name facts: each is sent after the fact it names.

The sender is the Flask app where there is one, else the `Services` object. A receiver that fails is
logged and never reaches the visitor or the worker.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from blinker import NamedSignal, Namespace

if TYPE_CHECKING:
    from uuid import UUID

log = logging.getLogger("flask_s2s")

_signals = Namespace()


class SignupCompleted(NamedSignal):
    """A signal that takes the fields of `Signup`, and `session` as `S2S.connect` takes it."""

    if TYPE_CHECKING:

        def send(  # type: ignore[override]
            self,
            sender: Any | None = None,
            /,
            *,
            customer_key: str | int | UUID,
            email: str | None = None,
            name: str | None = None,
            provider_key: str | None = None,
            origin: str | None = None,
            ip_address: str | None = None,
            user_agent: str | None = None,
            external_type: str | None = None,
            meta: Mapping[str, Any] | None = None,
            session: Any = ...,
        ) -> list[tuple[Any, Any]]: ...


#: For code that must not import `S2S`: `signup_completed.send(app, customer_key=..., session=...)`.
signup_completed = SignupCompleted("signup-completed")

#: A landing's click was accepted; where consent is asked for, once it is given (and again on each
#: page while no cookie comes back). kwargs: `click` (`Click`).
click_captured = _signals.signal("click-captured")

#: A conversion was stored (with `session=`: in a transaction that may still roll back).
#: kwargs: `delivery` (`Delivery`).
conversion_recorded = _signals.signal("conversion-recorded")

#: A landing made no click. kwargs: `reason` (prefetch, robot, not_navigation; placeholder and
#: unreadable where the link named no click ID).
click_ignored = _signals.signal("click-ignored")

#: A click got no row, and is in its visitor's cookie alone. kwargs: `reason` (paused, rate, busy, day
#: or failed).
click_not_stored = _signals.signal("click-not-stored")

#: A conversion was lost, unless it is recorded again. kwargs: `kind`, `customer_key`, `reason` (away: no
#: database took it until too many waited or the process ended; refused: none ever would).
conversion_lost = _signals.signal("conversion-lost")

#: An attempt was settled. kwargs: `delivery` (`Delivery` before), `status` (`Status` after).
delivery_settled = _signals.signal("delivery-settled")

#: The same, with what came of it at the network. kwargs: `delivery` (before), `status` (after),
#: `outcome` (accepted, duplicate, retry_later, not_there, unauthorised, refused or ambiguous),
#: `http_status` (None without an answer), `duration` (seconds), `age` (`timedelta` since the
#: conversion was recorded).
attempt_finished = _signals.signal("attempt-finished")

#: A lane was closed, by this process. kwargs: `lane`, `reason`.
lane_closed = _signals.signal("lane-closed")

#: A lane was opened again, by this process. kwargs: `lane`.
lane_opened = _signals.signal("lane-opened")

#: The network was asked for a record, and what it said was written. kwargs: `delivery` (before),
#: `result` (confirmed, test_record, look_again, send_again, missing, unproven or undone), `detail`.
verification_done = _signals.signal("verification-done")


def tell(sender: Any, signal: NamedSignal, **facts: Any) -> None:
    """Send a signal; a receiver's failure is its own."""
    if not signal.receivers:
        return
    try:
        signal.send(sender, **facts)
    except Exception:
        log.exception("s2s.signal.failed: %s", signal.name, extra={"action": "signal.failed"})
