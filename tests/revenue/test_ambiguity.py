"""A payment that may have arrived is never sent again before the network's records deny it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from flask_s2s import Status
from flask_s2s.conversion import Action, Conversion
from flask_s2s.errors import TransportError
from flask_s2s.networks.messages import Request, Response
from flask_s2s.store.outbox.ledger import Wanted
from flask_s2s.testing import answered
from tests.revenue.customer import (
    PAYMENT,
    STEP,
    alarms,
    claim,
    posts,
    rewards,
    strike,
    with_customer,
)
from tests.revenue.test_ordering import known_before
from tests.verification.conftest import Opening
from tests.verification.site import Site

BARE_STEP = Action(customer_key="42", type="activated")
TEST_CREDENTIALS = {
    "S2S_TOKEN": "sandbox-test-token",
    "S2S_PARTNERSTACK_PUBLIC_KEY": "pk_sandbox_test",
    "S2S_PARTNERSTACK_SECRET_KEY": "sk_sandbox_test",
}
HARMFUL = pytest.mark.parametrize(
    "conversion", [PAYMENT, STEP, BARE_STEP], ids=["payment", "action", "bare"]
)


@HARMFUL
@pytest.mark.parametrize("fault", ["timeout_after_write", "reset_after_write", "error_after_write"])
def test_what_arrived_without_an_answer_is_found_and_not_repeated(
    customer: Site, conversion: Conversion, fault: str
) -> None:
    strike(customer, **{fault: 1.0})
    delivery = customer.track(conversion)
    customer.services.drain()
    strike(customer)
    for _ in range(14):
        customer.after(minutes=1)
    assert (customer.status(delivery), posts(customer)) == (Status.WAITING, 1)
    assert "may have arrived" in customer.detail(delivery)
    customer.after(minutes=2)
    assert customer.status(delivery) is Status.CONFIRMED
    assert customer.detail(delivery) == "found in the network's records"
    assert (rewards(customer), posts(customer)) == (1, 1)


@HARMFUL
@pytest.mark.parametrize("fault", ["timeout_before_write", "reset_before_write"])
def test_what_did_not_arrive_is_sent_again_after_the_grace(
    customer: Site, conversion: Conversion, fault: str
) -> None:
    strike(customer, **{fault: 1.0})
    delivery = customer.track(conversion)
    customer.services.drain()
    strike(customer)
    customer.after(minutes=10)
    assert posts(customer) == 1
    customer.after(minutes=6)
    assert customer.status(delivery) is Status.DELIVERED
    assert (rewards(customer), posts(customer)) == (1, 2)


@pytest.mark.parametrize(
    ("mode", "alarmed"), [({}, True), ({"DEBUG": True}, False), ({"TESTING": True}, False)]
)
@pytest.mark.parametrize("conversion", [PAYMENT, STEP], ids=["payment", "action"])
def test_what_is_found_as_a_test_record_is_an_alarm_in_production(
    open_site: Opening,
    caplog: pytest.LogCaptureFixture,
    conversion: Conversion,
    mode: dict[str, bool],
    alarmed: bool,
) -> None:
    site = with_customer(open_site(**TEST_CREDENTIALS, **mode))
    tests_of_customers = site.services.supervisor.verification_queue.test_seen()
    caplog.clear()
    strike(site, timeout_after_write=1.0)
    delivery = site.track(conversion)
    site.services.drain()
    strike(site)
    site.after(minutes=16)
    assert site.status(delivery) is Status.CONFIRMED
    assert ("as a TEST" in site.detail(delivery)) is alarmed
    assert ("verification.test_record" in alarms(caplog)) is alarmed
    assert (
        site.services.supervisor.verification_queue.test_seen() != tests_of_customers
    ) is alarmed


def test_a_clear_no_is_tried_again_without_asking(customer: Site) -> None:
    strike(customer, too_many=1.0)
    delivery = customer.track(PAYMENT)
    customer.services.drain()
    strike(customer)
    customer.after(minutes=1)
    assert customer.status(delivery) is Status.DELIVERED
    assert [request.method for request in customer.line.requests] == ["POST", "POST"]


def test_a_refused_connection_is_tried_again_without_asking(customer: Site) -> None:
    delivery = customer.track(PAYMENT)
    customer.line.cut_api()
    customer.services.drain()
    customer.line.mend()
    customer.after(minutes=1)
    assert customer.status(delivery) is Status.DELIVERED
    assert [request.method for request in customer.line.requests] == ["POST", "POST"]


@pytest.mark.parametrize(
    "answer", [answered(200, "<h1>Welcome</h1>"), answered(200, "[" * 60_000), answered(200, '{"d')]
)
def test_a_success_that_cannot_be_read_may_be_one(customer: Site, answer: Response) -> None:
    def write_then_garble(request: Request) -> Response | None:
        if request.method != "POST":
            return None
        customer.line.mend()
        customer.line.send(request, seconds=5)
        return answer

    customer.line.instead = write_then_garble
    delivery = customer.track(PAYMENT)
    customer.services.drain()
    customer.line.mend()
    customer.after(minutes=14)
    assert rewards(customer) == 1
    customer.after(minutes=2)
    assert (customer.status(delivery), rewards(customer)) == (Status.CONFIRMED, 1)


@HARMFUL
def test_an_attempt_that_nobody_closed_is_judged_like_a_lost_answer(
    any_customer: Site, conversion: Conversion
) -> None:
    """Killed between the answer and the settle: the lease ends, and nobody knows."""
    site = any_customer
    delivery = site.track(conversion)
    (claimed,) = claim(site.services, site)
    site.services.supervisor.exchanges["partnerstack"].send(conversion, None)
    site.after(seconds=61)
    assert (site.status(delivery), posts(site)) == (Status.WAITING, 1)
    site.after(minutes=14)
    assert posts(site) == 1
    site.after(minutes=2)
    assert site.status(delivery) is Status.CONFIRMED
    assert (rewards(site), posts(site)) == (1, 1)
    assert claimed.attempts == 1


def test_a_worker_that_wakes_up_after_its_lease_sends_nothing(customer: Site) -> None:
    delivery = customer.track(PAYMENT)
    (claimed,) = claim(customer.services, customer)
    worker = customer.services.supervisor.worker()
    executor = worker._executor
    customer.clock.advance(seconds=59)
    sent = executor.send(claimed, executor.prepare([claimed]))
    assert posts(customer) == 0
    worker._completer.settle([(claimed, sent)])
    customer.services.drain()
    assert (customer.status(delivery), posts(customer)) == (Status.DELIVERED, 1)


@HARMFUL
def test_records_that_cannot_be_read_keep_it_waiting_until_the_deadline(
    customer: Site, conversion: Conversion
) -> None:
    strike(customer, timeout_after_write=1.0)
    delivery = customer.track(conversion)
    customer.services.drain()
    strike(customer)
    customer.line.instead = lambda request: answered(503) if request.method == "GET" else None
    for _ in range(29 * 4):
        customer.after(hours=6)
        assert customer.status(delivery) is Status.WAITING
    assert "may have arrived" in customer.detail(delivery)
    assert "503" in customer.detail(delivery)
    for _ in range(8):
        customer.after(hours=6)
    assert (customer.status(delivery), posts(customer)) == (Status.EXPIRED, 1)
    assert "may have arrived" in customer.detail(delivery)
    assert len(customer.line.requests) < 150


def test_a_retry_by_hand_still_asks_first(customer: Site) -> None:
    strike(customer, timeout_after_write=1.0)
    delivery = customer.track(PAYMENT)
    customer.services.drain()
    strike(customer)
    now = customer.clock.advance(minutes=1)
    customer.services.ledger.retry(Wanted(delivery_id=delivery.id), now, timedelta(days=1))
    customer.services.drain()
    assert posts(customer) == 1
    customer.after(minutes=16)
    assert (customer.status(delivery), rewards(customer)) == (Status.CONFIRMED, 1)


@pytest.mark.parametrize("conversion", [PAYMENT, STEP], ids=["payment", "action"])
def test_a_key_that_the_network_has_already_is_looked_for_in_its_records(
    customer: Site, conversion: Conversion
) -> None:
    customer.switch(repeated_reward="conflict")

    def slow_down(request: Request) -> Response:
        customer.line.mend()
        customer.line.send(request, seconds=5)
        return answered(429)

    customer.line.instead = slow_down
    delivery = customer.track(conversion)
    customer.services.drain()
    customer.after(minutes=1)
    assert [one.http_status for one in customer.attempts(delivery)] == [429, 409]
    assert customer.status(delivery) is Status.PENDING
    customer.after(minutes=16)
    assert customer.status(delivery) is Status.CONFIRMED
    assert customer.detail(delivery) == "found in the network's records"
    assert rewards(customer) == 1


@pytest.mark.parametrize("conversion", [PAYMENT, STEP], ids=["payment", "action"])
def test_a_conflict_without_a_record_is_no_delivery(customer: Site, conversion: Conversion) -> None:
    conflict = answered(409, '{"message": "customer is locked", "status": 409}')
    customer.line.instead = lambda request: conflict if request.method == "POST" else None
    delivery = customer.track(conversion)
    for _ in range(6):
        customer.after(minutes=20)
        assert customer.status(delivery) in (Status.PENDING, Status.WAITING)
    customer.line.mend()
    for _ in range(4):
        customer.after(minutes=20)
    assert (customer.status(delivery), rewards(customer)) == (Status.CONFIRMED, 1)


def test_a_sign_up_is_repeated_on_the_ordinary_back_off(site: Site) -> None:
    site.switch(timeout_after_write=1.0)
    signup = site.sign_up()
    site.services.drain()
    site.switch()
    site.after(seconds=3)
    assert site.status(signup) is Status.DELIVERED
    assert site.ledger()["totals"]["customers"] == 1


def test_two_slow_looks_leave_time_to_send(site: Site) -> None:
    """Whether it arrived, and whether the customer is known: each as slow as a look may be."""
    known_before(site, "old")

    def lose(request: Request) -> Response | None:
        if request.method == "POST":
            raise TransportError("no answer", sent=True)
        return None

    site.line.instead = lose
    payment = site.track(replace(PAYMENT, customer_key="old"))
    site.services.drain()
    assert site.row(payment).ambiguous_at is not None
    looks: list[str] = []

    def slow(request: Request) -> Response | None:
        if request.method == "GET":
            looks.append(request.url)
            site.clock.advance(site.services.settings.attempt - timedelta(seconds=1))
            assert len(looks) < 10, "it looks again and again, and never sends"
        return None

    site.line.instead = slow
    site.after(minutes=16)
    assert site.status(payment) is Status.DELIVERED
    assert len(looks) == 2
