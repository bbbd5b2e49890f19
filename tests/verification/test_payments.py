"""Payments and actions that were accepted: confirmed by the network's own lists, or missing."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from flask_s2s import Delivery, Status
from flask_s2s.conversion import Action, Conversion, Reversal, Transaction
from flask_s2s.networks.messages import Request, Response
from flask_s2s.store.outbox.ledger import Wanted
from flask_s2s.testing import answered
from tests.verification.site import Site
from tests.verification.test_command import run

PAYMENT = Transaction(customer_key="42", amount=500, currency="USD", key="inv-1")
STEP = Action(customer_key="42", type="activated", key="step-1")
UNNAMED = Action(customer_key="42", type="activated")
REVERSAL = Reversal(customer_key="42", transaction_key="inv-1")


def accept_and_drop(site: Site) -> None:
    """Let the network answer payments and actions with 200, and record none."""

    def drop(request: Request) -> Response | None:
        rewards = request.url.endswith(("/transactions", "/actions"))
        return answered(200, "{}") if rewards and request.method == "POST" else None

    site.line.instead = drop


def missing(site: Site) -> Delivery:
    """Have a payment accepted, dropped, looked for and missed; then mend the network."""
    delivery = with_customer(site).track(PAYMENT)
    accept_and_drop(site)
    site.services.drain()
    site.after(minutes=15)
    site.after(minutes=30)
    site.line.mend()
    assert site.status(delivery) is Status.MISSING
    return delivery


def with_customer(site: Site) -> Site:
    site.sign_up()
    site.services.drain()
    site.after(minutes=15)
    return site


def posts(site: Site) -> int:
    return sum(one.method == "POST" for one in site.line.requests)


@pytest.mark.parametrize("conversion", [PAYMENT, STEP, UNNAMED])
def test_what_was_accepted_is_confirmed_by_the_networks_list(
    any_site: Site, conversion: Conversion
) -> None:
    delivery = with_customer(any_site).track(conversion)
    any_site.services.drain()
    assert any_site.status(delivery) is Status.DELIVERED
    any_site.after(minutes=14)
    assert any_site.status(delivery) is Status.DELIVERED
    any_site.after(minutes=1)
    row = any_site.row(delivery)
    assert (row.status, row.verify_at) == (Status.CONFIRMED, None)
    asked = len(any_site.line.requests)
    any_site.after(days=3)
    assert len(any_site.line.requests) == asked


def test_one_read_of_a_list_does_for_many(any_site: Site) -> None:
    with_customer(any_site)
    made = [
        any_site.track(
            Transaction(customer_key="42", amount=500 + n, currency="USD", key=f"inv-{n}")
        )
        for n in range(60)
    ]
    any_site.services.drain()
    accept_and_drop(any_site)
    lost = [any_site.track(replace(PAYMENT, key=f"lost-{n}")) for n in range(3)]
    any_site.services.drain()
    any_site.line.mend()
    any_site.after(minutes=15)
    assert {any_site.status(one) for one in made} == {Status.CONFIRMED}
    assert {any_site.status(one) for one in lost} == {Status.DELIVERED}
    asked = [one for one in any_site.line.asked("/transactions") if one.method == "GET"]
    assert len(asked) == 1
    any_site.after(minutes=30)
    assert {any_site.status(one) for one in lost} == {Status.MISSING}
    asked = [one for one in any_site.line.asked("/transactions") if one.method == "GET"]
    assert len(asked) == 2


def test_what_was_made_at_another_time_is_asked_for_apart(any_site: Site) -> None:
    with_customer(any_site)
    any_site.after(minutes=35)
    early = any_site.track(PAYMENT)
    any_site.services.drain()
    any_site.after(minutes=13)
    late = any_site.track(replace(PAYMENT, key="inv-2"))
    any_site.services.drain()
    any_site.after(minutes=30)
    assert {any_site.status(early), any_site.status(late)} == {Status.CONFIRMED}
    asked = [one for one in any_site.line.asked("/transactions") if one.method == "GET"]
    assert len(asked) == 2, "a list of all the time between would be long"


@pytest.mark.parametrize("conversion", [PAYMENT, STEP])
def test_what_the_network_never_recorded_is_missing_and_an_alarm(
    any_site: Site, caplog: pytest.LogCaptureFixture, conversion: Conversion
) -> None:
    delivery = with_customer(any_site).track(conversion)
    accept_and_drop(any_site)
    sent = posts(any_site)
    any_site.services.drain()
    any_site.after(minutes=15)
    assert (any_site.status(delivery), any_site.row(delivery).checks) == (Status.DELIVERED, 1)
    any_site.after(minutes=30)
    assert any_site.status(delivery) is Status.MISSING
    # Not again by itself: what a repeat does is not known.
    assert posts(any_site) == sent + 1
    told = [getattr(r, "action", "") for r in caplog.records if r.levelno >= logging.ERROR]
    assert told == ["verification.missing"]
    status = run(any_site, "status")
    assert status.exit_code == 1
    assert "`flask s2s retry --status missing`" in status.output


def retry(site: Site) -> int:
    return site.services.ledger.retry(Wanted(status="missing"), site.clock.now(), timedelta(days=9))


def test_what_is_missing_is_looked_for_before_it_is_sent_again_by_hand(any_site: Site) -> None:
    delivery = missing(any_site)
    record(any_site)
    sent = posts(any_site)
    assert retry(any_site) == 1
    any_site.services.drain()
    assert (any_site.status(delivery), posts(any_site)) == (Status.CONFIRMED, sent)


def test_what_is_missing_and_still_absent_goes_out_again_by_hand(site: Site) -> None:
    delivery = missing(site)
    retry(site)
    site.services.drain()
    assert site.ledger()["totals"]["transactions"] == 1
    site.after(minutes=15)
    assert site.status(delivery) is Status.CONFIRMED


def record(site: Site) -> None:
    """Let the network have the payment after all."""
    body = {"customer_external_key": "42", "amount": 500, "currency": "USD", "key": "inv-1"}
    auth = ("pk_sandbox", "sk_sandbox")
    assert site.http.post("/api/v2/transactions", json=body, auth=auth).status_code == 200


def test_a_payment_that_was_undone_before_it_was_looked_for_is_not_missed(any_site: Site) -> None:
    delivery = with_customer(any_site).track(PAYMENT)
    any_site.services.drain()
    reversal = any_site.track(REVERSAL)
    any_site.services.drain()
    any_site.after(minutes=15)
    row = any_site.row(delivery)
    assert (row.status, row.verify_at) == (Status.DELIVERED, None)
    assert "undone" in (row.detail or "")
    assert any_site.status(reversal) is Status.DELIVERED


def test_a_payment_that_may_be_undone_by_now_is_not_missed_either(site: Site) -> None:
    delivery = with_customer(site).track(PAYMENT)
    site.services.drain()
    site.track(REVERSAL)
    site.switch(reset_after_write=1.0)
    site.services.drain()
    site.line.instead = lambda request: answered(429) if request.method == "DELETE" else None
    site.switch()
    for _ in range(6):
        site.after(minutes=15)
    assert (site.status(delivery), site.row(delivery).checks) == (Status.DELIVERED, 0)
    site.line.mend()
    for _ in range(12):
        site.after(hours=1)
    assert site.row(delivery).verify_at is None
    assert site.status(delivery) is Status.DELIVERED


def test_a_list_too_long_for_one_look_is_read_on(site: Site) -> None:
    delivery = with_customer(site).track(PAYMENT)
    site.services.drain()
    pages: list[str] = []

    def page(request: Request) -> Response | None:
        if request.method != "GET":
            return None
        pages.append(request.url)
        site.clock.advance(seconds=1)
        last = len(pages) == 90
        key = "inv-1" if last else f"other-{len(pages)}"
        item = f'{{"key": "txn{len(pages)}", "external_key": "{key}", "amount": 5}}'
        more = "false" if last else "true"
        return answered(200, f'{{"data": {{"items": [{item}], "has_more": {more}}}}}')

    site.line.instead = page
    for _ in range(20):
        site.after(minutes=1)
    assert (site.status(delivery), len(pages)) == (Status.CONFIRMED, 90)


@pytest.mark.parametrize("status", [403, 503])
def test_reading_that_fails_is_an_error_within_the_hour(site: Site, status: int) -> None:
    site.line.instead = lambda request: answered(status) if request.method == "GET" else None
    site.sign_up()
    site.services.drain()
    for _ in range(8):
        site.after(minutes=5)
    assert run(site, "status").exit_code == 0
    for _ in range(3):
        site.after(minutes=5)
    told, checked = run(site, "status"), run(site, "check")
    assert (told.exit_code, "1 accepted cannot be read back" in told.output) == (1, True)
    assert f"answered with {status}" in told.output
    assert "1 accepted cannot be read back" in checked.output
    site.line.mend()
    site.after(hours=2)
    assert run(site, "status").exit_code == 0


def test_what_may_have_arrived_waits_for_the_record_and_that_is_told(site: Site) -> None:
    delivery: Delivery = with_customer(site).track(PAYMENT)
    site.switch(reset_before_write=1.0)
    site.services.drain()
    site.switch()
    site.line.instead = lambda request: answered(503) if request.method == "GET" else None
    sent = posts(site)
    for _ in range(24):
        site.after(hours=1)
    assert (site.status(delivery), posts(site)) == (Status.WAITING, sent)
    told = run(site, "status")
    assert (told.exit_code, "1 wait for a record" in told.output) == (1, True)
    site.line.mend()
    site.after(hours=6)
    assert site.ledger()["totals"]["transactions"] == 1


def test_a_customer_key_that_cannot_be_asked_for_is_no_lasting_alarm(site: Site) -> None:
    signup = site.sign_up(".")
    site.services.drain()
    site.after(minutes=15)
    row = site.row(signup)
    assert (row.status, row.verify_at) == (Status.DELIVERED, None)
    site.after(hours=2)
    assert site.services.supervisor.verification_queue.unread(site.clock.now()).accepted == 0
