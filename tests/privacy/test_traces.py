"""Data that nobody passed are stored nowhere: address, browser, and what only the site knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from flask_s2s.testing import answered
from tests.privacy.sites import AGENT, EMAIL, IP, Shop

Opening = Callable[..., Shop]


def journey(shop: Shop, **form: str) -> None:
    """Land, look around, give an address, sign up twice, buy, and let the network stumble."""
    browser = shop.browser()
    for answer in ("pending", "denied", "granted"):
        browser.post("/banner", answer=answer)
        browser.land()
        browser.follow()
    browser.post("/form", email=EMAIL)
    browser.post("/signup", key="42", **form)
    shop.network.then(answered(503), answered(200))
    shop.services.drain()
    shop.clock.advance(days=1)
    shop.services.drain()
    with shop.app.app_context():
        shop.s2s.track_transaction(customer_key="42", key="order-1", amount=1, currency="USD")
    shop.services.drain()
    blocked = shop.browser(blocked=True)
    blocked.land()
    blocked.submit(consent="granted", key="43")
    shop.services.drain()


def stored(shop: Shop) -> str:
    """Return all rows, and every byte of the database's files where it has some."""
    text = shop.everything()
    url = make_url(str(shop.services.storage.engine().url))
    if url.get_backend_name() == "sqlite":
        file = Path(url.database or "")
        files = [one for one in file.parent.iterdir() if one.name.startswith(file.name)]
        assert file in files
        text += "".join(one.read_bytes().decode("latin-1") for one in files)
    return text


def test_a_whole_journey_stores_nothing_that_was_not_passed(
    any_shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(0):
        journey(any_shop)
    found = stored(any_shop)
    assert "Click123456789" in found
    told = "".join(record.getMessage() for record in caplog.records if "s2s" in record.name)
    sent = repr([(request.url, request.body) for request in any_shop.network.requests])
    assert "Click123456789" in sent
    for secret in (IP, AGENT, EMAIL):
        assert [secret in where for where in (found, told, sent)] == [False] * 3


def test_an_address_that_is_passed_is_stored_as_the_setting_says(open_shop: Opening) -> None:
    has = {}
    for how in ("plain", "hash", "omit"):
        shop = open_shop(S2S_SEND_PII=how)
        journey(shop, email=EMAIL)
        has[how] = EMAIL in stored(shop)
    assert has == {"plain": True, "hash": False, "omit": False}


@pytest.mark.parametrize("send", [False, True])
def test_address_and_browser_are_stored_only_where_that_is_configured(
    open_shop: Opening, send: bool
) -> None:
    shop = open_shop(S2S_SEND_CLIENT=send, S2S_CONSENT=None)
    fields: dict[str, Any] = {"ip_address": IP, "user_agent": AGENT}

    @shop.app.post("/register")
    def register() -> str:
        shop.s2s.track_signup(customer_key="42", **fields)
        return "welcome"

    browser = shop.browser()
    browser.land()
    browser.post("/register")
    shop.services.drain()
    found = stored(shop)
    assert (IP in found, AGENT in found) == (send, send)
