"""A payment that may have arrived is never sent again before the network's records deny it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from flask_s2s import Delivery, Services, Status
from flask_s2s.conversion import Action, Conversion, Reversal, Transaction
from flask_s2s.delivery.ledger import Wanted
from flask_s2s.errors import TransportError
from flask_s2s.networks.network import Request, Response
from flask_s2s.networks.transport import HttpTransport
from flask_s2s.sandbox.server import SandboxServer, serve
from flask_s2s.testing import answered
from tests.verification.conftest import Opening
from tests.verification.site import Site

PAYMENT = Transaction(customer_key="42", amount=500, currency="USD", key="inv-1")
STEP = Action(customer_key="42", type="activated", key="step-1")
REVERSAL = Reversal(customer_key="42", transaction_key="inv-1")
NOT_FOUND = '{"message": "Transaction not found", "status": 404}'
BARE_STEP = Action(customer_key="42", type="activated")
TEST_CREDENTIALS = {
    "S2S_TOKEN": "sandbox-test-token",
    "S2S_PARTNERSTACK_PUBLIC_KEY": "pk_sandbox_test",
    "S2S_PARTNERSTACK_SECRET_KEY": "sk_sandbox_test",
}
HARMFUL = pytest.mark.parametrize(
    "conversion", [PAYMENT, STEP, BARE_STEP], ids=["payment", "action", "bare"]
)


@pytest.fixture
def customer(site: Site) -> Site:
    """A site whose customer 42 is confirmed, on a network where a repeated key counts twice."""
    return with_customer(site)


@pytest.fixture
def any_customer(any_site: Site) -> Site:
    return with_customer(any_site)


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
    assert customer.status(delivery) is Status.DELIVERED
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
    tests_of_customers = site.services.probation.test_seen()
    caplog.clear()
    strike(site, timeout_after_write=1.0)
    delivery = site.track(conversion)
    site.services.drain()
    strike(site)
    site.after(minutes=16)
    assert site.status(delivery) is Status.DELIVERED
    assert ("as a TEST" in site.detail(delivery)) is alarmed
    assert ("verification.test_record" in alarms(caplog)) is alarmed
    assert (site.services.probation.test_seen() != tests_of_customers) is alarmed


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
    assert (customer.status(delivery), rewards(customer)) == (Status.DELIVERED, 1)


@HARMFUL
def test_an_attempt_that_nobody_closed_is_judged_like_a_lost_answer(
    any_customer: Site, conversion: Conversion
) -> None:
    """Killed between the answer and the settle: the lease ends, and nobody knows."""
    site = any_customer
    delivery = site.track(conversion)
    (claimed,) = _claim(site.services, site)
    site.services.crew.exchanges["partnerstack"].send(conversion, None)
    site.after(seconds=61)
    assert (site.status(delivery), posts(site)) == (Status.WAITING, 1)
    site.after(minutes=14)
    assert posts(site) == 1
    site.after(minutes=2)
    assert site.status(delivery) is Status.DELIVERED
    assert (rewards(site), posts(site)) == (1, 1)
    assert claimed.attempts == 1


def test_a_worker_that_wakes_up_after_its_lease_sends_nothing(customer: Site) -> None:
    delivery = customer.track(PAYMENT)
    (claimed,) = _claim(customer.services, customer)
    dispatch = customer.services.worker()._dispatch
    customer.clock.advance(seconds=59)
    flown = dispatch.send(claimed, dispatch.parents([claimed]))
    assert posts(customer) == 0
    dispatch.settle([(claimed, flown)])
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
    assert (customer.status(delivery), rewards(customer)) == (Status.DELIVERED, 1)


def test_a_reversal_may_be_repeated_at_once(customer: Site) -> None:
    customer.track(PAYMENT)
    reversal = customer.track(REVERSAL)
    customer.services.drain()
    assert customer.status(reversal) is Status.DELIVERED
    assert customer.ledger()["transactions"][0]["archived_at"] is not None


def lose_the_answer(site: Site, method: str, *then: Response) -> None:
    """Do what the next request of this method asks for, and lose its answer; then answer so."""
    answers: list[Response] = []

    def answer(request: Request) -> Response | None:
        if request.method != method:
            return None
        if answers:
            return answers[0]
        answers.extend(then)
        site.line.mend()
        site.line.send(request, seconds=5)
        site.line.instead = answer
        raise TransportError("no answer", sent=True)

    site.line.instead = answer


def reversed_but_unanswered(site: Site, *then: Response) -> Delivery:
    site.track(PAYMENT)
    site.services.drain()
    reversal = site.track(REVERSAL)
    lose_the_answer(site, "DELETE", *then)
    site.services.drain()
    assert site.ledger()["transactions"][0]["archived_at"] is not None
    return reversal


def test_what_is_not_there_any_more_was_reversed_by_the_attempt_without_an_answer(
    any_customer: Site,
) -> None:
    site = any_customer
    reversal = reversed_but_unanswered(site, answered(404, NOT_FOUND))
    for _ in range(14):
        site.after(minutes=1)
        assert site.status(reversal) is Status.PENDING
    site.after(hours=1)
    assert site.status(reversal) is Status.DELIVERED
    assert "an earlier attempt" in site.detail(reversal)


def test_a_reversal_that_was_done_behind_a_web_page_comes_to_its_end(customer: Site) -> None:
    def page(request: Request) -> Response | None:
        if request.method != "DELETE":
            return None
        customer.line.mend()
        customer.line.send(request, seconds=5)
        return answered(200, "<h1>done</h1>")

    customer.track(PAYMENT)
    customer.services.drain()
    customer.line.instead = page
    reversal = customer.track(REVERSAL)
    customer.services.drain()
    assert customer.status(reversal) is Status.PENDING
    customer.line.instead = lambda request: (
        answered(404, NOT_FOUND) if request.method == "DELETE" else None
    )
    customer.after(hours=1)
    customer.after(hours=1)
    assert customer.status(reversal) is Status.DELIVERED


def test_a_gateway_does_not_tell_that_a_payment_was_reversed(
    customer: Site, caplog: pytest.LogCaptureFixture
) -> None:
    reversal = reversed_but_unanswered(customer, answered(404, "<h1>no such page</h1>"))
    for _ in range(4):
        customer.after(hours=1)
        assert customer.status(reversal) is Status.PENDING
    assert "delivery.pending" in alarms(caplog)


def test_what_was_never_there_is_not_taken_for_reversed(customer: Site) -> None:
    """No attempt may have arrived: the payment may still come."""
    reversal = customer.track(REVERSAL)
    for _ in range(30):
        customer.after(days=1)
        assert customer.status(reversal) in (Status.PENDING, Status.EXPIRED)
    assert len(customer.attempts(reversal)) > 20
    customer.after(days=1)
    assert customer.status(reversal) is Status.EXPIRED


def test_a_refund_that_came_before_its_payment_waits_for_it_even_after_a_lost_answer(
    customer: Site,
) -> None:
    reversal = customer.track(REVERSAL)
    strike(customer, timeout_before_write=1.0)
    customer.services.drain()
    strike(customer)
    for _ in range(4):
        customer.after(hours=1)
    customer.track(PAYMENT)
    for _ in range(4):
        customer.after(hours=1)
    assert customer.status(reversal) is Status.DELIVERED
    assert customer.ledger()["transactions"][0]["archived_at"] is not None


def test_the_last_day_takes_what_is_not_there_for_reversed(customer: Site) -> None:
    """A payment older than the installation, reversed without an answer."""
    reversal = customer.track(REVERSAL)
    strike(customer, timeout_before_write=1.0)
    customer.services.drain()
    strike(customer)
    for _ in range(28):
        customer.after(days=1)
    assert customer.status(reversal) is Status.PENDING
    for _ in range(6):
        customer.after(hours=6)
    assert customer.status(reversal) is Status.DELIVERED


def test_a_reversal_that_conflicts_is_not_done(
    customer: Site, caplog: pytest.LogCaptureFixture
) -> None:
    paid_out = answered(409, '{"message": "the transaction is in a paid invoice", "status": 409}')
    customer.track(PAYMENT)
    reversal = customer.track(REVERSAL)
    customer.line.instead = lambda request: paid_out if request.method == "DELETE" else None
    customer.services.drain()
    assert customer.status(reversal) is Status.PENDING
    assert alarms(caplog) == ["delivery.pending"]
    customer.line.mend()
    customer.after(hours=1)
    assert customer.status(reversal) is Status.DELIVERED


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
    assert customer.status(delivery) is Status.DELIVERED
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
    assert (customer.status(delivery), rewards(customer)) == (Status.DELIVERED, 1)


def test_a_sign_up_is_repeated_on_the_ordinary_back_off(site: Site) -> None:
    site.switch(timeout_after_write=1.0)
    signup = site.sign_up()
    site.services.drain()
    site.switch()
    site.after(seconds=3)
    assert site.status(signup) is Status.DELIVERED
    assert site.ledger()["totals"]["customers"] == 1


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
    assert {site.status(row) for row in rows[1::2]} == {Status.DELIVERED}
    assert {site.status(row) for row in rows[::2]} <= {Status.DELIVERED, Status.CONFIRMED}
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


def _claim(services: Services, site: Site) -> list[Delivery]:
    return services.outbox.claim(limit=8, now=site.clock.now(), lease=timedelta(seconds=60))
