"""S2S_RULE: the site's own word on which sign-ups are not credited."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from click.testing import Result

from flask_s2s import Click, ConfigError, Signup
from flask_s2s.cli import s2s as commands
from flask_s2s.rules.attribution import Facts
from tests.attribution.conftest import MakeSite
from tests.attribution.site import Browser, Site

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
    "rule",
    [_raises, lambda c, k: False, lambda c, k: 7, lambda c, k: "", lambda c, k, f: f.nothing],
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


def test_what_a_rule_may_not_answer_is_said(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site(S2S_RULE=lambda conversion, click: False, S2S_RULE_ERROR="review")
    browser = Browser(site)
    browser.land("ps_xid=abc")
    with caplog.at_level(logging.ERROR):
        browser.sign_up("1")
    assert "s2s.rule.failed: it answered bool, neither None nor text;" in caplog.text
    assert "it answered bool, neither None nor text" in site.row_of("1")["detail"]


@pytest.mark.parametrize("text", ["x" * 300, "\x00\ud800\nline", "日本語" * 100])
def test_any_text_can_be_stored(make_site: MakeSite, database_url: str, text: str) -> None:
    site = make_site(database_url, S2S_RULE=lambda conversion, click: text)
    browser = Browser(site)
    browser.land("ps_xid=abc")
    assert browser.sign_up("1")[1] == "rule"
    assert site.row_of("1")["detail"] == ("line" if "line" in text else text[:255])


@pytest.mark.parametrize("rule", [lambda: None, lambda c: None, lambda a, b, c, d: None, dict])
def test_a_rule_that_cannot_be_called_is_refused_at_the_start(
    make_site: MakeSite, rule: Any
) -> None:
    with pytest.raises(ConfigError, match=r"def rule\(conversion, click, facts\)"):
        make_site(S2S_RULE=rule)


def test_a_rule_is_told_how_the_click_was_found(make_site: MakeSite) -> None:
    told: list[Facts] = []
    site = make_site(S2S_RULE=lambda conversion, click, facts: told.append(facts))
    browser = Browser(site)
    browser.land("ps_xid=first")
    site.clock.advance(days=1)
    browser.land("ps_xid=second")
    site.clock.advance(seconds=2)
    browser.lead(email="ada@shop.example")
    browser.sign_up("1")
    Browser(site).sign_up("2", "ada@shop.example")

    assert [(one.reason, one.unproved, one.seconds) for one in told] == [
        ("cookie", False, 2.0),
        ("identity", True, 2.0),
    ]
    assert [touch.click_id for touch in told[0].touches] == ["first"]


def test_click_injection_is_seen_by_its_seconds(make_site: MakeSite) -> None:
    def rule(conversion: Signup, click: Click, facts: Facts) -> str | None:
        return "a click seconds before the sign-up" if facts.seconds < 10 else None

    site = make_site(S2S_RULE=rule)
    browser = Browser(site)
    browser.land("ps_xid=abc")
    assert browser.sign_up("1")[1] == "rule"
    site.clock.advance(seconds=10)
    assert browser.sign_up("2")[1] == "cookie"


# -- a rule that fails, where that needs somebody ---------------------------------------------------


@pytest.fixture
def reviewed(make_site: MakeSite, database_url: str) -> Site:
    """A site with one sign-up that waits for somebody."""
    site = make_site(database_url, S2S_RULE=_raises, S2S_RULE_ERROR="review")
    browser = Browser(site)
    browser.land("ps_xid=abc&sid=news")
    assert browser.sign_up("1", "ada@other.example")[1:] == ("review", "abc")
    assert site.services.drain() == 0
    return site


def run(site: Site, *arguments: str) -> Result:
    return site.app.test_cli_runner().invoke(commands, list(arguments))


def test_what_waits_for_review_is_told_and_credited_as_it_was(reviewed: Site) -> None:
    status = run(reviewed, "status")
    assert status.exit_code == 1
    assert "1 waits for review" in status.output
    assert "LookupError" in run(reviewed, "explain", "1").output

    assert run(reviewed, "credit", "1", "--why", "known to us").exit_code == 0

    row = reviewed.row_of("1")
    assert (row["status"], row["reason"], row["click_id"]) == ("pending", "credited", "abc")
    assert reviewed.services.drain() == 1
    (sent,) = reviewed.transport.requests
    assert "ada@other.example" in str(sent.body)
    assert "news" in str(sent.body)
    explained = run(reviewed, "explain", "1").output
    assert "credit by" in explained
    assert "known to us" in explained
    assert run(reviewed, "status").exit_code == 0


def test_what_is_discarded_is_sent_by_no_later_sign_up(
    reviewed: Site, make_site: MakeSite, database_url: str
) -> None:
    assert run(reviewed, "discard", "1", "--yes", "--why", "a coupon site").exit_code == 0
    row = reviewed.row_of("1")
    assert (row["status"], row["reason"]) == ("unattributed", "discarded")
    assert (row["conversion"], row["click"], row["touches"]) == (None, None, None)
    assert run(reviewed, "status").exit_code == 0

    mended = make_site(database_url)
    browser = Browser(mended)
    browser.land("ps_xid=abc")
    assert browser.sign_up("1", "ada@other.example")[1:] == ("discarded", None)
    assert mended.services.drain() == 0
    assert run(mended, "credit", "1", "--click", "abc").exit_code == 0
    assert mended.services.drain() == 1


def test_nothing_else_can_be_discarded(site: Site, browser: Browser) -> None:
    browser.land("ps_xid=abc")
    browser.sign_up("1")
    for customer in ("1", "2"):
        result = run(site, "discard", customer, "--yes")
        assert result.exit_code == 1
        assert "waits for review" in result.output
    assert run(site, "credit", "2").exit_code == 2
    assert site.row_of("1")["status"] == "pending"
