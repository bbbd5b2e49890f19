"""Every signal, in one place. They name facts: each is sent after the fact it names.

The sender is the Flask app where there is one, else the `Services` object. A receiver that fails is
logged and never reaches the visitor or the worker.
"""

from __future__ import annotations

import logging
from typing import Any

from blinker import NamedSignal, Namespace

log = logging.getLogger("flask_s2s")

_signals = Namespace()

#: For code that must not import `S2S`: `signup_completed.send(app, customer_key=..., session=...)`.
#: kwargs: the fields of `Signup`, and `session` (optional).
signup_completed = _signals.signal("signup-completed")

#: A landing's click was accepted; where consent is asked for, once it is given (and again on each
#: page while no cookie comes back). kwargs: `click` (`Click`).
click_captured = _signals.signal("click-captured")

#: A conversion was stored (with `session=`: in a transaction that may still roll back).
#: kwargs: `delivery` (`Delivery`).
conversion_recorded = _signals.signal("conversion-recorded")

#: An attempt was settled. kwargs: `delivery` (`Delivery` before), `status` (`Status` after).
delivery_settled = _signals.signal("delivery-settled")


def tell(signal: NamedSignal, sender: Any, **facts: Any) -> None:
    """Send a signal; a receiver's failure is its own."""
    if not signal.receivers:
        return
    try:
        signal.send(sender, **facts)
    except Exception:
        log.exception("s2s.signal.failed: %s", signal.name, extra={"action": "signal.failed"})
