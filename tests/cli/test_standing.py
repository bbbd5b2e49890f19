"""`status`: each lane with its successes and rests, and problems by stable codes, as the page has them."""

from __future__ import annotations

import json
import os
import socket
from datetime import timedelta
from importlib import metadata
from typing import Any

import pytest

from flask_s2s.cli import s2s
from flask_s2s.operations.lanes import lanes
from flask_s2s.testing import accepted, answered
from tests.cli.conftest import Site
from tests.cli.runner import cli_runner
from tests.dashboard.conftest import programme
from tests.dashboard.programme import Programme

__all__ = ["programme"]

TRACKING = "partnerstack/tracking"


def told(site: Site) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(site.run("status", "--json").stdout)
    return answer


def codes(site: Site) -> list[str]:
    return [one["code"] for one in told(site)["problems"]]


def lane(site: Site) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {one["lane"]: one for one in told(site)["lanes"]}
    return found[TRACKING]


def test_a_lane_tells_its_successes_and_its_failures_of_the_last_minutes(site: Site) -> None:
    site.network.then(accepted(), answered(429), accepted())
    for key in "abc":
        site.sign_up(key)
        site.drain()
    found = lane(site)
    assert found["tries"] == {"accepted": 2, "retry_later": 1}
    assert (found["accepted"], found["tried"], found["later"], found["due"]) == (2, 3, 1, 0)
    assert found["last_success"] == "2026-01-01T00:00:00+00:00"
    assert f"{TRACKING}  open" in site.run("status").stdout
    assert "2 of 3 accepted" in site.run("status").stdout
    site.clock.advance(minutes=16)
    assert lane(site)["tries"] == {}


@pytest.mark.parametrize("status", [404, 503])
def test_a_lane_without_a_success_since_it_began_is_red_in_minutes(site: Site, status: int) -> None:
    site.network.then(answered(status))
    site.sign_up()
    site.drain()
    assert codes(site) == []
    site.clock.advance(minutes=6)
    site.drain()
    assert "lane_fails" in codes(site)
    assert "nothing has been accepted since it began" in site.run("status").stdout
    site.network.then(accepted())
    site.clock.advance(hours=1)
    site.drain()
    assert codes(site) == []


def test_one_that_fails_while_others_pass_is_no_trouble_of_the_lane(site: Site) -> None:
    site.network.then(answered(404))
    site.sign_up("bad")
    site.drain()
    site.clock.advance(minutes=6)
    site.network.then(answered(404), accepted())
    site.sign_up("good")
    site.drain()
    assert lane(site)["accepted"] == 1
    assert "lane_fails" not in codes(site)


def test_a_closed_lane_tells_why_and_until_when(site: Site) -> None:
    site.network.then(answered(401))
    site.sign_up()
    site.drain()
    found = lane(site)
    assert (found["state"], found["until"]) == ("closed", "2026-01-01T00:00:30+00:00")
    assert "401" in found["reason"]
    assert codes(site) == ["lane_closed"]
    # What waits in a closed lane cannot go, so nobody is late with it.
    site.clock.advance(minutes=5)
    assert told(site)["oldest_that_could_go"] is None
    site.run("pause", TRACKING, "--for", "2h", "--yes")
    assert (lane(site)["state"], lane(site)["until"]) == ("paused", "2026-01-01T02:05:00+00:00")
    site.run("pause", TRACKING, "--yes")
    assert (lane(site)["state"], lane(site)["until"]) == ("paused", None)


def test_what_could_go_and_does_not_is_late_though_a_worker_lives(site: Site) -> None:
    site.sign_up()
    site.clock.advance(minutes=3)
    site.services.supervisor.heartbeat.seen(site.clock.now())
    assert told(site)["oldest_that_could_go"] == "2026-01-01T00:00:00+00:00"
    assert codes(site) == ["late"]


def test_the_page_and_the_command_line_say_the_same_of_a_lane_and_of_money(
    programme: Programme,
) -> None:
    programme.signs_up("42", "ada")
    programme.pays("42", 4950, "INV-7")
    programme.after(minutes=1)

    def run(*command: str) -> Any:
        return json.loads(cli_runner(programme.app).invoke(s2s, [*command, "--json"]).stdout)

    page = programme.read("/delivery")
    (worker,) = run("status")["workers"]
    assert f"{worker['version']}; 0 in flight" in page
    for one in run("status")["lanes"]:
        assert one["lane"] in page
        if one["tried"]:
            assert f"{one['accepted']} accepted" in page
    assert [
        one.count.lane
        for one in lanes(programme.services.supervisor, programme.services.clock.now())
    ] == [one["lane"] for one in run("status")["lanes"]]
    (payment,) = run("list", "--key", "INV-7")
    shown = programme.read(f"/conversions/{payment['id']}")
    assert (payment["amount"], payment["currency"], payment["partner_key"]) == (4950, "USD", "ada")
    assert "49.50" in shown
    assert "INV-7" in shown
    assert "Ada & Co" in shown


def test_a_network_that_answers_404_is_no_proof_that_its_path_is_right(site: Site) -> None:
    site.services.supervisor.prepare()
    site.network.then(answered(404))

    def network() -> list[tuple[str, str]]:
        found = json.loads(site.run("check", "--json").stdout)
        return [(one["level"], one["code"]) for one in found if one["subject"] == "network"]

    assert network() == [("note", "network_404")]
    site.network.then(accepted(), answered(404))
    site.sign_up()
    site.drain()
    assert network() == [("ok", "")]


def test_each_process_that_delivers_is_told_with_its_rests(site: Site) -> None:
    site.services.supervisor.prepare()
    assert told(site)["workers"] == []
    site.drain()
    (seen,) = told(site)["workers"]
    assert (seen["host"], seen["in_flight"]) == (socket.gethostname(), 0)
    assert seen["name"] == f"{seen['host']}:{os.getpid()}"
    assert seen["version"] == metadata.version("flask-s2s")
    assert seen["name"] in site.run("status").stdout

    until = site.clock.now() + timedelta(seconds=40)
    site.services.supervisor.workers.report(site.clock.now(), 3, {TRACKING: until})
    assert [one["in_flight"] for one in told(site)["workers"]] == [3]
    found = lane(site)
    assert (found["state"], found["until"]) == ("rests", "2026-01-01T00:00:40+00:00")
    site.clock.advance(seconds=41)
    assert lane(site)["state"] == "open"


def test_a_process_that_was_not_seen_for_a_day_is_forgotten_by_the_next(site: Site) -> None:
    site.drain()
    rows = site.services.storage.tables.worker
    with site.services.storage.engine().begin() as connection:
        connection.execute(rows.update().values(name="gone:1"))
    site.clock.advance(hours=23)
    site.services.supervisor.workers.report(site.clock.now(), 0, {})
    assert len(told(site)["workers"]) == 2
    with site.services.storage.engine().begin() as connection:
        connection.execute(rows.update().where(rows.c.name != "gone:1").values(name="gone:2"))
    site.clock.advance(hours=2)
    site.services.supervisor.workers.report(site.clock.now(), 0, {})
    assert {one["name"] for one in told(site)["workers"]} == {
        f"{socket.gethostname()}:{os.getpid()}",
        "gone:2",
    }


def test_a_lane_of_which_many_tries_come_to_nothing_is_told(site: Site) -> None:
    for number in range(8):
        site.network.then(answered(500) if number % 2 else accepted())
        site.sign_up(str(number))
        site.drain()
    assert (codes(site), lane(site)["state"]) == (["lane_unsteady"], "unsteady")
    assert f"{TRACKING}  unsteady" in site.run("status").stdout


def test_click_ids_that_strangers_write_are_no_trouble_of_the_lane(site: Site) -> None:
    for number in range(8):
        site.network.then(answered(404) if number % 2 else accepted())
        site.sign_up(str(number))
        site.drain()
    assert (codes(site), lane(site)["state"]) == ([], "open")
    site.network.then(answered(404))
    site.sign_up("more")
    site.drain()
    assert codes(site) == ["lane_unsteady"]


def test_a_lane_that_was_mended_is_no_trouble_once_all_got_through(site: Site) -> None:
    site.network.then(*[answered(503)] * 6)
    for number in range(6):
        site.sign_up(str(number))
    site.drain()
    assert codes(site) == ["lane_unsteady"]
    site.network.then(*[accepted()] * 6)
    site.clock.advance(minutes=3)
    site.drain()
    found = lane(site)
    assert (found["accepted"], found["tried"] >= 12, codes(site)) == (6, True, [])
