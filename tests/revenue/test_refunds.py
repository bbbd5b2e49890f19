"""A payment that is undone as a whole takes what was paid back of it before along.

At the network a part that was paid back is a transaction of its own: left there, the partner would
pay for it twice.
"""

from __future__ import annotations

from dataclasses import replace

from flask_s2s import Delivery, Status
from flask_s2s.conversion import Transaction
from tests.revenue.customer import PAYMENT, REVERSAL
from tests.verification.site import Site


def part(key: str, amount: int = -100) -> Transaction:
    return Transaction(customer_key="42", amount=amount, currency="USD", key=key, refunds="inv-1")


def balance(site: Site) -> int:
    """Return what the network has the partner paid for."""
    return sum(
        int(one["body"]["amount"])
        for one in site.ledger()["transactions"]
        if one["archived_at"] is None
    )


def reversals(site: Site) -> list[Delivery]:
    return [one for one in site.services.ledger.find(limit=100) if one.kind == "reversal"]


def test_parts_that_were_paid_back_before_are_undone_as_well(any_customer: Site) -> None:
    site = any_customer
    site.track(PAYMENT)
    site.track(part("part-1"))
    site.track(part("part-2", -50))
    site.services.drain()
    assert balance(site) == 350
    site.track(REVERSAL)
    site.after(hours=1)
    site.after(hours=1)
    assert balance(site) == 0
    assert [one.status for one in reversals(site)] == [Status.DELIVERED] * 3


def test_a_part_that_is_recorded_later_is_undone_as_well(any_customer: Site) -> None:
    site = any_customer
    site.track(PAYMENT)
    site.track(REVERSAL)
    site.services.drain()
    site.track(part("part-1"))
    for _ in range(3):
        site.after(hours=1)
    assert balance(site) == 0
    assert [one.status for one in reversals(site)] == [Status.DELIVERED] * 2


def test_nothing_of_another_payment_is_undone(customer: Site) -> None:
    customer.track(PAYMENT)
    customer.track(Transaction(customer_key="42", amount=900, currency="USD", key="inv-2"))
    customer.track(replace(part("part-of-2", -90), refunds="inv-2"))
    customer.track(REVERSAL)
    for _ in range(3):
        customer.after(hours=1)
    assert balance(customer) == 810


def test_parts_stay_while_their_payment_cannot_be_undone(customer: Site) -> None:
    customer.track(PAYMENT)
    customer.track(part("part-1"))
    customer.services.drain()
    customer.line.cut_api()
    customer.track(REVERSAL)
    customer.after(hours=1)
    assert balance(customer) == 400
    customer.line.mend()
    for _ in range(3):
        customer.after(hours=1)
    assert balance(customer) == 0


def test_a_reversal_that_is_recorded_twice_undoes_once(customer: Site) -> None:
    customer.track(PAYMENT)
    customer.track(part("part-1"))
    for _ in range(3):
        customer.track(REVERSAL)
        customer.after(hours=1)
    assert balance(customer) == 0
    assert len(reversals(customer)) == 2
