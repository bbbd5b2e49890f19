"""The checks of `flask s2s check`: configuration, database, cookie, deliveries, worker, network.

Each finding says what to do. Nothing here changes anything, and nothing is sent but one GET to the
network's own address.
"""

from __future__ import annotations

from typing import Any

from ...services import Services
from ..fraud import collectors
from ..lanes import lanes
from . import clicks, configuration, database, deliveries, network
from .deliveries import TEST_ALARM as TEST_ALARM
from .deliveries import undelivered as undelivered
from .deliveries import unread as unread
from .findings import Finding
from .findings import Level as Level


def check(services: Services, *, wsgi_app: Any = None, site: str | None = None) -> list[Finding]:
    """Look at everything. `site` is the host that visitors use, if it is known."""
    stored = list(database.look(services))
    usable = all(finding.level is not Level.ERROR for finding in stored)
    return [
        *configuration.look(services, wsgi_app, site),
        *stored,
        *(deliveries.look(services) if usable else ()),
        *network.look(services, proved=usable and _is_proved(services)),
    ]


def _is_proved(services: Services) -> bool:
    return any(lane.count.last_success is not None for lane in lanes(services))


def outstanding(services: Services) -> list[Finding]:
    """Return what `flask s2s status` says below its tables: what needs attention, then what is to be known."""
    now = services.clock.now()
    today, a_day = services.touches.today(now), services.settings.click_day
    found = [
        *deliveries.look(services),
        *clicks.look(collectors(services, now), today, a_day),
    ]
    errors = [one for one in found if one.level is Level.ERROR]
    return [*errors, *(one for one in found if one.level is Level.NOTE and one.code)]
