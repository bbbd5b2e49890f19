"""A payment that was undone and came back is reported again; a webhook that comes twice is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flask_s2s import Status
from flask_s2s.conversion import Transaction
from tests.revenue.customer import PAYMENT, REVERSAL, alarms
from tests.verification.site import Site

PART = Transaction(customer_key="42", amount=-5, currency="USD", key="re-1", refunds="inv-1")


def balance(site: Site) -> dict[str, int]:
    """Return what stands at the network, once all is done."""
    for _ in range(4):
        site.after(minutes=30)
    listed = site.ledger()["transactions"]
    keys = [one["external_key"] for one in listed]
    assert len(keys) == len(set(keys))
    return {one["external_key"]: one["body"]["amount"] for one in listed if not one["archived_at"]}


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    told = ("conversion.again", "conversion.undone", "conversion.repeated")
    return [r.action for r in caplog.records if getattr(r, "action", "") in told]  # type: ignore[attr-defined]


@pytest.mark.parametrize("done", [True, False], ids=["undone by then", "being undone"])
def test_it_is_reported_again_once(
    any_customer: Site, caplog: pytest.LogCaptureFixture, done: bool
) -> None:
    site = any_customer
    site.track(PAYMENT)
    site.services.drain()
    site.track(REVERSAL)
    if done:
        site.services.drain()
    back = site.track(PAYMENT)
    assert site.track(PAYMENT).id == back.id
    assert said(caplog) == ["conversion.again"]
    assert balance(site) == {"inv-1:again1": 500}
    assert alarms(caplog) == []


def test_it_may_be_undone_and_come_back_once_more(any_customer: Site) -> None:
    site = any_customer
    for _ in range(2):
        site.track(PAYMENT)
        site.services.drain()
        site.track(REVERSAL)
        assert balance(site) == {}
    site.track(PAYMENT)
    assert balance(site) == {"inv-1:again2": 500}


def test_a_part_that_is_paid_back_afterwards_is_of_what_came_back(any_customer: Site) -> None:
    site = any_customer
    before = site.track(PAYMENT), site.track(PART)
    site.services.drain()
    site.track(REVERSAL)
    site.services.drain()
    site.track(PAYMENT)
    site.track(replace(PART, key="re-2", amount=-7))
    assert site.track(PART).id == before[1].id
    assert balance(site) == {"inv-1:again1": 500, "re-2": -7}


def test_a_report_of_before_it_was_undone_is_a_repeat(
    any_customer: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A webhook that comes twice must not pay the partner for what was paid back."""
    site = any_customer
    made = replace(PAYMENT, created_at=int(site.clock.now().timestamp() * 1000))
    first = site.track(made)
    site.services.drain()
    site.clock.advance(days=1)
    site.track(REVERSAL)
    site.services.drain()
    assert site.track(made).id == first.id
    assert said(caplog) == ["conversion.undone"]
    assert balance(site) == {}
    site.clock.advance(days=40)
    won = replace(PAYMENT, created_at=int(site.clock.now().timestamp() * 1000))
    site.track(won)
    site.track(won)
    site.track(made)
    assert balance(site) == {"inv-1:again1": 500}


def test_a_refund_that_came_before_its_payment_undoes_every_report_of_it(
    any_customer: Site,
) -> None:
    """Webhooks come in any order, and twice."""
    site = any_customer
    site.track(REVERSAL)
    first = site.track(PAYMENT)
    site.services.drain()
    assert site.track(PAYMENT).id == first.id
    assert balance(site) == {}


def test_another_customers_payment_under_its_key_is_no_payment_that_came_back(
    any_customer: Site,
) -> None:
    any_customer.track(PAYMENT)
    any_customer.services.drain()
    any_customer.track(REVERSAL)
    other = any_customer.track(replace(PAYMENT, customer_key="43"))
    assert any_customer.status(other) is Status.INVALID


def test_a_key_that_leaves_no_room_stays_a_repeat(customer: Site) -> None:
    long = replace(PAYMENT, key="k" * 250)
    first = customer.track(long)
    customer.services.drain()
    customer.track(replace(REVERSAL, transaction_key=long.key))
    customer.services.drain()
    assert customer.track(long).id == first.id


@pytest.mark.parametrize("dated", [True, False], ids=["of a time", "when it came"])
def test_a_refund_of_before_it_came_back_is_a_repeat(
    any_customer: Site, caplog: pytest.LogCaptureFixture, dated: bool
) -> None:
    """A webhook that comes twice must not take from the partner what is there after all."""
    site = any_customer

    def now() -> int:
        site.clock.advance(days=1)
        return int(site.clock.now().timestamp() * 1000)

    site.track(replace(PAYMENT, created_at=now()))
    refund = replace(REVERSAL, created_at=now())
    first = site.track(refund)
    assert site.track(refund).id == first.id
    site.services.drain()
    back = now()
    site.track(replace(PAYMENT, created_at=back) if dated else PAYMENT)
    site.clock.advance(days=1)
    assert said(caplog) == ["conversion.again"]
    assert site.track(refund).id == first.id
    assert said(caplog) == ["conversion.again", "conversion.repeated"]
    assert site.track(replace(PART, created_at=refund.created_at)).id
    assert balance(site)["inv-1:again1"] == 500
    site.track(replace(REVERSAL, created_at=now()))
    assert "inv-1:again1" not in balance(site)


def test_another_refund_is_none_of_before_though_its_payments_webhook_was_late(
    any_customer: Site,
) -> None:
    site = any_customer

    def day(number: int) -> int:
        return int(site.clock.now().timestamp() * 1000) + (number - 9) * 86_400_000

    site.track(PAYMENT)
    site.track(replace(REVERSAL, created_at=day(2)))
    site.services.drain()
    site.track(PAYMENT)  # it came back, nobody says when
    site.track(replace(REVERSAL, created_at=day(5)))
    assert balance(site) == {}


def test_money_that_came_back_before_its_refund_was_heard_of_is_there(any_customer: Site) -> None:
    """What counts is when both happened, not which webhook was late."""
    site = any_customer
    site.track(PAYMENT)
    site.services.drain()
    site.clock.advance(days=3)
    site.track(replace(REVERSAL, created_at=int(site.clock.now().timestamp() - 7200) * 1000))
    site.track(replace(PAYMENT, created_at=int(site.clock.now().timestamp() - 3600) * 1000))
    assert balance(site) == {"inv-1:again1": 500}
