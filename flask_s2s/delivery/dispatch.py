"""What becomes of claimed deliveries: each is sent, settled, told of, and its lane is watched.

`send` runs in many threads at once and touches no database; `parents`, `settle` and what is told of
them run in the worker's own.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.exc import DataError, SQLAlchemyError

from ..clock import Clock
from ..networks.exchange import Exchange, Exchanged
from ..networks.network import Accepted, Duplicate, Refused, RetryLater, Unauthorised
from ..networks.reading import GRACE, Reader
from .gate import PAUSED, Gates
from .ordering import Stop
from .outbox import Outbox
from .retry import RetryPolicy
from .rows import Settled
from .sending import Flown, Later, Sender
from .settlement import Delivery, Settlement, Status, expire, settle

log = logging.getLogger("flask_s2s.worker")

#: After this many failures of a lane in a row it is paused, and probed.
_TOO_MANY = 20
#: Statuses below 500 that say so too: none at all, and that it is asked too much.
_FAILING = (None, 429)
#: Outcomes that prove the credential to work.
_ANSWERED = (Accepted, Duplicate, Refused)

#: What a driver raises for a row that it cannot write, or now: it may not even encode a character.
_NOT_TAKEN = (SQLAlchemyError, ValueError)

OnSettled = Callable[[Delivery, Status], None]


def _without_words(settled: Settled) -> Settled:
    """Leave out what the network said: a host's column may not hold its characters."""
    delivery, settlement, exchanged = settled
    plain = settlement.detail.encode("ascii", "replace").decode()
    return delivery, replace(settlement, detail=plain), replace(exchanged, answer=None)


def _hides_a_success(exchanged: Exchanged) -> bool:
    """Whether this is a 2xx that cannot be read, which may stand for a write all the same."""
    later = isinstance(exchanged.outcome, RetryLater)
    return later and 200 <= (exchanged.http_status or 0) < 300


class Dispatch:
    """Sends and settles one app's deliveries."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        gates: Gates,
        exchanges: Mapping[str, Exchange],
        readers: Mapping[str, Reader],
        clock: Clock,
        policy: RetryPolicy,
        jitter: Callable[[], float],
        on_settled: OnSettled,
        on_test: Callable[[datetime], None],
        production: bool,
        attempt: timedelta = timedelta(0),
    ) -> None:
        """`attempt` is how long one may take: none begins with less than that left of its lease.

        `on_test` is called when something is on record as a test, in `production`.
        """
        self._outbox = outbox
        self._gates = gates
        self._exchanges = exchanges
        self._readers = readers
        self._clock = clock
        self._policy = policy
        self._jitter = jitter
        self._on_settled = on_settled
        self._on_test = on_test
        self._sender = Sender(
            exchanges=exchanges,
            readers=readers,
            clock=clock,
            attempt=attempt,
            production=production,
        )
        self._failures: Counter[str] = Counter()

    def parents(self, batch: Sequence[Delivery]) -> dict[str, Delivery]:
        """Return the deliveries that these wait for, as far as they are here."""
        return self._outbox.parents(batch)

    def send(self, delivery: Delivery, parents: Mapping[str, Delivery]) -> Flown:
        """Send one delivery, or say why not. Never raises."""
        return self._sender.send(delivery, parents)

    def settle(self, landed: Sequence[tuple[Delivery, Flown]]) -> None:
        """Write what became of each, those that were sent in one transaction."""
        now = self._clock.now()
        sent: list[tuple[Delivery, Exchanged]] = []
        for delivery, flown in landed:
            match flown:
                case Exchanged():
                    sent.append((delivery, flown))
                case Later(due_at, detail, parent, read_to):
                    later = Settlement(
                        status=Status.WAITING,
                        detail=detail,
                        due_at=min(due_at, delivery.deadline_at),
                        read_to=read_to or delivery.read_to,
                    )
                    self._outbox.put_back(delivery, later, now, parent)
                    self._probe_again(delivery.lane, now)
                case Stop(status, detail, parent, alarm):
                    end = Settlement(status=status, detail=detail, alarm=alarm)
                    if self._outbox.put_back(delivery, end, now, parent):
                        self._tell(delivery, end, None)
                    self._probe_again(delivery.lane, now)
        if sent:
            self._settle_sent(sent, now)

    def _settle_sent(self, sent: Sequence[tuple[Delivery, Exchanged]], now: datetime) -> None:
        settled = [(d, self._next(d, e, now), e) for d, e in sent]
        for delivery, settlement, exchanged in settled:
            if isinstance(exchanged.outcome, Unauthorised):
                self._hold(delivery.lane, settlement.detail, now)
        try:
            self._settle_all(settled, now)
        except _NOT_TAKEN:
            self._settle_each(settled, now)

    def _settle_all(self, settled: Sequence[Settled], now: datetime) -> None:
        ours = self._outbox.settle(settled, now)
        for (delivery, settlement, exchanged), mine in zip(settled, ours, strict=True):
            if mine:
                self._after(delivery, settlement, exchanged, now)
        if any(exchanged.test for _, _, exchanged in settled):
            self._on_test(now)

    def _settle_each(self, settled: Sequence[Settled], now: datetime) -> None:
        """One row that the database does not take must undo no other, nor be sent for ever."""
        failure: Exception | None = None
        for one in settled:
            try:
                self._settle_all([one], now)
            except (DataError, ValueError):
                self._settle_all([_without_words(one)], now)
            except SQLAlchemyError as error:
                failure = error
        if failure is not None:
            raise failure

    def _next(self, delivery: Delivery, exchanged: Exchanged, now: datetime) -> Settlement:
        final = isinstance(exchanged.outcome, Accepted | Duplicate)
        if delivery.deadline_at <= now and not final:
            return expire(delivery)
        reader = self._readers.get(delivery.network)
        verifying = delivery.kind == "signup" and reader is not None and reader.able
        verify_at = now + GRACE if verifying else None
        next_ = settle(delivery, exchanged.outcome, now, self._policy, self._jitter(), verify_at)
        if _hides_a_success(exchanged):
            next_ = replace(next_, ambiguous_at=now, read_to=None)
        if delivery.resent and next_.settled:
            return replace(next_, detail=f"{next_.detail}; sent again {delivery.resent} times")
        return next_

    def _after(
        self, delivery: Delivery, settlement: Settlement, exchanged: Exchanged, now: datetime
    ) -> None:
        self._watch_lane(delivery.lane, exchanged, now)
        self._tell(delivery, settlement, exchanged.http_status)
        if exchanged.test:
            log.error(
                "s2s.verification.test_record: delivery %d: %s",
                delivery.id,
                settlement.detail,
                extra={"action": "verification.test_record", "delivery_id": delivery.id},
            )

    def _tell(self, delivery: Delivery, settlement: Settlement, http_status: int | None) -> None:
        log.log(
            logging.ERROR if settlement.alarm else logging.INFO,
            "s2s.delivery.%s: id %d, attempt %d: %s",
            settlement.status,
            delivery.id,
            delivery.attempts,
            settlement.detail,
            extra={
                "action": f"delivery.{settlement.status}",
                "delivery_id": delivery.id,
                "http_status": http_status,
            },
        )
        self._on_settled(delivery, settlement.status)

    def _watch_lane(self, lane: str, exchanged: Exchanged, now: datetime) -> None:
        """Resume a lane that works again, and pause one whose network fails again and again."""
        if exchanged.request is None:
            return
        failed = exchanged.http_status in _FAILING or (exchanged.http_status or 0) >= 500
        self._failures[lane] = self._failures[lane] + 1 if failed else 0
        closed = self._gates.why_closed(lane)
        if closed is not None:
            paused = closed.startswith(PAUSED)
            works = isinstance(exchanged.outcome, _ANSWERED) or (paused and not failed)
            if works and self._gates.open(lane, now):
                log.warning("s2s.lane.resumed: %s", lane, extra={"action": "lane.resumed"})
        elif self._failures[lane] >= _TOO_MANY and not isinstance(exchanged.outcome, Unauthorised):
            reason = f"{PAUSED} {exchanged.outcome.detail}"
            if self._gates.close(lane, reason, now):
                log.error(
                    "s2s.lane.paused: %s: %s. It is tried again by itself",
                    lane,
                    reason,
                    extra={"action": "lane.paused", "lane": lane},
                )

    def _probe_again(self, lane: str, now: datetime) -> None:
        """What went through a closed lane without asking the network was no probe of it."""
        if self._gates.why_closed(lane) is not None:
            self._gates.probe_again(lane, now)

    def _hold(self, lane: str, detail: str, now: datetime) -> None:
        """Close the lane before its row can be claimed again."""
        if self._gates.close(lane, detail, now):
            log.error(
                "s2s.lane.held: %s: %s. Its deliveries are kept and go out by themselves "
                "once the credential works",
                lane,
                detail,
                extra={"action": "lane.held", "lane": lane},
            )
