"""The steps of a worker and of a view on the outbox, one by one and by hand."""

from __future__ import annotations

from datetime import timedelta

from flask_s2s import Click, Delivery, Services, Signup, Status
from flask_s2s.networks.exchange import Exchanged
from flask_s2s.networks.network import Accepted
from flask_s2s.recording.draft import Drafts
from flask_s2s.rules.attribution import Attribution, Reason
from flask_s2s.rules.delivery import Settlement
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
