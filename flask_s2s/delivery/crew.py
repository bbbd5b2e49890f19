"""Who delivers for one app: workers, the verifiers beside them, and the thread of a web process.

Nothing here connects or starts a thread before it is asked to. A process that serves asks at its
first request, a command and a test whenever they want something sent.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import datetime
from threading import Thread

from sqlalchemy.exc import SQLAlchemyError

from ..clock import Clock
from ..config import Settings
from ..errors import S2SError
from ..networks.credentials import Credentials
from ..networks.exchange import Exchange
from ..networks.partnerstack import PartnerStack
from ..networks.transport import LoopbackOnly, Transport
from . import annexe
from .bell import POLL, Bell
from .databaseclock import DatabaseClock
from .embedded import EmbeddedWorker, threads_are_frozen, warn_of_frozen_threads
from .outbox import Outbox
from .retry import RetryPolicy
from .settlement import Delivery, Status
from .storage import Storage
from .vitals import Summary, Vitals
from .watchman import Watchman

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
        self._networks = networks
        self._transport = transport
        self._credentials = credentials
        self._clock = clock
        self._database_clock = database_clock
        self._settled = settled
        self.vitals = Vitals(storage.engine, storage.tables)
        self._verifies = bool(settings.partnerstack_secret_key)
        self._production = not (settings.debug or settings.testing)
        self._seconds = settings.attempt.total_seconds()
        self.exchanges = {
            name: Exchange(network, transport, credentials, seconds=self._seconds)
            for name, network in networks.items()
        }
        self._gates: annexe.Gates | None = None
        self._readers: Mapping[str, annexe.ReadBack] | None = None
        self.embedded = EmbeddedWorker(self._work_embedded)
        self._embeds = settings.worker == "embedded" and not settings.testing
        if self._embeds and threads_are_frozen():
            self._embeds = False
            warn_of_frozen_threads()
        if self._embeds:
            annexe.furnish(verifying=self._verifies)
        #: Called after each commit of something due, within the visitor's request: an engine's hook.
        #: It returns at once, and raises nothing.
        self.on_wake: list[Callable[[], None]] = []
        if settings.worker == "external" and not settings.testing:
            self.on_wake.append(Watchman(clock, self.summary))
        self._prepared = False

    # -- who delivers -------------------------------------------------------------------------

    @property
    def gates(self) -> annexe.Gates:
        """The closed lanes, as this process has seen them last."""
        if self._gates is None:
            self._gates = annexe.Gates(self._storage.engine, self._storage.tables)
        return self._gates

    @property
    def readers(self) -> Mapping[str, annexe.ReadBack]:
        """What reads each network's records."""
        if self._readers is None:
            sending = (self._transport, self._credentials)
            self._readers = {
                name: annexe.ReadBack(annexe.Records(network), *sending, seconds=self._seconds)
                for name, network in self._networks.items()
            }
        return self._readers

    @property
    def probation(self) -> annexe.Probation:
        """The sign-ups that are still to be confirmed."""
        return annexe.Probation(self._storage.engine, self._storage.tables)

    def worker(self, *, poll: float = POLL, gates: annexe.Gates | None = None) -> annexe.Worker:
        """Return a worker of this app's outbox; `poll` is its longest sleep, in seconds.

        `gates` is its view of the closed lanes, where that is not the ordinary one. Raises
        `ConfigError` under `TESTING` when the network is not on this machine.
        """
        settings = self._settings
        if isinstance(self._transport, LoopbackOnly):
            self._transport.refuse_live(settings.partnerstack_url)
        gates = gates or self.gates
        dispatch = annexe.Dispatch(
            outbox=self._outbox,
            gates=gates,
            exchanges=self.exchanges,
            readers=self.readers,
            clock=self._clock,
            policy=RetryPolicy(),
            jitter=random.random,
            on_settled=self._settled,
            on_test=self._note_test,
            production=self._production,
            attempt=settings.attempt,
        )
        return annexe.Worker(
            outbox=self._outbox,
            gates=gates,
            dispatch=dispatch,
            clock=self._clock,
            lease=settings.lease,
            concurrency=settings.concurrency,
            poll=poll,
            pace=annexe.Pace(
                settings.concurrency,
                lanes=2 if self._verifies else 1,
                rate=settings.rate,
            ),
            on_alive=self._alive,
        )

    def verifier(self) -> annexe.Verifier:
        """Return what asks the networks for their records of what was delivered."""
        return annexe.Verifier(
            probation=self.probation,
            readers=self.readers,
            clock=self._clock,
            production=self._production,
            on_settled=self._settled,
        )

    def drain(self) -> int:
        """Send, then verify, all that is due now, in this thread; return how many were tried."""
        self.prepare()
        worker = self.worker()
        tried = worker.run_once()
        verified = self._verifies and self.verifier().run_once()
        return tried + (worker.run_once() if verified else 0)

    def work(self, bell: Bell, *, poll: float = POLL) -> None:
        """Deliver, and verify beside it, until the bell says stop."""
        with self.verifier().beside(bell) if self._verifies else nullcontext():
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
        return self.vitals.summary(self._clock.now())

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

    def _note_test(self, now: datetime) -> None:
        self.probation.note_test(now)

    def _work_embedded(self, bell: Bell) -> None:
        seconds = 1.0
        while not self._prepare_quietly():
            if bell.pause(seconds):
                return
            seconds = min(seconds * 2, 30.0)
        self.work(bell)

    def _alive(self, now: datetime) -> None:
        self.vitals.seen(now)
        self._database_clock.measure()
