"""A customer that the network has, what they do, and what is asked of the network about it."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest

from flask_s2s import Delivery, Services
from flask_s2s.conversion import Action, Reversal, Transaction
from tests.verification.site import Site

PAYMENT = Transaction(customer_key="42", amount=500, currency="USD", key="inv-1")
STEP = Action(customer_key="42", type="activated", key="step-1")
REVERSAL = Reversal(customer_key="42", transaction_key="inv-1")


def with_customer(site: Site) -> Site:
    site.sign_up()
    site.services.drain()
    site.after(minutes=15)
    site.switch(repeated_reward="second")
    site.line.requests.clear()
    return site


def alarms(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(r, "action", "") for r in caplog.records if r.levelno >= logging.ERROR]


def strike(site: Site, **faults: float) -> None:
    site.switch(repeated_reward="second", **faults)


def rewards(site: Site) -> int:
    ledger = site.ledger()
    return len(ledger["transactions"]) + len(ledger["actions"])


def posts(site: Site) -> int:
    return sum(request.method == "POST" for request in site.line.requests)


def claim(services: Services, site: Site) -> list[Delivery]:
    return services.supervisor.claims.claim(
        limit=8, now=site.clock.now(), lease=timedelta(seconds=60)
    )
