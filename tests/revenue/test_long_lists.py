"""A payment is found, or found missing, in a list of thousands: look by look, to its end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from flask_s2s import Delivery, Status
from flask_s2s.conversion import Action, Conversion, Transaction
from flask_s2s.errors import TransportError
from flask_s2s.networks.messages import Request, Response
from flask_s2s.sandbox.doors.network import EXTENSION, Network
from flask_s2s.testing import answered
from tests.verification.site import Site

PAYMENT = Transaction(customer_key="42", amount=500, currency="USD", key="inv-1")
STEP = Action(customer_key="42", type="activated", key="step-1")
EITHER = pytest.mark.parametrize("conversion", [PAYMENT, STEP], ids=["payment", "action"])
#: So many entries of others; a look as short as the one below reads a part of them.
MANY = 3000
LISTS = ("/transactions", "/actions")


class ShortLook:
    """A network so slow that one look gets `pages` answers, and the next one comes too late."""

    def __init__(self, site: Site, pages: int) -> None:
        self._site = site
        self._pages = pages
        self.looks = 0
        self.asked = 0
        #: Whether what is posted is surely not taken.
        self.refusing = False
        self._left = 0
        site.line.instead = self._answer

    def after(self, **span: float) -> None:
        """Let time pass; all that is due then is one look."""
        self._left = self._pages
        self.looks += 1
        self._site.after(**span)

    def until_settled(self, delivery: Delivery, most: int) -> None:
        """Look every few minutes."""
        while self._site.row(delivery).due_at is not None and self.looks < most:
            self.after(minutes=5)

    def _answer(self, request: Request) -> Response | None:
        if request.method == "GET" and urlsplit(request.url).path.endswith(LISTS):
            self._left -= 1
            self.asked += 1
            if self._left < 0:
                raise TransportError("no answer in time", sent=True)
        return answered(429) if self.refusing and request.method == "POST" else None


@pytest.fixture
def busy(site: Site) -> Site:
    """A site with a confirmed customer, on a network where a repeated key counts twice."""
    site.sign_up()
    site.services.drain()
    site.after(minutes=15)
    site.switch(repeated_reward="second")
    return site


def fill(site: Site, count: int, key: Callable[[int], str | None] = "other-{}".format) -> None:
    """Let the network record entries of others now."""
    network: Network = site.sandbox.extensions[EXTENSION]
    body = {"amount": 1, "currency": "EUR", "type": "activated", "value": 1}
    for number in range(count):
        for kind in ("transaction", "action"):
            network.rewards.record(
                kind,
                {**body, "target_key": f"cus_{number}"},
                key=key(number),
                customer_id=None,
                test=False,
                switches=network.plan.switches,
            )


def lose_answer(site: Site, conversion: Conversion, fault: str) -> Delivery:
    """Post `conversion` so that nobody here knows whether it arrived."""
    site.switch(repeated_reward="second", **{fault: 1.0})
    delivery = site.track(conversion)
    site.services.drain()
    site.switch(repeated_reward="second")
    return delivery


def found(site: Site) -> int:
    """Count what of the customer's own is on the network's books."""
    ledger = site.ledger()
    ours = {"inv-1", "step-1"}
    listed = [*ledger["transactions"], *ledger["actions"]]
    return sum(one["external_key"] in ours for one in listed)


@EITHER
def test_what_arrived_is_found_behind_thousands_of_others(
    busy: Site, conversion: Conversion
) -> None:
    delivery = lose_answer(busy, conversion, "timeout_after_write")
    fill(busy, MANY)
    slow = ShortLook(busy, 2)
    slow.after(minutes=16)
    assert busy.status(delivery) is Status.WAITING
    slow.until_settled(delivery, 50)
    assert busy.detail(delivery) == "found in the network's records"
    assert slow.looks > 3
    assert found(busy) == 1


@EITHER
def test_what_did_not_arrive_is_sent_after_all_of_the_list(
    busy: Site, conversion: Conversion
) -> None:
    delivery = lose_answer(busy, conversion, "timeout_before_write")
    fill(busy, MANY)
    slow = ShortLook(busy, 2)
    slow.after(minutes=16)
    slow.until_settled(delivery, 50)
    assert busy.status(delivery) is Status.DELIVERED
    assert slow.looks > 3
    assert found(busy) == 1


def test_what_arrived_after_a_look_that_was_cut_short_is_not_overlooked(busy: Site) -> None:
    """Killed with a request on its way: its record is newer than all that was read before."""
    delivery = lose_answer(busy, PAYMENT, "timeout_before_write")
    fill(busy, MANY)
    slow = ShortLook(busy, 2)
    slow.after(minutes=16)
    assert busy.row(delivery).read_to is not None
    busy.clock.advance(minutes=5)
    busy.services.supervisor.claims.claim(
        limit=8, now=busy.clock.now(), lease=timedelta(seconds=60)
    )
    busy.services.supervisor.exchanges["partnerstack"].send(PAYMENT, None)
    slow.until_settled(delivery, 50)
    assert busy.status(delivery) is Status.CONFIRMED
    assert found(busy) == 1


def test_a_look_begins_again_where_its_place_is_gone(busy: Site) -> None:
    delivery = lose_answer(busy, PAYMENT, "timeout_after_write")
    fill(busy, MANY)
    slow = ShortLook(busy, 4)
    slow.after(minutes=16)
    place = busy.row(delivery).read_to
    keys = ("pk_sandbox", "sk_sandbox")
    assert busy.http.delete(f"/api/v2/transactions/{place}", auth=keys).status_code == 200
    slow.until_settled(delivery, 50)
    assert busy.detail(delivery) == "found in the network's records"


def test_a_record_without_a_key_hides_nothing_behind_it(busy: Site) -> None:
    delivery = lose_answer(busy, STEP, "timeout_after_write")
    fill(busy, MANY)
    fill(busy, 1, lambda number: None)
    busy.after(minutes=16)
    assert busy.detail(delivery) == "found in the network's records"


@pytest.mark.parametrize("pages", [2, 40])
def test_a_record_without_a_key_is_still_in_doubt_at_the_end_of_the_list(
    busy: Site, pages: int
) -> None:
    delivery = lose_answer(busy, STEP, "timeout_before_write")
    fill(busy, 1000)
    fill(busy, 1, lambda number: None)
    slow = ShortLook(busy, pages)
    for _ in range(20):
        slow.after(hours=6)
    assert busy.status(delivery) is Status.WAITING
    assert "no key to tell by" in busy.detail(delivery)
    assert found(busy) == 0


def test_what_was_recorded_long_after_the_attempt_is_not_read(busy: Site) -> None:
    delivery = lose_answer(busy, PAYMENT, "timeout_before_write")
    busy.clock.advance(hours=3)
    fill(busy, MANY)
    slow = ShortLook(busy, 1)
    slow.after(minutes=1)
    assert busy.status(delivery) is Status.DELIVERED
    assert slow.asked == 1


def test_what_surely_did_not_arrive_is_sent_again_without_reading_all_of_it_again(
    busy: Site,
) -> None:
    delivery = lose_answer(busy, PAYMENT, "timeout_before_write")
    fill(busy, MANY)
    slow = ShortLook(busy, 2)
    slow.after(minutes=16)
    slow.refusing = True
    while busy.status(delivery) is Status.WAITING and slow.looks < 50:
        slow.after(minutes=5)
    assert busy.status(delivery) is Status.PENDING
    slow.refusing, asked = False, slow.asked
    slow.after(hours=1)
    assert busy.status(delivery) is Status.DELIVERED
    assert slow.asked <= asked + 2
