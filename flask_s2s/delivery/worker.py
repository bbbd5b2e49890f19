"""Claim a batch, send each, settle each; wait, or stop.

One loop for the thread in a web process, for `flask s2s work`, and for a single drain. Sending runs
in up to `concurrency` threads; the loop alone touches the database. What finishes within `_GATHER`
seconds is settled in one transaction, while the next ones are sent. A claimed delivery waits for no
other: only as many are claimed as can be sent at once. Nothing that one delivery does stops the loop: its errors are
logged, and its lease runs out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from ..clock import Clock
from ..networks.exchange import Exchanged
from .bell import POLL, Bell
from .dispatch import Dispatch
from .gate import Closed, Gates
from .outbox import Outbox
from .pace import Pace
from .senders import Senders
from .sending import Flown
from .settlement import Delivery
from .upkeep import Upkeep

log = logging.getLogger("flask_s2s.worker")

#: A delivery, and how its sending went.
Landed = tuple[Delivery, Flown]

_GATHER = 0.02
#: Pauses between tries to settle what was sent, in seconds.
_SETTLE_AGAIN = (0.1, 0.5, 2.0, 4.0, 8.0, 16.0)
#: How long a drain waits for rests in all, which otherwise leaves when nothing is due.
_PATIENCE = timedelta(seconds=30)


def _pause(failures: int) -> float:
    """Return how long to wait after so many failures in a row, in seconds."""
    return float(min(2 ** min(failures, 5), 30))


class Worker:
    """Drains one outbox."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        gates: Gates,
        dispatch: Dispatch,
        clock: Clock,
        lease: timedelta,
        concurrency: int = 8,
        poll: float = POLL,
        pace: Pace | None = None,
        on_alive: Callable[[datetime], None] = lambda now: None,
    ) -> None:
        self._outbox = outbox
        self._gates = gates
        self._dispatch = dispatch
        self._clock = clock
        # What a worker leaves that dies right after its claim has its turn within one lease.
        self._hold = lease * 3 / 4
        self._look_every = lease / 12
        self._concurrency = concurrency
        self._poll = poll
        self._pace = pace or Pace(concurrency)
        self._upkeep = Upkeep(outbox, on_alive)
        #: When orphans were looked for.
        self._looked: datetime | None = None
        #: How often in a row the loop broke off.
        self._failures = 0

    # -- the two ways to run ------------------------------------------------------------------

    def run(self, bell: Bell, *, until_idle: bool = False) -> None:
        """Drain until the bell says stop. A database that fails is tried again, calmly.

        What it rang for last goes out even then: of a process that ends with that request. With
        `until_idle`, leave when nothing is due or in flight, and raise what the database does.
        """
        while bell.rung or not bell.stopped:
            try:
                self._gates.probe_soon(self._clock.now())
                with Senders[Flown](self._concurrency) as senders:
                    self._drain(bell, senders, until_idle)
                if until_idle or bell.stopped:
                    return
            except Exception as error:
                if until_idle:
                    raise
                if bell.stopped:
                    self._leave(error)
                    return
                self._failures += 1
                self._complain(error, seconds := _pause(self._failures))
                bell.heed()
                bell.wait(seconds)

    def run_once(self) -> int:
        """Send everything that is due now, in the caller's thread; return how many were tried.

        One at a time: a lease must not run out while its delivery waits for another's answer.
        """
        tried = 0
        while batch := self._claim(1, self._gates.closed()):
            parents = self._dispatch.parents(batch)
            self._dispatch.settle([(one, self._dispatch.send(one, parents)) for one in batch])
            tried += len(batch)
        return tried

    def _leave(self, error: Exception) -> None:
        # At its end a process may have no database any more, and may start no thread.
        expected = isinstance(error, SQLAlchemyError | RuntimeError)
        log.log(
            logging.INFO if expected else logging.ERROR,
            "s2s.worker.left: %s at the end; what is left goes out when this site serves again",
            type(error).__name__,
            extra={"action": "worker.left"},
            exc_info=None if expected else error,
        )

    def _complain(self, error: Exception, seconds: float) -> None:
        expected = isinstance(error, SQLAlchemyError)
        log.log(
            logging.WARNING if expected else logging.ERROR,
            "s2s.worker.failed: %s; trying again in %.0f s",
            type(error).__name__,
            seconds,
            extra={"action": "worker.failed"},
            exc_info=None if expected else error,
        )

    # -- the loop -----------------------------------------------------------------------------

    def _drain(self, bell: Bell, senders: Senders[Flown], until_idle: bool) -> None:
        flying: dict[Future[Flown], Delivery] = {}
        landed: list[Landed] = []
        patience = _PATIENCE
        try:
            while not bell.stopped:
                bell.heed()
                if any(future.done() for future in flying):
                    landed = self._land(flying)
                free = self._pace.limit(self._clock.now())
                gates = self._gates.closed() if self._pace.free else []
                batch = self._claim(free, gates) if free else []
                self._take_off(batch, flying, senders, bell)
                if landed:
                    # While the next ones are on their way; and it may make others due.
                    settling, landed = landed, []
                    self._settle(settling, bell)
                elif until_idle and not flying and self._pace.next_token() is None:
                    if not self._rests_shortly(gates, patience):
                        return
                    began = self._clock.now()
                    bell.wait(self._idle_seconds(gates))
                    patience -= self._clock.now() - began
                else:
                    bell.wait(self._idle_seconds(gates))
                self._failures = 0
            if bell.rung and (free := self._pace.limit(self._clock.now())):
                batch = self._claim(free, self._gates.closed(), orphans=False)
                self._take_off(batch, flying, senders, bell)
        finally:
            if landed:
                self._settle(landed, bell)
            while flying:
                wait(flying, return_when=FIRST_COMPLETED)
                self._settle(self._land(flying), bell)

    def _take_off(
        self,
        batch: list[Delivery],
        flying: dict[Future[Flown], Delivery],
        senders: Senders[Flown],
        bell: Bell,
    ) -> None:
        """Send a batch, each in a thread of its own; where none can be had, give it back."""
        parents = self._dispatch.parents(batch)
        for number, delivery in enumerate(batch):
            try:
                future = senders.submit(self._dispatch.send, delivery, parents)
            except RuntimeError:
                self._outbox.give_back(batch[number:], self._clock.now())
                raise
            flying[future] = delivery
            self._pace.took_off(delivery.lane)
            future.add_done_callback(lambda _: bell.nudge())

    def _land(self, flying: dict[Future[Flown], Delivery]) -> list[Landed]:
        """Gather the answers that come right behind the first one, to be settled in one go."""
        if len(flying) > 1:
            wait(flying, timeout=_GATHER)
        landed = [(flying.pop(future), future.result()) for future in list(flying) if future.done()]
        for delivery, flown in landed:
            asked = isinstance(flown, Exchanged) and flown.request is not None
            self._pace.landed(delivery.lane, asked=asked)
            if isinstance(flown, Exchanged) and (rest := flown.asked_for_rest):
                self._pace.rest(delivery.lane, self._clock.now(), rest)
        return landed

    def _settle(self, landed: list[Landed], bell: Bell) -> None:
        """Settle; a database that fails for a moment must not make us send all of it again."""
        for seconds in _SETTLE_AGAIN:
            try:
                self._dispatch.settle(landed)
                return
            except SQLAlchemyError as error:
                self._complain(error, seconds)
                bell.pause(seconds)
        self._dispatch.settle(landed)

    def _rests_shortly(self, gates: list[Closed], patience: timedelta) -> bool:
        """Whether a lane that is open may send again before the patience is over."""
        closed, now = {gate.lane for gate in gates}, self._clock.now()
        rests = self._pace.rests(now).items()
        return any(lane not in closed and end <= now + patience for lane, end in rests)

    def _idle_seconds(self, gates: list[Closed]) -> float:
        if not self._pace.free:
            return self._poll
        now = self._clock.now()
        shut = self._pace.shut_lanes(now)
        rests = self._pace.rests(now)
        moments = [max(gate.probe_at, rests.get(gate.lane, now)) for gate in gates]
        moments += rests.values()
        closed = [gate.lane for gate in gates] + shut
        due = self._outbox.next_due(closed)
        if due is not None:
            moments.append(due)
        token = self._pace.next_token()
        waits = [max((moment - now).total_seconds(), 0.0) for moment in moments]
        if not waits:
            return self._poll
        return min(max(min(waits), token or 0.0), self._poll)

    def _claim(self, limit: int, gates: list[Closed], *, orphans: bool = True) -> list[Delivery]:
        """Claim what is due in open lanes, and one probe for each closed lane whose time it is."""
        self._upkeep(self._clock.now())
        now = self._clock.now()  # perhaps another one: the upkeep compares clocks
        rests = self._pace.rests(now)
        for gate in gates:
            if gate.lane in rests or gate.probe_at > now:
                continue
            if self._gates.may_probe(gate.lane, now):
                probe = self._outbox.claim(limit=1, now=now, lease=self._hold, only=gate.lane)
                if probe:
                    return probe
                self._gates.open(gate.lane, now)
        closed = [gate.lane for gate in gates]
        if orphans and (self._looked is None or abs(now - self._looked) >= self._look_every):
            # They have waited for a lease, and are few: they wait for no rest as well.
            shut = closed + self._pace.full_lanes()
            left = self._outbox.reclaim(limit=limit, now=now, lease=self._hold, closed=shut)
            if left:
                return left
            self._looked = now
        closed += self._pace.shut_lanes(now)
        return self._outbox.claim(limit=limit, now=now, lease=self._hold, closed=closed)
