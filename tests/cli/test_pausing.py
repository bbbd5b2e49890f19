"""`pause` and `resume`: a lane that an operator closes stays so, whatever workers do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flask_s2s import Services, Settings
from flask_s2s.networks.messages import Request, Response
from flask_s2s.testing import accepted, answered
from tests.cli.conftest import Site

LANE = "partnerstack/tracking"


def statuses(site: Site) -> set[str]:
    return {one.status.value for one in site.services.ledger.find()}


def test_a_paused_lane_sends_nothing_until_it_is_resumed(site: Site) -> None:
    site.sign_up("a")
    asked = site.run("pause", LANE, input="y\n")
    assert f"Let 1 wait in {LANE} until it is resumed?" in asked.stderr
    site.sign_up("b")
    for _ in range(3):
        assert site.drain() == 0
        site.clock.advance(hours=9)
    assert site.network.requests == []
    red = site.run("status")
    assert red.exit_code == 1
    said = f"{LANE} is paused by hand since 2026-01-01 00:00 UTC, until somebody resumes it"
    assert said in red.stdout
    assert f"`flask s2s resume {LANE}` opens it." in red.stdout

    site.network.then(accepted())
    assert site.run("resume", LANE, "--why", "all is well").exit_code == 0
    assert site.drain() == 2
    assert site.run("resume", LANE).exit_code == 1
    acts = json.loads(site.run("audit", "--json").stdout)
    assert [(one["act"], one["why"], one["detail"]) for one in acts] == [
        ("resume", "all is well", {"lane": LANE}),
        ("pause", None, {"lane": LANE}),
    ]


def test_a_pause_for_a_time_ends_by_itself(site: Site) -> None:
    site.sign_up()
    site.run("pause", LANE, "--for", "4h", "--yes", "--why", "their night")
    calm = site.run("status")
    said = f"note  {LANE} is paused by hand until 2026-01-01 04:00 UTC: their night."
    assert (calm.exit_code, said in calm.stdout) == (0, True)
    site.clock.advance(hours=3, minutes=59)
    assert site.drain() == 0
    site.clock.advance(minutes=1)
    site.drain()
    site.drain()
    assert statuses(site) == {"delivered"}
    assert site.run("status").exit_code == 0


def test_what_comes_back_while_a_lane_is_paused_does_not_open_it(site: Site) -> None:
    for key in "ab":
        site.sign_up(key)

    class Interrupted:
        """The network, which answers while somebody pauses the lane."""

        def send(self, request: Request, *, seconds: float) -> Response:
            assert site.run("pause", LANE, "--yes").exit_code == 0
            # As another thread of the worker does all the time.
            assert [breaker.lane for breaker in sending.supervisor.breakers.closed()] == [LANE]
            return accepted()

    settings = Settings.from_mapping({**site.app.config, "S2S_CONCURRENCY": 1})
    folder = Path(site.app.instance_path)
    sending = Services.build(settings, folder=folder, transport=Interrupted(), clock=site.clock)
    assert sending.drain() == 1
    sending.close()
    assert statuses(site) == {"delivered", "pending"}
    assert site.drain() == 0


def test_a_held_lane_that_is_paused_is_probed_no_more(site: Site) -> None:
    site.network.then(answered(401))
    site.sign_up()
    site.drain()
    assert statuses(site) == {"held"}
    site.run("pause", LANE, "--yes")
    for _ in range(3):
        site.clock.advance(minutes=5)
        site.drain()
    assert len(site.network.requests) == 1
    site.network.then(accepted())
    site.run("resume", LANE)
    site.drain()
    assert statuses(site) == {"delivered"}


@pytest.mark.parametrize(
    "wrong", [("nowhere",), (LANE, "--for", "soon"), (LANE, "--for", "999999w")]
)
def test_what_cannot_be_meant_pauses_nothing(site: Site, wrong: tuple[str, ...]) -> None:
    site.services.supervisor.prepare()
    assert site.run("pause", *wrong, "--yes").exit_code == 2
    assert site.services.supervisor.breakers.closed() == []
