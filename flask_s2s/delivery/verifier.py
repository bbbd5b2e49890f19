"""Asking the network whether it really has what was delivered.

Beside the worker, in threads of its own: reading never stands in the way of sending, and a network
whose records cannot be read stops nothing but the reading. Rows are claimed a few at a time, so
any number of verifiers share the work. As long as the network tells nothing at all, looking
slows down by itself; the rows keep their turn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event, Thread
from time import monotonic
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from ..networks.network import Traits
from ..networks.reading import GRACE, Absent, Reader, Reading, Unknown
from ..rules.delivery import Delivery
from ..rules.states import Status
from ..rules.verification import (
    Confirmed,
    LookAgain,
    Missing,
    SendAgain,
    Undoing,
    Undone,
    Unproven,
    Verdict,
    is_due,
    judge,
    listed_between,
)
from ..signals import delivery_settled, verification_done
from ..store.database.clock import Times
from ..store.outbox.verification_queue import Chosen, VerificationQueue
from ..store.schema import READ_TO
from ..threads import Waker

log = logging.getLogger("flask_s2s.verification")

#: How long a verifier may take over the rows that it has claimed.
_LEASE = timedelta(minutes=10)
_BATCH = 8
#: How many of one list are looked for at once.
_LISTED = 250
_HOUR: Any = {"minute": 0, "second": 0, "microsecond": 0}
_THREADS = 2
#: Longest sleep between two looks for work, in seconds.
_POLL = 30.0
#: Longest pause while the network tells nothing, in seconds.
_BLIND = 300.0
#: How long the end of a process waits for an answer that is on its way, in seconds.
_FAREWELL = 2.0


@dataclass(frozen=True, slots=True)
class Looked:
    """One delivery that was asked for, what the network said, and what became of it."""

    delivery: Delivery
    reading: Reading
    verdict: Verdict


class Verifier:
    """Verifies one app's deliveries."""

    def __init__(
        self,
        *,
        verification_queue: VerificationQueue,
        readers: Mapping[str, Reader],
        traits: Callable[[Delivery], Traits | None],
        times: Times,
        production: bool,
        tell: Callable[..., None],
    ) -> None:
        """`traits` are what a delivery's network says of its kind; `tell` sends a signal."""
        self._verification_queue = verification_queue
        self._readers = readers
        self._traits = traits
        self._clock, self._witness = times.clock, times.witness
        self._database_clock = times.database
        self._production = production
        self._signal = tell

    @property
    def able(self) -> bool:
        """Whether any network's records can be read."""
        return any(reader.able for reader in self._readers.values())

    def asks_for(self, delivery: Delivery) -> bool:
        """Say whether the network is asked for its record of a delivery, once it has accepted it."""
        traits, reader = self._traits(delivery), self._readers.get(delivery.network)
        return bool(traits and traits.verified_by and reader and reader.able)

    # -- by itself ----------------------------------------------------------------------------

    @contextmanager
    def beside(self, waker: Waker, *, farewell: float = _FAREWELL) -> Iterator[None]:
        """Verify in threads until the waker says stop, or the block ends.

        All of them together have `farewell` seconds to end.
        """
        until = _Until(waker)
        ends: list[Event] = []
        try:
            for _ in range(_THREADS if self.able else 0):
                run = (until, ended := Event())
                Thread(target=self._run_beside, args=run, name="s2s-verify", daemon=True).start()
                ends.append(ended)
            yield
        finally:
            until.leave()
            give_up = monotonic() + farewell
            for ended in ends:
                # Not `join`: gevent, patching late, leaves threads that have ended "alive".
                ended.wait(max(give_up - monotonic(), 0.0))

    def _run_beside(self, until: _Until, ended: Event) -> None:
        try:
            self.run(until)
        finally:
            ended.set()

    def run(self, until: _Until) -> None:
        """Verify what comes due. A database that fails is tried again, calmly."""
        failures = 0
        while not until.over:
            try:
                looked = self._look_at_some()
                blind = bool(looked) and all(isinstance(one.reading, Unknown) for one in looked)
                if blind and not failures:
                    _tell_blind(looked[0].verdict.detail)
                failures = failures + 1 if blind else 0
                if any(not isinstance(one.verdict, LookAgain) for one in looked):
                    until.wake()
                seconds = 0.0 if looked and not blind else self._idle_seconds()
            except Exception as error:
                failures, seconds = failures + 1, 0.0
                expected = isinstance(error, SQLAlchemyError)
                log.warning(
                    "s2s.verification.failed: %s",
                    type(error).__name__,
                    extra={"action": "verification.failed"},
                    exc_info=None if expected else error,
                )
            if failures:
                seconds = max(seconds, min(2.0 ** min(failures, 20), _BLIND))
            if seconds:
                until.pause(seconds)

    def run_once(self) -> list[Looked]:
        """Look at everything that is due, here and now, or until the network tells nothing."""
        every: list[Looked] = []
        while self.able and (looked := self._look_at_some()):
            every += looked
            if all(isinstance(one.reading, Unknown) for one in looked):
                break
        return every

    def _look_at_some(self) -> list[Looked]:
        # Perhaps for the first time in hours: nothing is given up by what the clock said then.
        self._database_clock.measure()
        claim, now = self._verification_queue.claim, self._clock.now()
        claimed = claim(limit=_BATCH, now=now, lease=_LEASE)
        if listed := next(filter(self._is_listed, claimed), None):
            # One look through a list does for many.
            claimed += claim(limit=_LISTED, now=now, lease=_LEASE, like=listed)
        if not claimed:
            return []
        looked = [self._judge(*one, due=True) for one in self._read(claimed)]
        # A few at a time: a page that reports one of them again waits for the others, too.
        parts = [looked[at : at + _BATCH] for at in range(0, len(looked), _BATCH)]
        return [one for part in parts for one in self._settle(part)]

    def _is_listed(self, delivery: Delivery) -> bool:
        traits = self._traits(delivery)
        return traits is not None and traits.verified_by == "list"

    def _idle_seconds(self) -> float:
        at = self._verification_queue.next_at()
        if at is None:
            return _POLL
        return min(max((at - self._clock.now()).total_seconds(), 0.1), _POLL)

    # -- by hand ------------------------------------------------------------------------------

    def count(self, chosen: Chosen) -> int:
        """Count what `look` would ask for."""
        return self._verification_queue.count(chosen)

    def look(self, chosen: Chosen) -> Iterator[Looked]:
        """Ask for the chosen deliveries now, one after the other, whoever else asks for them too."""
        after = 0
        while page := self._verification_queue.page(chosen, after=after, limit=100):
            now = self._clock.now()
            due = {one.id: is_due(one, now, self._absent_after(one)) for one in page}
            for delivery, reading in self._read(page):
                yield from self._settle([self._judge(delivery, reading, due=due[delivery.id])])
            after = page[-1].id

    # -----------------------------------------------------------------------------------------

    def _read(self, claimed: Sequence[Delivery]) -> Iterator[tuple[Delivery, Reading]]:
        """Ask for each; those that are in one list, and made and sent about the same time, in one go."""
        alike: dict[object, list[Delivery]] = {}
        now = self._clock.now()
        for number, delivery in enumerate(claimed):
            listed = self._is_listed(delivery) and delivery.conversion and not delivery.read_to
            hours = [moment.replace(**_HOUR) for moment in _between(delivery, now)]
            here = (delivery.network, delivery.kind, *hours) if listed else number
            alike.setdefault(here, []).append(delivery)
        for some in alike.values():
            yield from zip(some, self._ask(some), strict=True)

    def _ask(self, some: Sequence[Delivery]) -> list[Reading]:
        reader, traits = self._readers.get(some[0].network), self._traits(some[0])
        if reader is None or traits is None:
            return [Unknown(detail="this version does not know its network")] * len(some)
        try:
            return _read(reader, traits, some, self._clock.now())
        except Exception as error:
            log.exception("s2s.verification.broken", extra={"action": "verification.broken"})
            return [Unknown(detail=f"could not be asked for: {type(error).__name__}")] * len(some)

    def _judge(self, delivery: Delivery, reading: Reading, *, due: bool) -> Looked:
        traits = self._traits(delivery)
        absent, now = isinstance(reading, Absent), self._clock.now()
        verdict = judge(
            delivery,
            reading,
            now,
            passed=self._witness.passed(now),
            due=due and self._has_lasted(delivery, now),
            production=self._production,
            repeatable=traits is not None and traits.repeat_is_harmless,
            undoing=self._verification_queue.undoing(delivery) if absent else Undoing.NONE,
        )
        return Looked(delivery, reading, verdict)

    def _has_lasted(self, delivery: Delivery, now: datetime) -> bool:
        """Say whether enough time has passed for sure for this look, by more than one clock."""
        looks = delivery.checks + 1
        lasted = self._witness.since(delivery.settled_at or now, now)
        return lasted >= looks * self._absent_after(delivery)

    def _absent_after(self, delivery: Delivery) -> timedelta:
        traits = self._traits(delivery)
        return GRACE if traits is None else traits.absent_after

    def _settle(self, looked: Sequence[Looked]) -> list[Looked]:
        if not looked:
            return []
        judged = [(one.delivery, one.verdict) for one in looked]
        ours = self._verification_queue.settle(judged, self._clock.now())
        for (delivery, verdict), mine in zip(judged, ours, strict=True):
            if mine:
                self._tell(delivery, verdict)
        return list(looked)

    def _tell(self, delivery: Delivery, verdict: Verdict) -> None:
        word, level, status = _TOLD.get(type(verdict), ("looked", logging.DEBUG, None))
        if isinstance(verdict, Confirmed) and verdict.test:
            word, level = "test_record", logging.ERROR
        log.log(
            level,
            "s2s.verification.%s: delivery %d: %s",
            word,
            delivery.id,
            verdict.detail,
            extra={"action": f"verification.{word}", "delivery_id": delivery.id},
        )
        self._signal(verification_done, delivery=delivery, result=word, detail=verdict.detail)
        if status is not None:
            self._signal(delivery_settled, delivery=delivery, status=status)


def _between(delivery: Delivery, now: datetime) -> tuple[datetime, datetime]:
    written = delivery.settled_at or now
    return listed_between(delivery, written, now, decides=delivery.checks > 0)


def _read(reader: Reader, traits: Traits, some: Sequence[Delivery], now: datetime) -> list[Reading]:
    """Read one delivery's record, or those of several that were made and sent about the same time."""
    conversions = [delivery.conversion for delivery in some if delivery.conversion is not None]
    if len(conversions) < len(some) or some[0].network_key is None:
        return [Unknown(detail="what it was about was removed", lasting=True)] * len(some)
    if traits.verified_by == "customer":
        return [reader.customer(delivery.network_key or "") for delivery in some]
    since, until = zip(*(_between(delivery, now) for delivery in some), strict=True)
    found = reader.find(conversions, min(since), max(until), some[0].read_to)
    return [_storable(reading) for reading in found]


def _storable(found: Reading) -> Reading:
    if isinstance(found, Unknown) and len(found.cursor or "") > READ_TO:
        return Unknown(detail=found.detail)
    return found


_TOLD: dict[type[Verdict], tuple[str, int, Status | None]] = {
    Confirmed: ("confirmed", logging.INFO, Status.CONFIRMED),
    LookAgain: ("look_again", logging.INFO, None),
    SendAgain: ("send_again", logging.WARNING, None),
    Missing: ("missing", logging.ERROR, Status.MISSING),
    Unproven: ("unproven", logging.ERROR, None),
    Undone: ("undone", logging.INFO, None),
}


def _tell_blind(detail: str) -> None:
    log.warning(
        "s2s.verification.blind: %s; conversions go out all the same",
        detail,
        extra={"action": "verification.blind"},
    )


class _Until:
    """The end of verifying: the worker's waker says stop, or the worker is done."""

    def __init__(self, waker: Waker) -> None:
        self._waker = waker
        self._own = Waker()

    @property
    def over(self) -> bool:
        return self._waker.stopped or self._own.stopped

    def wake(self) -> None:
        """The worker has something to do: a sign-up to send again, or what waited for one."""
        self._waker.wake()

    def leave(self) -> None:
        self._own.stop()

    def pause(self, seconds: float) -> None:
        self._own.pause(seconds)
