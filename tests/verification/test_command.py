"""`flask s2s verify`, and what `status` and `check` say of verification."""

from __future__ import annotations

import json
import signal
from typing import Any

from click.testing import Result
from flask import Flask

from flask_s2s import S2S, Click, Delivery, Status, Transaction
from flask_s2s.cli import s2s as command
from flask_s2s.networks.messages import Response
from tests.verification.conftest import Opening
from tests.verification.site import KEYS, Site


def run(site: Site, *arguments: str, input: str | None = None) -> Result:
    """Run a command of a site whose transport and clock are ours."""
    app = Flask("shop")
    app.config.update(site.config, S2S_DATABASE_URI=site.url)
    S2S(transport=site.line).init_app(app)
    app.extensions["s2s"] = site.services
    # `work` takes the signals of its process, which here is the test run's.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        result: Result = app.test_cli_runner().invoke(command, args=arguments, input=input)
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
    assert (code, told["sent_again"], told["deliveries"][0]["result"]) == (1, 1, "sent_again")
    assert site.status(signup) is Status.PENDING


def test_an_api_that_is_down_is_told_apart(site: Site) -> None:
    signup = site.sign_up()
    site.services.drain()
    site.line.cut_api()
    code, told = answer(site)
    assert (code, told["unknown"], told["deliveries"][0]["customer_key"]) == (1, 1, "42")
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
    assert "1 accepted by the network, and not on its record" in run(site, "check").output
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
            "undone": 0,
            "unknown": 0,
            "test_record": 0,
            "deliveries": [
                {
                    "id": signup.id,
                    "kind": "signup",
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
    assert (result.exit_code, "Nothing delivered" in result.output) == (1, True)


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
    site.services.supervisor.heartbeat.seen(site.clock.now())
    status = run(site, "status")
    assert (status.exit_code, "as a test" in status.output) == (1, True)
    assert "as a test" in run(site, "check").output
    site.clock.advance(days=8)
    assert "as a test" not in run(site, "status").output
    assert "as a test" not in run(site, "check").output


def test_work_once_verifies_and_sends_what_waited(site: Site) -> None:
    signup = site.sign_up()
    assert run(site, "work", "--once").exit_code == 0
    assert site.status(signup) is Status.DELIVERED
    site.clock.advance(minutes=15)
    assert run(site, "work", "--once").exit_code == 0
    assert site.status(signup) is Status.CONFIRMED


def missing(site: Site, *keys: str) -> None:
    """Let customers sign up whom the network accepts and does not record, until that is told."""
    site.line.instead = lambda request: (
        Response(status=200, headers={}, body=b"")
        if request.url.endswith("/conversion/xid")
        else None
    )
    signups = [site.sign_up(key, Click(click_id="junk", at=site.clock.now())) for key in keys]
    site.services.drain()
    for _ in range(12):
        site.after(hours=1)
    site.line.mend()
    assert {site.status(one) for one in signups} == {Status.MISSING}


def test_what_a_stranger_writes_into_a_link_is_told_and_is_no_alarm(site: Site) -> None:
    for key in ("a", "b", "c"):
        site.sign_up(key)
    site.services.drain()
    site.after(minutes=16)
    missing(site, "junk1", "junk2")
    for asking in ("status", "check"):
        told = run(site, asking)
        assert "2 accepted by the network, and not on its record: a few sign-ups" in told.output
    assert run(site, "status").exit_code == 0


def test_missing_sign_ups_that_are_not_outnumbered_are_an_alarm_until_acknowledged(
    any_site: Site,
) -> None:
    any_site.sign_up("a")
    any_site.services.drain()
    any_site.after(minutes=16)
    missing(any_site, "x", "y", "z")
    red = run(any_site, "status")
    assert (red.exit_code, "3 accepted by the network, and not on its record" in red.output) == (
        1,
        True,
    )
    assert run(any_site, "ack", "--status", "missing", "--yes").exit_code == 0
    assert run(any_site, "status").exit_code == 0


def test_what_is_discarded_stays_back_with_what_waits_for_it(any_site: Site) -> None:
    signup = any_site.sign_up("a")
    paid = any_site.track(Transaction(customer_key="a", amount=1, currency="USD", key="inv-1"))
    done = run(any_site, "discard", "--kind", "signup", "--yes", "--json")
    assert json.loads(done.output) == {"discarded": 1}
    any_site.after(minutes=1)
    assert any_site.status(signup) is Status.WITHDRAWN
    assert any_site.status(paid) is Status.UNATTRIBUTED
    (worker,) = json.loads(run(any_site, "status", "--json").output)["workers"]
    assert worker["in_flight"] == 0


def test_a_click_id_that_is_answered_404_is_told_and_is_no_alarm_until_others_fail_too(
    any_site: Site,
) -> None:
    site = any_site
    site.line.instead = lambda request: (
        Response(status=404, headers={}, body=b"") if "unheard-of" in str(request.body) else None
    )

    def told() -> tuple[list[str], list[str]]:
        found = json.loads(run(site, "status", "--json").output)
        problems, notes = ([one["code"] for one in found[k]] for k in ("problems", "notes"))
        return problems, notes

    def strange(key: str) -> Delivery:
        return site.sign_up(key, Click(click_id="unheard-of", at=site.clock.now()))

    site.sign_up("known")
    junk = strange("junk")
    site.services.drain()
    site.after(minutes=16)
    while "unknown_click" not in told()[1]:
        assert told()[0] == []
        site.after(hours=1)
    # Somebody's links are wrong, or the path is: more are answered so than are accepted.
    strange("junk2")
    for _ in range(12):
        site.after(hours=1)
    assert told() == (["stuck"], [])
    # What is near its deadline, and what has passed it, is theirs too.
    site.after(days=88)
    for key in ("known2", "known3"):
        site.sign_up(key)
    site.services.drain()
    site.after(minutes=16)
    assert told() == ([], ["unknown_click"])
    site.after(days=3)
    assert site.status(junk) is Status.EXPIRED
    assert told() == ([], ["unknown_click_expired"])
