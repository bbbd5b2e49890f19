"""Who denies or withdraws consent is erased: cookie, click, binding, and what was not sent."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text
from sqlalchemy.orm import Session

from flask_s2s import Services
from flask_s2s.errors import StorageError
from flask_s2s.networks.network import Request, Response
from flask_s2s.testing import ScriptedTransport, accepted, answered
from tests.privacy.sites import LANDING, Browser, Shop, cookies_of
from tests.waiting import wait_until

Opening = Callable[..., Shop]
EMPTIED = ("conversion", "click", "click_id", "touches")


def customer(shop: Shop, key: str = "42", landing: str = LANDING) -> Browser:
    """Return a visitor who consented, came by a link, gave an address and signed up."""
    browser = shop.browser()
    browser.post("/banner", answer="granted")
    browser.land(landing)
    browser.post("/form", email="visitor@example.com")
    browser.post("/signup", key=key, email="visitor@example.com")
    return browser


def deny(browser: Browser) -> None:
    """Answer the banner, and go on until the cookie is gone: erasing may take longer than a page."""
    browser.post("/banner", answer="denied")

    def gone() -> bool:
        if browser.cookie() is not None:
            browser.get("/next")
        return browser.cookie() is None

    wait_until(gone, what="the cookie is gone")


class DuringSending(ScriptedTransport):
    """Lets something happen while a worker sends."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def send(self, request: Request, *, seconds: float) -> Response:
        self.meanwhile()
        return super().send(request, seconds=seconds)


def test_a_denial_erases_what_was_kept(any_shop: Shop) -> None:
    browser = customer(any_shop)
    deny(browser)
    assert (any_shop.rows("click"), any_shop.rows("binding")) == ([], [])
    row = any_shop.delivery()
    assert (row["status"], row["reason"]) == ("withdrawn", "consent_denied")
    assert [row[name] for name in EMPTIED] == [None] * 4
    assert any_shop.services.drain() == 0
    stored = any_shop.everything()
    assert "visitor@example.com" not in stored
    assert "Click123456789" not in stored


def test_a_withdrawal_says_what_it_has_erased(any_shop: Shop) -> None:
    browser = customer(any_shop)
    answer = browser.post("/withdraw")
    assert answer.json == {
        "cookie": True,
        "clicks": 1,
        "bindings": 1,
        "deliveries": 1,
        "in_flight": 0,
    }
    assert browser.cookie() is None
    assert any_shop.delivery()["status"] == "withdrawn"
    assert any_shop.services.drain() == 0
    again = {"cookie": False, "clicks": 0, "bindings": 0, "deliveries": 0, "in_flight": 0}
    assert browser.post("/withdraw").json == again


def test_what_was_delivered_is_kept_until_it_is_forgotten(shop: Shop) -> None:
    browser = customer(shop)
    shop.services.drain()
    before = shop.delivery()
    assert (browser.post("/withdraw").json or {})["deliveries"] == 0
    assert shop.delivery() == before


def test_what_was_refused_cannot_be_sent_again(shop: Shop) -> None:
    shop.network.then(answered(400, '{"message": "\'xid\' is a required property", "status": 400}'))
    browser = customer(shop)
    shop.services.drain()
    assert shop.delivery()["status"] == "refused"
    browser.post("/withdraw")
    assert shop.delivery()["status"] == "withdrawn"
    assert shop.run("retry", "--id", "1", "--yes").exit_code == 1


def test_the_customers_purchases_that_wait_are_withdrawn_too(any_shop: Shop) -> None:
    browser = customer(any_shop)
    with any_shop.app.app_context():
        for key in ("42", "43"):
            any_shop.s2s.track_transaction(
                customer_key=key, key=f"order-{key}", amount=100, currency="USD"
            )
    assert (browser.post("/withdraw").json or {})["deliveries"] == 2
    rows = any_shop.rows("delivery")
    bought = {row["customer_key"]: row["status"] for row in rows if row["kind"] == "transaction"}
    assert bought == {"42": "withdrawn", "43": "pending"}


def test_a_request_on_its_way_is_told_and_brings_nothing_back(
    open_shop: Opening, database_url: str
) -> None:
    shop = open_shop(S2S_DATABASE_URI=database_url)
    browser = customer(shop)
    told: list[dict[str, int]] = []
    transport = DuringSending()
    transport.meanwhile = lambda: told.append(browser.post("/withdraw").json or {})
    worker = Services.build(shop.services.settings, transport=transport, clock=shop.clock)
    worker.drain()
    worker.close()
    assert len(transport.requests) == 1
    assert [(one["deliveries"], one["in_flight"]) for one in told] == [(1, 1)]
    row = shop.delivery()
    assert (row["status"], row["lease_token"], row["conversion"]) == ("withdrawn", None, None)
    assert "may have it" in row["detail"]
    assert row["ambiguous_at"] > shop.clock.now()
    assert shop.rows("attempt") == []
    assert "visitor@example.com" not in shop.everything()


def test_a_withdrawn_customer_may_come_back(any_shop: Shop) -> None:
    browser = customer(any_shop)
    any_shop.network.then(answered(503))
    any_shop.services.drain()
    assert len(any_shop.rows("attempt")) == 1
    browser.post("/withdraw")
    browser.post("/banner", answer="granted")
    browser.land("/?ps_xid=Another2345678")
    browser.post("/signup", key="42")
    any_shop.network.then(accepted())
    any_shop.services.drain()
    row = any_shop.delivery()
    assert (row["status"], row["click_id"], row["attempts"]) == ("delivered", "Another2345678", 1)


def test_the_same_link_in_another_browser_erases_nothing_of_the_first(any_shop: Shop) -> None:
    customer(any_shop)
    any_shop.clock.advance(minutes=1)
    other = any_shop.browser()
    other.post("/banner", answer="granted")
    other.land()
    report = other.post("/withdraw").json or {}
    assert (report["clicks"], report["bindings"], report["deliveries"]) == (0, 0, 0)
    other.land()
    deny(other)
    assert any_shop.delivery()["status"] == "pending"
    assert (len(any_shop.rows("click")), len(any_shop.rows("binding"))) == (1, 1)


def test_a_visitor_without_cookies_withdraws_by_the_handle(shop: Shop) -> None:
    browser = shop.browser(blocked=True)
    browser.land()
    browser.submit(consent="granted", key="42")
    assert (len(shop.rows("click")), shop.delivery()["status"]) == (1, "pending")
    browser.land()
    path = browser._leads(r'action="([^"]*)"')
    shop.clock.advance(timedelta(minutes=5))
    browser.post(path, consent="granted", key="43")
    report = browser.post(path.replace("/signup", "/withdraw")).json or {}
    assert (report["cookie"], report["deliveries"]) == (False, 2)


def test_both_variants_of_the_cookie_end(shop: Shop) -> None:
    client = shop.app.test_client()
    at = {"base_url": "https://www.shop.example"}
    client.post("/banner", data={"answer": "granted"}, **at)
    client.get(LANDING, **at)
    answer = client.post("/withdraw", **at)
    host_only, domain = cookies_of(answer)
    assert host_only.startswith("s2s=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/")
    assert "Domain" not in host_only
    assert domain == host_only.replace("Lax; Secure", "Lax; Domain=shop.example; Secure")
    assert answer.headers["Cache-Control"] == "private, no-store"


def test_global_privacy_control_erases_where_the_setting_says_so(open_shop: Opening) -> None:
    shop = open_shop(S2S_CONSENT=None, S2S_GPC="deny")
    browser = customer(shop)
    browser._headers["Sec-GPC"] = "1"
    deny(browser)
    assert (shop.rows("click"), shop.delivery()["status"]) == ([], "withdrawn")


def test_withdrawing_works_where_nobody_is_asked(open_shop: Opening) -> None:
    shop = open_shop(S2S_CONSENT=None)
    browser = customer(shop)
    answer = browser.post("/withdraw")
    assert (answer.json or {})["deliveries"] == 1
    assert browser.cookie() is None
    assert shop.rows("click") == []


def test_nothing_of_a_request_is_kept_after_it_withdrew(open_shop: Opening) -> None:
    shop = open_shop(S2S_CONSENT=None)

    @shop.app.get("/leave")
    def leave() -> str:
        shop.s2s.withdraw()
        shop.s2s.track_signup(customer_key="42")
        return str(shop.s2s.current_click())

    answer = shop.browser().land(LANDING.replace("/", "/leave", 1))
    assert (answer.text, cookies_of(answer), shop.rows("click")) == ("None", [], [])
    assert shop.delivery()["reason"] == "consent_denied"


def test_a_database_that_is_busy_holds_up_no_page_and_is_asked_again(
    open_shop: Opening, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    shop = open_shop(S2S_DATABASE_URI=sqlite_url)
    browser = customer(shop)
    held = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
    with caplog.at_level(logging.WARNING, "flask_s2s"):
        assert browser.post("/banner", answer="denied").status_code == 200
    assert browser.cookie() is not None
    assert [record.action for record in caplog.records] == ["consent.not_erased"]  # type: ignore[attr-defined]
    held.execute("ROLLBACK")
    held.close()
    deny(browser)
    assert shop.delivery()["status"] == "withdrawn"


@pytest.mark.service
def test_a_database_that_fails_is_left_alone_for_a_while(
    open_shop: Opening, postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    shop = open_shop(S2S_DATABASE_URI=postgresql_url)
    browser = customer(shop)
    storage = shop.services.storage
    storage.metadata.drop_all(storage.engine())
    browser.post("/banner", answer="denied")
    assert browser.get("/next").status_code == 200
    assert [record.action for record in caplog.records] == ["consent.not_erased"]  # type: ignore[attr-defined]
    assert browser.cookie() is not None
    storage.create()
    shop.clock.advance(seconds=31)
    deny(browser)


def test_a_denial_commits_nothing_of_a_view_on_one_shared_connection(open_shop: Opening) -> None:
    database = SQLAlchemy()
    shop = open_shop(database=database, SQLALCHEMY_DATABASE_URI="sqlite://")
    session = database.session

    @shop.app.post("/leave-open")
    def leave_open() -> str:
        session.execute(text("INSERT INTO notes VALUES (1)"))
        return "not committed"

    @shop.app.post("/withdraw-open")
    def withdraw_open() -> str:
        session.execute(text("INSERT INTO notes VALUES (1)"))
        with pytest.raises(StorageError, match="session="):
            shop.s2s.withdraw()
        return "not committed"

    with shop.app.app_context():
        session.execute(text("CREATE TABLE notes (n INTEGER)"))
        session.commit()
    browser = customer(shop)
    browser.post("/leave-open", consent="denied")
    browser.post("/withdraw-open")
    with shop.app.app_context():
        assert session.execute(text("SELECT count(*) FROM notes")).scalar() == 0
    assert browser.cookie() is not None
    deny(browser)
    assert shop.delivery()["status"] == "withdrawn"
    with shop.app.app_context():
        database.engine.dispose()


def test_a_session_withdraws_with_its_own_commit(any_shop: Shop) -> None:
    engine = any_shop.services.storage.engine()

    @any_shop.app.post("/leave/<ending>")
    def leave(ending: str) -> str:
        with Session(engine) as session:
            erased = any_shop.s2s.withdraw(session=session)
            getattr(session, ending)()
        return str(erased.deliveries)

    browser = customer(any_shop)
    kept = browser.cookie()
    assert browser.post("/leave/rollback").text == "1"
    assert any_shop.delivery()["status"] == "pending"
    browser._client.set_cookie("s2s", kept.value)
    assert browser.post("/leave/commit").text == "1"
    assert any_shop.delivery()["status"] == "withdrawn"
