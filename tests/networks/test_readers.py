"""Readers of answers: always an outcome, and never a yes that nobody said."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from threading import get_ident
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from flask_s2s.networks.messages import Accepted, Ambiguous, Response, RetryLater
from flask_s2s.networks.partnerstack.conversions import retry_after
from flask_s2s.networks.partnerstack.records import read_records
from flask_s2s.networks.success import read_success
from flask_s2s.testing import answered
from tests.networks.hostile import CONVERSIONS, Readers, responses


def test_no_answer_escapes_its_readers(caplog: pytest.LogCaptureFixture) -> None:
    readers = Readers()
    for response in responses(seed=20261130, count=2000):
        for found in readers.outcomes(response):
            assert found.http_status == response.status
            assert found.outcome.detail.isprintable()
            assert len(found.outcome.detail) <= 255
            assert found.answer is not None
            assert "\x00" not in found.answer
            found.answer.encode()
            after = getattr(found.outcome, "after", None)
            assert after is None or timedelta(0) <= after < timedelta(days=36500)
            if isinstance(found.outcome, Accepted):
                assert 200 <= response.status < 300
        for reading in readers.readings(response):
            cursor = getattr(reading, "cursor", None)
            assert cursor is None or cursor.isprintable()
    ours = [one for one in caplog.records if one.thread == get_ident()]
    assert not [one for one in ours if one.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 01 Jan 2024 00:00:00 +99999999999999",
        "Mon, 01 Jan 2024 00:00:00 -0000",
        "Mon, 01 Jan 99999 00:00:00 GMT",
        "(" * 5000,
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_an_odd_date_is_no_reason_to_lose_the_status(status: int, date: str) -> None:
    for response in (
        answered(status, retry_after=date, date="Mon, 01 Jan 2024 00:00:00 GMT"),
        answered(status, retry_after="Mon, 01 Jan 2024 00:00:00 GMT", date=date),
    ):
        assert (retry_after(response) or timedelta(0)) == timedelta(0)
        for found in Readers().outcomes(response):
            assert found.http_status == status
            assert isinstance(found.outcome, RetryLater | Ambiguous)


YES: list[Any] = [
    {},
    [],
    {"status": 200, "message": "Success"},
    {"status": "200"},
    {"status": 201, "data": {"key": "cus_1", "customer_key": "42"}},
    {"status": "ok"},
    {"Status": "QUEUED", "QueuedUri": "/somewhere"},
    {"status": "pending"},
    {"status": "success", "message": "it is not confirmed yet"},
    {"status": True},
    {"state": "active"},
    {"success": True, "errors": []},
    {"success": "true", "error": None},
    {"success": 1, "errorCode": 0, "errorMessage": ""},
    {"ok": True, "error": "none"},
    {"isError": False},
    {"failed": 0, "succeeded": 1},
    {"code": 0, "message": "ok"},
    {"message": "Conversion recorded, no errors"},
    {"warnings": ["an old version"]},
    {"results": [{"id": 1}]},
    # What we sent, or what the record says of itself.
    {"key": "cus_1", "email": "no@fail.example", "name": "Error Denied", "test": False},
    {"data": {"customer_key": "1", "status": "declined", "meta": {"error": "x"}}, "status": 200},
    {"customer_key": "1", "type": "error", "value": 0},
    "OK",
    True,
]
NO: list[Any] = [
    None,
    False,
    0,
    500,
    "Forbidden",
    [False],
    ["Forbidden"],
    {"error": "maintenance"},
    {"Error": {"code": 1}},
    {"errors": [{"message": "x"}], "data": None},
    {"error_code": 12},
    {"errorMessage": "x"},
    {"hasErrors": True},
    {"exception": "NullPointerException"},
    {"fault": {"faultstring": "Rate limit quota violation"}},
    {"failed": 1, "succeeded": 0},
    {"success": False},
    {"success": "false"},
    {"success": 0},
    {"success": None},
    {"ok": False},
    {"accepted": False},
    {"status": "error", "message": "x"},
    {"Status": "ERROR"},
    {"status": "FAILURE"},
    {"status": "INVALID_REQUEST"},
    {"status": "badRequest"},
    {"status": "rejected"},
    {"status": 500},
    {"status": "500"},
    {"status": 500.0},
    {"status": 2},
    {"status": False},
    {"statusCode": 503},
    {"code": 400},
    {"code": -1, "msg": "x"},
    {"result": "error"},
    {"message": "Forbidden"},
    {"message": "Internal server error"},
    {"detail": "Not authenticated"},
    {"data": {"success": False}},
    {"response": {"status": "error"}},
    {"results": [{"ok": True}, {"error": "x"}]},
    [{"status": 400}],
]


@pytest.mark.parametrize("body", YES, ids=json.dumps)
@pytest.mark.parametrize("status", [200, 202])
def test_a_body_that_says_yes_is_accepted(status: int, body: Any) -> None:
    assert isinstance(read_success(answered(status, json.dumps(body))), Accepted)


@pytest.mark.parametrize("body", NO, ids=json.dumps)
def test_a_200_whose_body_says_no_is_not_accepted(body: Any) -> None:
    found = read_success(answered(200, json.dumps(body)))
    assert isinstance(found, Ambiguous)
    assert found.alarm


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(answered(200, "[" * 5000), id="deep"),
        pytest.param(answered(200, '{"a":' * 5000), id="deep and cut"),
        pytest.param(answered(200, '{"status":' + "9" * 5000 + "}"), id="a huge number"),
        pytest.param(answered(200, "{}", content_encoding="gzip"), id="compressed"),
    ],
)
def test_what_cannot_be_read_may_be_a_success_and_is_none(response: Response) -> None:
    assert isinstance(read_success(response), Ambiguous)


@pytest.mark.parametrize("bad", ["\x00", "\ud800", "\x1b[2J"], ids=["NUL", "half a pair", "escape"])
def test_the_key_of_a_record_that_no_database_takes_is_no_place_to_read_on_from(bad: str) -> None:
    body = json.dumps({"data": {"items": [{"key": f"k{bad}"}], "has_more": True}})
    found = read_records(CONVERSIONS[2], answered(200, body))
    assert type(found).__name__ == "Unknown"


@pytest.mark.service
def test_a_kept_answer_can_be_written_by_every_database(postgresql_url: str) -> None:
    engine = create_engine(postgresql_url)
    with engine.connect() as connection:
        for response in responses(seed=7, count=200):
            for found in Readers().outcomes(response):
                told = {"a": found.answer, "b": found.outcome.detail}
                row = connection.execute(text("SELECT :a, :b"), told).one()
                assert tuple(row) == tuple(told.values())
    engine.dispose()
