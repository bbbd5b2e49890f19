"""`flask s2s verify`, and what `status` and `check` say of verification."""

from __future__ import annotations

import json
import signal
from typing import Any

from click.testing import Result
from flask import Flask

from flask_s2s import S2S, Status
from flask_s2s.cli import s2s as command
from flask_s2s.networks.network import Response
from tests.verification.conftest import Opening
from tests.verification.site import KEYS, Site


def run(site: Site, *arguments: str) -> Result:
    """Run a command of a site whose transport and clock are ours."""
    app = Flask("shop")
    app.config.update(site.config, S2S_DATABASE_URI=site.url)
    S2S(transport=site.line).init_app(app)
    app.extensions["s2s"] = site.services
    # `work` takes the signals of its process, which here is the test run's.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        result: Result = app.test_cli_runner().invoke(command, args=arguments)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return result


def answer(site: Site, *arguments: str) -> tuple[int, dict[str, Any]]:
    result = run(site, "verify", "--json", *arguments)
    return result.exit_code, json.loads(result.output)


def test_nothing_to_verify(site: Site) -> None:
    result = run(site, "verify")
    assert (result.exit_code, result.output) == (0, "Nothing to verify.\n")
    code, told = answer(site)
    assert (code, told["asked"], told["missing"], told["sent_again"]) == (0, 0, 0, 0)


def test_a_sign_up_is_confirmed_before_its_time(site: Site) -> None:
    signup = site.sign_up()
    site.services.drain()
    result = run(site, "verify")
    assert (result.exit_code, result.output) == (0, "1 asked for: 1 confirmed.\n")
    assert site.status(signup) is Status.CONFIRMED


def test_absence_says_nothing_too_soon_however_often_it_is_asked(site: Site) -> None:
    signup = site.sign_up()
    site.services.drain()
    site.forget("42")
    for _ in range(3):
        code, told = answer(site)
        assert (code, told["not_yet"], told["asked"]) == (0, 1, 1)
    row = site.row(signup)
    assert (row.status, row.checks, row.resent) == (Status.DELIVERED, 0, 0)


def test_two_looks_in_a_row_are_one_look(site: Site) -> None:
    signup = site.sign_up()
    site.services.drain()
    site.forget("42")
    site.clock.advance(minutes=16)
    for _ in range(3):
        answer(site)
    assert (site.row(signup).checks, site.row(signup).resent) == (1, 0)
    site.clock.advance(minutes=40)
    code, told = answer(site)
    assert (code, told["sent_again"], told["signups"][0]["result"]) == (1, 1, "sent_again")
    assert site.status(signup) is Status.PENDING


def test_an_api_that_is_down_is_told_apart(site: Site) -> None:
    signup = site.sign_up()
    site.services.drain()
    site.line.cut_api()
    code, told = answer(site)
    assert (code, told["unknown"], told["signups"][0]["customer_key"]) == (1, 1, "42")
    assert site.status(signup) is Status.DELIVERED
    assert "could not connect" in run(site, "verify").output


def test_api_keys_that_are_refused_are_named(site: Site) -> None:
    site.sign_up()
    site.services.drain()
    site.line.instead = lambda request: Response(status=401) if "/api/" in request.url else None
    result = run(site, "verify")
    assert result.exit_code == 1
    assert "Correct S2S_PARTNERSTACK_PUBLIC_KEY and S2S_PARTNERSTACK_SECRET_KEY" in result.output


def test_a_missing_customer_that_appeared_is_found_by_name_or_by_all(site: Site) -> None:
    site.line.instead = lambda request: Response(status=200) if request.method == "POST" else None
    signup = site.sign_up()
    for _ in range(40):
        site.after(minutes=15)
    assert site.status(signup) is Status.MISSING
    assert answer(site)[1]["asked"] == 0
    assert answer(site, "--all")[1]["asked"] == 1
    status = run(site, "status")
    assert (status.exit_code, "1 not on record" in status.output) == (1, True)
    site.line.mend()
    click = site.click()
    site.http.post(
        "/conversion/xid",
        json={"xid": click.click_id, "customer_key": "42"},
        headers={"Authorization": "Bearer sandbox-token"},
    )
    assert answer(site, "--customer", "42") == (
        0,
        {
            "asked": 1,
            "confirmed": 1,
            "not_yet": 0,
            "sent_again": 0,
            "missing": 0,
            "unproven": 0,
            "unknown": 0,
            "test_record": 0,
            "signups": [
                {
                    "id": signup.id,
                    "customer_key": "42",
                    "result": "confirmed",
                    "detail": "on record at the network",
                    "resent": 2,
                }
            ],
        },
    )
    assert site.status(signup) is Status.CONFIRMED


def test_what_was_delivered_before_there_were_keys_is_verified_by_all(
    open_site: Opening,
) -> None:
    site = open_site(keys=False)
    signup = site.sign_up()
    site.services.drain()
    assert "S2S_PARTNERSTACK_PUBLIC_KEY" in run(site, "verify").output
    assert run(site, "verify").exit_code == 1
    site.services = site.another(None, **KEYS)
    assert answer(site)[1]["asked"] == 0
    assert answer(site, "--all")[1]["confirmed"] == 1
    assert site.status(signup) is Status.CONFIRMED


def test_nobody_of_this_name(site: Site) -> None:
    result = run(site, "verify", "--customer", "nobody")
    assert (result.exit_code, "No delivered sign-up" in result.output) == (1, True)


def test_a_test_record_is_loud_for_a_week(open_site: Opening) -> None:
    site = open_site(
        S2S_TOKEN="sandbox-test-token",
        S2S_PARTNERSTACK_PUBLIC_KEY="pk_sandbox_test",
        S2S_PARTNERSTACK_SECRET_KEY="sk_sandbox_test",
    )
    site.sign_up()
    site.services.drain()
    code, told = answer(site)
    assert (code, told["test_record"]) == (1, 1)
    site.services.crew.vitals.seen(site.clock.now())
    status = run(site, "status")
    assert (status.exit_code, "test records" in status.output) == (1, True)
    assert "as a test" in run(site, "check").output
    site.clock.advance(days=8)
    assert "test records" not in run(site, "status").output
    assert "as a test" not in run(site, "check").output


def test_work_once_verifies_and_sends_what_waited(site: Site) -> None:
    signup = site.sign_up()
    assert run(site, "work", "--once").exit_code == 0
    assert site.status(signup) is Status.DELIVERED
    site.clock.advance(minutes=15)
    assert run(site, "work", "--once").exit_code == 0
    assert site.status(signup) is Status.CONFIRMED
