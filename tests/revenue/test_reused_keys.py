"""A key that the database gives to the next person: noticed, and the click kept."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from flask_s2s import Delivery, Status
from flask_s2s.store.privacy.personal import PersonalRecords
from tests.verification.conftest import Opening
from tests.verification.site import Site


def sign_up(site: Site, email: str | None, click: str) -> Delivery:
    brought = replace(site.click(), click_id=click)
    delivery = site.services.track_signup(customer_key="1", email=email, click=brought)
    assert delivery
    return delivery


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    reused = "conversion.key_reused"
    return [r.getMessage() for r in caplog.records if getattr(r, "action", "") == reused]


def test_the_next_persons_click_is_kept_and_told(
    any_site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site = any_site
    first = sign_up(site, "ann@example.com", "first")
    site.services.drain()
    second = sign_up(site, "bob@example.com", "second")
    row = site.row(second)
    assert (row.status, row.reason, row.customer_key) == (Status.INVALID, "key_reused", "1")
    assert row.click is not None
    assert row.click.click_id == "second"
    assert row.detail == f"customer_key is that of delivery {first.id}, of another person"
    [said] = told(caplog)
    assert f"delivery {first.id}" in said
    assert "bob" not in said
    assert sign_up(site, "bob@example.com", "second").id == second.id
    assert len(site.services.ledger.find(customer="1")) == 2


def test_after_forget_too(any_site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site = any_site
    first = sign_up(site, "ann@example.com", "first")
    site.services.drain()
    services, storage = site.services, site.services.storage
    personal_records = PersonalRecords(storage, services.bindings, services.outbox)
    personal_records.forget("1", site.clock.now())
    assert sign_up(site, "bob@example.com", "second").id == first.id
    [said] = told(caplog)
    assert "The new click second came with it" in said
    assert "if this is another person" in said


def test_the_same_person_again_is_the_same(
    any_site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A repeated form, a log-in by another link, an address in other letters or none."""
    site = any_site
    first = sign_up(site, "ann@example.com", "first")
    for email, click in (
        ("ann@example.com", "first"),
        ("Ann@Example.com", "later"),
        (None, "later"),
        ("ann@new.example", "first"),
    ):
        assert sign_up(site, email, click).id == first.id
    without = site.services.track_signup(customer_key="1", email="bob@example.com")
    assert without
    assert without.id == first.id
    assert told(caplog) == []


def test_personal_data_need_not_be_kept_to_tell(
    open_site: Opening, caplog: pytest.LogCaptureFixture
) -> None:
    site = open_site(S2S_SEND_PII="omit")
    caplog.set_level(logging.ERROR)
    sign_up(site, "ann@example.com", "first")
    assert sign_up(site, "bob@example.com", "second").reason == "key_reused"
