"""An advertiser without a web server: one outbox, a clock that is set, a network from a script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, delete, select

from flask_s2s import Click, Delivery, Services, Settings, Status
from flask_s2s.clock import Clock
from flask_s2s.networks.messages import Transport
from flask_s2s.store.outbox.ledger import Attempt
from flask_s2s.testing import ManualClock, ScriptedTransport

CONFIG = {
    "SECRET_KEY": "a-key-for-tests-only-0123456789",
    "S2S_TOKEN": "tok-original",
    # However loaded the machine is, a report is there when the call returns.
    "S2S_RECORD_WAIT": 60,
}


def open_services(
    url: str, *, transport: Transport, clock: Clock, config: Mapping[str, object]
) -> Services:
    """Return the services of a site whose outbox is at `url`; its tables are made if missing."""
    settings = Settings.from_mapping({**CONFIG, "S2S_DATABASE_URI": url, **config})
    return _opened(Services.build(settings, transport=transport, clock=clock))


def open_services_on(host: Engine, *, transport: Transport, clock: Clock) -> Services:
    """Return the services of a site that has no database but the app's own engine."""
    settings = Settings.from_mapping(CONFIG)
    return _opened(
        Services.build(settings, host_engine=lambda: host, transport=transport, clock=clock)
    )


def _opened(services: Services) -> Services:
    services.storage.create()
    services.supervisor.prepare()
    return services


def statuses(services: Services) -> dict[str, int]:
    """Count deliveries by status."""
    return dict(Counter(found.status.value for found in services.ledger.find(limit=1000)))


class Shop:
    """One site's services, with the questions that tests ask."""

    def __init__(self, url: str, **config: object) -> None:
        self.url = url
        self.clock = ManualClock()
        self.network = ScriptedTransport()
        self._open: list[Services] = []
        self._last = 0
        self.services = self.another(config)

    def another(
        self, config: Mapping[str, object] | None = None, *, transport: Transport | None = None
    ) -> Services:
        """Return the services of another process of the same site."""
        services = open_services(
            self.url, transport=transport or self.network, clock=self.clock, config=config or {}
        )
        self._open.append(services)
        return services

    def sign_up(self, key: str | int = "42", click_id: str = "click1", **fields: Any) -> Delivery:
        """Record a sign-up that a partner brought."""
        click = Click(click_id=click_id, at=self.clock.now())
        delivery = self.services.track_signup(customer_key=key, click=click, **fields)
        assert delivery
        self._last = delivery.id
        return delivery

    def drain(self) -> int:
        return self.services.drain()

    def row(self, delivery: Delivery | None = None) -> Delivery:
        """Return a delivery, the latest by default, as it is stored now."""
        return self._found(delivery)[0]

    def status(self, delivery: Delivery | None = None) -> Status:
        return self.row(delivery).status

    def statuses(self) -> dict[str, int]:
        return self.services.supervisor.summary().counts

    def attempts(self, delivery: Delivery | None = None) -> list[Attempt]:
        return self._found(delivery)[1]

    def count_attempts(self) -> int:
        """Return how many attempts are stored, whoever they belong to."""
        table = self.services.storage.tables.attempt
        with self.services.storage.engine().connect() as connection:
            return len(connection.execute(select(table.c.id)).all())

    def empty(self) -> None:
        """Forget everything that was recorded."""
        tables = self.services.storage.tables
        with self.services.storage.engine().begin() as connection:
            for table in (tables.attempt, tables.delivery, tables.click, tables.breaker):
                connection.execute(delete(table))

    def close(self) -> None:
        for services in self._open:
            services.storage.engine().dispose()

    def _found(self, delivery: Delivery | None) -> tuple[Delivery, list[Attempt]]:
        found = self.services.ledger.get(self._last if delivery is None else delivery.id)
        assert found is not None
        return found
