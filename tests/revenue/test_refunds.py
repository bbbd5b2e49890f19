"""A payment that is undone as a whole takes what was paid back of it before along.

At the network a part that was paid back is a transaction of its own: left there, the partner would
pay for it twice.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from flask_s2s import Delivery, Status
from flask_s2s.conversion import Conversion, Reversal, Transaction
from flask_s2s.delivery.retention import Retention
from flask_s2s.testing import answered
from tests.revenue.customer import PAYMENT, REVERSAL, alarms, with_customer
from tests.verification.site import Site


def part(key: str, amount: int = -100) -> Transaction:
    return Transaction(customer_key="42", amount=amount, currency="USD", key=key, refunds="inv-1")


PART = part("part-1")


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
    """Undone alone, they would be paid to the partner on top."""
    customer.track(PAYMENT)
    customer.track(part("part-1"))
    customer.services.drain()
    paid_out = answered(409, '{"message": "the transaction is in a paid invoice", "status": 409}')
    customer.line.instead = lambda request: paid_out if request.url.endswith("/inv-1") else None
    customer.track(REVERSAL)
    for _ in range(40):
        customer.after(days=1)
    assert balance(customer) == 400
    assert [one.status for one in reversals(customer)] == [Status.EXPIRED]


@pytest.mark.parametrize(("first", "second"), [(PART, REVERSAL), (REVERSAL, PART)])
def test_what_the_callers_snapshot_does_not_show_is_undone_as_well(
    any_site: Site, first: Conversion, second: Conversion
) -> None:
    """The caller has read something before another process recorded the first."""
    site = with_customer(any_site)
    site.track(PAYMENT)
    site.services.drain()
    with Session(site.services.storage.engine()) as session:
        session.execute(text("SELECT count(*) FROM s2s_click"))
        site.track(first)
        if session.get_bind().dialect.name == "sqlite":
            session.rollback()  # there it could not write any more
        site.services.track(second, session=session)
        session.commit()
    for _ in range(4):
        site.after(hours=1)
    assert balance(site) == 0


@pytest.mark.service
@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_two_transactions_that_do_not_see_each_other_undo_as_well(
    kind: str, request: pytest.FixtureRequest
) -> None:
    with closing(Site(request.getfixturevalue(f"{kind}_url"))) as opened:
        site = with_customer(opened)
        site.track(PAYMENT)
        site.services.drain()
        engine = site.services.storage.engine()
        with Session(engine) as one, Session(engine) as other:
            site.services.track(PART, session=one)
            site.services.track(REVERSAL, session=other)
            one.commit()
            other.commit()
        for _ in range(4):
            site.after(hours=1)
        assert balance(site) == 0


def test_a_part_that_was_emptied_is_told(customer: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Its key is gone: nobody can undo it any more."""
    customer.track(PAYMENT)
    emptied = customer.track(part("part-1"))
    customer.services.drain()
    customer.after(days=100)
    services = customer.services
    keeping = Retention(
        services.storage.engine, services.storage.tables, services.bindings, customer.clock.now()
    )
    list(keeping.prune(customer.clock.now() - timedelta(days=90)))
    caplog.clear()
    customer.track(REVERSAL)
    customer.services.drain()
    assert alarms(caplog) == ["refund.unknown"]
    assert f"delivery {emptied.id}" in caplog.text


@pytest.mark.parametrize(
    "theirs",
    [
        Reversal(customer_key="43", transaction_key="inv-1"),
        replace(PART, customer_key="43", key="part-43"),
    ],
)
def test_nobody_pays_back_what_another_customer_paid(
    customer: Site, caplog: pytest.LogCaptureFixture, theirs: Conversion
) -> None:
    """Invoices that are numbered for each customer: 43's payment was not acceptable, and told."""
    customer.track(PAYMENT)
    customer.sign_up("43")
    for _ in range(2):
        customer.after(hours=1)
    refused = customer.track(theirs)
    for _ in range(3):
        customer.after(hours=1)
    assert customer.status(refused) is Status.REFUSED
    assert "another customer's" in customer.detail(refused)
    assert balance(customer) == 500
    assert alarms(caplog) == ["delivery.refused"]


def test_a_reversal_that_is_recorded_twice_undoes_once(customer: Site) -> None:
    customer.track(PAYMENT)
    customer.track(part("part-1"))
    for _ in range(3):
        customer.track(REVERSAL)
        customer.after(hours=1)
    assert balance(customer) == 0
    assert len(reversals(customer)) == 2
