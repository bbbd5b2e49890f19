"""One app's object graph, and what is asked of it: land, record, drain. No Flask.

Composes capture, recording and delivery. Nothing here connects, starts a thread or reads a file
when it is built: the database is found at first use, because extensions are initialised in any
order.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from .capture.consent import withdraw
from .capture.evidence import Environ
from .capture.visitors import visitors_of
from .click import Click
from .click.record import RecordSigner
from .clock import Clock, counting
from .config.builtin import built_in
from .config.parsing import RANDOM_KEY, SHORTEST_KEY
from .config.settings import Settings
from .conversion import Conversion, Key, Signup
from .errors import ConfigError, S2SError, StorageError
from .networks.credentials import Credentials, OwnHostOnly
from .networks.network import Network, by_name
from .networks.transport import HttpTransport, LoopbackOnly, Transport
from .recording.decision import Decision
from .recording.joining import LEFT_OUT, Apart, Given
from .recording.recorder import Recorder
from .recording.session import after, once_committed, unwrap
from .rules.attribution import Attribution, Reason
from .rules.delivery import Delivery, Tracked
from .rules.identity import identities
from .runtime import deferred
from .runtime.embedded import threads_are_suspended
from .runtime.supervisor import Supervisor
from .signals import tell
from .store.audit import Audit, Blocks
from .store.background import Background, Write
from .store.bindings import Bindings
from .store.clicks import Touches
from .store.database.clock import DatabaseClock, SystemClock, Witness
from .store.database.storage import Storage
from .store.losses import Losses
from .store.outbox.outbox import Outbox
from .store.privacy.erasing import Erased, Erasing, Withdrawals
from .store.privacy.keyring import Keyring

log = logging.getLogger("flask_s2s")


def _tell_late(why: str) -> None:
    log.warning(
        "s2s.identity.late: %s. It is tried again until it is stored or this process ends",
        why,
        extra={"action": "identity.late"},
    )


def _tell_unbound(error: BaseException | None) -> None:
    log.error(
        "s2s.identity.not_stored: %s; `flask s2s check` looks at the database",
        "the process ends" if error is None else type(error).__name__,
        extra={"action": "identity.not_stored"},
    )


def _no_host() -> Engine | None:
    return None


def _no_session() -> Session | None:
    return None


def _nothing() -> None:
    pass


class Services:
    """Everything one app needs. Make it with `build`."""

    def __init__(
        self,
        *,
        settings: Settings,
        storage: Storage,
        networks: Mapping[str, Network],
        transport: Transport,
        clock: Clock | None,
        sender: object = None,
        static_path: str | None = None,
        session_in_use: Callable[[], Session | None] = _no_session,
        at_first_request: Callable[[], None] = _nothing,
    ) -> None:
        self.settings = settings
        #: Whose signals are sent: the app's, or this object's own.
        self.sender: Any = sender or self
        self._tell = partial(tell, self.sender)
        self._at_first_request = at_first_request
        self.storage = storage
        database_clock = DatabaseClock(SystemClock(), storage.engine)
        self.clock = clock = clock or database_clock
        witness = Witness(counting(clock))
        witness.look(clock.now())
        self.networks = networks
        self.signer = RecordSigner(settings.secret_keys, settings.window, settings.windows)
        self.credentials = Credentials(networks.values())
        self.transport = OwnHostOnly(transport, self.credentials)
        engine, tables = storage.engine, storage.tables
        refresh: dict[str, Any] = {}
        if clock is database_clock:
            refresh["refresh"] = database_clock.refresh
        background = Background(
            wait=settings.record_wait.total_seconds(), inline=self._writes_inline
        )
        #: What was lost, by reason.
        self.losses = Losses(engine, tables, clock, background.later, self._tell)
        self.touches = Touches(
            storage,
            background,
            self.losses,
            rate=settings.click_rate,
            day=settings.click_day,
            **refresh,
        )
        storage.at_fork = self.touches.close
        self._withdrawals = Withdrawals(storage, Erasing(tables), clock, background)
        self.visitors = visitors_of(
            settings,
            (network.clicks for network in networks.values()),
            signer=self.signer,
            touches=self.touches,
            clock=clock,
            chance=secrets.token_bytes,
            shut=witness.shut,
            tell=self._tell,
            static=static_path,
            erase=self._withdrawals.soon,
        )
        keyring = Keyring(engine, tables.meta, settings.secret_keys)
        self.outbox = Outbox(engine, tables, keyring)
        self.bindings = Bindings(engine, tables, settings, keyring)
        self.blocks = Blocks(engine, tables)
        #: What operators did.
        self.audit = Audit(engine, tables, keyring)
        self.supervisor = supervisor = Supervisor(
            settings=settings,
            storage=storage,
            outbox=self.outbox,
            keyring=keyring,
            retention=self.retention,
            networks=networks,
            transport=self.transport,
            credentials=self.credentials,
            clock=clock,
            witness=witness,
            database_clock=database_clock,
            tell=self._tell,
        )
        self.drain = supervisor.drain
        self.recorder = Recorder(
            settings=settings,
            storage=storage,
            outbox=self.outbox,
            networks=networks,
            clock=clock,
            background=background,
            resolve=Decision(
                tables, self.outbox.hashed, self.bindings, self.blocks, settings, witness.shut
            ),
            wake=supervisor.wake,
            session_in_use=session_in_use,
            losses=self.losses,
            tell=self._tell,
            **refresh,
        )
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
        sender: object = None,
        static_path: str | None = None,
        session_in_use: Callable[[], Session | None] = _no_session,
        at_first_request: Callable[[], None] = _nothing,
        networks: Sequence[type[Network]] = (),
    ) -> Services:
        """Build the graph of one app. Connects to nothing.

        `folder` holds the outbox when no database is named, `host_engine` gives the app's own
        engine. Under `TESTING` a request to another machine is refused, unless by a `transport`.
        Signals are sent by `sender`. Files below `static_path` are not sent on with a click token.
        A conversion that is reported without `session=` joins `session_in_use`. A process calls
        `at_first_request` once.
        `networks` are those beside the built-in ones, which `Settings.from_mapping` was given too.
        """
        every = by_name(one(settings.of(one)) for one in (*built_in(), *networks))
        if unknown := settings.windows.keys() - every.keys():
            problem = f"names {min(unknown)!r}, which is no network"
            raise ConfigError("S2S_WINDOW", problem, f"Use {' or '.join(every)}.")
        if settings.shortest_key < SHORTEST_KEY:
            log.warning(
                "s2s.secret_key.short: clicks are signed with a key of %d characters, and could be "
                "forged. %s",
                settings.shortest_key,
                RANDOM_KEY,
                extra={"action": "secret_key.short"},
            )
        sending = transport or HttpTransport(
            connections=settings.concurrency,
            proxy=settings.proxy,
            ca_bundle=settings.ca_bundle,
            trust_env=settings.trust_env,
        )
        if settings.testing and transport is None:
            lanes = [lane for network in every.values() for lane in network.lanes.values()]
            sending = LoopbackOnly(sending, lanes)
        storage = Storage(
            uri=settings.database_uri,
            options=settings.database_options,
            host=host_engine,
            folder=Path(folder).absolute(),
            schema=settings.schema,
            testing=settings.testing,
        )
        if settings.database_uri is not None or host_engine is _no_host:
            storage.tell_of_unusable_folder()
        return cls(
            settings=settings,
            storage=storage,
            networks=every,
            transport=sending,
            clock=clock,
            sender=sender,
            static_path=static_path,
            session_in_use=session_in_use,
            at_first_request=at_first_request,
        )

    # -- visitors -----------------------------------------------------------------------------

    def identify(
        self,
        *,
        email: object = None,
        user_id: object = None,
        verified: bool = False,
        session: Given = LEFT_OUT,
        environ: Environ | None = None,
    ) -> bool:
        """Bind the visitor's click to who they say they are; see `S2S.identify`."""
        joined = self.recorder.joined(session)
        found = self.visitors.attribution_of(environ)
        who = identities(email, user_id)
        if found.click is None or not who:
            return False
        now = self.clock.now()
        if joined is not None:
            return self.bindings.bind(joined, who, found, now, proved=verified)

        def write() -> bool:
            create = self.storage.create_ours
            return self.bindings.bind_alone(who, found, now, create, proved=verified)

        def bind() -> bool:
            ready = self.storage.refuse_while_begun
            writing = Write(run=write, lost=_tell_unbound)
            bound = self.recorder.background.patiently(writing, ready=ready, late=_tell_late)
            return bound is True

        place = self.recorder.joining.find(join=False)
        if isinstance(place, Apart):
            return bind()
        after(place.session, bind)
        return True

    def withdraw(self, *, environ: Environ, session: Given = LEFT_OUT) -> Erased:
        """Erase what is kept of this request's visitor; see `S2S.withdraw`.

        Where nobody is asked for consent (`S2S_CONSENT`, `S2S_GPC`), the app ends the cookie itself
        with the headers that `middleware.expiring` returns.
        """
        clicks = self.visitors.evidence.clicks(environ)
        if session is LEFT_OUT and not isinstance(place := self.recorder.joining.find(), Apart):
            session = place.session
        joined = self.recorder.joined(session)
        erased = self._withdrawals.now(clicks, joined)
        if joined is not None:
            once_committed(unwrap(session), lambda: self._withdrawals.again(clicks))
        withdraw(environ)
        return replace(erased, cookie=self.visitors.evidence.has_cookie(environ))

    # -- conversions --------------------------------------------------------------------------

    def track_signup(
        self,
        *,
        customer_key: Key,
        email: str | None = None,
        name: str | None = None,
        provider_key: str | None = None,
        origin: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
        external_type: str | None = None,
        meta: Mapping[str, Any] | None = None,
        session: Given = LEFT_OUT,
        environ: Environ | None = None,
        click: Click | None = None,
    ) -> Tracked:
        """Record a sign-up; see `S2S.track_signup`. `environ` is the request's, if there is one."""
        signup = Signup(
            customer_key=customer_key,  # type: ignore[arg-type]
            email=email,
            name=name,
            provider_key=provider_key,
            origin=origin,
            ip_address=ip_address,
            user_agent=user_agent,
            external_type=external_type,
            meta={} if meta is None else meta,
        )
        return self.track(signup, session=session, environ=environ, click=click)

    def track(
        self,
        conversion: Conversion,
        *,
        session: Given = LEFT_OUT,
        environ: Environ | None = None,
        click: Click | None = None,
    ) -> Tracked:
        """Record a conversion now; see `S2S.track_signup`."""
        if click is None:
            attribution = self.visitors.crediting(environ)
        else:
            attribution = Attribution(click, Reason.EXPLICIT)
        return self.recorder.call(conversion, attribution, session)

    def credit(self, customer_key: str, click: Click) -> Delivery | None:
        """Give a customer's unattributed sign-up a click by hand, or record it; None: it has one."""
        reviewed = self.ledger.under_review(customer_key)
        if reviewed:
            now, settings = self.clock.now(), self.settings
            if not self.ledger.credit(
                reviewed[0], click, now, settings.give_up, dry_run=settings.dry_run
            ):
                return None
            self.supervisor.wake()
            found = self.ledger.get(reviewed[0].id)
            return None if found is None else found[0]
        conversion = Signup(customer_key=customer_key)
        recorded = self.recorder.alone(conversion, Attribution(click, Reason.CREDITED))
        if not recorded:
            raise StorageError("The database did not take the credit", "Try it again.")
        if recorded.click != click or recorded.reason != Reason.CREDITED.value:
            return None
        return recorded

    # -- for people ---------------------------------------------------------------------------

    @property
    def ledger(self) -> deferred.Ledger:
        """The deliveries."""
        return deferred.Ledger(self.storage.engine, self.storage.tables)

    def retention(self, now: datetime) -> deferred.Retention:
        """Return what deletes what is past its time."""
        tables, longest = self.storage.tables, self.settings.longest_window
        return deferred.Retention(self.storage.engine, tables, self.bindings, now, longest)

    # -- the process --------------------------------------------------------------------------

    def start_serving(self) -> None:
        """A process serves its first request. Never raises, never waits for a database."""
        self.serving_pid = os.getpid()
        self._at_first_request()
        self._at_first_request = lambda: None
        if not self.supervisor.start():
            self.serving_pid = 0

    def _writes_inline(self) -> bool:
        """Whether a report is written in the caller's thread: no other could, or should, do it."""
        if self.settings.testing or threads_are_suspended():
            return True
        try:
            return self.storage.in_memory
        except (S2SError, SQLAlchemyError, OSError):
            return False  # whoever writes is told

    def close(self) -> None:
        """End the embedded worker and close every connection of our own; use opens them again."""
        self.supervisor.embedded.stop()
        self.recorder.background.close()
        self.touches.close()
        self.storage.close()
        self.serving_pid = 0
