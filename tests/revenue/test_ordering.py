"""At the network a customer comes before what they do, and a payment before its refund."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flask_s2s import Status
from flask_s2s.conversion import Action, Reversal, Transaction
from flask_s2s.networks.messages import Request, Response
from flask_s2s.operations.acts import credit_by_hand
from flask_s2s.store.outbox.ledger import Wanted
from flask_s2s.testing import answered
from tests.verification.conftest import Opening
from tests.verification.site import KEYS, Site

NO_CUSTOMER = '{"message": "Customer not found", "status": 404}'
NO_ROUTE = '{"message": "no Route matched with those values"}'


def paid(customer: str = "42", key: str = "inv-1", amount: int = 500) -> Transaction:
    return Transaction(customer_key=customer, amount=amount, currency="USD", key=key)


def refunded(customer: str = "42", key: str = "inv-1") -> Reversal:
    return Reversal(customer_key=customer, transaction_key=key)


def known_before(site: Site, customer: str) -> None:
    """Let the network have a customer of whom the site knows nothing."""
    site.http.post(
        "/conversion/xid",
        json={"xid": site.click().click_id, "customer_key": customer},
        headers={"Authorization": "Bearer sandbox-token"},
    )


def retried(site: Site, wanted: Wanted) -> int:
    counted = sum(site.services.ledger.retriable(wanted).values())
    made_due = site.services.ledger.retry(wanted, site.clock.now(), timedelta(days=30))
    assert made_due == counted
    return made_due


def sent(site: Site) -> list[str]:
    return [f"{r.method} {r.url.partition('5001')[2]}" for r in site.line.requests]


def test_a_customers_conversions_go_in_their_order_behind_the_confirmed_sign_up(
    any_site: Site,
) -> None:
    any_site.switch(readable_after_seconds=600)
    refund, payment = any_site.track(refunded()), any_site.track(paid())
    signup = any_site.sign_up()
    action = any_site.track(Action(customer_key="42", type="activated", key="step-1"))
    any_site.services.drain()
    any_site.after(minutes=9)
    writes = [line for line in sent(any_site) if "GET" not in line]
    assert writes == ["POST /conversion/xid"]
    assert {any_site.status(one) for one in (refund, payment, action)} == {Status.WAITING}
    any_site.after(minutes=6)
    assert any_site.status(signup) is Status.CONFIRMED
    assert {any_site.status(one) for one in (refund, payment, action)} == {Status.DELIVERED}
    api = [line for line in sent(any_site) if "GET" not in line][1:]
    assert sorted(api) == [
        "DELETE /api/v2/transactions/inv-1",
        "POST /api/v2/actions",
        "POST /api/v2/transactions",
    ]
    assert api.index("POST /api/v2/transactions") < api.index("DELETE /api/v2/transactions/inv-1")
    assert [len(any_site.attempts(one)) for one in (refund, payment, action)] == [1, 1, 1]


def test_a_sign_up_that_is_not_accepted_yet_holds_up_nobody_else(site: Site) -> None:
    def fail(request: object) -> object:
        body = getattr(request, "body", None) or {}
        return answered(429) if body.get("customer_key") == "slow" else None

    site.line.instead = fail  # type: ignore[assignment]
    site.sign_up("slow")
    held = site.track(paid("slow", "inv-slow"))
    site.sign_up("quick")
    other = site.track(paid("quick", "inv-quick"))
    for _ in range(4):
        site.after(minutes=15)
    assert (site.status(held), site.status(other)) == (Status.WAITING, Status.CONFIRMED)
    assert "waits for its signup" in site.detail(held)
    site.line.mend()
    for _ in range(8):
        site.after(minutes=15)
    assert site.status(held) is Status.CONFIRMED


def test_an_unattributed_customers_conversions_are_unattributed_with_the_reason(
    any_site: Site,
) -> None:
    any_site.services.track_signup(customer_key="42")
    payment, refund = any_site.track(paid()), any_site.track(refunded())
    any_site.services.drain()
    assert {any_site.status(one) for one in (payment, refund)} == {Status.UNATTRIBUTED}
    assert "outside_request" in any_site.detail(payment)
    assert "its transaction" in any_site.detail(refund)
    assert any_site.line.requests == []


@pytest.mark.parametrize("days", [2, 40])
def test_a_customer_credited_later_brings_all_of_it_back(any_site: Site, days: int) -> None:
    any_site.services.track_signup(customer_key="42")
    payment, refund = any_site.track(paid()), any_site.track(refunded())
    any_site.services.drain()
    any_site.clock.advance(days=days)
    click = any_site.click()
    assert credit_by_hand(any_site.services, "42", click) is not None
    any_site.services.drain()
    any_site.after(minutes=15)
    assert {any_site.status(one) for one in (payment, refund)} == {Status.DELIVERED}
    (transaction,) = any_site.ledger()["transactions"]
    assert transaction["archived_at"] is not None
    assert transaction["created_at"] == payment.created_at.timestamp() * 1000


def test_a_refused_sign_up_tells_its_children_why(site: Site) -> None:
    body = '{"message": "\'xid\' is a required property", "status": 400}'
    site.line.instead = lambda request: answered(400, body)
    signup, payment, refund = site.sign_up(), site.track(paid()), site.track(refunded())
    site.services.drain()
    assert {site.status(one) for one in (signup, payment, refund)} == {Status.REFUSED}
    assert "'xid' is a required property" in site.detail(payment)
    assert [len(site.attempts(one)) for one in (signup, payment, refund)] == [1, 0, 0]


def test_a_missing_sign_up_tells_its_children_too(site: Site) -> None:
    site.line.instead = lambda request: answered(200) if request.method == "POST" else None
    signup, payment = site.sign_up(), site.track(paid())
    for _ in range(40):
        site.after(minutes=15)
        if site.status(signup) is Status.MISSING:
            break
    assert (site.status(signup), site.status(payment)) == (Status.MISSING, Status.REFUSED)
    assert "never on record" in site.detail(payment)
    assert site.line.asked("/transactions") == []


def test_a_customer_older_than_the_installation_is_asked_for(site: Site) -> None:
    known_before(site, "old")
    payment = site.track(paid("old"))
    site.services.drain()
    assert sent(site) == ["GET /api/v2/customers/old", "POST /api/v2/transactions"]
    assert site.status(payment) is Status.DELIVERED


def test_nobodys_customer_is_unattributed_once_it_would_be_readable(site: Site) -> None:
    payment = site.track(paid("stranger"))
    site.services.drain()
    assert site.status(payment) is Status.WAITING
    site.after(minutes=14)
    assert len(site.line.requests) == 1
    site.after(minutes=1)
    assert site.status(payment) is Status.UNATTRIBUTED
    assert "neither this site nor the network" in site.detail(payment)
    site.after(days=2)
    assert len(site.line.requests) == 2
    site.sign_up("stranger")
    site.services.drain()
    site.after(minutes=15)
    assert site.status(payment) is Status.CONFIRMED


def test_what_a_gateway_answers_costs_no_older_customer_its_payment(site: Site) -> None:
    """For a while the API's address has no such route: that is no word of the network's."""
    known_before(site, "old")
    site.line.instead = lambda request: answered(404, NO_ROUTE)
    payment = site.track(paid("old"))
    site.services.drain()
    site.after(minutes=16)
    assert site.status(payment) is Status.WAITING
    site.line.mend()
    site.after(hours=1)
    assert site.status(payment) is Status.DELIVERED


def test_what_was_given_up_for_an_unknown_customer_can_be_retried(any_site: Site) -> None:
    site = any_site
    payment, refund = site.track(paid("late")), site.track(refunded("late"))
    site.after(minutes=16)
    assert {site.status(one) for one in (payment, refund)} == {Status.UNATTRIBUTED}
    known_before(site, "late")
    assert retried(site, Wanted(status="unattributed")) == 1
    site.services.drain()
    assert {site.status(one) for one in (payment, refund)} == {Status.DELIVERED}


def test_what_has_no_click_is_not_retried_nor_what_belongs_to_it(any_site: Site) -> None:
    any_site.services.track_signup(customer_key="42")
    any_site.track(paid())
    any_site.services.drain()
    assert retried(any_site, Wanted(status="unattributed")) == 0


def test_a_network_that_does_not_tell_who_a_customer_is_is_asked_ever_more_rarely(
    site: Site,
) -> None:
    payment = site.track(paid("old"))
    site.line.cut_api()
    for _ in range(5 * 60):
        site.after(minutes=1)
    assert site.status(payment) is Status.WAITING
    assert "could not connect" in site.detail(payment)
    assert len(site.line.requests) < 10
    for _ in range(31):
        site.after(days=1)
    assert site.status(payment) is Status.EXPIRED


def test_without_keys_a_payment_is_held_and_goes_once_there_are_some(open_site: Opening) -> None:
    site = open_site(keys=False)
    known_before(site, "old")
    payment = site.track(paid("old"))
    site.services.drain()
    assert site.status(payment) is Status.HELD
    assert "S2S_PARTNERSTACK_PUBLIC_KEY" in site.detail(payment)


@pytest.mark.parametrize("status", [403, 503])
def test_what_cannot_be_confirmed_keeps_the_payment_behind_it_for_hours_and_not_for_weeks(
    site: Site, status: int
) -> None:
    """Keys that may write but not read."""
    site.line.instead = lambda request: answered(status) if request.method == "GET" else None
    signup, payment = site.sign_up(), site.track(paid())
    for _ in range(5 * 12):
        site.after(minutes=5)
    assert (site.status(signup), site.status(payment)) == (Status.DELIVERED, Status.WAITING)
    assert str(status) in site.detail(payment)
    for _ in range(12):
        site.after(minutes=6)
    assert site.status(payment) is Status.DELIVERED
    assert site.services.supervisor.verification_queue.unread(site.clock.now()).accepted == 1


def test_a_payment_goes_as_soon_as_its_accepted_sign_up_can_be_read(any_site: Site) -> None:
    signup = any_site.sign_up()
    payment = any_site.track(paid())
    any_site.services.drain()
    assert any_site.status(signup) is Status.DELIVERED
    assert any_site.status(payment) is Status.DELIVERED
    assert len(any_site.line.asked("/customers/42")) == 1


@pytest.mark.parametrize("seconds", [1, 40, 100, 300])
def test_a_payment_waits_for_a_record_that_runs_late_and_little_longer(
    site: Site, seconds: int
) -> None:
    site.switch(readable_after_seconds=seconds)
    site.sign_up()
    payment = site.track(paid())
    site.services.drain()
    assert site.status(payment) is Status.WAITING
    assert "is not readable yet" in site.detail(payment)
    waited = 0
    while site.status(payment) is Status.WAITING:
        site.after(seconds=5)
        waited += 5
    assert site.ledger()["totals"]["transactions"] == 1
    assert seconds <= waited <= 2 * seconds + 20
    assert len(site.line.asked("/customers/42")) <= 8


@pytest.mark.parametrize(
    ("customer", "answer"),
    [("old", answered(403)), ("acme/42", answered(404, NO_CUSTOMER)), ("old", answered(503))],
)
def test_an_older_customer_who_cannot_be_read_costs_no_payment(
    site: Site, customer: str, answer: Response
) -> None:
    """Nothing is ever told of the customer: the payment goes some hours later all the same."""
    known_before(site, customer)
    site.line.instead = lambda request: answer if request.method == "GET" else None
    payment = site.track(paid(customer))
    for _ in range(5 * 12):
        site.after(minutes=5)
    assert (site.status(payment), site.line.asked("/transactions")) == (Status.WAITING, [])
    assert site.services.supervisor.verification_queue.unread(site.clock.now()).waiting == 1
    site.after(minutes=65)
    assert site.status(payment) is Status.DELIVERED
    assert len(site.line.asked("/transactions")) == 1


def test_a_dry_run_sends_neither(open_site: Opening) -> None:
    site = open_site(S2S_DRY_RUN=True)
    site.sign_up()
    payment = site.track(paid())
    site.services.drain()
    assert (site.status(payment), site.line.requests) == (Status.DRY_RUN, [])


def test_a_payment_that_is_recorded_again_after_it_was_tried_stops_nobody(
    database_url: str,
) -> None:
    site = Site(database_url, keys=False)
    payment = site.track(paid("stranger"))
    site.services.drain()
    assert (site.status(payment), site.row(payment).attempts) == (Status.HELD, 1)
    site.services = site.another(**KEYS)
    for _ in range(2):
        site.after(minutes=20)
    assert site.status(payment) is Status.UNATTRIBUTED
    site.track(paid("stranger"))
    other = site.sign_up("somebody else")
    for _ in range(2):
        site.after(minutes=20)
    assert site.status(other) is Status.CONFIRMED
    site.close()


def test_a_lane_that_works_again_is_not_found_out_about_by_those_who_only_wait(
    site: Site,
) -> None:
    site.sign_up("there")
    site.services.drain()
    site.after(minutes=16)

    def full_and_shut(request: Request) -> Response | None:
        if request.url.endswith("/conversion/xid"):
            return answered(429)
        return answered(401) if request.method == "POST" else None

    site.line.instead = full_and_shut
    for number in range(10):
        site.sign_up(f"waiting {number}")
        site.track(paid(f"waiting {number}", f"waits-{number}"))
    payment = site.track(paid("there", "paid-1"))
    site.services.drain()
    assert [breaker.lane for breaker in site.services.supervisor.breakers.closed()] == [
        "partnerstack/api"
    ]
    # Those who wait have looked again since, and are due before the one that can tell.
    site.after(minutes=6)
    site.line.mend()
    site.after(seconds=31)
    assert site.services.supervisor.breakers.closed() == []
    assert site.status(payment) is Status.DELIVERED
