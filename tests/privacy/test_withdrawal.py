"""A denied or withdrawn consent erases cookie, click, binding, and what was not sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from flask_s2s import Services
from flask_s2s.networks.messages import Request, Response
from flask_s2s.testing import ScriptedTransport, accepted, answered
from tests.privacy.sites import EMAIL, LANDING, Shop, cookies_of, customer, deny, handed_over

Opening = Callable[..., Shop]
EMPTIED = ("conversion", "click", "click_id", "touches")


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
    assert EMAIL not in stored
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
        "late": False,
    }
    assert browser.cookie() is None
    assert any_shop.delivery()["status"] == "withdrawn"
    assert any_shop.services.drain() == 0
    again = {
        "cookie": False,
        "clicks": 0,
        "bindings": 0,
        "deliveries": 0,
        "in_flight": 0,
        "late": False,
    }
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
    assert EMAIL not in shop.everything()


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
    assert (row["status"], row["click_id"], row["attempts"]) == ("delivered", "Another2345678", 2)


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


def test_a_visitor_without_cookies_withdraws_by_the_token_in_the_address(shop: Shop) -> None:
    browser = shop.browser(blocked=True)
    browser.land(handed_over(shop))
    browser.submit(consent="granted", key="42")
    assert (len(shop.rows("click")), shop.delivery()["status"]) == (1, "pending")
    shop.clock.advance(timedelta(minutes=5))
    report = browser.post("/withdraw").json or {}
    assert (report["cookie"], report["deliveries"]) == (False, 1)


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
