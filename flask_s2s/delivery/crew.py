"""Who delivers for one app: workers, the verifiers beside them, and the thread of a web process.

Nothing here connects or starts a thread before it is asked to. A process that serves asks at its
first request, a command and a test whenever they want something sent.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from datetime import datetime
from threading import Thread

from sqlalchemy.exc import SQLAlchemyError

from ..clock import Clock
from ..config import Settings
from ..errors import S2SError
from ..networks.credentials import Credentials
from ..networks.exchange import Exchange
from ..networks.partnerstack import PartnerStack
from ..networks.readback import ReadBack
from ..networks.reading import Reader
from ..networks.transport import LoopbackOnly, Transport
from .bell import Bell
from .databaseclock import DatabaseClock
from .dispatch import Dispatch
from .embedded import EmbeddedWorker, threads_are_frozen, warn_of_frozen_threads
from .gate import Gates
from .ledger import Ledger, Summary
from .outbox import Outbox
from .pace import Pace
from .probation import Probation
from .retry import RetryPolicy
from .settlement import Delivery, Status
from .storage import Storage
from .verification import Verifier
from .watchman import Watchman
from .worker import EXPIRING, POLL, Worker

log = logging.getLogger("flask_s2s")


class Crew:
    """Makes one app's workers and verifiers, and runs them in this process."""

    def __init__(
        self,
        *,
        settings: Settings,
        storage: Storage,
        outbox: Outbox,
        networks: Mapping[str, PartnerStack],
        transport: Transport,
        credentials: Credentials,
        clock: Clock,
        database_clock: DatabaseClock,
        settled: Callable[[Delivery, Status], None],
    ) -> None:
        self._settings = settings
        self._storage = storage
        self._outbox = outbox
        self._transport = transport
        self._clock = clock
        self._database_clock = database_clock
        self._settled = settled
        engine, tables = storage.engine, storage.tables
        self.gates = Gates(engine, tables)
        self.ledger = Ledger(engine, tables)
        self.probation = Probation(engine, tables)
        seconds = settings.lease.total_seconds() / 3
        self.exchanges = {
            name: Exchange(network, transport, credentials, seconds=seconds)
            for name, network in networks.items()
        }
        self.readers: dict[str, Reader] = {
            name: ReadBack(network, transport, credentials, seconds=seconds)
            for name, network in networks.items()
        }
        self.embedded = EmbeddedWorker(self._work_embedded)
        self._embeds = settings.worker == "embedded" and not settings.testing
        if self._embeds and threads_are_frozen():
            self._embeds = False
            warn_of_frozen_threads()
        #: Called after each commit of something due, within the visitor's request: an engine's hook.
        #: It returns at once, and raises nothing.
        self.on_wake: list[Callable[[], None]] = []
        if settings.worker == "external" and not settings.testing:
            self.on_wake.append(Watchman(clock, self.summary))
        self._prepared = False

    # -- who delivers -------------------------------------------------------------------------

    def worker(self, *, poll: float = POLL, gates: Gates | None = None) -> Worker:
        """Return a worker of this app's outbox; `poll` is its longest sleep, in seconds.

        `gates` is its view of the closed lanes, where that is not the ordinary one. Raises
        `ConfigError` under `TESTING` when the network is not on this machine.
        """
        settings = self._settings
        if isinstance(self._transport, LoopbackOnly):
            self._transport.refuse_live(settings.partnerstack_url)
        gates = gates or self.gates
        dispatch = Dispatch(
            outbox=self._outbox,
            gates=gates,
            exchanges=self.exchanges,
            readers=self.readers,
            clock=self._clock,
            policy=RetryPolicy(),
            jitter=random.random,
            on_settled=self._settled,
            attempt=settings.lease / 3,
        )
        return Worker(
            outbox=self._outbox,
            gates=gates,
            dispatch=dispatch,
            clock=self._clock,
            lease=settings.lease,
            concurrency=settings.concurrency,
            poll=poll,
            pace=Pace(
                settings.concurrency,
                lanes=2 if settings.partnerstack_secret_key else 1,
                rate=settings.rate,
            ),
            on_alive=self._alive,
        )

    def verifier(self) -> Verifier:
        """Return what asks the networks for their records of what was delivered."""
        return Verifier(
            probation=self.probation,
            readers=self.readers,
            clock=self._clock,
            production=not (self._settings.debug or self._settings.testing),
            on_settled=self._settled,
        )

    def drain(self) -> int:
        """Send, then verify, all that is due now, in this thread; return how many were tried."""
        self.prepare()
        worker = self.worker()
        tried = worker.run_once()
        return tried + (worker.run_once() if self.verifier().run_once() else 0)

    def work(self, bell: Bell, *, poll: float = POLL) -> None:
        """Deliver, and verify beside it, until the bell says stop."""
        with self.verifier().beside(bell):
            self.worker(poll=poll).run(bell)

    # -- in a process that serves -------------------------------------------------------------

    def start(self) -> None:
        """Begin to deliver, if this process is to. Never raises, never waits for a server."""
        try:
            here = self._storage.is_local() or self._settings.testing
            if here and not self._storage.begun:
                self._prepare_quietly()
            if self._settings.testing or (here and self._storage.shared_connection):
                return
            if self._embeds:
                self.embedded.ensure()
            elif not here:
                Thread(target=self._prepare_quietly, name="s2s-prepare", daemon=True).start()
        except Exception:
            log.exception("s2s.start.failed", extra={"action": "start.failed"})

    def wake(self) -> None:
        """Something was committed that is due."""
        self.embedded.ring()
        for listener in self.on_wake:
            listener()

    def prepare(self) -> None:
        """Make sure that the tables are there. Raises `StorageError` with what to do."""
        if not self._prepared:
            self._storage.prepare()
            self._database_clock.measure()
            self._prepared = True

    def summary(self) -> Summary:
        """Return the outbox at a glance."""
        return self.ledger.summary(self._clock.now() + EXPIRING)

    def _prepare_quietly(self) -> bool:
        try:
            self.prepare()
            return True
        except (S2SError, SQLAlchemyError) as error:
            problem = error if isinstance(error, S2SError) else type(error).__name__
            log.critical(
                "s2s.storage.unusable: %s",
                problem,
                extra={"action": "storage.unusable"},
            )
            return False

    def _work_embedded(self, bell: Bell) -> None:
        seconds = 1.0
        while not self._prepare_quietly():
            if bell.wait(seconds):
                return
            seconds = min(seconds * 2, 30.0)
        self.work(bell)

    def _alive(self, now: datetime) -> None:
        self.ledger.seen(now)
        self._database_clock.measure()
