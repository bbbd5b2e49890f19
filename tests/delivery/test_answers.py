"""The worker on a network's good and bad days, through the whole of an app's services."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

import pytest

from flask_s2s import Status
from flask_s2s.errors import TransportError
from flask_s2s.networks.messages import Response
from flask_s2s.store.outbox.ledger import Wanted
from flask_s2s.testing import accepted, answered, no_answer, not_connected
from tests.delivery.shop import Shop

HTML = "<!doctype html><title>We'll be right back</title>"
SCHEMA = '{"message": "\'xid\' is a required property", "status": 400}'


def alarms(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        str(record.__dict__.get("action"))
        for record in caplog.records
        if record.levelno >= logging.ERROR
    ]


def wait_of(shop: Shop) -> timedelta:
    due = shop.row().due_at
    assert due is not None
    return due - shop.clock.now()


# -- answers that are tried again -----------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("asked", "waited"),
    [
        pytest.param("120", timedelta(seconds=120), id="seconds"),
        pytest.param("99999999999", timedelta(hours=1), id="for ever"),
        pytest.param("Fri, 01 May 2026 00:10:00 GMT", timedelta(minutes=10), id="a date"),
        pytest.param("Mon, 01 Jan 2035 00:00:00 GMT", timedelta(hours=1), id="a far date"),
    ],
)
def test_retry_after_is_honoured_and_capped(
    shop: Shop, status: int, asked: str, waited: timedelta
) -> None:
    date = "Fri, 01 May 2026 00:00:00 GMT"
    shop.network.then(answered(status, retry_after=asked, date=date), accepted())
    shop.sign_up()
    assert shop.drain() == 1
    assert shop.status() is Status.PENDING
    assert wait_of(shop) == waited
    shop.clock.advance(waited - timedelta(microseconds=1))
    assert shop.drain() == 0
    shop.clock.advance(microseconds=1)
    assert shop.drain() == 1
    assert shop.status() is Status.DELIVERED


@pytest.mark.parametrize("nonsense", ["", "soon", "-5", "1.5", "\N{ARABIC-INDIC DIGIT FIVE}"])
def test_a_retry_after_that_says_nothing_leaves_our_own_wait(shop: Shop, nonsense: str) -> None:
    shop.network.then(answered(503, retry_after=nonsense))
    shop.sign_up()
    shop.drain()
    assert timedelta(0) < wait_of(shop) <= timedelta(seconds=2)


@pytest.mark.parametrize("status", [400, 404, 405, 410, 418, 422, 451])
def test_a_4xx_that_is_not_known_as_final_is_tried_again_with_an_alarm(
    shop: Shop, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    shop.network.then(answered(status, "no idea"), accepted())
    shop.sign_up()
    shop.drain()
    assert shop.status() is Status.PENDING
    assert alarms(caplog) == ["delivery.pending"]
    shop.clock.advance(hours=1)
    shop.drain()
    assert shop.status() is Status.DELIVERED


@pytest.mark.parametrize("status", [400, 422])
def test_the_api_s_own_schema_error_is_final(
    shop: Shop, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    shop.network.then(answered(status, SCHEMA))
    shop.sign_up()
    shop.drain()
    row = shop.row()
    assert (row.status, row.detail) == (Status.REFUSED, "'xid' is a required property")
    assert alarms(caplog) == ["delivery.refused"]
    shop.clock.advance(days=1)
    assert shop.drain() == 0


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(answered(200, HTML), id="a page with 200"),
        pytest.param(answered(201, "OK"), id="text with 201"),
        pytest.param(answered(200, '{"message": "down", "status": 500}'), id="200 that says 500"),
        pytest.param(answered(301, location="https://example.org/"), id="moved for good"),
        pytest.param(answered(302, location="/login"), id="sent to a log-in"),
        pytest.param(answered(304), id="not modified"),
        pytest.param(answered(307, location="/other"), id="sent elsewhere"),
        pytest.param(answered(100), id="an answer that is none"),
    ],
)
def test_what_is_no_success_is_never_taken_for_one(shop: Shop, answer: Response) -> None:
    shop.network.then(answer)
    shop.sign_up()
    for _ in range(4):
        assert shop.drain() == 1
        assert shop.status() is Status.PENDING
        shop.clock.advance(hours=1)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(answered(200), id="empty"),
        pytest.param(answered(204), id="no content"),
        pytest.param(answered(200, " \n"), id="blank"),
        pytest.param(answered(200, '{"message": "Success", "status": 200}'), id="an envelope"),
        pytest.param(answered(202, "[]"), id="any JSON"),
    ],
)
def test_a_success_is_empty_or_json(shop: Shop, answer: Response) -> None:
    shop.network.then(answer)
    shop.sign_up()
    shop.drain()
    assert shop.status() is Status.DELIVERED


def test_a_customer_whom_the_network_has_already_is_delivered(shop: Shop) -> None:
    shop.network.then(answered(409, '{"message": "exists", "status": 409}'))
    shop.sign_up()
    shop.drain()
    assert shop.status() is Status.DELIVERED
    assert shop.attempts()[0].outcome == "duplicate"


# -- no answer ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "ambiguous"),
    [
        pytest.param(no_answer(), True, id="silence after sending"),
        pytest.param(answered(500), True, id="500"),
        pytest.param(answered(502, HTML), True, id="502"),
        pytest.param(answered(504), True, id="504"),
        pytest.param(answered(408), True, id="408"),
        pytest.param(not_connected(), False, id="refused connection"),
        pytest.param(answered(429), False, id="429"),
    ],
)
def test_what_may_have_arrived_is_marked_and_sent_again(
    shop: Shop, failure: Response | TransportError, ambiguous: bool
) -> None:
    shop.network.then(failure, accepted())
    shop.sign_up()
    shop.drain()
    assert shop.status() is Status.PENDING
    assert shop.row().ambiguous_at == (shop.clock.now() if ambiguous else None)
    assert (shop.attempts()[0].outcome == "ambiguous") is ambiguous
    shop.clock.advance(hours=1)
    shop.drain()
    assert shop.status() is Status.DELIVERED
    assert [request.body for request in shop.network.requests] == [
        {"xid": "click1", "customer_key": "42"}
    ] * 2


# -- the deadline ---------------------------------------------------------------------------------


def test_a_delivery_is_tried_until_its_deadline_then_expires_and_can_be_retried(
    open_shop: Callable[..., Shop], caplog: pytest.LogCaptureFixture
) -> None:
    shop = open_shop(S2S_WINDOW=1, S2S_GIVE_UP=1)
    shop.network.then(answered(503))
    shop.sign_up()
    for _ in range(25):
        shop.drain()
        shop.clock.advance(hours=1)
    # Within the deadline each hour, and on it; an hour later it is sure that it has passed.
    assert len(shop.network.requests) == 25
    shop.drain()
    assert len(shop.network.requests) == 25
    row = shop.row()
    assert (row.status, row.due_at) == (Status.EXPIRED, None)
    assert row.conversion is not None
    assert alarms(caplog)[-1] == "delivery.expired"

    sent = len(shop.network.requests)
    shop.clock.advance(days=1)
    assert shop.drain() == 0
    shop.network.then(accepted())
    assert (
        shop.services.ledger.retry(Wanted(status="expired"), shop.clock.now(), timedelta(days=30))
        == 1
    )
    assert shop.drain() == 1
    assert shop.status() is Status.DELIVERED
    assert len(shop.network.requests) == sent + 1


def test_nothing_is_sent_after_its_deadline(shop: Shop) -> None:
    shop.sign_up()
    shop.clock.advance(days=91)
    shop.drain()
    assert shop.network.requests == []
    assert shop.status() is Status.EXPIRED


def test_a_retry_never_shortens_the_time_that_is_left(shop: Shop) -> None:
    shop.network.then(answered(400, SCHEMA))
    shop.sign_up()
    shop.drain()
    before = shop.row().deadline_at
    shop.services.ledger.retry(Wanted(status="refused"), shop.clock.now(), timedelta(days=30))
    assert shop.row().deadline_at == before
