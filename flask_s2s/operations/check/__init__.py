"""The checks of `flask s2s check`: configuration, database, cookie, deliveries, worker, network.

Each finding says what to do. Nothing here changes anything, and nothing is sent but one GET to the
network's own address.
"""

from __future__ import annotations

from datetime import timezone, tzinfo
from typing import Any

from ...services import Services
from ..fraud import collectors
from ..lanes import lanes
from . import clicks, deliveries
from .deliveries import TEST_ALARM as TEST_ALARM
from .deliveries import undelivered as undelivered
from .deliveries import unread as unread
from .findings import Finding
from .findings import Level as Level
from .installation import configuration, database, network


def check(
    services: Services,
    *,
    wsgi_app: Any = None,
    site: str | None = None,
    zone: tzinfo = timezone.utc,
) -> list[Finding]:
    """Look at everything, with times in that zone. `site` is the host that visitors use, if known."""
    stored = list(database(services))
    usable = all(finding.level is not Level.ERROR for finding in stored)
    return [
        *configuration(services, wsgi_app, site),
        *stored,
        *(deliveries.look(services, zone) if usable else ()),
        *network(services, proved=usable and _is_proved(services)),
    ]


def _is_proved(services: Services) -> bool:
    every = lanes(services.supervisor, services.clock.now())
    return any(lane.count.last_success is not None for lane in every)


def outstanding(services: Services, zone: tzinfo) -> list[Finding]:
    """Return what `flask s2s status` says below its tables: what needs attention, then what is to be known.

    Its times are in that zone.
    """
    now = services.clock.now()
    today, a_day = services.touches.today(now), services.settings.click_day
    found = [
        *deliveries.look(services, zone),
        *clicks.look(collectors(services, now), today, a_day),
    ]
    errors = [one for one in found if one.level is Level.ERROR]
    return [*errors, *(one for one in found if one.level is Level.NOTE and one.code)]
