"""`flask s2s forget` and `flask s2s export`: what a person may ask for, on every database."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from flask_s2s import Services
from flask_s2s.networks.messages import Request, Response
from flask_s2s.testing import ScriptedTransport, answered
from tests.privacy.sites import EMAIL, Shop, customer, handed_over

Opening = Callable[..., Shop]
NOBODYS = dict.fromkeys(
    ("emptied", "withdrawn", "in_flight", "attempts", "clicks", "bindings", "click_tokens"), 0
)


def forget(shop: Shop, who: str) -> dict[str, int]:
    result = shop.run("forget", who, "--yes", "--json")
    assert result.exit_code == 0, result.output
    counts: dict[str, int] = json.loads(result.stdout)
    return counts


def test_a_delivered_customer_is_forgotten_and_still_one_delivery(any_shop: Shop) -> None:
    customer(any_shop)
    any_shop.services.drain()
    counts = forget(any_shop, "42")
    assert counts == NOBODYS | {"emptied": 1, "attempts": 1, "clicks": 1, "bindings": 1}
    row, [attempt] = any_shop.delivery(), any_shop.rows("attempt")
    emptied = ("customer_key", "conversion", "click", "click_id", "touches", "detail")
    assert [row[name] for name in emptied] == [None] * 6
    assert (row["status"], len(row["dedupe"])) == ("delivered", 64)
    assert (attempt["request"], attempt["answer"], attempt["http_status"]) == (None, None, 200)
    stored = any_shop.everything()
    assert [word for word in (EMAIL, "Click123456789", "newsletter") if word in stored] == []
    customer(any_shop, landing="/?ps_xid=Another2345678")
    assert any_shop.services.drain() == 0
    assert any_shop.delivery()["id"] == row["id"]


def test_what_was_not_sent_is_withdrawn(any_shop: Shop) -> None:
    any_shop.network.then(answered(503))
    customer(any_shop)
    any_shop.services.drain()
    counts = forget(any_shop, "42")
    assert counts == NOBODYS | {"withdrawn": 1, "attempts": 1, "clicks": 1, "bindings": 1}
    row = any_shop.delivery()
    assert (row["status"], row["customer_key"], row["conversion"]) == ("withdrawn", None, None)
    assert any_shop.rows("attempt") == []
    any_shop.clock.advance(days=1)
    assert any_shop.services.drain() == 0
    assert EMAIL not in any_shop.everything()


@pytest.mark.parametrize(
    ("pii", "who"),
    [
        *(("plain", "42"), ("plain", EMAIL), ("plain", "Visitor@Example.COM")),
        *(("hash", "42"), ("hash", EMAIL), ("hash", "Visitor@Example.COM")),
        # An address that is neither sent nor stored leads to no delivery.
        ("omit", "42"),
    ],
)
def test_a_customer_is_known_by_key_or_address_and_others_are_left(
    open_shop: Opening, pii: str, who: str
) -> None:
    shop = open_shop(S2S_SEND_PII=pii)
    customer(shop)
    customer(shop, "43", "/?ps_xid=Another2345678", "other@example.com")
    shop.services.drain()
    assert forget(shop, who)["emptied"] == 1
    left = [row["customer_key"] for row in shop.rows("delivery") if row["customer_key"]]
    assert left == ["43"]
    assert [row["click_id"] for row in shop.rows("click")] == ["Another2345678"]
    assert [row["click_id"] for row in shop.rows("binding")] == ["Another2345678"]


def test_an_address_is_looked_for_on_every_database(any_shop: Shop) -> None:
    customer(any_shop, email="Visitor@Example.com")
    assert forget(any_shop, EMAIL)["withdrawn"] == 1


def test_somebody_who_never_signed_up_is_forgotten_by_the_address(any_shop: Shop) -> None:
    browser = any_shop.browser()
    browser.post("/banner", answer="granted")
    browser.land()
    browser.post("/form", email=EMAIL)
    assert forget(any_shop, EMAIL) == NOBODYS | {"clicks": 1, "bindings": 1}
    assert any_shop.rows("click") == any_shop.rows("binding") == []


def test_purchases_and_used_links_go_too(any_shop: Shop) -> None:
    browser = any_shop.browser(blocked=True)
    browser.land(handed_over(any_shop))
    browser.submit(consent="granted", key="42")
    with any_shop.app.app_context():
        any_shop.s2s.track_transaction(customer_key="42", key="order-1", amount=1, currency="USD")
    any_shop.services.drain()
    counts = forget(any_shop, "42")
    assert (counts["emptied"] + counts["withdrawn"], counts["click_tokens"]) == (2, 1)
    assert any_shop.rows("click_token") == []
    assert {row["customer_key"] for row in any_shop.rows("delivery")} == {None}


def test_a_forgotten_purchase_is_not_revived_when_the_customer_comes_back(any_shop: Shop) -> None:
    any_shop.browser().post("/signup", key="42")
    with any_shop.app.app_context():
        any_shop.s2s.track_transaction(customer_key="42", key="order-1", amount=1, currency="USD")
    any_shop.services.drain()
    forget(any_shop, "42")
    customer(any_shop)
    any_shop.services.drain()
    statuses = {row["kind"]: row["status"] for row in any_shop.rows("delivery")}
    assert statuses == {"signup": "delivered", "transaction": "unattributed"}


def test_a_request_on_its_way_is_told(any_shop: Shop) -> None:
    customer(any_shop)
    told: list[dict[str, int]] = []

    class Meanwhile(ScriptedTransport):
        def send(self, request: Request, *, seconds: float) -> Response:
            told.append(forget(any_shop, "42"))
            return super().send(request, seconds=seconds)

    worker = Services.build(any_shop.services.settings, transport=Meanwhile(), clock=any_shop.clock)
    worker.drain()
    worker.close()
    assert [one["in_flight"] for one in told] == [1]
    row = any_shop.delivery()
    assert (row["status"], row["conversion"], row["customer_key"]) == ("withdrawn", None, None)
    assert EMAIL not in any_shop.everything()


def test_it_shows_first_and_asks(shop: Shop) -> None:
    customer(shop)
    before = shop.everything()
    result = shop.run("forget", "42", input="n\n")
    assert result.exit_code == 1
    assert "1  deliveries withdrawn (they are sent no more)" in result.stderr
    assert shop.everything() == before


def test_a_forgotten_customer_is_nobody(shop: Shop) -> None:
    customer(shop)
    forget(shop, "42")
    for command in (("forget", "42", "--yes"), ("forget", EMAIL, "--yes"), ("export", "42")):
        result = shop.run(*command)
        assert result.exit_code == 1
        assert "Nothing is kept" in result.stderr
    assert shop.run("forget").exit_code == 2


def test_an_export_has_everything_that_is_kept(any_shop: Shop) -> None:
    customer(any_shop, landing="/?ps_xid=Another2345678")
    any_shop.clock.advance(minutes=1)
    customer(any_shop, "43", email="other@example.com")
    any_shop.services.drain()
    result = any_shop.run("export", "42")
    assert result.exit_code == 0, result.output
    exported = json.loads(result.stdout)
    [delivery] = exported["deliveries"]
    assert delivery["conversion"] == {"customer_key": "42", "email": EMAIL}
    assert delivery["tries"][0]["http_status"] == 200
    assert delivery["created_at"] == "2026-01-01T00:00:00+00:00"
    assert [click["click_id"] for click in exported["clicks"]] == ["Another2345678"]
    assert [bound["click_id"] for bound in exported["bindings"]] == ["Another2345678"]
    assert "lease_token" not in result.stdout
    assert "other@example.com" not in result.stdout
    assert json.loads(any_shop.run("export", EMAIL).stdout) == exported


def test_an_export_has_the_clicks_before_the_one_that_counts(shop: Shop) -> None:
    browser = shop.browser()
    browser.post("/banner", answer="granted")
    browser.land()
    shop.clock.advance(minutes=1)
    browser.land("/?ps_xid=Another2345678")
    browser.post("/signup", key="42")
    exported = json.loads(shop.run("export", "42").stdout)
    clicks = [click["click_id"] for click in exported["clicks"]]
    assert clicks == ["Click123456789", "Another2345678"]
    [touch] = exported["deliveries"][0]["touches"]
    assert touch["click_id"] == "Click123456789"
    assert forget(shop, "42")["clicks"] == 2
