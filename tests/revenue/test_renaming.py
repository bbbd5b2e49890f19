"""A customer's key changes, or two customers become one: `flask s2s rename`."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from flask_s2s import Click, Status
from flask_s2s.conversion import Action, Transaction
from flask_s2s.rules.attribution import Attribution, Reason
from flask_s2s.rules.identity import identities
from tests.revenue.customer import PAYMENT, REVERSAL, alarms, with_customer
from tests.verification.site import Site
from tests.verification.test_command import run

PAID_SINCE = replace(PAYMENT, customer_key="acct-7", key="inv-2")


def rename(site: Site, old: str = "42", new: str = "acct-7") -> dict[str, int]:
    result = run(site, "rename", old, new, "--yes", "--json")
    assert result.exit_code == 0, result.output
    changed: dict[str, int] = json.loads(result.stdout)
    return changed


def paid(site: Site) -> dict[str, str]:
    """Return which customer each payment is of, as the network has it."""
    return {
        one["external_key"]: one["body"]["customer_external_key"]
        for one in site.ledger()["transactions"]
        if one["archived_at"] is None
    }


def drain(site: Site) -> None:
    for _ in range(4):
        site.after(minutes=30)


def test_a_payment_under_the_new_key_is_the_customers_that_the_network_knows(
    any_customer: Site,
) -> None:
    site = any_customer
    site.track(PAYMENT)
    drain(site)
    assert rename(site)["deliveries"] == 2
    payment = site.track(PAID_SINCE)
    step = site.track(Action(customer_key="acct-7", type="activated"))
    drain(site)
    assert (site.status(payment), site.status(step)) == (Status.CONFIRMED, Status.CONFIRMED)
    assert paid(site) == {"inv-1": "42", "inv-2": "42"}
    row = site.row(payment)
    assert (row.customer_key, row.known_as) == ("acct-7", "42")
    assert {one.customer_key for one in site.services.ledger.find()} == {"acct-7"}


def test_what_waits_goes_to_the_customer_under_the_old_key(any_site: Site) -> None:
    """The sign-up may have arrived: its answer was lost."""
    site = any_site
    site.sign_up()
    site.switch(timeout_after_write=1.0)
    site.services.drain()
    waiting = site.track(PAYMENT)
    rename(site)
    site.switch()
    drain(site)
    assert site.status(waiting) is Status.CONFIRMED
    assert paid(site) == {"inv-1": "42"}
    assert {one["external_key"] for one in site.ledger()["customers"]} == {"42"}


def test_a_customer_whom_nobody_was_told_of_is_sent_under_the_new_key(any_site: Site) -> None:
    site = any_site
    signup = site.sign_up()
    waiting = site.track(PAYMENT)
    keyless = site.track(Action(customer_key="42", type="activated"))
    assert rename(site)["known_as_before"] == 0
    assert site.track(Action(customer_key="acct-7", type="activated")).id == keyless.id
    drain(site)
    assert paid(site) == {"inv-1": "acct-7"}
    assert site.status(signup) is site.status(waiting) is Status.CONFIRMED
    assert [one["external_key"] for one in site.ledger()["customers"]] == ["acct-7"]
    assert site.sign_up("acct-7").id == signup.id


def test_two_who_became_one_stay_two_sign_ups_and_lose_no_payment(any_customer: Site) -> None:
    site = any_customer
    site.sign_up("acct-7")
    drain(site)
    open_payment = site.track(PAYMENT)
    changed = rename(site)
    assert (changed["merged"], changed["deliveries"]) == (1, 2)
    site.track(PAID_SINCE)
    late = site.track(replace(PAYMENT, key="inv-3"))
    drain(site)
    assert paid(site) == {"inv-1": "42", "inv-2": "acct-7", "inv-3": "42"}
    assert site.status(late) is site.status(open_payment) is Status.CONFIRMED


def test_a_webhook_that_comes_again_is_the_same_payment_under_either_key(
    any_customer: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site = any_customer
    first = site.track(PAYMENT)
    drain(site)
    rename(site)
    assert site.track(PAYMENT).id == first.id
    assert site.track(replace(PAYMENT, customer_key="acct-7")).id == first.id
    undone = site.track(replace(REVERSAL, customer_key="acct-7"))
    part = site.track(
        Transaction(customer_key="42", amount=-5, currency="USD", key="re-1", refunds="inv-1")
    )
    drain(site)
    assert site.status(undone) is Status.DELIVERED
    assert site.status(part) is not Status.REFUSED
    assert paid(site) == {}
    assert alarms(caplog) == []


def test_done_twice_it_changes_nothing_and_the_wrong_key_is_told(any_customer: Site) -> None:
    site = any_customer
    rename(site)
    there = site.services.ledger.find()
    assert set(rename(site).values()) == {0}
    assert site.services.ledger.find() == there
    assert run(site, "rename", "nobody", "acct-7", "--yes").exit_code == 1
    assert run(site, "rename", "42", "None", "--yes").exit_code == 2
    assert run(site, "rename", "42", "42", "--yes").exit_code == 2


def test_nothing_is_renamed_before_a_yes(customer: Site) -> None:
    result = run(customer, "rename", "42", "acct-7")
    assert result.exit_code == 1
    assert "1  deliveries under the new key" in result.stderr
    assert [one.customer_key for one in customer.services.ledger.find()] == ["42"]


def test_back_again_is_as_before(any_customer: Site) -> None:
    site = any_customer
    before = [one for one in site.services.ledger.find()]
    rename(site)
    rename(site, "acct-7", "42")
    assert site.services.ledger.find() == before


def bind(site: Site, key: str, click: Click, *, verified: bool = False) -> None:
    found = Attribution(click, Reason.COOKIE)
    who, now = identities(None, key), site.clock.now()
    site.services.bindings.bind_alone(who, found, now, lambda: False, proved=verified)


def test_what_was_bound_and_done_by_hand_comes_along(any_site: Site) -> None:
    site = any_site
    alone, both = site.click(), replace(site.click(), click_id="both12345678")
    bind(site, "42", alone)
    bind(site, "42", both, verified=True)
    bind(site, "acct-7", both)
    assert rename(site)["bindings"] == 2
    with site.services.storage.engine().connect() as connection:
        who = identities(None, "acct-7")
        bound = site.services.bindings.of(connection, who, site.clock.now())
        assert site.services.bindings.of_user(connection, "42") == 0
    assert {(one.click.click_id, one.proved) for one in bound} == {
        (alone.click_id, False),
        ("both12345678", True),
    }
    assert [one.act for one in site.services.audit.of("acct-7")] == ["rename"]
    signup = site.services.track_signup(customer_key="acct-7")
    assert signup
    assert signup.click
    assert signup.click.click_id == "both12345678"


def test_who_is_forgotten_afterwards_leaves_neither_key(any_customer: Site) -> None:
    """Nor where the sign-up had been emptied, which keeps only what later payments are sent under."""
    site = any_customer
    drain(site)
    rename(site)
    site.clock.advance(days=800)
    assert run(site, "prune", "--yes").exit_code == 0
    payment = site.track(PAID_SINCE)
    drain(site)
    assert paid(site) == {"inv-2": "42"}, site.detail(payment)
    assert run(site, "forget", "acct-7", "--yes").exit_code == 0
    with site.services.storage.engine().connect() as connection:
        rows = connection.execute(site.services.storage.tables.delivery.select()).mappings().all()
    assert {(row["customer_key"], row["known_as"]) for row in rows} == {(None, None)}


@pytest.mark.service
def test_a_server_that_changes_nothing_without_a_key_renames_empties_and_forgets(
    guarded_mariadb_url: str,
) -> None:
    site = with_customer(Site(guarded_mariadb_url))
    drain(site)
    rename(site)
    site.clock.advance(days=800)
    for command in (("prune",), ("forget", "acct-7")):
        assert run(site, *command, "--yes").exit_code == 0
    site.close()


def test_their_records_are_compared_under_the_key_that_they_know(customer: Site) -> None:
    customer.track(Action(customer_key="42", type="activated"))
    customer.track(PAYMENT)
    drain(customer)
    rename(customer)
    drain(customer)
    result = run(customer, "reconcile", "--since", "30d", "--json")
    (compared,) = json.loads(result.stdout)["networks"]
    assert (result.exit_code, compared["differences"]) == (0, [])
