"""A payment that is undone as a whole takes what was paid back of it before along.

At the network a part that was paid back is a transaction of its own: left there, the partner would
pay for it twice.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from flask_s2s import Delivery, Status
from flask_s2s.conversion import Conversion, Reversal, Transaction
from flask_s2s.errors import TransportError
from flask_s2s.networks.messages import Request, Response
from flask_s2s.store.outbox.ledger import Wanted
from flask_s2s.testing import answered
from tests.revenue.customer import PAYMENT, REVERSAL, alarms, with_customer
from tests.revenue.test_ordering import retried
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
        with Session(engine) as one, Session(engine) as other, ThreadPoolExecutor(1) as thread:
            site.services.track(PART, session=one)
            second = thread.submit(site.services.track, REVERSAL, session=other)
            # On MariaDB it waits for the first where the two are neighbours in the unique index.
            wait([second], timeout=1)
            one.commit()
            second.result(30)
            other.commit()
        for _ in range(4):
            site.after(hours=1)
        assert balance(site) == 0


def test_a_process_that_dies_before_it_settles_a_part_counts_it_once(any_customer: Site) -> None:
    site = any_customer
    site.track(PAYMENT)
    site.track(REVERSAL)
    site.services.drain()
    site.track(PART)
    dying = site.another()

    def die(_: object) -> None:
        if site.line.requests[-1].method == "POST":
            raise KeyboardInterrupt

    event.listen(dying.storage.engine(), "commit", die)
    with pytest.raises(KeyboardInterrupt):
        dying.drain()
    event.remove(dying.storage.engine(), "commit", die)
    for _ in range(6):
        site.after(hours=1)
    assert balance(site) == 0
    assert [one["archived_at"] is None for one in site.ledger()["transactions"]] == [False, False]


def test_a_payment_that_may_not_have_been_undone_leaves_its_parts(customer: Site) -> None:
    """Each time that it is asked to, the network fails."""
    customer.track(PAYMENT)
    customer.services.drain()
    failing = answered(500)
    customer.line.instead = lambda request: failing if request.url.endswith("/inv-1") else None
    customer.track(REVERSAL)
    customer.services.drain()
    customer.track(PART)
    for _ in range(40):
        customer.after(days=1)
    assert balance(customer) == 400


def test_a_part_that_is_undone_by_itself_is_undone(customer: Site) -> None:
    customer.track(PAYMENT)
    customer.services.drain()
    failing = answered(500)
    customer.line.instead = lambda request: failing if request.url.endswith("/inv-1") else None
    customer.track(REVERSAL)
    customer.track(PART)
    customer.services.drain()
    customer.track(Reversal(customer_key="42", transaction_key="part-1"))
    for _ in range(3):
        customer.after(hours=1)
    assert balance(customer) == 500


def test_a_part_whose_own_reversal_has_failed_is_told(
    customer: Site, caplog: pytest.LogCaptureFixture
) -> None:
    customer.track(PAYMENT)
    customer.track(PART)
    customer.services.drain()
    conflict = answered(409, '{"message": "in a paid invoice", "status": 409}')
    customer.line.instead = lambda request: conflict if request.method == "DELETE" else None
    failed = customer.track(Reversal(customer_key="42", transaction_key="part-1"))
    while customer.status(failed) is not Status.EXPIRED:
        customer.after(days=3)
    customer.line.mend()
    caplog.clear()
    customer.track(REVERSAL)
    customer.services.drain()
    assert alarms(caplog) == ["refund.left"]
    assert f"its reversal (delivery {failed.id}) is expired" in caplog.text


def test_an_undone_payment_that_was_emptied_takes_later_parts_along(customer: Site) -> None:
    customer.track(PAYMENT)
    customer.track(REVERSAL)
    customer.services.drain()
    empty_all(customer)
    customer.track(PART)
    for _ in range(3):
        customer.after(hours=1)
    assert balance(customer) == 0


def test_nobody_is_told_of_a_part_that_was_undone_and_emptied(
    customer: Site, caplog: pytest.LogCaptureFixture
) -> None:
    customer.track(PAYMENT)
    customer.track(PART)
    customer.services.drain()
    customer.track(Reversal(customer_key="42", transaction_key="part-1"))
    customer.services.drain()
    empty_all(customer)
    caplog.clear()
    customer.track(REVERSAL)
    customer.services.drain()
    assert (balance(customer), alarms(caplog)) == (0, [])


@pytest.mark.parametrize("key", ["inv-1", "part-1"])
def test_what_is_sent_again_by_hand_after_it_had_expired_is_undone(
    customer: Site, key: str
) -> None:
    """Its reversal had found nothing to undo."""

    def lose(request: Request) -> Response | None:
        if request.method == "POST" and request.body and request.body["key"] == key:
            raise TransportError("no answer", sent=True)
        return None

    customer.line.instead = lose
    there = {"inv-1": customer.track(PAYMENT), "part-1": customer.track(PART)}
    while customer.status(there[key]) is not Status.EXPIRED:
        customer.after(days=3)
    customer.line.mend()
    customer.track(REVERSAL)
    for _ in range(3):
        customer.after(hours=1)
    retried(customer, Wanted(status="expired"))
    for _ in range(10):
        customer.after(hours=5)
    assert balance(customer) == 0


def test_a_refund_by_the_wrong_customer_hides_no_right_one(customer: Site) -> None:
    customer.track(PAYMENT)
    customer.sign_up("43")
    for _ in range(2):
        customer.after(hours=1)
    customer.track(Reversal(customer_key="43", transaction_key="inv-1"))
    customer.services.drain()
    customer.track(REVERSAL)
    customer.services.drain()
    assert balance(customer) == 0


def empty_all(site: Site) -> None:
    """Let all that is settled grow old, and empty it."""
    site.after(days=100)
    services, now = site.services, site.clock.now()
    list(services.supervisor.retention(now).prune(now - timedelta(days=90)))


def test_a_part_that_was_emptied_is_told(customer: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Its key is gone: nobody can undo it any more."""
    customer.track(PAYMENT)
    emptied = customer.track(part("part-1"))
    customer.services.drain()
    empty_all(customer)
    caplog.clear()
    customer.track(REVERSAL)
    customer.services.drain()
    assert alarms(caplog) == ["refund.left"]
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
