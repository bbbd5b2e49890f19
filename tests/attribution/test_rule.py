"""S2S_RULE: the site's own word on which sign-ups are not credited."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from flask_s2s import Click, Signup
from flask_s2s.cli import s2s as commands
from tests.attribution.conftest import MakeSite
from tests.attribution.site import Browser

STAFF = "staff: @shop.example signs up for tests only"


def house_rules(conversion: Signup, click: Click) -> str | None:
    """Staff, partners who refer themselves, and a coupon site's sub ID."""
    if (conversion.email or "").endswith("@shop.example"):
        return STAFF
    if conversion.customer_key == f"partner-{click.partner_key}":
        return "self-referral"
    if "coupons" in click.sub_ids:
        return "coupon site"
    return None


@pytest.mark.parametrize(
    ("query", "customer", "email", "expected"),
    [
        ("ps_xid=abc", "1", "ada@other.example", ("cookie", None)),
        ("ps_xid=abc", "2", None, ("cookie", None)),
        ("ps_xid=abc", "3", "ada@shop.example", ("rule", STAFF)),
        ("ps_xid=abc&gspk=MTIz", "partner-123", None, ("rule", "self-referral")),
        ("ps_xid=abc&sid=coupons", "4", None, ("rule", "coupon site")),
        ("", "5", "ada@shop.example", ("no_click", None)),
    ],
)
def test_the_rule_decides_on_what_would_be_credited(
    make_site: MakeSite,
    query: str,
    customer: str,
    email: str | None,
    expected: tuple[str, str | None],
) -> None:
    site = make_site(S2S_RULE=house_rules)
    browser = Browser(site)
    browser.land(query)
    browser.sign_up(customer, email)

    row = site.row_of(customer)
    assert (row["reason"], row["detail"]) == expected
    credited = expected[0] == "cookie"
    assert row["status"] == ("pending" if credited else "unattributed")
    assert (row["click"] is not None, row["conversion"] is not None) == (credited, credited)
    assert site.services.drain() == (1 if credited else 0)


def test_a_bound_click_is_asked_about_too(make_site: MakeSite) -> None:
    site = make_site(S2S_RULE=house_rules)
    browser = Browser(site)
    browser.land("ps_xid=abc&sid=coupons")
    browser.lead(email="ada@other.example")
    assert Browser(site).sign_up("1", "ada@other.example")[1:] == ("rule", None)


def test_an_operator_overrules_it(make_site: MakeSite) -> None:
    site = make_site(S2S_RULE=lambda conversion, click: "nobody")
    browser = Browser(site)
    browser.land("ps_xid=abc")
    assert browser.sign_up("1")[1:] == ("rule", None)

    runner = site.app.test_cli_runner()
    assert "nobody" in runner.invoke(commands, ["explain", "1"]).output
    assert runner.invoke(commands, ["credit", "1", "--click", "abc"]).exit_code == 0
    assert site.row_of("1")["reason"] == "credited"


def _raises(conversion: Any, click: Any) -> str | None:
    raise LookupError(conversion.email)


@pytest.mark.parametrize(
    "rule", [_raises, lambda c, k: False, lambda c, k: 7, lambda c, k: "", lambda: "no arguments"]
)
def test_a_rule_that_fails_loses_nothing(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture, rule: Any
) -> None:
    site = make_site(S2S_RULE=rule)
    browser = Browser(site)
    browser.land("ps_xid=abc")
    with caplog.at_level(logging.ERROR):
        assert browser.sign_up("1", "ada@other.example")[1:] == ("cookie", "abc")
    assert site.services.drain() == 1


def test_the_failure_is_logged_without_whom_it_was_about(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site(S2S_RULE=_raises)
    browser = Browser(site)
    browser.land("ps_xid=abc")
    with caplog.at_level(logging.ERROR):
        browser.sign_up("1", "ada@other.example")
    assert "s2s.rule.failed: LookupError" in caplog.text
    assert "ada@" not in caplog.text


@pytest.mark.parametrize("text", ["x" * 300, "\x00\ud800\nline", "日本語" * 100])
def test_any_text_can_be_stored(make_site: MakeSite, database_url: str, text: str) -> None:
    site = make_site(database_url, S2S_RULE=lambda conversion, click: text)
    browser = Browser(site)
    browser.land("ps_xid=abc")
    assert browser.sign_up("1")[1] == "rule"
    assert site.row_of("1")["detail"] == ("line" if "line" in text else text[:255])
