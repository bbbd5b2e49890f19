"""One app's object graph, and what is asked of it: land, record, drain. No Flask.

Composes capture, recording and delivery. Nothing here connects, starts a thread or reads a file
when it is built: the database is found at first use, because extensions are initialised in any
order.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from .capture.visitors import visitors_of
from .click import Click
from .clock import Clock
from .config.settings import Settings
from .conversion import Conversion, Key, Signup
from .networks.http import transport_of
from .networks.messages import Transport
from .networks.network import Network, networks_of
from .recording.identifying import recording_of
from .recording.joining import LEFT_OUT, Given
from .rules.delivery import Tracked
from .runtime import deferred
from .runtime.supervisor import Supervisor
from .signals import tell
from .store.privacy.erasing import Erased
from .store.stores import stores_of


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
        networks: Mapping[str, Network],
        folder: str | os.PathLike[str],
        host_engine: Callable[[], Engine | None] | None,
        transport: Transport | None,
        clock: Clock | None,
        sender: object,
        static_path: str | None,
        session_in_use: Callable[[], Session | None],
        at_first_request: Callable[[], None],
    ) -> None:
        self.settings = settings
        #: Whose signals are sent: the app's, or this object's own.
        self.sender: Any = sender or self
        self._at_first_request = at_first_request
        notify = partial(tell, self.sender)
        sending = transport_of(settings, networks, transport)
        stores = stores_of(settings, folder=folder, host=host_engine, clock=clock, tell=notify)
        self.clock = stores.times.clock
        self.storage = stores.storage
        self.touches, self.losses = stores.touches, stores.losses
        self.outbox, self.bindings = stores.outbox, stores.bindings
        self.blocks, self.audit = stores.blocks, stores.audit
        self.networks = networks
        self.transport, self.credentials = sending, sending.credentials
        self.visitors = visitors_of(
            settings,
            (network.clicks for network in networks.values()),
            touches=stores.touches,
            erase=stores.withdrawals.soon,
            times=stores.times,
            chance=secrets.token_bytes,
            tell=notify,
            static=static_path,
        )
        self.signer = self.visitors.signer
        self.supervisor = Supervisor(
            settings=settings,
            stores=stores,
            networks=networks,
            transport=sending,
            tell=notify,
        )
        self.recorder, self._identifying = recording_of(
            settings,
            stores,
            networks,
            self.visitors,
            wake=self.supervisor.wake,
            tell=notify,
            session_in_use=session_in_use,
        )
        #: The process in which `start_serving` was called last.
        self.serving_pid = 0

    @classmethod
    def build(
        cls,
        settings: Settings,
        *,
        folder: str | os.PathLike[str] = "instance",
        host_engine: Callable[[], Engine | None] | None = None,
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
        every = networks_of(settings, networks)
        settings.tell_of_short_key()
        return cls(
            settings=settings,
            networks=every,
            folder=folder,
            host_engine=host_engine,
            transport=transport,
            clock=clock,
            sender=sender,
            static_path=static_path,
            session_in_use=session_in_use,
            at_first_request=at_first_request,
        )

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
        environ: dict[str, Any] | None = None,
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
        environ: dict[str, Any] | None = None,
        click: Click | None = None,
    ) -> Tracked:
        """Record a conversion now; see `S2S.track_signup`."""
        return self.recorder.call(conversion, self.visitors.crediting(environ, click), session)

    # -- visitors -----------------------------------------------------------------------------

    def identify(
        self,
        *,
        email: str | None = None,
        user_id: object = None,
        verified: bool = False,
        session: Given = LEFT_OUT,
        environ: dict[str, Any] | None = None,
    ) -> bool:
        """Bind the visitor's click to who they say they are; see `S2S.identify`."""
        return self._identifying.identify(
            email=email, user_id=user_id, verified=verified, session=session, environ=environ
        )

    def withdraw(self, *, environ: dict[str, Any], session: Given = LEFT_OUT) -> Erased:
        """Erase what is kept of this request's visitor; see `S2S.withdraw`.

        Where nobody is asked for consent (`S2S_CONSENT`, `S2S_GPC`), the app ends the cookie itself
        with the headers that `middleware.expiring` returns.
        """
        return self._identifying.withdraw(environ=environ, session=session)

    # -- for people ---------------------------------------------------------------------------

    @property
    def ledger(self) -> deferred.Ledger:
        """The deliveries."""
        return deferred.Ledger(self.storage)

    # -- the process --------------------------------------------------------------------------

    def drain(self) -> int:
        """Send, then verify, all that is due now, in this thread; return how many were tried."""
        return self.supervisor.drain()

    def start_serving(self) -> None:
        """A process serves its first request. Never raises, never waits for a database."""
        self.serving_pid = os.getpid()
        self._at_first_request()
        self._at_first_request = lambda: None
        if not self.supervisor.start():
            self.serving_pid = 0

    def close(self) -> None:
        """End the embedded worker and close every connection of our own; use opens them again."""
        self.supervisor.embedded.stop()
        self.recorder.background.close()
        self.touches.close()
        self.storage.close()
        self.serving_pid = 0
