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
from datetime import timedelta
from threading import Event, Thread
from time import monotonic

from sqlalchemy.exc import SQLAlchemyError

from ..clock import Clock
from ..networks.reading import Reader, Reading, Unknown
from .bell import Bell
from .probation import Chosen, Probation
from .settlement import Delivery, Status
from .verdict import Confirmed, LookAgain, Missing, SendAgain, Unproven, Verdict, is_due, judge

log = logging.getLogger("flask_s2s.verification")

#: How long a verifier may take over the rows that it has claimed.
_LEASE = timedelta(minutes=10)
_BATCH = 8
_THREADS = 2
#: Longest sleep between two looks for work, in seconds.
_POLL = 30.0
#: Longest pause while the network tells nothing, in seconds.
_BLIND = 300.0
#: How long the end of a process waits for an answer that is on its way, in seconds.
_FAREWELL = 2.0


@dataclass(frozen=True, slots=True)
class Looked:
    """One sign-up that was asked for, what the network said, and what became of it."""

    delivery: Delivery
    reading: Reading
    verdict: Verdict


class Verifier:
    """Verifies one app's deliveries."""

    def __init__(
        self,
        *,
        probation: Probation,
        readers: Mapping[str, Reader],
        clock: Clock,
        production: bool,
        on_settled: Callable[[Delivery, Status], None],
        poll: float = _POLL,
    ) -> None:
        self._probation = probation
        self._readers = readers
        self._clock = clock
        self._production = production
        self._on_settled = on_settled
        self._poll = poll

    @property
    def able(self) -> bool:
        """Whether any network's records can be read."""
        return any(reader.able for reader in self._readers.values())

    # -- by itself ----------------------------------------------------------------------------

    @contextmanager
    def beside(self, bell: Bell, *, farewell: float = _FAREWELL) -> Iterator[None]:
        """Verify in threads until the bell says stop, or the block ends.

        All of them together have `farewell` seconds to end.
        """
        until = _Until(bell)
        ends = [Event() for _ in range(_THREADS if self.able else 0)]
        for ended in ends:
            run = (until, ended)
            Thread(target=self._run_beside, args=run, name="s2s-verify", daemon=True).start()
        try:
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
                    until.ring()
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
        now = self._clock.now()
        claimed = self._probation.claim(limit=_BATCH, now=now, lease=_LEASE)
        return self._settle([self._ask(delivery, due=True) for delivery in claimed])

    def _idle_seconds(self) -> float:
        at = self._probation.next_at()
        if at is None:
            return self._poll
        return min(max((at - self._clock.now()).total_seconds(), 0.1), self._poll)

    # -- by hand ------------------------------------------------------------------------------

    def count(self, chosen: Chosen) -> int:
        """Count what `look` would ask for."""
        return self._probation.count(chosen)

    def look(self, chosen: Chosen) -> Iterator[Looked]:
        """Ask for the chosen sign-ups now, one after the other, whoever else asks for them too."""
        after = 0
        while page := self._probation.page(chosen, after=after, limit=100):
            for delivery in page:
                due = is_due(delivery, self._clock.now())
                yield from self._settle([self._ask(delivery, due=due)])
            after = page[-1].id

    # -----------------------------------------------------------------------------------------

    def _ask(self, delivery: Delivery, *, due: bool) -> Looked:
        reader = self._readers.get(delivery.network)
        reading: Reading = Unknown(detail="its customer key was removed")
        if reader is None:
            reading = Unknown(detail="this version does not know its network")
        elif delivery.customer_key is not None:
            try:
                reading = reader.customer(delivery.customer_key)
            except Exception as error:
                log.exception("s2s.verification.broken", extra={"action": "verification.broken"})
                reading = Unknown(detail=f"could not be asked for: {type(error).__name__}")
        now = self._clock.now()
        verdict = judge(delivery, reading, now, due=due, production=self._production)
        return Looked(delivery, reading, verdict)

    def _settle(self, looked: Sequence[Looked]) -> list[Looked]:
        if not looked:
            return []
        judged = [(one.delivery, one.verdict) for one in looked]
        ours = self._probation.settle(judged, self._clock.now())
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
        if status is not None:
            self._on_settled(delivery, status)


_TOLD: dict[type[Verdict], tuple[str, int, Status | None]] = {
    Confirmed: ("confirmed", logging.INFO, Status.CONFIRMED),
    LookAgain: ("look_again", logging.INFO, None),
    SendAgain: ("send_again", logging.WARNING, None),
    Missing: ("missing", logging.ERROR, Status.MISSING),
    Unproven: ("unproven", logging.ERROR, None),
}


def _tell_blind(detail: str) -> None:
    log.warning(
        "s2s.verification.blind: %s; sign-ups go out all the same",
        detail,
        extra={"action": "verification.blind"},
    )


class _Until:
    """The end of verifying: the worker's bell says stop, or the worker is done."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._own = Bell()

    @property
    def over(self) -> bool:
        return self._bell.stopped or self._own.stopped

    def ring(self) -> None:
        """The worker has something to do: a sign-up to send again, or what waited for one."""
        self._bell.ring()

    def leave(self) -> None:
        self._own.stop()

    def pause(self, seconds: float) -> None:
        self._own.pause(seconds)
