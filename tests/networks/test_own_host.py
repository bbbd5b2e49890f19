"""A credential goes to its own lane's host only, whatever a network module builds."""

from __future__ import annotations

import base64
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from flask_s2s import Click, Services, Settings, Signup
from flask_s2s.errors import ConfigError
from flask_s2s.networks.credentials import Credentials, OwnHostOnly
from flask_s2s.networks.messages import Request, Secret
from flask_s2s.networks.network import report_of
from flask_s2s.networks.partnerstack.conversions import API, TRACKING, PartnerStack
from flask_s2s.testing import ManualClock, ScriptedTransport
from tests.networks.second import Second

TOKEN = "tok-of-partnerstack"
CONFIG = {
    "SECRET_KEY": "a-key-for-tests-only-0123456789",
    "S2S_TOKEN": TOKEN,
    "S2S_PARTNERSTACK_PUBLIC_KEY": "pk-of-partnerstack",
    "S2S_PARTNERSTACK_SECRET_KEY": "sk-of-partnerstack",
}
PAIR = "pk-of-partnerstack:sk-of-partnerstack"
OTHER = "https://trk.other.test"


def test_a_network_without_a_credential_of_its_own_is_never_given_another_s(
    tmp_path: Path,
) -> None:
    settings = Settings.from_mapping(CONFIG, [Second])
    transport, clock = ScriptedTransport(), ManualClock()
    services = Services.build(
        settings, folder=tmp_path, transport=transport, clock=clock, networks=[Second]
    )
    click = Click(network=Second.name, click_id="abc", at=clock.now())
    services.track(Signup(customer_key="42"), click=click)
    services.drain()
    assert transport.requests == []
    (delivery,) = services.ledger.find()
    assert (delivery.status.value, delivery.lane) == ("held", "second/postback")
    assert "S2S_SECOND_KEY" in (delivery.detail or "")
    services.close()


def guarded() -> tuple[OwnHostOnly, ScriptedTransport, PartnerStack]:
    network = PartnerStack(Settings.from_mapping(CONFIG).of(PartnerStack))
    credentials = Credentials([network])
    assert credentials.for_lane(TRACKING) == (Secret(TOKEN),)
    assert credentials.for_lane(API) == (Secret(PAIR),)
    transport = ScriptedTransport()
    return OwnHostOnly(transport, credentials), transport, network


BASIC = base64.b64encode(PAIR.encode()).decode()
CARRIED: dict[str, dict[str, Any]] = {
    "the token in a header": {"headers": {"Authorization": f"Bearer {TOKEN}"}},
    "the pair in a header": {"headers": {"Authorization": f"Basic {BASIC}"}},
    "half of the pair": {"headers": {"X-Key": "sk-of-partnerstack"}},
    "in the address": {"url": f"{OTHER}/?key={quote(TOKEN)}"},
    "in the address, encoded": {"url": f"{OTHER}/?key={quote(BASIC, safe='')}"},
    "in the body": {"body": {"a": {"b": [TOKEN]}}},
}


@pytest.mark.parametrize("how", CARRIED)
def test_a_request_that_carries_a_credential_elsewhere_is_not_sent(how: str) -> None:
    transport, inner, _ = guarded()
    request = Request(**{"method": "POST", "url": f"{OTHER}/", **CARRIED[how]})
    with pytest.raises(ConfigError, match="would have gone to trk") as caught:
        transport.send(request, seconds=1)
    assert inner.requests == []
    assert TOKEN not in str(caught.value)


def test_each_credential_goes_to_its_own_host() -> None:
    transport, inner, network = guarded()
    click = Click(click_id="abc", at=datetime(2026, 5, 1, tzinfo=timezone.utc))
    report = report_of(network, Signup(customer_key="42"), click)
    transport.send(network.request(report, Secret(TOKEN)), seconds=1)
    transport.send(network.api("GET", "/customers/42", Secret(PAIR), None), seconds=1)
    assert len(inner.requests) == 2
    for swapped in (
        network.api("GET", "/customers/42", Secret(TOKEN + ":x"), None),
        Request(method="GET", url="https://partnerlinks.io/", headers={"A": f"Basic {BASIC}"}),
        Request(method="GET", url="http://partnerlinks.io/", headers={"A": f"Bearer {TOKEN}"}),
        Request(method="GET", url="https://partnerlinks.io:444/", headers={"A": TOKEN}),
    ):
        with pytest.raises(ConfigError):
            transport.send(swapped, seconds=1)
