"""A clock that is wrong for a while costs no partner a customer."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime

import pytest

from flask_s2s.testing import answered
from tests.attribution.conftest import MakeSite
from tests.attribution.site import Browser, Site

YEAR = timedelta(days=365)


@pytest.fixture
def visitor(browser: Browser) -> Browser:
    """Somebody who has landed, and whose address is bound to the click."""
    browser.land("ps_xid=abc")
    browser.lead(email="ada@shop.example")
    return browser


def test_a_cookie_counts_while_a_clock_is_ahead(site: Site, visitor: Browser) -> None:
    site.clock.step(YEAR)
    assert visitor.sign_up("1")[1:] == ("cookie", "abc")


def test_a_bound_address_counts_while_a_clock_is_ahead(site: Site, visitor: Browser) -> None:
    site.clock.step(YEAR)
    assert Browser(site).sign_up("1", "ada@shop.example")[1:] == ("identity", "abc")


def test_a_process_that_starts_while_a_clock_is_ahead_counts_it(
    make_site: MakeSite, visitor: Browser
) -> None:
    later = make_site()
    later.clock.step(YEAR)
    visitor.site = later
    assert visitor.sign_up("1")[1:] == ("cookie", "abc")


def test_a_click_of_a_clock_that_was_ahead_counts_from_now(site: Site, browser: Browser) -> None:
    site.clock.step(YEAR)
    browser.land("ps_xid=abc")
    site.clock.step(-YEAR)
    assert browser.sign_up("1")[1:] == ("cookie", "abc")
    assert site.row_of("1")["click_at"] == site.clock.now()


def test_a_new_link_replaces_a_click_whose_window_a_clock_calls_closed(
    make_site: MakeSite,
) -> None:
    site = make_site(S2S_ATTRIBUTION="first")
    browser = Browser(site)
    browser.land("ps_xid=old")
    site.clock.step(YEAR)
    browser.land("ps_xid=new")
    assert browser.sign_up("1")[1:] == ("cookie", "new")


def test_a_window_has_closed_once_an_hour_was_counted(site: Site, visitor: Browser) -> None:
    site.clock.step(YEAR)
    assert visitor.sign_up("1")[1:] == ("cookie", "abc")
    site.clock.advance(hours=1)
    assert visitor.sign_up("2")[1:] == ("expired", None)


def test_a_window_has_closed_once_the_networks_clock_agrees(site: Site, visitor: Browser) -> None:
    site.clock.step(YEAR)
    said = format_datetime(site.clock.now(), usegmt=True)
    site.transport.then(answered(200, date=said))
    visitor.sign_up("1")
    site.services.drain()
    assert visitor.sign_up("2")[1:] == ("expired", None)


def test_a_process_that_lives_for_seconds_is_told_how_late_it_is(
    make_site: MakeSite, visitor: Browser
) -> None:
    """Cron starts it, and it decides before any answer comes."""
    first = make_site()
    first.clock.step(timedelta(days=91))
    customer = Browser(first)
    customer.land("ps_xid=new")
    customer.sign_up("1")
    first.transport.then(answered(200, date=format_datetime(first.clock.now(), usegmt=True)))
    first.services.drain()
    later = make_site()
    later.clock.step(timedelta(days=91))
    visitor.site = later
    assert visitor.sign_up("2")[1:] == ("expired", None)
    later.services.drain()
    assert [row["click_id"] for row in later.rows("click")] == ["new"]


def test_the_click_whose_window_has_closed_is_told(site: Site, visitor: Browser) -> None:
    site.clock.advance(days=91)
    assert visitor.sign_up("1")[1:] == ("expired", None)
    told = site.app.test_cli_runner().invoke(args=["s2s", "explain", "1"]).output
    assert "Click abc of 2026-01-01 00:00:00 UTC: not credited, its window had closed." in told


def test_nothing_is_deleted_by_a_clock_that_is_ahead_for_seconds(
    site: Site, visitor: Browser
) -> None:
    site.clock.step(YEAR)
    site.services.drain()
    site.clock.step(-YEAR)
    assert len(site.rows("click")) == 1
    assert Browser(site).sign_up("1", "ada@shop.example")[1:] == ("identity", "abc")


def test_what_is_past_every_window_is_deleted(site: Site, visitor: Browser) -> None:
    site.clock.advance(days=91)
    site.services.drain()
    assert site.rows("click") == []
