"""Partners that are too good to be true: what is known of how their customers came.

A finding is no proof. A partner's customers of one office come by one click, and one who fills in a form
at once has read the page before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ..services import Services
from ..store.bindings import Collector
from ..store.database.storage import Storage
from ..store.dialects.limits import within
from ..store.sums import Haste, SharedClick, haste, shared_clicks
from .period import Period

#: So fast that hardly anybody reads the page before.
AT_ONCE = timedelta(seconds=10)
_SHOWN = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """The facts of a period."""

    #: Partner by partner: first who has most customers that came at once, then most sign-ups.
    haste: list[Haste]
    #: Clicks that brought more customers than one, most first.
    shared: list[SharedClick]


def suspicion(storage: Storage, period: Period, seconds: float) -> Suspicion:
    """Return what is known of a period, where each sum is counted within so many seconds."""
    engine, tables = within(seconds, storage.engine)(), storage.tables
    since, until = period.since, period.until
    return Suspicion(
        haste=sorted(
            haste(engine, tables, since, until, AT_ONCE), key=lambda one: one.at_once, reverse=True
        ),
        shared=shared_clicks(engine, tables, since, until, _SHOWN),
    )


def collectors(services: Services, now: datetime) -> list[Collector]:
    """Return those who collect identities and are not blocked."""
    blocked = {(one.kind, one.network, one.name) for one in services.blocks.all()}
    found = services.bindings.collectors(now)
    return [one for one in found if (one.kind, one.network, one.name) not in blocked]
