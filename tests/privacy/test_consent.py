"""Before a visitor has said yes there is no cookie and no row; what they bring is only held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import session

from flask_s2s import Click
from flask_s2s.signals import click_captured
from tests.privacy.sites import LANDING, Browser, Shop, cookies_of

Opening = Callable[..., Shop]


def arrive(shop: Shop, answer: str, **options: Any) -> Browser:
    """Return a visitor who has answered the banner, and lands then."""
    browser = shop.browser(**options)
    if answer != "pending":
        browser.post("/banner", answer=answer)
    browser.land()
    return browser


# -- the landing ----------------------------------------------------------------------------------


def test_a_landing_is_kept_once_it_is_granted(shop: Shop) -> None:
    browser = shop.browser()
    browser.post("/banner", answer="granted")
    answer = browser.land()
    assert len(cookies_of(answer)) == 1
    assert [row["click_id"] for row in shop.rows("click")] == ["Click123456789"]
    assert answer.headers["Cache-Control"] == "private, no-store"


def test_a_pending_landing_leaves_neither_cookie_nor_row(shop: Shop) -> None:
    answer = shop.browser().land()
    assert cookies_of(answer) == []
    assert shop.rows("click") == []
    assert answer.headers["Cache-Control"] == "private, no-store"


def test_a_denied_landing_leaves_nothing_at_all(shop: Shop) -> None:
    browser = shop.browser()
    browser.post("/banner", answer="denied")
    answer = browser.land()
    assert cookies_of(answer) == []
    assert shop.rows("click") == []


def test_without_carrying_a_pending_click_lives_in_its_request_only(open_shop: Opening) -> None:
    shop = open_shop(S2S_CARRY="off")
    browser = shop.browser()
    browser.land()
    browser.post("/banner", answer="granted")
    assert browser.get("/click").json is None
    browser.land()
    assert browser.get("/click").json == "Click123456789"


def test_a_signal_tells_of_a_click_that_may_be_kept_and_of_no_other(shop: Shop) -> None:
    told: list[Click] = []

    def note(sender: Any, click: Click) -> None:
        told.append(click)

    with click_captured.connected_to(note):
        browser = arrive(shop, "pending")
        assert told == []
        browser.post("/banner", answer="granted")
        browser.land()
    assert [click.click_id for click in told] == ["Click123456789"]


def test_a_link_that_changes_nothing_tells_of_no_new_click(open_shop: Opening) -> None:
    shop = open_shop(S2S_ATTRIBUTION="first")
    told: list[str] = []

    def note(sender: Any, click: Click) -> None:
        told.append(click.click_id)

    with click_captured.connected_to(note):
        browser = arrive(shop, "granted")
        shop.clock.advance(minutes=1)
        browser.land("/?ps_xid=Another2345678")
    assert told == ["Click123456789"]
    assert len(shop.rows("click")) == 2


def test_a_script_of_a_landing_page_keeps_a_click_once_it_is_granted(shop: Shop) -> None:
    shop.app.register_blueprint(shop.s2s.capture_blueprint(), url_prefix="/told")
    for answer, kept in (("pending", 0), ("denied", 0), ("granted", 1)):
        browser = shop.browser(Sec_Fetch_Dest="empty")
        browser.post("/banner", answer=answer)
        told = browser.get("/told/click?ps_xid=Click123456789")
        assert (told.status_code, len(cookies_of(told))) == (204, kept)
        assert len(shop.rows("click")) == kept


def test_a_streamed_page_is_asked_for_before_it_streams(shop: Shop) -> None:
    path = LANDING.replace("/", "/stream", 1)
    assert cookies_of(shop.browser().land(path)) == []
    refusing = shop.browser()
    refusing.post("/banner", answer="denied")
    assert cookies_of(refusing.land(path)) == []
    agreeing = shop.browser()
    agreeing.post("/banner", answer="granted")
    assert len(cookies_of(agreeing.land(path))) == 1
    assert len(shop.rows("click")) == 1


# -- the pages after it ---------------------------------------------------------------------------


def test_nobody_is_redirected_before_they_consent_and_the_next_page_but_one_has_lost_it(
    shop: Shop,
) -> None:
    """A documented loss: a page is sent to itself only where nobody has to be asked."""
    for answer in ("pending", "granted"):
        browser = arrive(shop, answer, blocked=True)
        browser._page = LANDING
        assert browser.follow().status_code == 200
        browser.get("/")
        browser.post("/signup", key=answer, consent="granted")
    assert {row["reason"] for row in shop.rows("delivery")} == {"no_click"}


@pytest.mark.parametrize("way", ["get", "post"])
def test_consent_given_on_the_page_after_the_landing_brings_cookie_and_row(
    shop: Shop, way: str
) -> None:
    browser = arrive(shop, "pending")
    if way == "post":
        answer = browser.post("/banner", answer="granted")
    else:
        with browser._client.session_transaction() as session:
            session["consent"] = "granted"
        answer = browser.follow()
    assert len(cookies_of(answer)) == 1
    assert [row["click_id"] for row in shop.rows("click")] == ["Click123456789"]
    assert browser.get("/click").json == "Click123456789"


def test_a_banner_that_reloads_the_landing_keeps_the_click(shop: Shop) -> None:
    browser = arrive(shop, "pending")
    browser.post("/banner", answer="granted")
    browser.land()
    assert browser.get("/click").json == "Click123456789"


def test_the_banners_callback_on_a_later_page_tells_the_capture_endpoint(shop: Shop) -> None:
    """The recipe of docs/carrying.md: `document.referrer` has the landing's address."""
    shop.app.register_blueprint(shop.s2s.capture_blueprint(), url_prefix="/told")
    browser = arrive(shop, "pending")
    browser.follow()
    with browser._client.session_transaction() as session:
        session["consent"] = "granted"
    browser._headers["Sec-Fetch-Dest"] = "empty"
    told = browser.get("/told/click" + LANDING[1:])
    assert (told.status_code, len(cookies_of(told))) == (204, 1)
    assert len(shop.rows("click")) == 1
    del browser._headers["Sec-Fetch-Dest"]
    browser.post("/signup", key="42")
    assert shop.delivery()["reason"] == "cookie"


def test_consent_given_by_the_landings_form_with_cookies_blocked_credits_the_sign_up(
    shop: Shop,
) -> None:
    browser = shop.browser(blocked=True)
    browser.land()
    answer = browser.submit(consent="granted", key="42")
    row = shop.delivery()
    assert (row["status"], row["reason"], row["click_id"]) == (
        "pending",
        "carried",
        "Click123456789",
    )
    assert len(shop.rows("click")) == 1
    assert len(cookies_of(answer)) == 1


def test_denied_after_pending_keeps_nothing(shop: Shop) -> None:
    browser = arrive(shop, "pending")
    browser.post("/banner", answer="denied")
    assert cookies_of(browser.follow()) == []
    assert shop.rows("click") == []


def test_pending_leaves_a_cookie_of_before_alone(shop: Shop) -> None:
    browser = arrive(shop, "granted")
    browser.post("/banner", answer="pending")
    assert cookies_of(browser.get("/next")) == []
    assert browser.get("/click").json is None
    browser.post("/banner", answer="granted")
    assert browser.get("/click").json == "Click123456789"


def test_a_page_of_who_brings_nothing_passes_unchanged(shop: Shop) -> None:
    answer = shop.browser().get("/next")
    assert "Cache-Control" not in answer.headers
    browser = arrive(shop, "granted")
    answer = browser.get("/next")
    assert "Cache-Control" not in answer.headers


# -- sign-ups -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason", "status"),
    [
        ("granted", "cookie", "pending"),
        ("pending", "consent_pending", "unattributed"),
        ("denied", "consent_denied", "unattributed"),
    ],
)
def test_a_sign_up_says_what_its_visitor_had_said(
    shop: Shop, answer: str, reason: str, status: str
) -> None:
    browser = arrive(shop, answer)
    browser.post("/signup", email="visitor@example.com")
    row = shop.delivery()
    assert (row["reason"], row["status"]) == (reason, status)
    if answer != "granted":
        assert "visitor@example.com" not in shop.everything()
        assert "Click123456789" not in shop.everything()


@pytest.mark.parametrize(
    ("answer", "bound"), [("granted", True), ("pending", False), ("denied", False)]
)
def test_nobody_is_bound_to_a_click_before_they_consent(
    shop: Shop, answer: str, bound: bool
) -> None:
    browser = arrive(shop, answer)
    assert browser.post("/form", email="visitor@example.com").json is bound
    assert len(shop.rows("binding")) == bound


@pytest.mark.parametrize("answer", ["pending", "denied"])
def test_what_was_bound_with_consent_credits_nobody_without(shop: Shop, answer: str) -> None:
    arrive(shop, "granted").post("/form", email="visitor@example.com")
    other = shop.browser()
    other.post("/banner", answer=answer)
    other.post("/signup", email="visitor@example.com")
    assert shop.delivery()["reason"] == f"consent_{answer}"


def test_the_same_sign_up_with_consent_is_credited_in_its_row(shop: Shop) -> None:
    browser = arrive(shop, "pending")
    browser.submit(key="42")
    before = shop.delivery()
    browser.submit(key="42", consent="granted")
    after = shop.delivery()
    assert (before["status"], after["status"]) == ("unattributed", "pending")
    assert after["id"] == before["id"]


def test_a_decorated_view_is_asked_when_it_has_succeeded(open_shop: Opening) -> None:
    shop = open_shop()

    @shop.app.post("/register")
    @shop.s2s.conversion(customer_key=lambda: "42")
    def register() -> str:
        session["consent"] = "granted"
        return "welcome"

    browser = arrive(shop, "pending")
    browser.post("/register")
    assert shop.delivery()["reason"] == "carried"


@pytest.mark.parametrize("path", ["/click", "/async-click"])
def test_a_view_is_told_the_click_that_may_be_known(shop: Shop, path: str) -> None:
    browser = arrive(shop, "granted")
    assert browser.get(path).json == "Click123456789"
    browser.post("/banner", answer="pending")
    assert browser.get(path).json is None
