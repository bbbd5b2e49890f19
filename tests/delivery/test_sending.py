"""The wire, seen by the stand-in network over real HTTP: what reaches it, and what must not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from flask_s2s import Click, ConfigError, Services, Settings, Status
from flask_s2s.sandbox import create_sandbox
from flask_s2s.sandbox.books.requestlog import Entry
from flask_s2s.sandbox.doors.network import EXTENSION
from flask_s2s.sandbox.server import SandboxServer, serve
from flask_s2s.store.outbox.ledger import Wanted
from tests.delivery.shop import CONFIG, Shop, statuses
from tests.loopback import LoopbackOnly

Opening = Callable[..., Services]

EVERYTHING: dict[str, Any] = {
    "email": " Ada@Example.org ",
    "name": "Ada L.",
    "provider_key": "cus_1",
    "origin": "shop.example.org",
    "ip_address": "203.0.113.9",
    "user_agent": "Mozilla/5.0",
    "external_type": "saas",
    "meta": {"plan": "pro", "seats": 3},
}


class StandIn:
    """The stand-in network over HTTP, and what it was sent."""

    def __init__(self) -> None:
        self._app = create_sandbox()
        self.server: SandboxServer = serve(self._app)

    @property
    def url(self) -> str:
        return self.server.url

    def click(self) -> str:
        """Follow Ada's link; return the click ID of the landing URL."""
        landing = requests.get(f"{self.url}/go/ada", allow_redirects=False, timeout=10)
        return parse_qs(urlsplit(landing.headers["Location"]).query)["ps_xid"][0]

    def posted(self) -> list[Entry]:
        """Return the conversion posts, oldest first."""
        entries = self._app.extensions[EXTENSION].log.latest(1000)
        return [entry for entry in reversed(entries) if entry.path == "/conversion/xid"]

    def set_faults(self, **switches: object) -> None:
        requests.put(f"{self.url}/sandbox/faults", json=switches, timeout=10).raise_for_status()

    def customers(self) -> list[dict[str, Any]]:
        ledger = requests.get(f"{self.url}/sandbox/ledger", timeout=10).json()
        found: list[dict[str, Any]] = ledger["customers"]
        return found


@pytest.fixture
def network() -> Iterator[StandIn]:
    network = StandIn()
    with network.server:
        yield network


@pytest.fixture
def connect(network: StandIn, sqlite_url: str) -> Iterator[Opening]:
    """Open a site's services that send to the stand-in by HTTP."""
    opened: list[Services] = []

    def connect(**config: object) -> Services:
        own = {"S2S_TOKEN": "sandbox-token", "S2S_PARTNERSTACK_URL": network.url}
        known = {**CONFIG, "S2S_DATABASE_URI": sqlite_url, **own, **config}
        opened.append(Services.build(Settings.from_mapping(known)))
        opened[-1].supervisor.prepare()
        return opened[-1]

    yield connect
    for services in opened:
        services.storage.engine().dispose()


def sign_up(services: Services, click_id: str, **fields: Any) -> Status:
    """Record a sign-up, send it, and return its status then."""
    click = Click(click_id=click_id, sub_ids=("newsletter", "märz"), at=services.clock.now())
    delivery = services.track_signup(customer_key=42, click=click, **fields)
    assert delivery
    services.drain()
    found = services.ledger.get(delivery.id)
    assert found is not None
    return found[0].status


def test_a_request_is_exactly_what_the_protocol_says(network: StandIn, connect: Opening) -> None:
    click_id = network.click()
    assert sign_up(connect(), click_id) is Status.DELIVERED
    (post,) = network.posted()
    assert post.method == "POST"
    assert post.credentials.startswith("Bearer ")
    assert json.loads(post.request_body) == {
        "xid": click_id,
        "customer_key": "42",
        "sub_ids": ["newsletter", "märz"],
    }
    (customer,) = network.customers()
    assert (customer["partner"], customer["external_key"]) == ("ada", "42")


def test_an_absent_field_is_omitted_never_empty_and_never_null(
    network: StandIn, connect: Opening
) -> None:
    blank: dict[str, Any] = {name: "" for name in EVERYTHING if name != "meta"}
    services = connect(S2S_SEND_CLIENT=True)
    click = Click(click_id=network.click(), at=services.clock.now())
    services.track_signup(customer_key="42", click=click, **blank, meta={})
    services.drain()
    (post,) = network.posted()
    assert json.loads(post.request_body) == {"xid": click.click_id, "customer_key": "42"}


CLIENT = ("ip_address", "user_agent")
PERSONAL = ("email", "name")


@pytest.mark.parametrize(
    ("config", "changed"),
    [
        pytest.param({}, dict.fromkeys(CLIENT), id="default"),
        pytest.param({"S2S_SEND_CLIENT": True}, {}, id="client"),
        pytest.param(
            {"S2S_SEND_CLIENT": True, "S2S_SEND_PII": "omit"}, dict.fromkeys(PERSONAL), id="omit"
        ),
        pytest.param(
            {"S2S_SEND_CLIENT": True, "S2S_SEND_PII": "hash"},
            {
                "email": hashlib.sha256(b"ada@example.org").hexdigest(),
                "name": hashlib.sha256(b"ada l.").hexdigest(),
            },
            id="hash",
        ),
    ],
)
def test_no_more_of_a_person_is_sent_or_stored_than_the_settings_allow(
    network: StandIn,
    connect: Opening,
    sqlite_url: str,
    config: dict[str, Any],
    changed: dict[str, str | None],
) -> None:
    assert sign_up(connect(**config), network.click(), **EVERYTHING) is Status.DELIVERED
    body = json.loads(network.posted()[0].request_body)
    expected = {**EVERYTHING, **changed}
    for name, value in expected.items():
        assert body.get(name) == value
        assert (name in body) is (value is not None)
    kept = Path(sqlite_url.removeprefix("sqlite:///"))
    stored = b"".join(file.read_bytes() for file in kept.parent.glob(f"{kept.name}*"))
    for name in changed:
        assert str(EVERYTHING[name]).strip().encode() not in stored


@pytest.mark.parametrize(
    ("fault", "outcome", "created"),
    [
        pytest.param({"html_page": 1}, "ambiguous", False, id="a page with 200"),
        pytest.param({"redirect": 1}, "ambiguous", False, id="a redirect"),
        pytest.param({"too_many_retry_after": 1}, "retry_later", False, id="429"),
        pytest.param({"error_before_write": 1}, "ambiguous", False, id="503 before"),
        pytest.param({"error_after_write": 1}, "ambiguous", True, id="503 after"),
        pytest.param({"reset_after_write": 1}, "ambiguous", True, id="reset after"),
        pytest.param({"timeout_after_write": 1}, "ambiguous", True, id="silence after"),
        pytest.param({"slow_bytes": 1, "slow_seconds": 60}, "ambiguous", True, id="slow bytes"),
    ],
)
def test_a_bad_day_of_the_network_costs_nothing(
    network: StandIn, connect: Opening, fault: dict[str, object], outcome: str, created: bool
) -> None:
    services = connect(S2S_LEASE=3)
    click_id = network.click()
    network.set_faults(**fault)
    assert sign_up(services, click_id) is Status.PENDING
    (delivery,) = services.ledger.find()
    found = services.ledger.get(delivery.id)
    assert found is not None
    assert [one.outcome for one in found[1]] == [outcome]
    assert bool(network.customers()) is created
    network.set_faults()
    services.ledger.retry(Wanted(status="pending"), services.clock.now(), services.settings.give_up)
    services.drain()
    assert statuses(services) == {"delivered": 1}
    assert [customer["external_key"] for customer in network.customers()] == ["42"]


def test_an_endless_answer_ends_with_the_attempt_and_not_with_the_lease(
    network: StandIn, connect: Opening
) -> None:
    services = connect(S2S_LEASE=3)
    network.set_faults(slow_bytes=1, slow_seconds=60)
    assert sign_up(services, network.click()) is Status.PENDING
    (delivery,) = services.ledger.find()
    assert delivery.attempts == 1
    assert delivery.detail == "no answer (ReadTimeout)"


def test_a_network_that_is_not_there_is_not_ambiguous(network: StandIn, connect: Opening) -> None:
    services = connect()
    click_id = network.click()
    network.server.stop()
    assert sign_up(services, click_id) is Status.PENDING
    (delivery,) = services.ledger.find()
    assert delivery.ambiguous_at is None
    assert delivery.detail == "could not connect"


def test_a_revoked_token_holds(network: StandIn, connect: Opening) -> None:
    services = connect(S2S_TOKEN="revoked")
    assert sign_up(services, network.click()) is Status.HELD
    assert network.customers() == []


# -- not sent at all ------------------------------------------------------------------------------


def test_a_dry_run_records_what_would_be_sent_and_sends_nothing(
    network: StandIn, connect: Opening
) -> None:
    services = connect(S2S_DRY_RUN="true")
    assert sign_up(services, network.click(), email="a@example.org") is Status.DRY_RUN
    assert network.posted() == []
    (delivery,) = services.ledger.find()
    assert delivery.conversion is not None
    assert delivery.due_at is None


def test_under_testing_a_live_network_is_refused_before_anything_is_claimed(
    connect: Opening, loopback_only: LoopbackOnly
) -> None:
    services = connect(TESTING=True, S2S_PARTNERSTACK_URL="https://partnerlinks.io")
    click = Click(click_id="click1", at=services.clock.now())
    services.track_signup(customer_key="42", click=click)
    with pytest.raises(ConfigError, match=r"live network .partnerlinks\.io.*ScriptedTransport"):
        services.drain()
    (delivery,) = services.ledger.find()
    assert (delivery.status, delivery.attempts) == (Status.PENDING, 0)
    assert loopback_only.refused == []


def test_under_testing_the_sandbox_and_a_script_are_welcome(
    network: StandIn, connect: Opening, sqlite_url: str
) -> None:
    assert sign_up(connect(TESTING=True), network.click()) is Status.DELIVERED
    shop = Shop(sqlite_url, TESTING=True)
    shop.sign_up("43")
    shop.drain()
    assert shop.status() is Status.DELIVERED
    shop.close()
