"""Switches and faults: each strikes as its rate says, and a seeded run repeats."""

import contextlib
from typing import Any

import pytest
from flask import Flask

from flask_s2s.sandbox import create_sandbox
from flask_s2s.sandbox.switches import AFTER_WRITE, FAULTS, SwitchError, Switches
from tests.sandbox.caller import Caller, Clock

BEFORE_WRITE = sorted(set(FAULTS) - AFTER_WRITE)


def strike(caller: Caller, xid: str, key: str = "42") -> object:
    """Post a conversion; return its status, or the exception that the client met."""
    try:
        return caller.convert(xid, key).status_code
    except (TimeoutError, ConnectionResetError) as error:
        return type(error)


@pytest.mark.parametrize("fault", BEFORE_WRITE)
def test_fault_before_the_write_leaves_no_customer(caller: Caller, fault: str) -> None:
    xid = caller.click()
    caller.switch(**{fault: 1})

    strike(caller, xid)

    ledger = caller.ledger()
    assert ledger["customers"] == []
    assert ledger["conversion_posts"] == {"42": 1}


@pytest.mark.parametrize("fault", sorted(AFTER_WRITE))
def test_fault_after_the_write_leaves_the_customer(caller: Caller, fault: str) -> None:
    xid = caller.click()
    caller.switch(**{fault: 1})

    strike(caller, xid)

    ledger = caller.ledger()
    assert [customer["external_key"] for customer in ledger["customers"]] == ["42"]
    assert ledger["conversion_posts"] == {"42": 1}


@pytest.mark.parametrize(
    ("switches", "met"),
    [
        ({"too_many": 1}, 429),
        ({"too_many_retry_after": 1}, 429),
        ({"error_before_write": 1}, 503),
        ({"error_before_write": 1, "error_status": 500}, 500),
        ({"error_after_write": 1, "error_status": 504}, 504),
        ({"timeout_before_write": 1}, TimeoutError),
        ({"timeout_after_write": 1}, TimeoutError),
        ({"reset_before_write": 1}, ConnectionResetError),
        ({"reset_after_write": 1}, ConnectionResetError),
        ({"slow_bytes": 1}, 200),
        ({"html_page": 1}, 200),
        ({"html_page": 1, "html_status": 502}, 502),
        ({"redirect": 1}, 302),
    ],
)
def test_client_meets_the_fault(caller: Caller, switches: dict[str, Any], met: object) -> None:
    xid = caller.click()
    caller.switch(**switches)

    assert strike(caller, xid) == met


def test_only_one_kind_of_429_says_when_to_come_back(caller: Caller) -> None:
    caller.switch(too_many=1)
    assert "Retry-After" not in caller.convert("x", "42").headers
    caller.switch(too_many_retry_after=1, retry_after_seconds=17)
    assert caller.convert("x", "42").headers["Retry-After"] == "17"


def test_html_page_with_200_looks_like_success_and_is_none(caller: Caller) -> None:
    caller.switch(html_page=1)

    answer = caller.convert(caller.click(), "42")

    assert answer.mimetype == "text/html"
    assert answer.data.startswith(b"<!doctype html>")


def test_answer_after_a_lost_write_is_not_counted_as_accepted(caller: Caller) -> None:
    xid = caller.click()
    caller.switch(reset_after_write=1)
    strike(caller, xid)
    caller.switch()
    strike(caller, xid)

    assert caller.ledger()["conversion_posts"] == {"42": 2}
    assert caller.ledger()["accepted_posts"] == {"42": 1}


@pytest.mark.parametrize(
    ("struck", "statuses"), [("all", (503, 503)), ("conversions", (503, 200)), ("api", (200, 503))]
)
def test_faults_can_be_kept_to_one_door(
    caller: Caller, struck: str, statuses: tuple[int, int]
) -> None:
    xid = caller.click()
    caller.switch(error_before_write=1, faults_strike=struck)

    assert caller.convert(xid, "42").status_code == statuses[0]
    assert caller.api("GET", "/customers").status_code == statuses[1]


def test_visitors_are_never_struck(caller: Caller) -> None:
    caller.switch(error_before_write=1)

    assert caller.http.get("/go/ada").status_code == 302


def run_of(app: Flask, length: int = 60) -> list[object]:
    caller = Caller(app, Clock())
    xid = caller.click()
    return [strike(caller, xid, str(number)) for number in range(length)]


RATES = {"error_before_write": 0.3, "timeout_after_write": 0.2, "too_many": 0.2}


def test_same_seed_gives_the_same_run() -> None:
    first = run_of(create_sandbox(seed=7, faults=RATES))
    second = run_of(create_sandbox(seed=7, faults=RATES))
    other = run_of(create_sandbox(seed=8, faults=RATES))

    assert first == second
    assert first != other
    assert set(first) == {200, 503, 429, TimeoutError}


def test_setting_the_switches_starts_the_run_anew() -> None:
    app = create_sandbox(seed=7, faults=RATES)
    first = run_of(app)
    Caller(app, Clock()).switch(**RATES)

    assert run_of(app) == first


def test_rates_are_exact_shares() -> None:
    statuses = run_of(create_sandbox(faults=RATES), 2000)

    assert abs(statuses.count(503) / 2000 - 0.3) < 0.05
    assert abs(statuses.count(429) / 2000 - 0.2) < 0.05
    assert abs(statuses.count(200) / 2000 - 0.3) < 0.05


def test_put_replaces_and_patch_keeps(caller: Caller) -> None:
    caller.switch(too_many=0.5, hold_seconds=3)
    caller.http.patch("/sandbox/faults", json={"redirect": 0.25})
    kept = caller.http.get("/sandbox/faults").get_json()
    assert (kept["too_many"], kept["redirect"], kept["hold_seconds"]) == (0.5, 0.25, 3)

    replaced = caller.switch(redirect=0.25).get_json()
    assert replaced == {**Switches().as_dict(), "redirect": 0.25}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("no_such_switch", 1),
        ("too_many", 1.01),
        ("too_many", -0.1),
        ("too_many", "0.5"),
        ("too_many", True),
        ("too_many", None),
        ("success_body", "xml"),
        ("error_status", 418),
        ("error_status", "503"),
        ("html_status", True),
        ("window_days", 1.5),
        ("window_days", 0),
        ("readable_after_seconds", 601),
        ("hold_seconds", -1),
    ],
)
def test_bad_switch_is_named_and_nothing_changes(caller: Caller, key: str, value: Any) -> None:
    answer = caller.switch(**{"redirect": 0.5, key: value})

    assert answer.status_code == 400
    assert answer.get_json()["key"] == key
    assert answer.get_json()["message"].startswith(f"{key}: ")
    assert caller.http.get("/sandbox/faults").get_json() == Switches().as_dict()


def test_rates_together_cannot_exceed_one(caller: Caller) -> None:
    answer = caller.switch(too_many=0.6, redirect=0.5)

    assert answer.status_code == 400
    assert answer.get_json()["key"] == "redirect"


def test_not_a_number_is_refused() -> None:
    with pytest.raises(SwitchError, match="too_many"):
        Switches.read({"too_many": float("nan")})


@pytest.mark.parametrize("body", [b"", b"[]", b"no json"])
def test_switches_are_a_json_object(caller: Caller, body: bytes) -> None:
    answer = caller.http.put("/sandbox/faults", data=body, content_type="application/json")

    assert answer.status_code == 400


def test_every_fault_has_a_switch_of_its_name() -> None:
    assert set(FAULTS) <= set(Switches().as_dict())


def test_struck_request_is_in_the_log_with_its_fault(caller: Caller) -> None:
    caller.switch(timeout_after_write=1)
    with contextlib.suppress(TimeoutError):
        caller.convert(caller.click(), "42")

    page = caller.http.get("/requests").text
    assert "no answer" in page
    assert "timeout after write" in page
    assert "customer created" in page
