"""One app's object graph, and what is asked of it: land, record, drain. No Flask.

Composes capture, recording and delivery. Nothing here connects, starts a thread or reads a file
when it is built: the database is found at first use, because extensions are initialised in any
order.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from .capture.asking import AskingVisitors
from .capture.attribution import Attribution, Reason
from .capture.binding import Bindings
from .capture.consent import Consent, withdraw
from .capture.decision import Decision
from .capture.evidence import NO_FORM, Environ, Evidence
from .capture.handle import HandleSealer
from .capture.identity import identities
from .capture.record import RecordSigner
from .capture.touches import Touches
from .capture.visitors import Visitors
from .click import Click
from .clock import Clock, SystemClock
from .config import Settings
from .conversion import Conversion, Signup
from .delivery import annexe
from .delivery.crew import Crew
from .delivery.databaseclock import DatabaseClock
from .delivery.erasing import Erased, Erasing, Withdrawals
from .delivery.outbox import Outbox
from .delivery.recorder import Recorder
from .delivery.settlement import Delivery
from .delivery.storage import Storage
from .errors import ConfigError, StorageError
from .networks.credentials import Credentials
from .networks.partnerstack import PartnerStack
from .networks.transport import HttpTransport, LoopbackOnly, Transport
from .signals import click_captured, conversion_recorded, delivery_settled, tell


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
        database_clock = DatabaseClock(SystemClock(), storage.engine)
        self.clock = clock = clock or database_clock
        self.networks = networks
        self.transport = transport
        self.signer = RecordSigner(settings.secret_keys, settings.window, settings.windows)
        self.credentials = Credentials(settings)
        engine, tables = storage.engine, storage.tables
        self.touches = Touches(engine, tables, settings.click_rate, lambda: storage.begun)
        storage.at_fork = self.touches.close
        self.withdrawals = Withdrawals(storage, Erasing(tables), clock)
        self.visitors = self._visitors()
        self.attribution_of = self.visitors.attribution_of
        self.outbox = Outbox(engine, tables)
        self.bindings = Bindings(engine, tables, settings)
        self.crew = crew = Crew(
            settings=settings,
            storage=storage,
            outbox=self.outbox,
            networks=networks,
            transport=transport,
            credentials=self.credentials,
            clock=clock,
            database_clock=database_clock,
            settled=lambda delivery, status: tell(
                delivery_settled, self.sender, delivery=delivery, status=status
            ),
        )
        self.worker, self.verifier, self.work = crew.worker, crew.verifier, crew.work
        self.prepare, self.drain, self.summary = crew.prepare, crew.drain, crew.summary
        self.wake, self.on_wake = crew.wake, crew.on_wake
        self.recorder = Recorder(
            settings=settings,
            storage=storage,
            outbox=self.outbox,
            networks=networks,
            clock=clock,
            resolve=Decision(tables, self.outbox.hashed, self.bindings, settings.rule),
            wake=crew.wake,
            recorded=lambda delivery: tell(conversion_recorded, self.sender, delivery=delivery),
        )
        self.sender: Any = self
        #: Where the site's files are; links there never carry a click.
        self.static_path: str | None = None
        #: The process in which `start_serving` was called last.
        self.serving_pid = 0

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
        if unknown := settings.windows.keys() - {network.name}:
            raise ConfigError(
                "S2S_WINDOW", f"names {min(unknown)!r}, which is no network", f"Use {network.name}."
            )
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

    def _visitors(self) -> Visitors:
        settings = self.settings
        sealer = HandleSealer(settings.secret_keys, settings.window, settings.windows)
        needs: dict[str, Any] = {
            "settings": settings,
            "evidence": Evidence(
                settings=settings, signer=self.signer, sealer=sealer, clock=self.clock
            ),
            "sealer": sealer,
            "touches": self.touches,
            "clock": self.clock,
            "chance": secrets.token_bytes,
            "captured": lambda click: tell(click_captured, self.sender, click=click),
        }
        consent = Consent(settings.consent, gpc_denies=settings.gpc == "deny")
        if not consent.asks:
            return Visitors(**needs)
        return AskingVisitors(consent=consent, erase=self.withdrawals.soon, **needs)

    # -- visitors -----------------------------------------------------------------------------

    def identify(
        self,
        *,
        email: object = None,
        user_id: object = None,
        session: Any = None,
        environ: Environ | None = None,
        form: Callable[[], str | None] = NO_FORM,
    ) -> bool:
        """Bind the visitor's click to who they say they are; see `S2S.identify`."""
        joined = None if session is None else self.recorder.joinable(session)
        found = self.attribution_of(environ, form)
        who = identities(email, user_id)
        if found.click is None or not who:
            return False
        now = self.clock.now()
        if joined is not None:
            return self.bindings.bind(joined.connection(), who, found, now)
        storage = self.storage
        return self.bindings.bind_alone(
            who,
            found,
            now,
            create=lambda: storage.ours and bool(storage.create()),
            ready=storage.refuse_while_begun,
        )

    def withdraw(
        self,
        *,
        environ: Environ,
        session: Any = None,
        form: Callable[[], str | None] = NO_FORM,
    ) -> Erased:
        """Erase what is kept of this request's visitor; see `S2S.withdraw`.

        Where nobody is asked for consent (`S2S_CONSENT`, `S2S_GPC`), the app ends the cookie itself
        with the headers that `reply.expiring` returns.
        """
        clicks = self.visitors.evidence.clicks(environ, form)
        joined = None if session is None else self.recorder.joinable(session).connection()
        erased = self.withdrawals.now(clicks, joined)
        withdraw(environ)
        return replace(erased, cookie=self.visitors.evidence.has_cookie(environ))

    # -- conversions --------------------------------------------------------------------------

    def track_signup(
        self,
        *,
        customer_key: object,
        session: Any = None,
        environ: Environ | None = None,
        click: Click | None = None,
        handle: str | None = None,
        **fields: Any,
    ) -> Delivery | None:
        """Record a sign-up; see `S2S.track_signup`.

        `environ` is the request's, if there is one; `handle` is what its form brought as `s2s_xid`.
        """
        return self.track(
            Signup(customer_key=customer_key, **fields),  # type: ignore[arg-type]
            session=session,
            environ=environ,
            click=click,
            form=lambda: handle,
        )

    def track(
        self,
        conversion: Conversion,
        *,
        session: Any = None,
        environ: Environ | None = None,
        click: Click | None = None,
        form: Callable[[], str | None] = NO_FORM,
    ) -> Delivery | None:
        """Record a conversion now; None when our own database did not take it (logged)."""
        explicit = Attribution(click, Reason.EXPLICIT)
        attribution = explicit if click else self.attribution_of(environ, form)
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

    # -- for people ---------------------------------------------------------------------------

    @property
    def ledger(self) -> annexe.Ledger:
        """The deliveries."""
        return annexe.Ledger(self.storage.engine, self.storage.tables)

    @property
    def gates(self) -> annexe.Gates:
        """The closed lanes."""
        return self.crew.gates

    @property
    def probation(self) -> annexe.Probation:
        """The sign-ups that are still to be confirmed."""
        return self.crew.probation

    # -- the process --------------------------------------------------------------------------

    def start_serving(self) -> None:
        """A process serves its first request. Never raises, never waits for a database server."""
        self.serving_pid = os.getpid()
        self.crew.start()

    def close(self) -> None:
        """End the embedded worker and close every connection of our own; use opens them again."""
        self.crew.embedded.stop()
        self.touches.close()
        self.storage.close()
        self.serving_pid = 0
