"""One app's object graph, and what is asked of it: land, record, drain. No Flask.

The only file that knows every adapter. Nothing here connects, starts a thread or reads a file when
it is built: the database is found at first use, because extensions are initialised in any order.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from .capture.attribution import Attribution, Reason
from .capture.record import RecordSigner
from .capture.touches import Touches
from .capture.visitors import Environ, Visitors
from .click import Click
from .clock import Clock, SystemClock
from .config import Settings
from .conversion import Conversion, Signup
from .delivery.bell import Bell
from .delivery.databaseclock import DatabaseClock
from .delivery.dispatch import Dispatch
from .delivery.embedded import EmbeddedWorker, threads_are_frozen, warn_of_frozen_threads
from .delivery.gate import Gates
from .delivery.ledger import Ledger, Summary
from .delivery.outbox import Outbox
from .delivery.pace import Pace
from .delivery.probation import Probation
from .delivery.recorder import Recorder
from .delivery.retry import RetryPolicy
from .delivery.settlement import Delivery, Status
from .delivery.storage import Storage
from .delivery.verification import Verifier
from .delivery.watchman import Watchman
from .delivery.worker import EXPIRING, POLL, Worker
from .errors import S2SError, StorageError
from .networks.credentials import Credentials
from .networks.exchange import Exchange
from .networks.partnerstack import PartnerStack
from .networks.readback import ReadBack
from .networks.reading import Reader
from .networks.transport import HttpTransport, LoopbackOnly, Transport
from .signals import click_captured, conversion_recorded, delivery_settled, tell

log = logging.getLogger("flask_s2s")


def _no_host() -> Engine | None:
    return None


class Services:
    """Everything one app needs. Make it with `build`."""

    def __init__(
        self,
        *,
        settings: Settings,
        storage: Storage,
        networks: Mapping[str, PartnerStack],
        transport: Transport,
        clock: Clock | None,
    ) -> None:
        self.settings = settings
        self.storage = storage
        self._database_clock = DatabaseClock(SystemClock(), storage.engine)
        self.clock = clock = clock or self._database_clock
        self.networks = networks
        self.transport = transport
        self.signer = RecordSigner(settings.secret_keys, settings.window)
        self.credentials = Credentials(settings)
        engine, tables = storage.engine, storage.tables
        self.touches = Touches(engine, tables, settings.click_rate, lambda: storage.begun)
        storage.at_fork = self.touches.close
        self.visitors = Visitors(
            settings=settings,
            signer=self.signer,
            touches=self.touches,
            clock=clock,
            captured=lambda click: tell(click_captured, self.sender, click=click),
        )
        self.land = self.visitors.land
        self.attribution_of = self.visitors.attribution_of
        self.outbox = Outbox(engine, tables)
        self.gates = Gates(engine, tables)
        self.ledger = Ledger(engine, tables)
        self.recorder = Recorder(
            settings=settings,
            storage=storage,
            outbox=self.outbox,
            networks=networks,
            clock=clock,
            wake=self.wake,
            recorded=self._recorded,
        )
        seconds = settings.lease.total_seconds() / 3
        self._exchanges = {
            name: Exchange(network, transport, self.credentials, seconds=seconds)
            for name, network in networks.items()
        }
        self.readers: dict[str, Reader] = {
            name: ReadBack(network, transport, self.credentials, seconds=seconds)
            for name, network in networks.items()
        }
        self.probation = Probation(engine, tables)
        self.embedded = EmbeddedWorker(self._work_embedded)
        self._embeds = settings.worker == "embedded" and not settings.testing
        if self._embeds and threads_are_frozen():
            self._embeds = False
            warn_of_frozen_threads()
        self.sender: Any = self
        #: Called after each commit of something due, within the visitor's request: an engine's hook.
        #: It returns at once, and raises nothing.
        self.on_wake: list[Callable[[], None]] = []
        if settings.worker == "external" and not settings.testing:
            self.on_wake.append(Watchman(clock, self.summary))
        #: The process in which `start_serving` was called last.
        self.serving_pid = 0
        self._prepared = False

    @classmethod
    def build(
        cls,
        settings: Settings,
        *,
        folder: str | os.PathLike[str] = "instance",
        host_engine: Callable[[], Engine | None] = _no_host,
        transport: Transport | None = None,
        clock: Clock | None = None,
    ) -> Services:
        """Build the graph of one app. Connects to nothing.

        `folder` holds the outbox when no database is named, `host_engine` gives the app's own
        engine. Under `TESTING` a request to another machine is refused, unless by a `transport`.
        """
        network = PartnerStack(url=settings.partnerstack_url, api_url=settings.partnerstack_api_url)
        sending = transport or HttpTransport(connections=settings.concurrency)
        if settings.testing and transport is None:
            sending = LoopbackOnly(sending)
        return cls(
            settings=settings,
            storage=Storage(uri=settings.database_uri, host=host_engine, folder=Path(folder)),
            networks={network.name: network},
            transport=sending,
            clock=clock,
        )

    # -- conversions --------------------------------------------------------------------------

    def track_signup(
        self,
        *,
        customer_key: object,
        session: Any = None,
        environ: Environ | None = None,
        click: Click | None = None,
        **fields: Any,
    ) -> Delivery | None:
        """Record a sign-up; see `S2S.track_signup`. `environ` is the request's, if there is one."""
        return self.track(
            Signup(customer_key=customer_key, **fields),  # type: ignore[arg-type]
            session=session,
            environ=environ,
            click=click,
        )

    def track(
        self,
        conversion: Conversion,
        *,
        session: Any = None,
        environ: Environ | None = None,
        click: Click | None = None,
    ) -> Delivery | None:
        """Record a conversion now; None when our own database did not take it (logged)."""
        explicit = Attribution(click, Reason.EXPLICIT)
        attribution = explicit if click else self.attribution_of(environ)
        return self.recorder.call(conversion, attribution, session)

    def credit(self, customer_key: str, click: Click) -> Delivery | None:
        """Give a customer's unattributed sign-up a click by hand, or record it; None: it has one."""
        conversion = Signup(customer_key=customer_key)
        recorded = self.recorder.alone(conversion, Attribution(click, Reason.CREDITED))
        if recorded is None:
            raise StorageError("The database did not take the credit", "Try it again.")
        if recorded.click != click or recorded.reason != Reason.CREDITED.value:
            return None
        return recorded

    # -- delivery -----------------------------------------------------------------------------

    def worker(self, *, poll: float = POLL, gates: Gates | None = None) -> Worker:
        """Return a worker of this app's outbox; `poll` is its longest sleep, in seconds.

        `gates` is its view of the closed lanes, where that is not the ordinary one. Raises
        `ConfigError` under `TESTING` when the network is not on this machine.
        """
        if isinstance(self.transport, LoopbackOnly):
            self.transport.refuse_live(self.settings.partnerstack_url)
        gates = gates or self.gates
        dispatch = Dispatch(
            outbox=self.outbox,
            gates=gates,
            exchanges=self._exchanges,
            readers=self.readers,
            clock=self.clock,
            policy=RetryPolicy(),
            jitter=random.random,
            on_settled=self._settled,
            attempt=self.settings.lease / 3,
        )
        return Worker(
            outbox=self.outbox,
            gates=gates,
            dispatch=dispatch,
            clock=self.clock,
            lease=self.settings.lease,
            concurrency=self.settings.concurrency,
            poll=poll,
            pace=Pace(
                self.settings.concurrency,
                lanes=2 if self.settings.partnerstack_secret_key else 1,
                rate=self.settings.rate,
            ),
            on_alive=self._alive,
        )

    def drain(self) -> int:
        """Send, then verify, all that is due now, in this thread; return how many were tried."""
        self.prepare()
        worker = self.worker()
        tried = worker.run_once()
        return tried + (worker.run_once() if self.verifier().run_once() else 0)

    def verifier(self) -> Verifier:
        """Return what asks the networks for their records of what was delivered."""
        return Verifier(
            probation=self.probation,
            readers=self.readers,
            clock=self.clock,
            production=not (self.settings.debug or self.settings.testing),
            on_settled=self._settled,
        )

    def work(self, bell: Bell, *, poll: float = POLL) -> None:
        """Deliver, and verify beside it, until the bell says stop."""
        with self.verifier().beside(bell):
            self.worker(poll=poll).run(bell)

    def close(self) -> None:
        """End the embedded worker and close every connection of our own; use opens them again."""
        self.embedded.stop()
        self.touches.close()
        self.storage.close()
        self.serving_pid = 0

    def wake(self) -> None:
        """Something was committed that is due."""
        self.embedded.ring()
        for listener in self.on_wake:
            listener()

    def start_serving(self) -> None:
        """A process serves its first request. Never raises, never waits for a database server."""
        self.serving_pid = os.getpid()
        try:
            here = self.storage.is_local() or self.settings.testing
            if here and not self.storage.begun:
                self._prepare_quietly()
            if self.settings.testing or (here and self.storage.shared_connection):
                return
            if self._embeds:
                self.embedded.ensure()
            elif not here:
                Thread(target=self._prepare_quietly, name="s2s-prepare", daemon=True).start()
        except Exception:
            log.exception("s2s.start.failed", extra={"action": "start.failed"})

    def prepare(self) -> None:
        """Make sure that the tables are there. Raises `StorageError` with what to do."""
        if not self._prepared:
            self.storage.prepare()
            self._database_clock.measure()
            self._prepared = True

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

    def summary(self) -> Summary:
        """Return the outbox at a glance."""
        return self.ledger.summary(self.clock.now() + EXPIRING)

    def _alive(self, now: datetime) -> None:
        self.ledger.seen(now)
        self._database_clock.measure()

    # -- signals ------------------------------------------------------------------------------

    def _recorded(self, delivery: Delivery) -> None:
        tell(conversion_recorded, self.sender, delivery=delivery)

    def _settled(self, delivery: Delivery, status: Status) -> None:
        tell(delivery_settled, self.sender, delivery=delivery, status=status)
