"""A key that another conversion has: told, and never taken for the same conversion."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy.orm import Session

from flask_s2s import Status
from flask_s2s.conversion import Action, Conversion, Transaction
from flask_s2s.errors import InvalidConversion
from tests.revenue.customer import PAYMENT, STEP, alarms
from tests.verification.conftest import Opening
from tests.verification.site import Site

ANOTHER = [
    pytest.param(PAYMENT, replace(PAYMENT, customer_key="43"), id="another customer's payment"),
    pytest.param(
        PAYMENT,
        Transaction(customer_key="42", amount=-1, currency="USD", key="inv-1", refunds="inv-0"),
        id="a refund under another payment's key",
    ),
    pytest.param(STEP, replace(STEP, customer_key="43"), id="another customer's action"),
    pytest.param(STEP, Action(customer_key="42", type="other", key="step-1"), id="another type"),
]


@pytest.mark.parametrize(("first", "second"), ANOTHER)
def test_another_conversion_under_a_taken_key_is_kept_and_told(
    any_site: Site, caplog: pytest.LogCaptureFixture, first: Conversion, second: Conversion
) -> None:
    there = any_site.track(first)
    refused = any_site.track(second)
    row = any_site.row(refused)
    assert (row.status, row.kind, row.customer_key) == (
        Status.INVALID,
        second.kind,
        second.customer_key,
    )
    assert row.detail == f"key is that of another {second.kind} (delivery {there.id})"
    assert alarms(caplog) == ["conversion.invalid"]


@pytest.mark.parametrize(("first", "second"), ANOTHER)
def test_a_developer_sees_it_at_once(
    open_site: Opening, first: Conversion, second: Conversion
) -> None:
    site = open_site(DEBUG=True)
    site.track(first)
    with pytest.raises(InvalidConversion, match="key is that of another"):
        site.track(second)


def test_the_same_again_is_the_same(any_site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A webhook that comes twice; its amount may have been put right meanwhile."""
    first = any_site.track(PAYMENT)
    assert any_site.track(replace(PAYMENT, amount=600)).id == first.id
    step = any_site.track(STEP)
    assert any_site.track(STEP).id == step.id
    assert alarms(caplog) == []


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    told = "conversion.differs"
    return [r.getMessage() for r in caplog.records if getattr(r, "action", "") == told]


def test_the_same_payment_with_another_amount_is_told(
    any_site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    any_site.track(PAYMENT)
    any_site.track(PAYMENT)
    assert said(caplog) == []
    any_site.track(replace(PAYMENT, amount=600))
    (told,) = said(caplog)
    assert "600 USD now, 500 USD before" in told


def test_in_a_session_it_goes_with_the_session(any_site: Site) -> None:
    any_site.track(PAYMENT)
    other = replace(PAYMENT, customer_key="43")
    for end in ("rollback", "commit"):
        with Session(any_site.services.storage.engine()) as session:
            any_site.services.track(other, session=session)
            getattr(session, end)()
        invalid = any_site.services.ledger.find(customer="43")
        assert len(invalid) == (end == "commit")
