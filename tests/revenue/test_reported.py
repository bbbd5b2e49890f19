"""The columns that reports group by stand beside each delivery: partner, amount, key and type."""

from __future__ import annotations

from dataclasses import replace

from flask_s2s import Delivery, Status
from flask_s2s.conversion import Action, Reversal, Transaction
from flask_s2s.operations.acts import credit_by_hand
from flask_s2s.store.outbox.ledger import Wanted
from flask_s2s.store.privacy.personal import PersonalRecords
from tests.revenue.test_ordering import known_before
from tests.verification.site import Site

PAID = Transaction(customer_key="42", amount=4900, currency="USD", key="in_01")
BACK = Transaction(customer_key="42", amount=-900, currency="USD", key="re_01", refunds="in_01")


def stored(site: Site, key: str | None, kind: str) -> Delivery:
    (found,) = (
        one for one in site.services.ledger.find(limit=100) if one.key == key and one.kind == kind
    )
    return found


def test_what_a_customer_does_is_their_partners(any_site: Site) -> None:
    site = any_site
    click = replace(site.click(), partner_key="ada", sub_ids=("newsletter", "nov"))
    signup = site.sign_up(click=click)
    for conversion in (
        PAID,
        BACK,
        Action(customer_key="42", type="activated", key="step-1"),
        Reversal(customer_key="42", transaction_key="in_01"),
    ):
        site.track(conversion)
    found = {(one.kind, one.key): one for one in site.services.ledger.find(limit=100)}
    assert {one.partner_key for one in found.values()} == {"ada"}
    assert {one.sub_id for one in found.values()} == {"newsletter"}
    assert found["signup", None].id == signup.id
    assert found["action", "step-1"].what == "activated"
    amounts = {sort: (one.amount, one.currency) for sort, one in found.items()}
    assert amounts == {
        ("signup", None): (None, None),
        ("action", "step-1"): (None, None),
        ("transaction", "in_01"): (4900, "USD"),
        ("transaction", "re_01"): (-900, "USD"),
        # As a whole: minus what its payment was.
        ("reversal", "in_01"): (-4900, "USD"),
    }


def test_what_nobody_is_credited_for_keeps_its_amount_and_its_key(any_site: Site) -> None:
    any_site.services.track_signup(customer_key="42")
    any_site.track(PAID)
    any_site.services.drain()
    payment = stored(any_site, "in_01", "transaction")
    assert payment.status is Status.UNATTRIBUTED
    assert (payment.amount, payment.currency, payment.partner_key) == (4900, "USD", None)


def test_forgetting_a_customer_leaves_no_key_of_theirs_and_the_sums(any_site: Site) -> None:
    any_site.sign_up(click=replace(any_site.click(), partner_key="ada"))
    any_site.track(PAID)
    services = any_site.services
    storage = services.storage
    personal_records = PersonalRecords(storage, services.bindings, services.outbox)
    personal_records.forget("42", any_site.clock.now())
    listed = any_site.services.ledger.find(limit=100)
    assert {one.key for one in listed} == {None}
    assert {one.amount for one in listed} == {None, 4900}


def settled(site: Site) -> dict[str, Delivery]:
    """Let all that can go be settled; return it by its kind and key."""
    site.services.drain()
    for _ in range(3):
        site.after(minutes=16)
    return {f"{one.kind} {one.key}": one for one in site.services.ledger.find(limit=100)}


def test_a_payment_before_its_sign_up_has_its_partner_once_it_is_settled(any_site: Site) -> None:
    site = any_site
    undone = site.track(Reversal(customer_key="42", transaction_key="in_01"))
    payment = site.track(PAID)
    assert (payment.partner_key, undone.amount) == (None, None)
    site.sign_up(click=replace(site.click(), partner_key="ada", sub_ids=("nov",)))
    found = settled(site)
    for one in (found["transaction in_01"], found["reversal in_01"]):
        assert (one.status, one.partner_key, one.sub_id) == (Status.DELIVERED, "ada", "nov")
    assert (found["reversal in_01"].amount, found["reversal in_01"].currency) == (-4900, "USD")


def test_what_was_settled_before_its_sign_up_was_known_has_the_partner_then(
    any_site: Site,
) -> None:
    site = any_site
    # The network knows the customer from before: what they pay goes out.
    known_before(site, "42")
    site.track(PAID)
    site.track(Reversal(customer_key="42", transaction_key="in_01"))
    before = settled(site)
    assert {one.status.sent for one in before.values()} == {True}
    assert {one.partner_key for one in before.values()} == {None}
    site.sign_up(click=replace(site.click(), partner_key="ada", sub_ids=("nov",)))
    after = settled(site)
    assert after.keys() == {"signup None", "transaction in_01", "reversal in_01"}
    assert {(one.partner_key, one.sub_id) for one in after.values()} == {("ada", "nov")}
    for name, one in before.items():
        assert (after[name].status.sent, after[name].settled_at) == (True, one.settled_at)


def test_a_payment_of_nobody_says_so_until_the_customer_is_credited(any_site: Site) -> None:
    site = any_site
    site.services.track_signup(customer_key="42")
    site.track(PAID)
    assert site.services.ledger.find()[0].reason == "by_customer"
    site.services.drain()
    payment = stored(site, "in_01", "transaction")
    assert (payment.status, payment.reason) == (Status.UNATTRIBUTED, "parent")

    click = replace(site.click(), partner_key="ada", sub_ids=("nov",))
    assert credit_by_hand(site.services, "42", click) is not None
    payment = settled(site)["transaction in_01"]
    assert (payment.status, payment.reason) == (Status.CONFIRMED, "by_customer")
    assert (payment.partner_key, payment.sub_id) == ("ada", "nov")


def test_what_is_sent_again_by_hand_is_the_customers_again(site: Site) -> None:
    site.track(PAID)
    found = settled(site)["transaction in_01"]
    assert (found.status, found.reason) == (Status.UNATTRIBUTED, "parent")
    site.services.ledger.retry(
        Wanted(delivery_id=found.id), site.clock.now(), site.services.settings.give_up
    )
    assert stored(site, "in_01", "transaction").reason == "by_customer"
