"""Undoing is repeated until it is done: until the network says that there is nothing to undo."""

from __future__ import annotations

import pytest

from flask_s2s import Delivery, Status
from flask_s2s.errors import TransportError
from flask_s2s.networks.messages import Request, Response
from flask_s2s.testing import answered
from tests.revenue.customer import PAYMENT, REVERSAL, alarms, strike
from tests.verification.site import Site

NOT_FOUND = '{"message": "Transaction not found", "status": 404}'


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


def let_a_payment_expire(site: Site, **fault: float) -> None:
    """Send it once, into a fault; then the network's API is away until its deadline."""
    payment = site.track(PAYMENT)
    strike(site, **fault)
    site.services.drain()
    strike(site)
    site.line.cut_api()
    while site.status(payment) is not Status.EXPIRED:
        site.after(days=3)
    site.line.mend()


def test_a_payment_that_expired_without_an_answer_is_undone(any_customer: Site) -> None:
    """It may be there: nobody could say so before its deadline."""
    site = any_customer
    let_a_payment_expire(site, timeout_after_write=1.0)
    assert site.ledger()["transactions"][0]["archived_at"] is None
    reversal = site.track(REVERSAL)
    site.services.drain()
    assert site.status(reversal) is Status.DELIVERED
    assert site.ledger()["transactions"][0]["archived_at"] is not None


def test_a_payment_that_expired_and_turns_out_never_to_have_arrived_is_not_looked_for(
    customer: Site,
) -> None:
    let_a_payment_expire(customer, timeout_before_write=1.0)
    reversal = customer.track(REVERSAL)
    customer.services.drain()
    assert customer.status(reversal) is Status.REFUSED
    assert "never arrived" in customer.detail(reversal)


def test_a_payment_that_expired_and_never_left_is_not_undone(customer: Site) -> None:
    payment = customer.track(PAYMENT)
    customer.line.cut_api()
    while customer.status(payment) is not Status.EXPIRED:
        customer.after(days=3)
    customer.line.mend()
    reversal = customer.track(REVERSAL)
    customer.services.drain()
    assert customer.status(reversal) is Status.REFUSED


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
