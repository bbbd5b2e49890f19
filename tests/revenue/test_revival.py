"""A dependent that was given up goes out once its dependency does."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, localcontext
from pathlib import Path

import pytest

from flask_s2s import InvalidConversion
from flask_s2s.testing import answered
from tests.operations.site import Site

_SCHEMA = '{"message": "\'xid\' is a required property", "status": 400}'


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site.make(
        tmp_path, S2S_PARTNERSTACK_PUBLIC_KEY="public", S2S_PARTNERSTACK_SECRET_KEY="secret"
    )
    yield site
    site.close()


def statuses(site: Site) -> dict[str, str]:
    return {row["kind"]: row["status"] for row in site.rows()}


def test_a_child_refused_for_its_parent_goes_out_after_the_parents_retry(site: Site) -> None:
    site.transport.then(answered(400, _SCHEMA))
    site.sign_up("42")
    with site.app.app_context():
        site.s2s.track_transaction(customer_key="42", amount=100, currency="EUR", key="tx-1")
    site.drain()
    assert statuses(site) == {"signup": "refused", "transaction": "refused"}

    found = '{"data": {"customer_key": "42", "test": false}, "status": 200, "message": ""}'
    site.transport.then(answered(200, found))
    site.run("retry", "--status", "refused", "--yes")
    for _ in range(4):
        site.drain()
        site.clock.advance(minutes=20)

    assert statuses(site)["transaction"] == "delivered"


def test_a_refund_is_exact_whatever_the_callers_decimal_context(site: Site) -> None:
    with site.app.app_context(), localcontext() as context:
        context.prec = 3
        delivery = site.s2s.track_refund(
            customer_key="42",
            transaction_key="tx-1",
            amount=Decimal("12345.67"),
            currency="EUR",
            key="refund-1",
        )
    assert delivery
    assert delivery.conversion is not None
    assert getattr(delivery.conversion, "amount") == -1234567  # noqa: B009


@pytest.mark.parametrize("amount", [True, 1.5, "100"])
def test_a_refund_of_something_else_is_refused(site: Site, amount: object) -> None:
    with site.app.app_context(), pytest.raises(InvalidConversion, match="amount"):
        site.s2s.track_refund(
            customer_key="42",
            transaction_key="tx-1",
            amount=amount,  # type: ignore[arg-type]
            currency="EUR",
            key="refund-1",
        )


def test_a_refund_under_the_key_of_its_payment_is_refused(site: Site) -> None:
    with site.app.app_context(), pytest.raises(InvalidConversion, match="a key of its own"):
        site.s2s.track_refund(
            customer_key="42", transaction_key="tx-1", amount=100, currency="EUR", key="tx-1"
        )


def test_an_emptied_child_stays_as_it_ended_when_its_parent_is_credited(site: Site) -> None:
    site.sign_up("42", click=None)
    with site.app.app_context():
        site.s2s.track_transaction(customer_key="42", amount=100, currency="EUR", key="tx-1")
    site.drain()
    assert statuses(site) == {"signup": "unattributed", "transaction": "unattributed"}
    site.clock.advance(days=401)
    site.run("prune", "--yes")

    assert site.run("credit", "42", "--click", "lateclick").exit_code == 0
    for _ in range(4):
        site.drain()
        site.clock.advance(minutes=20)

    assert statuses(site) == {"signup": "delivered", "transaction": "unattributed"}
