"""Identifying: a visitor says who they are, or that they are not to be known any more.

Each is written, or erased, in the transaction that a conversion would be written in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from ..capture.consent import withdraw
from ..capture.visitors import Visitors
from ..config.settings import Settings
from ..networks.network import Network
from ..rules.identity import identities
from ..store.background import Write
from ..store.privacy.erasing import Erased
from ..store.stores import Stores
from .joining import LEFT_OUT, Apart, Given, Joining
from .recorder import Recorder
from .session import after, once_committed, unwrap

log = logging.getLogger("flask_s2s")


class Identifying:
    """Binds and forgets one app's visitors."""

    def __init__(self, joining: Joining, visitors: Visitors, stores: Stores) -> None:
        self._joining = joining
        self._visitors = visitors
        self._stores = stores
        self._clock = stores.times.clock

    def identify(
        self,
        *,
        email: object = None,
        user_id: object = None,
        verified: bool = False,
        session: Given = LEFT_OUT,
        environ: dict[str, Any] | None = None,
    ) -> bool:
        """Bind the visitor's click to who they say they are; see `S2S.identify`."""
        joined = self._joining.joined(session)
        found = self._visitors.attribution_of(environ)
        who = identities(email, user_id)
        if found.click is None or not who:
            return False
        now, bindings, storage = self._clock.now(), self._stores.bindings, self._stores.storage
        if joined is not None:
            return bindings.bind(joined, who, found, now, proved=verified)

        def write() -> bool:
            return bindings.bind_alone(who, found, now, storage.create_ours, proved=verified)

        def bind() -> bool:
            ready, background = storage.refuse_while_begun, self._stores.background
            writing = Write(run=write, lost=_tell_unbound)
            bound = background.patiently(writing, ready=ready, late=_tell_late)
            return bound is True

        place = self._joining.find(join=False)
        if isinstance(place, Apart):
            return bind()
        after(place.session, bind)
        return True

    def withdraw(self, *, environ: dict[str, Any], session: Given = LEFT_OUT) -> Erased:
        """Erase what is kept of this request's visitor; see `S2S.withdraw`."""
        evidence, withdrawals = self._visitors.evidence, self._stores.withdrawals
        clicks = evidence.clicks(environ)
        if session is LEFT_OUT and not isinstance(place := self._joining.find(), Apart):
            session = place.session
        joined = self._joining.joined(session)
        erased = withdrawals.now(clicks, joined)
        if joined is not None:
            once_committed(unwrap(session), lambda: withdrawals.again(clicks))
        withdraw(environ)
        return replace(erased, cookie=evidence.has_cookie(environ))


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


def recording_of(
    settings: Settings,
    stores: Stores,
    networks: Mapping[str, Network],
    visitors: Visitors,
    *,
    wake: Callable[[], None],
    tell: Callable[..., None],
    session_in_use: Callable[[], Session | None],
) -> tuple[Recorder, Identifying]:
    """Return an app's: of conversions, and of visitors. `wake` wakes its worker, `tell` sends a signal."""
    recorder = Recorder(
        settings=settings,
        stores=stores,
        networks=networks,
        wake=wake,
        tell=tell,
        session_in_use=session_in_use,
    )
    return recorder, Identifying(recorder.joining, visitors, stores)
