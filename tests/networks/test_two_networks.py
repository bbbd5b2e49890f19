"""Two networks on one site: each click's conversions go to its own, with its own credential."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask, redirect, request
from sqlalchemy import text
from werkzeug.wrappers import Response as Page

from flask_s2s import S2S, Services, Settings
from flask_s2s.click.formats import Clicks
from flask_s2s.errors import ConfigError
from flask_s2s.networks.messages import Request, Response
from flask_s2s.networks.partnerstack import NETWORK
from flask_s2s.testing import ManualClock, answered
from tests.networks.second import Second

FIRST = "partnerlinks.io"
FIRST_API = "api.partnerstack.com"
SECOND, SECOND_API = "trk.second.test", "api.second.test"
SECRETS = {
    "S2S_TOKEN": "token-of-the-first",
    "S2S_PARTNERSTACK_PUBLIC_KEY": "public-of-the-first",
    "S2S_PARTNERSTACK_SECRET_KEY": "secret-of-the-first",
    "S2S_SECOND_KEY": "key-of-the-second",
    "S2S_SECOND_REPORTS_KEY": "reports-of-the-second",
}


class Hosts:
    """Both networks, by host: what each was sent, and the ordinary answer."""

    def __init__(self) -> None:
        self.sent: dict[str, list[Request]] = {}

    def send(self, request: Request, *, seconds: float) -> Response:
        parts = urlsplit(request.url)
        self.sent.setdefault(parts.netloc, []).append(request)
        customer = parts.path.rpartition("/")[2]
        match parts.netloc:
            case "trk.second.test":
                return answered(200, "OK")
            case "api.second.test":
                return answered(200, json.dumps({"customer": customer}))
            case "api.partnerstack.com" if request.method == "GET":
                record = {"customer_key": customer, "test": False}
                return answered(200, json.dumps({"data": record}))
        return answered(200)

    def urls(self, host: str) -> list[str]:
        return [one.url for one in self.sent.get(host, ())]


class Shop:
    def __init__(self, folder: Path, database: str, **config: Any) -> None:
        self.hosts, self.clock = Hosts(), ManualClock()
        self.app = app = Flask("shop", instance_path=str(folder))
        app.config.update(SECRET_KEY="a-key-for-tests-only-0123456789", TESTING=True)
        app.config.update({"S2S_DATABASE_URI": database, **SECRETS, **config})
        self.s2s = s2s = S2S(app, transport=self.hosts, clock=self.clock, networks=[Second])
        self.services: Services = app.extensions["s2s"]
        self.services.storage.create()

        @app.get("/")
        def home() -> str:
            return "welcome"

        @app.get("/old")
        def old() -> Page:
            return redirect("/")

        @app.post("/signup")
        def signup() -> str:
            s2s.track_signup(customer_key=request.form["key"])
            return "thank you"

    def visit(self, landing: str, key: str, **cookies: str) -> None:
        """Land by a link, and sign up."""
        browser = self.app.test_client()
        for name, value in cookies.items():
            browser.set_cookie(name, value)
        browser.get(f"/{landing}")
        browser.post("/signup", data={"key": key})

    def drain(self) -> None:
        with self.app.app_context():
            self.s2s.drain()

    def rows(self) -> list[tuple[str, str, str, str]]:
        found = self.services.ledger.find(limit=50)
        return sorted((one.network, one.kind, one.status.value, one.reason) for one in found)


@pytest.fixture
def shop(tmp_path: Path, database_url: str) -> Iterator[Shop]:
    made = Shop(tmp_path, database_url)
    yield made
    made.services.close()


def test_sign_ups_and_payments_go_to_the_network_of_the_click(shop: Shop) -> None:
    shop.visit("?ps_xid=click1", "c1")
    shop.visit("?_tid=click2&affid=ada&sub1=blog", "c2")
    shop.drain()
    with shop.app.app_context():
        for key in ("c1", "c2"):
            shop.s2s.track_transaction(
                customer_key=key, amount=1234, currency="USD", key=f"inv-{key}"
            )
    shop.drain()
    assert shop.rows() == [
        ("partnerstack", "signup", "delivered", "cookie"),
        ("partnerstack", "transaction", "delivered", "by_customer"),
        ("second", "signup", "delivered", "cookie"),
        ("second", "transaction", "delivered", "by_customer"),
    ]
    (first,) = shop.hosts.sent[FIRST]
    assert first.body == {"xid": "click1", "customer_key": "c1"}
    lead, sale = shop.hosts.sent[SECOND]
    assert parse_qs(urlsplit(lead.url).query)["tid"] == ["click2"]
    assert parse_qs(urlsplit(sale.url).query)["tid"] == ["click2"]
    assert sale.content == b"sum=12.34&currency=USD&order=inv-c2"


def test_each_is_verified_by_its_own_records_with_its_own_key(shop: Shop) -> None:
    shop.visit("?ps_xid=click1", "c1")
    shop.visit("?_tid=click2", "c2")
    shop.drain()
    shop.clock.advance(minutes=16)
    shop.drain()
    assert [row[2] for row in shop.rows()] == ["confirmed", "confirmed"]
    assert shop.hosts.urls(FIRST_API) == ["https://api.partnerstack.com/api/v2/customers/c1"]
    assert shop.hosts.urls(SECOND_API) == ["https://api.second.test/leads/c2"]


def test_no_secret_reaches_the_other_s_host_or_a_row(shop: Shop) -> None:
    shop.visit("?ps_xid=click1", "c1")
    shop.visit("?_tid=click2", "c2")
    shop.drain()
    shop.clock.advance(minutes=16)
    shop.drain()
    for host, requests in shop.hosts.sent.items():
        text_of_all = " ".join(f"{one.url} {dict(one.headers)} {one.body}" for one in requests)
        foreign = "-of-the-first" if "second" in host else "-of-the-second"
        assert foreign not in text_of_all
    with shop.services.storage.engine().connect() as connection:
        kept = connection.execute(text("SELECT request, answer FROM s2s_attempt")).all()
    assert kept
    assert "?" not in str(kept)
    assert not any(value[:6] in str(kept) for value in SECRETS.values())


def test_a_kind_that_its_network_does_not_take_is_told_and_sent_to_nobody(shop: Shop) -> None:
    shop.visit("?_tid=click2", "c2")
    with shop.app.app_context():
        shop.s2s.track_action(customer_key="c2", type="activated")
    shop.drain()
    assert ("second", "action", "unattributed", "unsupported") in shop.rows()
    assert FIRST_API not in shop.hosts.sent


def test_the_same_customer_may_be_told_to_both(shop: Shop) -> None:
    shop.visit("?ps_xid=click1", "c1")
    shop.visit("?_tid=click2", "c1")
    shop.drain()
    assert [row[0] for row in shop.rows()] == ["partnerstack", "second"]


def test_what_its_own_script_keeps_is_its_click(shop: Shop) -> None:
    shop.visit("", "c2", second_tid="click2")
    assert shop.rows() == [("second", "signup", "pending", "script_cookie")]


def test_a_redirect_takes_its_parameters_along(shop: Shop) -> None:
    answer = shop.app.test_client().get("/old?_tid=click2&sub1=blog&other=1")
    assert answer.headers["Location"].startswith("/?_tid=click2&sub1=blog&")


def test_without_its_keys_only_its_own_is_held_and_unverified(tmp_path: Path) -> None:
    shop = Shop(
        tmp_path, f"sqlite:///{tmp_path}/s2s.db", S2S_SECOND_KEY=None, S2S_SECOND_REPORTS_KEY=None
    )
    shop.visit("?ps_xid=click1", "c1")
    shop.visit("?_tid=click2", "c2")
    shop.drain()
    shop.clock.advance(minutes=16)
    shop.drain()
    assert [row[2] for row in shop.rows()] == ["confirmed", "held"]
    assert SECOND not in shop.hosts.sent
    assert SECOND_API not in shop.hosts.sent
    shop.services.close()


def test_a_network_s_settings_are_its_own_and_read_with_all_others() -> None:
    config = {"SECRET_KEY": "a-key-for-tests-only-0123456789", **SECRETS}
    settings = Settings.from_mapping({**config, "S2S_WINDOW": {"second": 30}}, [Second])
    assert settings.window_of("second").days == 30
    own = settings.of(Second)
    assert own["S2S_SECOND_KEY"] == "key-of-the-second"
    assert not any("-of-the-first" in str(value) for value in own.values())
    assert "-of-the-" not in repr(settings)
    with pytest.raises(ConfigError, match="S2S_SECOND_KEY is not a setting"):
        Settings.from_mapping(config)


def test_a_network_cannot_declare_another_s_key() -> None:
    class Thief(Second):
        settings = (*Second.settings[1:],)

    with pytest.raises(ConfigError, match="declared twice"):
        Settings.from_mapping({"SECRET_KEY": "a-key-for-tests-only-0123456789"}, [Second, Thief])


def test_a_network_cannot_have_another_s_lane(tmp_path: Path) -> None:
    class Thief(Second):
        name = "thief"

    config = {"SECRET_KEY": "a-key-for-tests-only-0123456789", "TESTING": True}
    with pytest.raises(ConfigError, match="Its name must begin with thief/"):
        Services.build(Settings.from_mapping(config, [Thief]), folder=tmp_path, networks=[Thief])


@pytest.mark.parametrize(
    ("networks", "address", "looked_at"),
    [
        ([], "/?page=2", False),
        ([], "/?ps_xid=a", True),
        ([], "/?_tid=a", False),
        ([Second], "/?page=2", False),
        ([Second], "/?PS_XID=a", True),
        ([Second], "/?_TID=a", True),
    ],
)
def test_an_ordinary_address_is_told_by_one_search(
    networks: list[Any], address: str, looked_at: bool
) -> None:

    clicks = Clicks(network.clicks for network in (NETWORK, *networks))
    assert clicks.may_be_in(address) is looked_at
    assert clicks.sign == ("" if networks else "xid")
