"""The executor: it sends one claimed delivery, or knows why it may not go now; and the threads for it.

`send` runs in many threads at once and touches no database: what it needs of it is gathered before. A
conversion whose repeat might count twice is never sent again after an attempt that nobody can judge,
until the network's own records say that it is not there.

`Senders` is no `ThreadPoolExecutor`: the interpreter's exit waits for those threads without a bound,
before the worker hears of the exit at all, and a network that holds an answer would hold the exit of
the site. These are daemon threads: how long to wait for an answer is the worker's to decide. A job
that is submitted while all threads send waits for the first that is free, without the worker; until
then its future can be cancelled. One lane never takes every thread, whatever waits.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from ..networks.exchange import Exchange
from ..networks.messages import Accepted, Ambiguous, Exchanged, NotThere, Refused, RetryLater
from ..networks.reading import GRACE, Absent, Present, Reader, Reading
from ..rules.delivery import Delivery
from ..rules.dependencies import (
    PROOF,
    Ask,
    Go,
    Later,
    Stop,
    Unsent,
    Wait,
    decide,
    is_undone,
    never_came,
)
from ..rules.states import Status
from ..rules.verification import listed_between
from ..store.database.clock import Times
from ..store.outbox.claims import Claims
from ..store.restores import Inherited
from ..store.schema import READ_TO

log = logging.getLogger("flask_s2s.worker")

#: How often a delivery looks by itself whether its dependency has moved (it is told, ordinarily).
_LOOK_AGAIN = timedelta(minutes=5)
#: The shortest wait between two questions about a customer who is not readable yet.
_SOON = timedelta(seconds=15)
#: The longest wait between two questions about one record that the network does not answer.
_ASK_AGAIN = timedelta(hours=6)
_FOUND = Accepted(detail="found in the network's records")
_FOUND_AS_TEST = Accepted(
    detail="on record as a TEST: nobody is paid for it. Are the API keys the production ones?"
)
_NOT_YET = "may have arrived: asking once it must be readable"
#: What became of a reversal whose answer was lost, when the network does not find it any more.
_UNDONE = Accepted(detail="not there any more: an earlier attempt, without an answer, undid it")
_NEVER_CAME = Refused(detail="nothing to undo: its transaction expired, and never arrived")
#: The pause between two looks through a list that is too long for one.
_READ_ON = timedelta(minutes=1)


Sent = Exchanged | Later | Stop | Unsent


class Executor:
    """Sends one app's deliveries."""

    def __init__(
        self,
        *,
        claims: Claims,
        exchanges: Mapping[str, Exchange],
        readers: Mapping[str, Reader],
        times: Times,
        attempt: timedelta,
        production: bool,
        inherited: Inherited,
    ) -> None:
        """`attempt` is how long one may take: none begins with less than that left of its lease.

        In `production` nothing should be on record as a test.
        """
        self._claims = claims
        self._exchanges = exchanges
        self._readers = readers
        self._clock, self._witness = times.clock, times.witness
        self._attempt = attempt
        self._production = production
        self._inherited = inherited

    def prepare(self, batch: Sequence[Delivery]) -> Mapping[str, Delivery]:
        """Return the deliveries that these wait for, by their `dedupe`, as far as they are here.

        What the database may have forgotten of them is gathered: for many of them one look will do.
        """
        for delivery in batch:
            exchange = self._exchanges.get(delivery.network)
            if exchange is None or delivery.conversion is None:
                continue
            traits = exchange.network.traits.get(delivery.kind)
            if (
                traits is not None
                and traits.verified_by == "list"
                and not traits.repeat_is_harmless
            ):
                self._inherited.gather(delivery, traits.absent_after)
        return self._claims.parents(batch)

    def send(self, delivery: Delivery, parents: Mapping[str, Delivery]) -> Sent:
        """Send one delivery, or say why not. Never raises."""
        try:
            return self._send(delivery, parents.get(delivery.parent or ""))
        except Exception as error:
            log.exception(
                "s2s.delivery.broken: delivery %d",
                delivery.id,
                extra={"action": "delivery.broken", "delivery_id": delivery.id},
            )
            detail = f"could not be sent: {type(error).__name__}"
            return Exchanged(outcome=RetryLater(detail=detail, alarm=True))

    def _send(self, delivery: Delivery, parent: Delivery | None) -> Sent:
        exchange = self._exchanges.get(delivery.network)
        if exchange is None or delivery.conversion is None:
            return Exchanged(outcome=RetryLater(detail="not sendable by this version", alarm=True))
        reader = self._readers[delivery.network]
        known = self._judged(delivery, exchange, reader)
        if isinstance(known, Exchanged):
            return known
        if delivery.deadline_at <= self._witness.passed(self._clock.now()):
            return Exchanged(outcome=RetryLater(detail="not sent: the deadline has passed"))
        if known is None and delivery.parent is not None:
            known = self._stays_behind(delivery, parent, reader)
        if known is not None or (known := self._forgotten(delivery, reader)):
            return known
        now = self._clock.now()
        if delivery.due_at is not None and delivery.due_at < now + self._attempt:
            # Sent now, it might arrive when another worker has judged it lost.
            return Later(now, "its lease was nearly over")
        exchanged = _exchange(exchange, delivery)
        if isinstance(exchanged.outcome, NotThere):
            now = self._clock.now()
            after = self._absent_after(delivery)
            if is_undone(delivery, parent, now, after) and self._is_readable(delivery, now):
                return replace(exchanged, outcome=_UNDONE)
            if parent is not None:
                after = self._absent_after(parent)
            if never_came(parent, now, after) and self._is_readable(parent, now):
                return replace(exchanged, outcome=_NEVER_CAME)
        return exchanged

    def _is_readable(self, delivery: Delivery | None, now: datetime) -> bool:
        """Say whether an attempt that nobody can judge must have reached the records, if at all."""
        if delivery is None or delivery.ambiguous_at is None:
            return True
        return self._witness.since(delivery.ambiguous_at, now) >= self._absent_after(delivery)

    def _absent_after(self, delivery: Delivery, kind: str | None = None) -> timedelta:
        """Return how long after the last possible write a record that is not shown is not there."""
        traits = self._exchanges[delivery.network].network.traits.get(kind or delivery.kind)
        return GRACE if traits is None else traits.absent_after

    def _stays_behind(
        self, delivery: Delivery, parent: Delivery | None, reader: Reader
    ) -> Later | Stop | None:
        """Return None when the delivery may go: before its dependency, or because that is there."""
        now = self._clock.now()
        # The last call is no more than the deadline to be heard by one clock alone.
        passed = self._witness.passed(now)
        match decide(delivery, parent, passed, verifying=reader.able):
            case Go():
                return None
            case Wait(detail, until):
                return Later(max(now + _LOOK_AGAIN, until or now), detail, parent)
            case Stop() as stop:
                return stop
            case Ask() as ask:
                return self._ask_for_customer(delivery, ask, reader)

    def _ask_for_customer(
        self, delivery: Delivery, ask: Ask, reader: Reader
    ) -> Later | Stop | None:
        """Return None when the network knows the customer, or has not told for `PROOF`."""
        if not reader.able:
            # What it would be sent with is missing too: the lane is held, which is loud.
            return None
        reading, now = reader.customer(delivery.network_key or ""), self._clock.now()
        since, after = self._witness.since(ask.since, now), self._absent_after(delivery, "signup")
        match reading:
            case Present():
                return None
            case Absent() if ask.parent is not None:
                again = now + min(max(since, _SOON), after)
                return Later(again, f"{ask.detail}, which is not readable yet", ask.parent)
            case Absent() if since < after:
                detail = "this customer is not at the network, or not yet"
                return Later(now + after - since, detail)
            case Absent():
                why = "neither this site nor the network knows this customer"
                return Stop(Status.UNATTRIBUTED, why)
        if since >= PROOF:
            return None
        later = self._ask_again(ask.since, f"{ask.detail}; {reading.detail}")
        return replace(later, due_at=min(later.due_at, now + PROOF - since), parent=ask.parent)

    def _judged(self, delivery: Delivery, exchange: Exchange, reader: Reader) -> Sent | None:
        """After an attempt that nobody can judge: return None when a repeat does no harm."""
        written = delivery.ambiguous_at
        if written is None or exchange.network.traits[delivery.kind].repeat_is_harmless:
            return None
        assert delivery.conversion is not None
        now, after = self._clock.now(), self._absent_after(delivery)
        # The clock alone may ask. The answer tells the network's own time beside it.
        since = max(self._witness.since(written, now), now - written)
        if since < after:
            return Later(now + after - since, _NOT_YET)
        if exchange.network.traits[delivery.kind].verified_by == "customer":
            reading = reader.customer(delivery.network_key or "")
        else:
            begun, until = listed_between(delivery, written, now, decides=True)
            [reading] = reader.find([delivery.conversion], begun, until, delivery.read_to)
        if isinstance(reading, Present):
            return self._found(reading)
        if isinstance(reading, Absent):
            now = self._clock.now()
            since = self._witness.since(written, now)
            return None if since >= after else Later(now + after - since, _NOT_YET)
        detail, place = f"may have arrived; {reading.detail}", reading.cursor
        if place in (None, delivery.read_to) or len(place) > READ_TO:
            return self._ask_again(written, detail)
        return Later(self._clock.now() + _READ_ON, detail, read_to=place)

    def _forgotten(self, delivery: Delivery, reader: Reader) -> Exchanged | None:
        """Return what came of an attempt that the database has forgotten, if there was one."""
        if (look := self._inherited.take(delivery)) is None or delivery.ambiguous_at:
            return None

        def find(some: Sequence[Delivery]) -> list[Reading]:
            now = self._clock.now()
            begun, until = zip(*(listed_between(one, now, now) for one in some), strict=True)
            conversions = [one.conversion for one in some if one.conversion is not None]
            return reader.find(conversions, min(begun), max(until))

        reading = look.read(delivery, find)
        return self._found(reading) if isinstance(reading, Present) else None

    def _found(self, reading: Present) -> Exchanged:
        test = bool(reading.test) and self._production
        return Exchanged(outcome=_FOUND_AS_TEST if test else _FOUND, found=True, test=test)

    def _ask_again(self, since: datetime, detail: str) -> Later:
        """Wait as long again as it has been."""
        now = self._clock.now()
        return Later(now + min(max(now - since, GRACE), _ASK_AGAIN), detail)


def _exchange(exchange: Exchange, delivery: Delivery) -> Exchanged:
    assert delivery.conversion is not None
    try:
        return exchange.send(delivery.conversion, delivery.click)
    except Exception as error:  # noqa: BLE001 - a thread of many: its delivery must still settle
        # Without its message and its values, which may be what was to be sent.
        where = "".join(traceback.format_tb(error.__traceback__))
        told = (
            "s2s.delivery.broken: delivery %d: %s\n%s",
            delivery.id,
            type(error).__name__,
            where,
        )
        log.error(*told, extra={"action": "delivery.broken", "delivery_id": delivery.id})
        detail = f"taken or not: {type(error).__name__} while sending"
        return Exchanged(outcome=Ambiguous(detail=detail, alarm=True))


T = TypeVar("T")


class Senders(Generic[T]):
    """Up to `most` threads, started as they are needed; one lane has up to `share` of them."""

    def __init__(self, most: int, share: int | None = None) -> None:
        self._most = most
        self._share = share or most
        self._started = 0
        self._idle = 0
        self._closed = False
        self._jobs: deque[tuple[str, Future[T], Callable[[], T]]] = deque()
        self._running: Counter[str] = Counter()
        # By its module's name: gevent may have replaced it after this module was imported.
        self._changed = threading.Condition()

    def submit(self, lane: str, function: Callable[..., T], *args: Any) -> Future[T]:
        """Run it in a thread. Raises RuntimeError when not even one thread can be had."""
        future: Future[T] = Future()
        with self._changed:
            if len(self._jobs) >= self._idle and self._started < self._most:
                self._start()
            self._jobs.append((lane, future, lambda: function(*args)))
            self._changed.notify()
        return future

    def queued(self) -> list[Future[T]]:
        """Return the jobs that wait until another's thread is free; the rest have one, or will at once."""
        queued = []
        with self._changed:
            running = self._running.copy()
            free = self._most - running.total()
            for lane, future, _ in self._jobs:
                if future.cancelled():
                    continue
                if free > 0 and running[lane] < self._share:
                    free -= 1
                    running[lane] += 1
                else:
                    queued.append(future)
        return queued

    def close(self) -> None:
        """Let the threads end, each once it has nothing to do. Waits for none of them."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __enter__(self) -> Senders[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        try:
            threading.Thread(target=self._serve, name="s2s-send", daemon=True).start()
            self._started += 1
        except RuntimeError:
            if not self._started:
                raise

    def _serve(self) -> None:
        while job := self._next():
            lane, future, run = job
            try:
                future.set_result(run())
            except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
                future.set_exception(error)
            del job, future, run
            with self._changed:
                self._running[lane] -= 1

    def _next(self) -> tuple[str, Future[T], Callable[[], T]] | None:
        """Wait for the oldest job that may run now; return None when this thread may end."""
        with self._changed:
            self._idle += 1
            while (job := self._take()) is None and not self._closed:
                self._changed.wait()
            self._idle -= 1
            return job

    def _take(self) -> tuple[str, Future[T], Callable[[], T]] | None:
        while (place := self._first()) is not None:
            job = lane, future, _ = self._jobs[place]
            del self._jobs[place]
            if future.set_running_or_notify_cancel():
                self._running[lane] += 1
                return job
        return None

    def _first(self) -> int | None:
        jobs, share = enumerate(self._jobs), self._share
        return next((place for place, job in jobs if self._running[job[0]] < share), None)
