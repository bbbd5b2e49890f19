"""Many workers that die and wake up again: one customer and one payment."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from flask_s2s import Delivery, Services, Status
from flask_s2s.conversion import Transaction
from flask_s2s.networks.http import HttpTransport
from flask_s2s.sandbox.server import SandboxServer, serve
from tests.verification.site import Site


@pytest.fixture
def wire(any_site: Site) -> Iterator[SandboxServer]:
    with serve(any_site.sandbox) as server:
        yield server


def test_one_customer_and_one_payment_whatever_many_drainers_see(
    any_site: Site, wire: SandboxServer
) -> None:
    """F9: written, then no answer, over real HTTP, with four processes' worth of drainers."""
    site, count = any_site, 6
    urls = {"S2S_PARTNERSTACK_URL": wire.url, "S2S_PARTNERSTACK_API_URL": f"{wire.url}/api/v2"}
    transports = [HttpTransport() for _ in range(4)]
    fleet = [site.another(transport, **urls) for transport in transports]
    site.switch(
        repeated_reward="second", timeout_after_write=0.6, hold_seconds=0.05, faults_strike="all"
    )
    rows: list[Delivery] = []
    for number in range(count):
        rows.append(site.sign_up(f"c-{number}"))
        rows.append(
            site.track(
                Transaction(
                    customer_key=f"c-{number}", amount=1, currency="USD", key=f"inv-{number}"
                )
            )
        )
    for turn in range(60):
        if turn == 20:
            site.switch(repeated_reward="second")
        drain_together(fleet)
        if all(site.row(row).due_at is None for row in rows):
            break
        site.clock.advance(minutes=16)
    assert {site.status(row) for row in rows} <= {Status.DELIVERED, Status.CONFIRMED}
    ledger = site.ledger()
    assert sorted(one["external_key"] for one in ledger["customers"]) == [
        f"c-{number}" for number in range(count)
    ]
    assert sorted(one["external_key"] for one in ledger["transactions"]) == [
        f"inv-{number}" for number in range(count)
    ]
    assert max(len(site.attempts(row)) for row in rows) > 1


def drain_together(fleet: list[Services]) -> None:
    failed: list[BaseException] = []

    def drain(services: Services) -> None:
        try:
            services.drain()
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=drain, args=(services,)) for services in fleet]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
