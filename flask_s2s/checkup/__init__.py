"""What `flask s2s check` looks at: configuration, database, cookie, deliveries, worker, network.

Each finding says what to do. Nothing here changes anything, and nothing is sent but one GET to the
network's own address.
"""

from __future__ import annotations

from typing import Any

from ..services import Services
from . import configuration, database, deliveries, network
from .deliveries import TEST_ALARM as TEST_ALARM
from .deliveries import undelivered as undelivered
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
        *network.look(services),
    ]
