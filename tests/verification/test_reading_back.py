"""Reading back: the proof in an answer of the vendor API, and how much is asked for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flask_s2s.config.settings import Settings
from flask_s2s.conversion import Action, Conversion, Reversal, Transaction
from flask_s2s.errors import TransportError
from flask_s2s.networks.credentials import Credentials
from flask_s2s.networks.http import HttpTransport
from flask_s2s.networks.messages import MAX_ANSWER, Request, Response, Transport
from flask_s2s.networks.partnerstack.conversions import API, PartnerStack
from flask_s2s.networks.partnerstack.records import Records, read_customer, read_records
from flask_s2s.networks.readback import MOST_PAGES, ReadBack
from flask_s2s.networks.reading import Absent, More, Present, Reading, Unknown
from flask_s2s.sandbox import create_sandbox
from flask_s2s.sandbox.server import SandboxServer, serve
from tests.verification.site import CONFIG, KEYS
from tests.waiting import PATIENCE

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
PAYMENT = Transaction(customer_key="42", amount=500, currency="USD", key="inv-1")
TELL_NOTHING = (204, 301, 400, 401, 403, 408, 410, 429, 500, 503)
STEP = Action(customer_key="42", type="activated", key="step-1")


def answer(status: int, body: Any = None) -> Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status=status, body=content)


def customer(**data: Any) -> Response:
    return answer(200, {"data": data, "message": "ok", "status": 200})


def listing(*items: Any, more: bool = False) -> Response:
    return answer(200, {"data": {"items": list(items), "has_more": more}, "status": 200})


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (customer(customer_key="42", test=False), Present(test=False)),
        (customer(customer_key="42", test=True), Present(test=True)),
        (customer(customer_key="42"), Present(test=None)),
        (customer(key="cus_1", customer_external_key="42"), Present(test=None)),
        (customer(key="cus_1", external_key="42"), Present(test=None)),
        (customer(key="42"), Present(test=None)),
        (customer(key="cus_1", customer_key="cus_1", external_key="42"), Present(test=None)),
        (customer(test=False), Present(test=False)),
        (customer(key="cus_1", test=True), Present(test=True)),
        (answer(404, {"message": "Customer not found", "status": 404}), Absent()),
    ],
)
def test_what_tells_about_a_customer(response: Response, expected: Reading) -> None:
    assert read_customer("42", response) == expected


@pytest.mark.parametrize(
    "response",
    [
        customer(customer_key="43"),
        customer(customer_key="43", test=False),
        customer(customer_key=42),
        customer(key="cus_1"),
        customer(email="other@example.com"),
        customer(),
        listing(),
        answer(200, {"data": None}),
        answer(200, []),
        answer(200, b""),
        answer(200, b"<html>welcome</html>"),
        answer(404, b"<html>no such page</html>"),
        answer(404, b""),
        answer(404, {}),
        answer(404, []),
        answer(404, {"detail": "Not Found"}),
        answer(404, {"message": "no Route matched with those values"}),
        answer(404, {"message": "no such page", "status": "404"}),
        answer(404, {"message": None, "status": 404}),
        answer(404, {"status": 404}),
        answer(404, {"message": "down", "status": 500}),
        *(answer(status, {"message": "no", "status": status}) for status in TELL_NOTHING),
    ],
)
def test_what_does_not_tell_is_never_taken_as_absence(response: Response) -> None:
    assert isinstance(read_customer("42", response), Unknown)


@pytest.mark.parametrize(
    ("conversion", "items", "expected"),
    [
        (PAYMENT, [], Absent()),
        (PAYMENT, [{"key": "inv-1", "test": False}], Present(test=False)),
        (PAYMENT, [{"key": "inv-2"}, {"key": "txn_1", "external_key": "inv-1"}], Present()),
        (PAYMENT, [{"key": "inv-2"}, {"key": "INV-1"}], Absent()),
        (PAYMENT, [{"key": None, "amount": 501, "currency": "USD"}], Absent()),
        (PAYMENT, [{"key": None, "amount": 500, "currency": "eur"}], Absent()),
        (STEP, [{"key": "act_1", "external_key": "step-1"}], Present()),
        (STEP, [{"key": "act_1", "external_key": "step-2"}], Absent()),
        (STEP, [{"key": "act_1", "external_key": None, "type": "paid"}], Absent()),
        (STEP, [{"key": "act_1", "type": "activated", "value": 2}], Absent()),
        (
            replace(STEP, key=None),
            [{"key": "act_1", "type": "activated", "value": 1, "target_key": "42"}],
            Present(),
        ),
    ],
)
def test_a_record_is_found_by_our_own_key(
    conversion: Conversion, items: list[Any], expected: Reading
) -> None:
    assert read_records(conversion, listing(*items)) == expected


@pytest.mark.parametrize(
    ("conversion", "items"),
    [
        (PAYMENT, [{"amount": 500, "currency": "USD"}]),
        (PAYMENT, [{"key": "", "amount": 500, "currency": "usd"}]),
        (PAYMENT, ["inv-2"]),
        (STEP, [{"key": "act_1", "external_key": None, "type": "activated", "value": 1}]),
        (STEP, [{"key": "act_1"}]),
        (
            replace(STEP, key=None),
            [{"key": "act_1", "type": "activated", "value": 1, "target_key": "cus_9"}],
        ),
        (Reversal(customer_key="42", transaction_key="inv-1"), [{"key": "inv-1"}]),
    ],
)
def test_a_record_that_cannot_be_told_apart_leaves_it_open(
    conversion: Conversion, items: list[Any]
) -> None:
    assert isinstance(read_records(conversion, listing(*items)), Unknown)
    assert isinstance(read_records(conversion, listing({"key": "x"}, *items)), Unknown)


def test_a_list_that_goes_on_proves_nothing_yet() -> None:
    assert read_records(PAYMENT, listing({"key": "inv-9"}, more=True)) == More(cursor="inv-9")
    assert isinstance(read_records(PAYMENT, listing(more=True)), Unknown)
    broken = answer(200, {"data": {"items": [{"key": "inv-9"}]}})
    assert isinstance(read_records(PAYMENT, broken), Unknown)


class Answers:
    """A network that computes its answers."""

    def __init__(self, answering: Any) -> None:
        self._answering = answering
        self.requests: list[Request] = []

    def send(self, request: Request, *, seconds: float) -> Response:
        self.requests.append(request)
        given: Response = self._answering(request)
        return given


def reader(transport: Transport, url: str = "http://127.0.0.1:1", **config: Any) -> ReadBack:
    places = {"S2S_PARTNERSTACK_URL": url, "S2S_PARTNERSTACK_API_URL": f"{url}/api/v2"}
    settings = Settings.from_mapping({**CONFIG, **KEYS, **places, **config})
    network = PartnerStack(settings.of(PartnerStack))
    return ReadBack(Records(network), API, transport, Credentials([network]), seconds=10)


def test_without_keys_nothing_is_asked() -> None:
    network = Answers(lambda request: listing())
    nobody: dict[str, Any] = dict.fromkeys(KEYS)
    asking = reader(network, **nobody)
    assert not asking.able
    assert isinstance(asking.customer("42"), Unknown)
    assert isinstance(asking.find([PAYMENT], NOW)[0], Unknown)
    assert network.requests == []


def test_the_keys_go_as_a_basic_pair_and_are_not_shown() -> None:
    network = Answers(lambda request: customer(customer_key="42"))
    assert reader(network).customer("42") == Present()
    (request,) = network.requests
    assert request.headers["Authorization"] == "Basic cGtfc2FuZGJveDpza19zYW5kYm94"
    assert (request.method, request.body) == ("GET", None)
    assert "Basic" not in repr(request)


def test_no_connection_is_no_absence() -> None:
    def fail(request: Request) -> Response:
        raise TransportError("could not connect", sent=False)

    assert isinstance(reader(Answers(fail)).customer("42"), Unknown)
    assert isinstance(reader(Answers(fail)).find([PAYMENT], NOW)[0], Unknown)


def test_a_list_is_read_to_its_end_by_cursors() -> None:
    def answering(request: Request) -> Response:
        after = parse_qs(urlsplit(request.url).query).get("starting_after", ["k-0"])[0]
        number = int(after[2:]) + 1
        return listing({"key": f"k-{number}"}, more=number < 5)

    network = Answers(answering)
    assert reader(network).find([PAYMENT], NOW) == [Absent()]
    assert len(network.requests) == 5


def test_a_list_without_an_end_is_left_and_proves_nothing() -> None:
    counter = iter(range(10_000))
    network = Answers(lambda request: listing({"key": f"k-{next(counter)}"}, more=True))
    assert isinstance(reader(network).find([PAYMENT], NOW)[0], Unknown)
    assert len(network.requests) == MOST_PAGES
    standing = Answers(lambda request: listing({"key": "k"}, more=True))
    assert isinstance(reader(standing).find([PAYMENT], NOW)[0], Unknown)
    assert len(standing.requests) == 2


def test_a_page_too_long_to_be_read_is_asked_for_in_smaller_ones() -> None:
    def answering(request: Request) -> Response:
        limit = int(parse_qs(urlsplit(request.url).query)["limit"][0])
        whole = listing(*({"key": f"k-{n}", "note": "x" * 4000} for n in range(limit)))
        return replace(whole, body=whole.body[:MAX_ANSWER])

    network = Answers(answering)
    assert reader(network).find([PAYMENT], NOW) == [Absent()]
    assert len(network.requests) > 1


def test_the_list_begins_before_the_conversion_by_whichever_clock() -> None:
    network = Answers(lambda request: listing())
    late = replace(PAYMENT, created_at=int((NOW - timedelta(days=2)).timestamp() * 1000))
    for conversion, before in ((PAYMENT, NOW), (late, NOW - timedelta(days=2))):
        reader(network).find([conversion], NOW)[0]
        query = parse_qs(urlsplit(network.requests[-1].url).query)
        begins = datetime.fromtimestamp(int(query["min_created"][0]) / 1000, timezone.utc)
        assert begins <= before - timedelta(minutes=10)


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with serve(create_sandbox()) as server:
        yield server


@example(key="a?b")
@example(key="a#b")
@example(key="a/b")
@example(key="a%2Fb")
@example(key="a b;c+d&e=f")
@given(key=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_customer_key_survives_the_way_into_a_path(server: SandboxServer, key: str) -> None:
    """Over real HTTP, where clients and servers normalise paths."""
    transport = HttpTransport()
    landing = requests.get(f"{server.url}/go/ada", allow_redirects=False, timeout=PATIENCE)
    xid = parse_qs(urlsplit(landing.headers["Location"]).query)["ps_xid"][0]
    sent = Request(
        method="POST",
        url=f"{server.url}/conversion/xid",
        headers={"Authorization": "Bearer sandbox-token"},
        body={"xid": xid, "customer_key": key},
    )
    assert transport.send(sent, seconds=5).status == 200
    asking = reader(transport, url=server.url)
    # Where the key may be lost on the way, nothing is concluded from a 404.
    fragile = key in (".", "..") or bool({"/", "\\", "%"} & set(key))
    assert isinstance(asking.customer(key), Present | Unknown if fragile else Present)
    assert isinstance(asking.customer(f"{key}/{key}"), Unknown)
    if not fragile:
        assert isinstance(asking.customer(f"{key}-not"), Absent)
