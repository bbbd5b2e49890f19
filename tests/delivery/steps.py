"""The steps of a worker and of a view on the outbox, one by one and by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from flask_s2s import Click, Delivery, Services, Signup, Status
from flask_s2s.networks.messages import Accepted, Exchanged
from flask_s2s.recording.draft import Drafts
from flask_s2s.rules.attribution import Attribution, Reason
from flask_s2s.rules.delivery import Settlement
from flask_s2s.store.outbox.rows import new_token
from tests.delivery.shop import Shop

LEASE = timedelta(seconds=60)
DONE = Settlement(status=Status.DELIVERED, detail="empty answer")
TAKEN = Exchanged(outcome=Accepted(detail="empty answer"), http_status=200, answer="")


def claim(shop: Shop, services: Services | None = None, limit: int = 10) -> list[Delivery]:
    claims = (services or shop.services).supervisor.claims
    return claims.claim(limit=limit, now=shop.clock.now(), lease=LEASE)


def settle(shop: Shop, delivery: Delivery, settlement: Settlement = DONE) -> bool | None:
    (ours,) = shop.services.supervisor.settling.settle(
        [(delivery, settlement, TAKEN)], shop.clock.now()
    )
    return ours


def draft(shop: Shop, signup: Signup) -> Delivery:
    click = Click(click_id="click1", at=shop.clock.now())
    drafts = Drafts(shop.services.settings, shop.services.networks)
    return drafts.draft(signup, Attribution(click, Reason.COOKIE), shop.clock.now())


def arm(shop: Shop, key: str = "42") -> tuple[Delivery, str]:
    """Add a row as a conversion view does: held by it for a minute."""
    signup = Signup(customer_key=key)
    token = new_token()
    armed = replace(
        draft(shop, signup), status=Status.ARMED, lease_token=token, due_at=shop.clock.now() + LEASE
    )
    with shop.services.storage.engine().begin() as connection:
        return shop.services.outbox.add(connection, armed, signup.identity), token
