"""The supervisor: it makes one app's workers, the verifiers beside them, and a web process's thread.

Nothing here connects or starts a thread before it is asked to. A process that serves asks at its
first request, a command and a test whenever they want something sent.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from .. import threads
from ..config.settings import Settings
from ..errors import S2SError
from ..networks.credentials import LoopbackOnly, OwnHostOnly
from ..networks.exchange import Exchange, Heard
from ..networks.network import Network, Traits, read_back_kinds, verifies
from ..networks.reading import NoReader, Reader
from ..rules.delivery import Delivery
from ..rules.retry import RetryPolicy, longest_pause
from ..store.database.clock import CommonTime
from ..store.dialects.errors import own_words
from ..store.outbox.heartbeat import Heartbeat, Summary, Workers
from ..store.restores import Inherited, Memory
from ..store.stores import Stores
from ..threads import POLL, Waker
from . import deferred
from .embedded import EmbeddedWorker, StallAlarm, warn_of_suspended_threads

log = logging.getLogger("flask_s2s")

T = TypeVar("T")


class _built(Generic[T]):
    """Something that is built when it is first asked for, without a lock.

    `functools.cached_property` holds one meanwhile before Python 3.12, which a fork would carry over.
    """

    def __init__(self, build: Callable[[Any], T]) -> None:
        self._build = build

    def __get__(self, supervisor: Supervisor, owner: type[Supervisor]) -> T:
        built = self._build(supervisor)
        # Of two threads that build one, both get the same.
        one: T = supervisor.__dict__.setdefault(self._build.__name__, built)
        return one


class Supervisor:
    """Makes one app's workers and verifiers, and runs them in this process."""

    def __init__(
        self,
        *,
        settings: Settings,
        stores: Stores,
        networks: Mapping[str, Network],
        transport: OwnHostOnly,
        tell: Callable[..., None],
    ) -> None:
        self._settings = settings
        self._stores = stores
        self.storage = storage = stores.storage
        self.networks = networks
        self._transport = transport
        self._times = times = stores.times
        self._clock = clock = times.clock
        self.witness = witness = times.witness
        self._tell = tell
        self.heartbeat = Heartbeat(storage)
        self.workers = Workers(storage)
        self._heard = Heard(transport, witness.hear)
        self._common_time = CommonTime(witness, storage)
        self._verifies = any(map(verifies, networks.values()))
        self._seconds = settings.attempt.total_seconds()
        self.exchanges = {
            name: Exchange(network, self._heard, transport.credentials, seconds=self._seconds)
            for name, network in networks.items()
        }
        self._inherited = Inherited(clock.now(), storage)
        self.memory = Memory(storage)
        self._readers: Mapping[str, Reader] | None = None
        self._longest_pause = longest_pause(settings.lease)
        self.embedded = EmbeddedWorker(self._work_embedded, self._longest_pause)
        self._embeds = settings.worker == "embedded"
        self._suspended = threads.are_suspended()
        if self._embeds and self._suspended:
            self._embeds = False
            warn_of_suspended_threads()
        if self._embeds:
            deferred.load(verifying=self._verifies)
            self._readers = self._reading()
        #: Called after each commit of something due, within the visitor's request: an engine's hook.
        #: It returns at once, and raises nothing.
        self.on_wake: list[Callable[[], None]] = []
        if settings.worker == "external":
            alarm = StallAlarm(clock, self.heartbeat.pulse)
            self.on_wake.append(settings.unless_testing(alarm))
        #: Called every 20 seconds by a worker that lives, and whose database answers.
        self.on_alive: list[Callable[[], None]] = []
        self._prepared = False
        #: Whether that was tried in a request's own thread.
        self._looked = False
        #: Workers that drained, and what they remember: no thread is in them.
        self._drainers: list[deferred.Worker] = []

    # -- who delivers -------------------------------------------------------------------------

    @_built
    def breakers(self) -> deferred.CircuitBreakers:
        """The closed lanes, as this process has seen them last."""
        return deferred.CircuitBreakers(self.storage, self._tell)

    @_built
    def claims(self) -> deferred.Claims:
        """Leases what is due."""
        return deferred.Claims(self.storage, self.memory.meet)

    @_built
    def settling(self) -> deferred.Settling:
        """Ends the leases."""
        add, memory = self._stores.outbox.add, self.memory
        return deferred.Settling(self.storage, add, memory)

    @_built
    def overdue(self) -> deferred.Overdue:
        """Finds what is overdue, or was put off by a clock that was ahead."""
        return deferred.Overdue(self.storage)

    @_built
    def _housekeeping(self) -> deferred.Housekeeping:
        lease = self._settings.lease
        pulling = [lambda now: self.overdue.pull_in(now, lease), self.breakers.pull_in]
        if self._verifies:
            pulling.append(self.verification_queue.pull_in)
        return deferred.Housekeeping(
            overdue=self.overdue,
            memory=self.memory,
            times=self._times,
            pulling=pulling,
            lease=lease,
            on_alive=self._alive,
        )

    @property
    def readers(self) -> Mapping[str, Reader]:
        """A reader of records for each network."""
        if self._readers is None:
            self._readers = self._reading()
        return self._readers

    def _reading(self) -> Mapping[str, Reader]:
        return {name: self._reader(network) for name, network in self.networks.items()}

    def _reader(self, network: Network) -> Reader:
        records, lane = network.records, network.reading_lane
        if records is None or lane is None:
            return NoReader()
        sending = (self._heard, self._transport.credentials)
        return deferred.ReadBack(records, lane, *sending, seconds=self._seconds)

    @_built
    def verification_queue(self) -> deferred.VerificationQueue:
        """The accepted deliveries that are still to be confirmed."""
        read_back = [(name, read_back_kinds(one)) for name, one in self.networks.items()]
        return deferred.VerificationQueue(self.storage, read_back)

    def worker(
        self, *, poll: float = POLL, breakers: deferred.CircuitBreakers | None = None
    ) -> deferred.Worker:
        """Return a worker of this app's outbox; `poll` is its longest sleep, in seconds.

        `breakers` is its view of the closed lanes, where that is not the ordinary one. Raises
        `ConfigError` under `TESTING` when the network is not on this machine.
        """
        settings = self._settings
        if isinstance(self._transport.transport, LoopbackOnly):
            for network in self.networks.values():
                first = next(iter(network.lanes.values()))
                self._transport.transport.refuse_live(first.base_url)
        breakers = breakers or self.breakers
        throttle = deferred.Throttle(
            settings.concurrency,
            lanes=self._lanes_in_use(),
            rate=settings.rate,
        )
        readers = self.readers
        return deferred.Worker(
            claims=self.claims,
            settling=self.settling,
            memory=self.memory,
            breakers=breakers,
            executor=deferred.Executor(
                claims=self.claims,
                exchanges=self.exchanges,
                readers=readers,
                times=self._times,
                attempt=settings.attempt,
                production=settings.production,
                inherited=self._inherited,
            ),
            completer=deferred.Completer(
                settling=self.settling,
                breakers=breakers,
                networks=self.networks,
                readers=readers,
                times=self._times,
                policy=RetryPolicy(),
                jitter=random.random,
                tell=self._tell,
                on_test=lambda now: self.verification_queue.note_test(now),
            ),
            housekeeping=self._housekeeping,
            clock=self._clock,
            lease=settings.lease,
            concurrency=settings.concurrency,
            poll=poll,
            throttle=throttle,
        )

    def verifier(self) -> deferred.Verifier:
        """Return what asks the networks for their records of what was delivered."""
        return deferred.Verifier(
            verification_queue=self.verification_queue,
            readers=self.readers,
            traits=self._traits,
            times=self._times,
            production=self._settings.production,
            tell=self._tell,
        )

    def _traits(self, delivery: Delivery) -> Traits | None:
        network = self.networks.get(delivery.network)
        return None if network is None else network.traits.get(delivery.kind)

    def _lanes_in_use(self) -> int:
        """Count the lanes that something may go by: each network's first, and those with a credential."""
        lanes = [tuple(network.lanes.values()) for network in self.networks.values()]
        return sum(1 + sum(lane.configured for lane in each[1:]) for each in lanes)

    def drain(self) -> int:
        """Send, then verify, all that is due now, in this thread; return how many were tried."""
        self.prepare()
        # Each thread that drains has one of its own, and leaves it for the next one.
        try:
            worker = self._drainers.pop()
        except IndexError:
            worker = self.worker()
        tried = worker.run_once()
        if self._verifies and self.verifier().run_once():
            tried += worker.run_once()
        self._drainers.append(worker)
        self.share_time()
        return tried

    def share_time(self) -> None:
        """Tell the next process how late it is. One that only ran for a moment does so at its end."""
        try:
            self._common_time.share(self._clock.now())
        except SQLAlchemyError as error:
            log.warning(
                "s2s.housekeeping.failed: %s; the time is told by the next worker",
                type(error).__name__,
                extra={"action": "housekeeping.failed"},
            )

    def work(self, waker: Waker, *, poll: float = POLL) -> None:
        """Deliver, and verify beside it, until the waker says stop."""
        with self.verifier().beside(waker) if self._verifies else nullcontext():
            self.worker(poll=poll).run(waker)

    # -- in a process that serves -------------------------------------------------------------

    def start(self) -> bool:
        """Begin to deliver, if this process is to. Never raises, never waits for a database.

        Returns False where it is to be asked again.
        """
        try:
            if self._settings.testing or self._is_in_memory():
                if not self._looked and not self.storage.begun:
                    self._looked = True
                    self._prepare_quietly()
                # A site may look whether it answers, as a test, before it serves.
                return not self._settings.testing
            # Without a thread that looks for the tables, the first write finds them missing.
            return self._suspended or self.embedded.ensure()
        except Exception:
            log.exception("s2s.start.failed", extra={"action": "start.failed"})
            return True

    def _is_in_memory(self) -> bool:
        try:
            return self.storage.in_memory
        except (S2SError, SQLAlchemyError, OSError):
            return False  # not even its folder is there: the thread tries that again

    def wake(self) -> None:
        """Something was committed that is due. Never raises: a visitor waits for it."""
        try:
            self.embedded.wake()
            for listener in self.on_wake:
                listener()
        except Exception:
            log.exception("s2s.wake.failed", extra={"action": "wake.failed"})

    def prepare(self) -> None:
        """Make sure that the tables are there. Raises `StorageError` with what to do."""
        if not self._prepared:
            self.storage.prepare()
            self._stores.keyring.prepare()
            self._times.database.measure()
            self._common_time.learn()
            self._prepared = True

    def summary(self, *, all_counts: bool = True) -> Summary:
        """Return the outbox at a glance; without `all_counts` what is done well is not counted."""
        return self.heartbeat.summary(self._clock.now(), all_counts=all_counts)

    def _prepare_quietly(self) -> bool:
        try:
            self.prepare()
            return True
        except Exception as error:
            known = isinstance(error, S2SError | SQLAlchemyError | OSError)
            log.critical(
                "s2s.storage.unusable: %s",
                error if isinstance(error, S2SError) else own_words(error),
                extra={"action": "storage.unusable"},
                exc_info=None if known else error,
            )
            return False

    def _prepare_patiently(self, waker: Waker) -> bool:
        """Prepare, again and again; return whether the waker said stop before it was done."""
        seconds = 1.0
        while not self._prepare_quietly():
            if waker.pause(min(seconds, self._longest_pause)):
                return True
            seconds *= 2
        return False

    def _work_embedded(self, waker: Waker) -> None:
        if not self._prepare_patiently(waker) and self._embeds:
            self.work(waker)

    def retention(self, now: datetime) -> deferred.Retention:
        """Return what deletes what is past its time."""
        storage, bindings = self.storage, self._stores.bindings
        longest = self._settings.longest_window
        return deferred.Retention(storage, bindings, now, longest)

    def _alive(self, now: datetime, throttle: deferred.Throttle) -> None:
        self.heartbeat.seen(now)
        self.workers.report(now, throttle.in_flight, throttle.rests(now))
        for hear in self.on_alive:
            hear()
        self._times.database.measure()
        self._common_time.learn()
        self._common_time.share(now)
        # Nothing is deleted by one clock alone.
        deferred.Maintenance(self.storage, self.retention).run(self.witness.passed(now))
