"""Claim a batch, send each, settle each; wait, or stop.

One loop for the thread in a web process, for `flask s2s work`, and for a single drain. Sending runs
in up to `concurrency` threads; the loop alone touches the database. What finishes within `_GATHER`
seconds is settled in one transaction, while the next ones are sent: twice as many are claimed as can
be sent at once. What no thread is free for is given back at the end, and when the network says
something of its whole lane. Nothing that one delivery does stops the loop: its errors are logged,
and its lease runs out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from ..clock import Clock
from ..networks.messages import Exchanged, Unauthorised
from ..rules.delivery import Delivery
from ..rules.dependencies import Unsent
from ..rules.retry import longest_pause
from ..store.outbox.claims import Claims
from ..store.outbox.lanes import CircuitBreakers, Closed
from ..store.outbox.settling import Settling
from ..store.restores import Memory
from ..threads import POLL, Waker
from .completer import Completer
from .executor import Executor, Senders, Sent
from .housekeeping import Housekeeping
from .throttle import Throttle

log = logging.getLogger("flask_s2s.worker")

#: A delivery, and how its sending went.
Finished = tuple[Delivery, Sent]

_GATHER = 0.02
#: How long it is tried to settle what was sent, in seconds.
_SETTLE_FOR = 30.0
#: How often, in seconds, what a host held is looked at again; and how often at the end at most.
_HELD = 0.1
_LAST_LOOKS = 50
#: How long a drain waits for rests in all, which otherwise leaves when nothing is due.
_PATIENCE = timedelta(seconds=30)


def _pause(failures: int, longest: float) -> float:
    """Return how long to wait after so many failures in a row, in seconds."""
    return min(2.0 ** min(failures, 5), longest)


class Worker:
    """Drains one outbox."""

    def __init__(
        self,
        *,
        claims: Claims,
        settling: Settling,
        memory: Memory,
        breakers: CircuitBreakers,
        executor: Executor,
        completer: Completer,
        housekeeping: Housekeeping,
        clock: Clock,
        lease: timedelta,
        concurrency: int = 8,
        poll: float = POLL,
        throttle: Throttle | None = None,
    ) -> None:
        self._claims = claims
        self._settling = settling
        self._memory = memory
        self._breakers = breakers
        self._executor = executor
        self._completer = completer
        self._housekeeping = housekeeping
        self._clock = clock
        # What a worker leaves that dies right after its claim has its turn within one lease.
        self._hold = lease * 3 / 4
        self._look_every = lease / 12
        self._longest_pause = longest_pause(lease)
        self._concurrency = concurrency
        self._poll = poll
        self._throttle = throttle or Throttle(concurrency)
        #: When orphans were looked for.
        self._looked: datetime | None = None
        #: How often in a row the loop broke off.
        self._failures = 0

    # -- the two ways to run ------------------------------------------------------------------

    def run(self, waker: Waker, *, until_idle: bool = False) -> None:
        """Drain until the waker says stop. A database that fails is tried again, calmly.

        The work that it was woken for last goes out even then: its process ends with that request. With
        `until_idle`, leave when nothing is due or in flight, and raise what the database does.
        """
        while waker.woken or not waker.stopped:
            try:
                self._breakers.probe_soon(self._clock.now())
                threads = (self._concurrency, self._throttle.lane_threads)
                with Senders[Sent](*threads) as senders:
                    self._drain(waker, senders, until_idle)
                if until_idle or waker.stopped:
                    return
            except Exception as error:
                if until_idle:
                    raise
                if waker.stopped:
                    self._leave(error)
                    return
                self._failures += 1
                self._memory.doubt()
                self._complain(error, seconds := _pause(self._failures, self._longest_pause))
                waker.look()
                waker.wait(seconds)

    def run_once(self) -> int:
        """Send everything that is due now, in the caller's thread; return how many were tried.

        One at a time: a lease must not run out while its delivery waits for another's answer.
        """
        tried, pauses, now = 0, Waker(), self._housekeeping(self._throttle)
        breakers = self._breakers.closed(now)
        while batch := self._claim(1, breakers, now):
            parents = self._executor.prepare(batch)
            for one in batch:
                self._settle([(one, self._executor.send(one, parents))], pauses)
            tried += len(batch)
            now = self._housekeeping(self._throttle)
            breakers = self._breakers.lately_closed(now)
        if self._completer.behind:
            self._catch_up(pauses)
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

    def _drain(self, waker: Waker, senders: Senders[Sent], until_idle: bool) -> None:
        under_way: dict[Future[Sent], Delivery] = {}
        finished: list[Finished] = []
        patience = _PATIENCE
        try:
            while not waker.stopped:
                waker.look()
                if any(future.done() for future in under_way):
                    finished = self._finished(under_way)
                elif self._completer.behind:
                    self._settle([], waker)
                if any(_is_refused(sent) for _, sent in finished):
                    # Its lane closes before more of it is claimed.
                    refused, finished = finished, []
                    self._settle(refused, waker)
                breakers, batch = list[Closed](), list[Delivery]()
                if self._throttle.free:
                    now = self._housekeeping(self._throttle)
                    breakers = self._breakers.lately_closed(now)
                    if free := self._throttle.limit(now):
                        batch = self._claim(free, breakers, now)
                self._start(batch, under_way, senders, waker)
                if finished:
                    # While the next ones are on their way; and it may make others due.
                    settling, finished = finished, []
                    self._settle(settling, waker)
                elif until_idle and not under_way and self._throttle.next_token() is None:
                    if not self._rests_shortly(breakers, patience):
                        return
                    began = self._clock.now()
                    waker.wait(self._idle_seconds(breakers, self._poll))
                    patience -= self._clock.now() - began
                else:
                    self._doze(waker, breakers, busy=bool(under_way) or self._completer.behind)
                self._failures = 0
            self._recall(under_way, senders)
            if waker.woken:
                now = self._housekeeping(self._throttle)
                free = min(self._throttle.limit(now), self._concurrency - len(under_way))
                if free > 0:
                    batch = self._claim(free, self._breakers.closed(), now, orphans=False)
                    self._start(batch, under_way, senders, waker)
        finally:
            if not waker.stopped:
                self._recall(under_way, senders)
            if finished:
                self._settle(finished, waker)
            while under_way:
                wait(under_way, return_when=FIRST_COMPLETED)
                self._settle(self._finished(under_way), waker)
            if waker.stopped or until_idle:
                self._catch_up(waker)

    def _catch_up(self, waker: Waker) -> None:
        """Settle what a host held, if that is over soon; else its lease runs out."""
        looks, pauses = _LAST_LOOKS, Waker()
        while self._completer.behind and looks:
            looks -= 1
            pauses.pause(_HELD)
            self._settle([], waker)

    def _doze(self, waker: Waker, breakers: list[Closed], *, busy: bool) -> None:
        """Wait until there is something to do; one who only polls asks only whether anything is due."""
        poll = max(self._poll, POLL) if waker.heard else self._poll
        waker.wait(self._idle_seconds(breakers, poll))
        while not (busy or breakers or waker.stirred):
            self._failures = 0
            self._housekeeping(self._throttle)
            seconds = self._idle_seconds(breakers, poll)
            if seconds <= 0:
                return
            waker.wait(seconds)

    def _start(
        self,
        batch: list[Delivery],
        under_way: dict[Future[Sent], Delivery],
        senders: Senders[Sent],
        waker: Waker,
    ) -> None:
        """Send a batch, each in a thread of its own; where none can be had, give it back."""
        parents = self._executor.prepare(batch)
        for number, delivery in enumerate(batch):
            try:
                said = self._throttle.heard(delivery.lane)
                future = senders.submit(delivery.lane, self._send, delivery, parents, said)
            except RuntimeError:
                self._settling.give_back(batch[number:], self._clock.now())
                raise
            under_way[future] = delivery
            self._throttle.started(delivery.lane)
            future.add_done_callback(lambda _: waker.interrupt())

    def _send(self, delivery: Delivery, parents: Mapping[str, Delivery], said: object) -> Sent:
        """Send one, unless the network has said something of its lane while it waited its turn."""
        if self._throttle.heard(delivery.lane) is not said:
            return Unsent()
        sent = self._executor.send(delivery, parents)
        if _is_refused(sent) or (isinstance(sent, Exchanged) and sent.asked_for_rest):
            self._throttle.hear(delivery.lane)
        return sent

    def _recall(self, under_way: dict[Future[Sent], Delivery], senders: Senders[Sent]) -> None:
        """Give back what was claimed ahead and no thread is free to send."""
        recalled = [under_way.pop(future) for future in senders.queued() if future.cancel()]
        for delivery in recalled:
            self._throttle.finished(delivery.lane, asked=False)
        try:
            self._settling.give_back(recalled, self._clock.now())
        except SQLAlchemyError as error:
            log.warning(
                "s2s.worker.kept: %s; %d unsent deliveries are due when their lease has run out",
                type(error).__name__,
                len(recalled),
                extra={"action": "worker.kept"},
            )

    def _finished(self, under_way: dict[Future[Sent], Delivery]) -> list[Finished]:
        """Gather the answers that come right behind the first one, to be settled in one go.

        Where a whole round is there none is waited for, or the threads would run out of work.
        """
        there = sum(future.done() for future in under_way)
        if there < min(len(under_way), self._concurrency):
            wait(under_way, timeout=_GATHER)
        finished = [
            (under_way.pop(future), future.result()) for future in list(under_way) if future.done()
        ]
        for delivery, sent in finished:
            asked = isinstance(sent, Exchanged) and sent.request is not None
            self._throttle.finished(delivery.lane, asked=asked)
            if isinstance(sent, Exchanged) and (rest := sent.asked_for_rest):
                self._throttle.rest(delivery.lane, self._clock.now(), rest)
        return finished

    def _settle(self, finished: list[Finished], waker: Waker) -> None:
        """Settle; a database that fails for a moment must not make us send all of it again."""
        seconds, left = 0.1, _SETTLE_FOR
        while left > 0:
            try:
                self._completer.settle(finished)
                return
            except SQLAlchemyError as error:
                self._complain(error, seconds)
                waker.pause(seconds)
            left -= seconds
            seconds = min(seconds * 2, self._longest_pause)
        self._completer.settle(finished)

    def _rests_shortly(self, breakers: list[Closed], patience: timedelta) -> bool:
        """Whether a lane that is open may send again before the patience is over."""
        closed, now = {breaker.lane for breaker in breakers}, self._clock.now()
        rests = self._throttle.rests(now).items()
        return any(lane not in closed and end <= now + patience for lane, end in rests)

    def _idle_seconds(self, breakers: list[Closed], poll: float) -> float:
        longest = min(poll, _HELD) if self._completer.behind else poll
        if not self._throttle.free:
            return longest
        now = self._clock.now()
        rests, full = self._throttle.shut(now)
        moments = [max(breaker.probe_at, rests.get(breaker.lane, now)) for breaker in breakers]
        moments += rests.values()
        closed = [*(breaker.lane for breaker in breakers), *rests, *full]
        due = self._claims.next_due(closed)
        if due is not None:
            moments.append(due)
        token = self._throttle.next_token()
        waits = [max((moment - now).total_seconds(), 0.0) for moment in moments]
        if not waits:
            return longest
        return min(max(min(waits), token or 0.0), longest)

    def _claim(
        self, limit: int, breakers: list[Closed], now: datetime, *, orphans: bool = True
    ) -> list[Delivery]:
        """Claim what is due. A connection that was opened for it may lead to a database that forgot."""
        batch = self._lease(limit, breakers, now, orphans)
        if batch and self._memory.doubts and self._memory.forgot(now):
            self._settling.give_back(batch, now)
            self._housekeeping.restored(now)
            return self._lease(limit, breakers, now, orphans)
        return batch

    def _lease(
        self, limit: int, breakers: list[Closed], now: datetime, orphans: bool
    ) -> list[Delivery]:
        """Lease what is due in open lanes, and one probe for each closed lane whose time it is."""
        closed = [breaker.lane for breaker in breakers]
        rests, full = self._throttle.shut(now)
        for breaker in breakers:
            if breaker.lane in rests or breaker.probe_at > now:
                continue
            if breaker.by_hand:
                self._breakers.lapse(breaker, now)
                continue
            if self._breakers.may_probe(breaker, now):
                probe = self._claims.probe(breaker.lane, now=now, lease=self._hold)
                if probe:
                    return probe
                self._breakers.open(breaker.lane, now)
        if orphans and (self._looked is None or abs(now - self._looked) >= self._look_every):
            # They have waited for a lease, and are few: they wait for no rest as well.
            left = self._claims.reclaim(
                limit=limit, now=now, lease=self._hold, closed=closed + full
            )
            if left:
                return left
            self._looked = now
        closed += [*rests, *full]
        return self._claims.claim(limit=limit, now=now, lease=self._hold, closed=closed)


def _is_refused(sent: Sent) -> bool:
    return isinstance(sent, Exchanged) and isinstance(sent.outcome, Unauthorised)
