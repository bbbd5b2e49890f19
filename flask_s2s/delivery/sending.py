"""Sending one claimed delivery, or knowing why it may not go now.

`send` runs in many threads at once and touches no database. A conversion whose repeat might count
twice is never sent again after an attempt that nobody can judge, until the network's own records
say that it is not there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..clock import Clock
from ..networks.exchange import Exchange, Exchanged
from ..networks.network import Accepted, Ambiguous, NotThere, Refused, RetryLater
from ..networks.reading import GRACE, Absent, Present, Reader
from ..tables import READ_TO
from .ordering import Ask, Go, Stop, Wait, decide, is_last_call, is_undone, never_came
from .settlement import Delivery, Status

log = logging.getLogger("flask_s2s.worker")

#: How often a delivery looks by itself whether its parent has moved (it is told, ordinarily).
_LOOK_AGAIN = timedelta(minutes=5)
#: The longest wait between two questions about one record that the network does not answer.
_ASK_AGAIN = timedelta(hours=6)
_FOUND = Accepted(detail="found in the network's records")
_FOUND_AS_TEST = Accepted(
    detail="on record as a TEST: nobody is paid for it. Are the API keys the production ones?"
)
#: What became of a reversal whose answer was lost, when the network does not find it any more.
_UNDONE = Accepted(detail="not there any more: an earlier attempt, without an answer, undid it")
_NEVER_CAME = Refused(detail="nothing to undo: its transaction expired, and never arrived")
#: The pause between two looks through a list that is too long for one.
_READ_ON = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Later:
    """Not sent now: wait until then, without having used an attempt."""

    due_at: datetime
    detail: str
    #: What that was decided on, as it was then.
    parent: Delivery | None = None
    #: How far the network's list has been read by now; None: no farther than before.
    read_to: str | None = None


Flown = Exchanged | Later | Stop


class Sender:
    """Sends one app's deliveries."""

    def __init__(
        self,
        *,
        exchanges: Mapping[str, Exchange],
        readers: Mapping[str, Reader],
        clock: Clock,
        attempt: timedelta,
        production: bool,
    ) -> None:
        """`attempt` is how long one may take: none begins with less than that left of its lease.

        In `production` nothing should be on record as a test.
        """
        self._exchanges = exchanges
        self._readers = readers
        self._clock = clock
        self._attempt = attempt
        self._production = production

    def send(self, delivery: Delivery, parents: Mapping[str, Delivery]) -> Flown:
        """Send one delivery, or say why not. Never raises."""
        try:
            return self._send(delivery, parents.get(delivery.parent or ""))
        except Exception as error:
            log.exception("s2s.delivery.broken", extra={"action": "delivery.broken"})
            detail = f"could not be sent: {type(error).__name__}"
            return Exchanged(outcome=RetryLater(detail=detail, alarm=True))

    def _send(self, delivery: Delivery, parent: Delivery | None) -> Flown:
        exchange = self._exchanges.get(delivery.network)
        if exchange is None or delivery.conversion is None:
            return Exchanged(outcome=RetryLater(detail="not sendable by this version", alarm=True))
        reader = self._readers[delivery.network]
        known = self._judged(delivery, exchange, reader)
        if isinstance(known, Exchanged):
            return known
        if delivery.deadline_at <= self._clock.now():
            return Exchanged(outcome=RetryLater(detail="not sent: the deadline has passed"))
        if known is None and delivery.parent is not None:
            known = self._stays_behind(delivery, parent, reader)
        if known is not None:
            return known
        now = self._clock.now()
        if delivery.due_at is not None and delivery.due_at < now + self._attempt:
            # Sent now, it might arrive when another worker has judged it lost.
            return Later(now, "its lease was nearly over")
        exchanged = _exchange(exchange, delivery)
        if isinstance(exchanged.outcome, NotThere):
            now = self._clock.now()
            if is_undone(delivery, parent, now):
                return replace(exchanged, outcome=_UNDONE)
            if never_came(parent, now):
                return replace(exchanged, outcome=_NEVER_CAME)
        return exchanged

    def _stays_behind(
        self, delivery: Delivery, parent: Delivery | None, reader: Reader
    ) -> Later | Stop | None:
        """Return None when the delivery may go before or after its parent."""
        now = self._clock.now()
        match decide(delivery, parent, now, verifying=reader.able):
            case Go():
                return None
            case Wait(detail, until):
                return Later(max(now + _LOOK_AGAIN, until or now), detail, parent)
            case Stop() as stop:
                return stop
            case Ask():
                return self._ask_for_customer(delivery, reader)

    def _ask_for_customer(self, delivery: Delivery, reader: Reader) -> Later | Stop | None:
        """Nobody here knows the customer: return None when the network does, or will never tell."""
        if not reader.able:
            # What it would be sent with is missing too: the lane is held, which is loud.
            return None
        settled_by = delivery.created_at + GRACE
        reading, now = reader.customer(delivery.customer_key or ""), self._clock.now()
        if isinstance(reading, Present):
            return None
        if isinstance(reading, Absent):
            if now >= settled_by:
                why = "neither this site nor the network knows this customer"
                return Stop(Status.UNATTRIBUTED, why)
            return Later(settled_by, "this customer is not at the network, or not yet")
        if is_last_call(delivery, now):
            return None
        detail = f"a customer that is not known here; {reading.detail}"
        return self._ask_again(delivery.created_at, detail)

    def _judged(self, delivery: Delivery, exchange: Exchange, reader: Reader) -> Flown | None:
        """After an attempt that nobody can judge: return None when a repeat does no harm."""
        written = delivery.ambiguous_at
        if written is None or exchange.network.repeat_is_harmless(delivery.kind):
            return None
        assert delivery.conversion is not None
        if self._clock.now() < written + GRACE:
            return Later(written + GRACE, "may have arrived: asking once it must be readable")
        reading = reader.find(delivery.conversion, delivery.created_at, written, delivery.read_to)
        if isinstance(reading, Present):
            test = bool(reading.test) and self._production
            return Exchanged(outcome=_FOUND_AS_TEST if test else _FOUND, test=test)
        if isinstance(reading, Absent):
            return None
        detail, place = f"may have arrived; {reading.detail}", reading.cursor
        if place in (None, delivery.read_to) or len(place) > READ_TO:
            return self._ask_again(written, detail)
        return Later(self._clock.now() + _READ_ON, detail, read_to=place)

    def _ask_again(self, since: datetime, detail: str) -> Later:
        """Wait as long again as it has been."""
        now = self._clock.now()
        return Later(now + min(max(now - since, GRACE), _ASK_AGAIN), detail)


def _exchange(exchange: Exchange, delivery: Delivery) -> Exchanged:
    assert delivery.conversion is not None
    try:
        return exchange.send(delivery.conversion, delivery.click)
    except Exception as error:
        log.exception("s2s.delivery.broken", extra={"action": "delivery.broken"})
        detail = f"taken or not: {type(error).__name__} while sending"
        return Exchanged(outcome=Ambiguous(detail=detail))
