"""The completer: it settles sent deliveries, tells of each, and opens or closes its lane."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy.exc import DataError, SQLAlchemyError

from ..networks.messages import Accepted, Duplicate, Exchanged, Refused, Unauthorised
from ..networks.network import Network
from ..networks.reading import Reader
from ..rules.delivery import Delivery, Settlement, expire, settle
from ..rules.dependencies import Later, Stop, Unsent
from ..rules.retry import FailureRule, RetryPolicy
from ..rules.states import Status
from ..signals import attempt_finished, delivery_settled
from ..store.database.clock import Times
from ..store.outbox.lanes import PAUSED, CircuitBreakers
from ..store.outbox.settling import Settled, Settling

log = logging.getLogger("flask_s2s.worker")

#: Statuses below 500 that say so too: none at all, and that it is asked too much.
_FAILING = (None, 429)
#: Outcomes that prove the credential to work.
_ANSWERED = (Accepted, Duplicate, Refused)

#: What a driver raises for a row that it cannot write, or now: it may not even encode a character.
_NOT_TAKEN = (SQLAlchemyError, ValueError)

#: What a sender says of a delivery that it has not sent.
Unsendable = Later | Stop | Unsent


def _without_words(settled: Settled) -> Settled:
    """Leave out what the network said: a host's column may not hold its characters."""
    delivery, settlement, exchanged = settled
    plain = settlement.detail.encode("ascii", "replace").decode()
    return delivery, replace(settlement, detail=plain), replace(exchanged, answer=None)


def _not_after(deadline: datetime, due: datetime, now: datetime) -> datetime:
    """Return when it is due: at the latest on its deadline, unless that has passed by one clock."""
    return min(due, deadline) if now < deadline else due


class Completer:
    """Settles one app's deliveries."""

    def __init__(
        self,
        *,
        settling: Settling,
        breakers: CircuitBreakers,
        networks: Mapping[str, Network],
        readers: Mapping[str, Reader],
        times: Times,
        policy: RetryPolicy,
        jitter: Callable[[], float],
        tell: Callable[..., None],
        on_test: Callable[[datetime], None],
    ) -> None:
        """`tell` sends a signal; `on_test` hears when something is on record as an unexpected test."""
        self._settling = settling
        self._breakers = breakers
        self._networks = networks
        self._readers = readers
        self._clock, self._witness = times.clock, times.witness
        self._policy = policy
        self._jitter = jitter
        self._signal = tell
        self._on_test = on_test
        self._failures = FailureRule()
        #: What could not be settled yet, because somebody else held its row.
        self._late: list[Settled] = []
        self._late_unsent: list[tuple[Delivery, Unsendable]] = []

    @property
    def behind(self) -> bool:
        """Whether something is still to be settled because somebody else held its row."""
        return bool(self._late or self._late_unsent)

    def settle(self, finished: Sequence[tuple[Delivery, Exchanged | Unsendable]]) -> None:
        """Write what became of each, those that were sent in one transaction.

        What somebody else holds is kept, and settled by one of the next calls.
        """
        now = self._clock.now()
        passed = self._witness.passed(now)
        sent: list[tuple[Delivery, Exchanged]] = []
        unsent = list(self._late_unsent)
        for delivery, result in finished:
            if isinstance(result, Exchanged):
                sent.append((delivery, result))
            else:
                unsent.append((delivery, result))
        self._late_unsent = [one for one in unsent if not self._put_back(*one, now)]
        if sent or self._late:
            self._settle_sent(sent, now, passed)

    def _put_back(self, delivery: Delivery, result: Unsendable, now: datetime) -> bool:
        """Let it wait, or end, unsent; return False where somebody else holds its row."""
        match result:
            case Later(due_at, detail, parent, read_to):
                next_ = Settlement(
                    status=Status.WAITING,
                    detail=detail,
                    due_at=_not_after(delivery.deadline_at, due_at, now),
                    read_to=read_to or delivery.read_to,
                )
            case Stop(status, detail, parent, alarm):
                next_ = Settlement(status=status, detail=detail, alarm=alarm)
            case Unsent():
                parent = None
                next_ = Settlement(
                    status=Status.PENDING,
                    detail=delivery.detail or "",
                    due_at=now,
                    read_to=delivery.read_to,
                )
        became = self._settling.put_back(delivery, next_, now, parent)
        if became is None:
            return False
        if became and isinstance(result, Stop):
            self._tell(delivery, next_, None)
        if not isinstance(result, Unsent):
            self._probe_again(delivery.lane, now)
        return True

    def _settle_sent(
        self, sent: Sequence[tuple[Delivery, Exchanged]], now: datetime, passed: datetime
    ) -> None:
        """`passed` is up to when the time has passed for sure."""
        able = {name for name, reader in self._readers.items() if reader.able}
        settled = [(d, self._next(d, e, now, passed, able), e) for d, e in sent]
        for delivery, settlement, exchanged in settled:
            if isinstance(exchanged.outcome, Unauthorised):
                self._hold(delivery.lane, settlement.detail, now)
        late, self._late = self._late, []
        try:
            try:
                self._settle_all([*late, *settled], now)
            except _NOT_TAKEN:
                self._late = []
                self._settle_each([*late, *settled], now)
        except Exception:
            # Whoever asked for this has the others, and asks again.
            self._late = late
            raise

    def _settle_all(self, settled: Sequence[Settled], now: datetime) -> None:
        ours = self._settling.settle(settled, now)
        for (delivery, settlement, exchanged), mine in zip(settled, ours, strict=True):
            if mine is None:
                self._late.append((delivery, settlement, exchanged))
            elif mine:
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

    def _next(
        self,
        delivery: Delivery,
        exchanged: Exchanged,
        now: datetime,
        passed: datetime,
        able: Container[str],
    ) -> Settlement:
        """Return its next state; what the networks in `able` accept is looked for later."""
        final = isinstance(exchanged.outcome, Accepted | Duplicate)
        if delivery.deadline_at <= passed and not final:
            return expire(delivery)
        network, verify_at = self._networks.get(delivery.network), None
        traits = None if network is None else network.traits.get(delivery.kind)
        if traits is not None and traits.verified_by and delivery.network in able:
            verify_at = now + traits.absent_after
        next_ = settle(delivery, exchanged.outcome, now, self._policy, self._jitter(), verify_at)
        if exchanged.found:
            next_ = replace(next_, status=Status.CONFIRMED, verify_at=None)
        if delivery.resent and next_.settled:
            often = "once" if delivery.resent == 1 else f"{delivery.resent} times"
            return replace(next_, detail=f"{next_.detail}; sent again {often}")
        return next_

    def _after(
        self, delivery: Delivery, settlement: Settlement, exchanged: Exchanged, now: datetime
    ) -> None:
        self._watch_lane(delivery, exchanged, now)
        self._tell(delivery, settlement, exchanged.http_status)
        self._signal(
            attempt_finished,
            delivery=delivery,
            status=settlement.status,
            outcome=exchanged.outcome.word,
            http_status=exchanged.http_status,
            duration=exchanged.duration_ms / 1000,
            age=now - delivery.created_at,
        )
        if exchanged.test:
            log.error(
                "s2s.verification.test_record: delivery %d: %s",
                delivery.id,
                settlement.detail,
                extra={"action": "verification.test_record", "delivery_id": delivery.id},
            )

    def _tell(self, delivery: Delivery, settlement: Settlement, http_status: int | None) -> None:
        status = settlement.status.value
        log.log(
            logging.ERROR if settlement.alarm else logging.INFO,
            "s2s.delivery.%s: id %d, attempt %d: %s",
            status,
            delivery.id,
            delivery.attempts,
            settlement.detail,
            extra={
                "action": f"delivery.{status}",
                "delivery_id": delivery.id,
                "http_status": http_status,
            },
        )
        self._signal(delivery_settled, delivery=delivery, status=settlement.status)

    def _watch_lane(self, delivery: Delivery, exchanged: Exchanged, now: datetime) -> None:
        """Resume a lane that works again, and pause one whose network fails again and again."""
        if exchanged.request is None:
            return
        lane, tries = delivery.lane, delivery.attempts
        failed = exchanged.http_status in _FAILING or (exchanged.http_status or 0) >= 500
        trips = self._failures.trips(lane, failed=failed, tries=tries, now=now)
        closed = self._breakers.why_closed(lane)
        if closed is not None:
            paused = closed.startswith(PAUSED)
            works = isinstance(exchanged.outcome, _ANSWERED) or (paused and not failed)
            if works and self._breakers.open(lane, now):
                extra = {"action": "lane.resumed", "lane": lane}
                log.warning("s2s.lane.resumed: %s", lane, extra=extra)
        elif trips and not isinstance(exchanged.outcome, Unauthorised):
            reason = f"{PAUSED} {exchanged.outcome.detail}"
            if self._breakers.close(lane, reason, now):
                log.error(
                    "s2s.lane.paused: %s: %s. It is tried again by itself",
                    lane,
                    reason,
                    extra={"action": "lane.paused", "lane": lane},
                )

    def _probe_again(self, lane: str, now: datetime) -> None:
        """Let the next probe go at once: this one asked the network nothing, so it proved nothing."""
        if self._breakers.why_closed(lane) is not None:
            self._breakers.probe_again(lane, now)

    def _hold(self, lane: str, detail: str, now: datetime) -> None:
        """Close the lane before its row can be claimed again."""
        if self._breakers.close(lane, detail, now):
            log.error(
                "s2s.lane.held: %s: %s. Its deliveries are kept and go out by themselves "
                "once the credential works",
                lane,
                detail,
                extra={"action": "lane.held", "lane": lane},
            )
