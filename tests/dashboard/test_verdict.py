"""The verdict: the overview says what `flask s2s status` says, in its words and order."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from sqlalchemy import update

from flask_s2s.cli import s2s
from flask_s2s.testing import answered
from tests.cli.runner import cli_runner
from tests.dashboard.programme import Programme

LANE = "partnerstack/tracking"


def has_everything(programme: Programme) -> None:
    """One refused, a lane that rests, and a partner whose links collect addresses."""
    programme.line.instead = lambda _: answered(400, '{"message": "meta does not match"}')
    programme.signs_up("1", "ada")
    programme.services.drain()
    programme.line.instead = lambda _: answered(429, retry_after="600")
    programme.signs_up("2", "ada")
    programme.services.drain()
    now = programme.clock.now()
    programme.services.supervisor.workers.report(now, 0, {LANE: now + timedelta(minutes=10)})


def told(programme: Programme) -> list[str]:
    """Return the sentences of `status`, without the signs of a command."""
    result = cli_runner(programme.app).invoke(s2s, ["status", "--json"])
    found = json.loads(result.stdout)
    return [one["message"].replace("`", "") for one in (*found["problems"], *found["notes"])]


def test_the_overview_says_what_status_says(programme: Programme) -> None:
    has_everything(programme)
    sentences = told(programme)
    assert sentences == [
        "1 refused in the last 7 days",
        f"{LANE} rests until 00:10:00 UTC: its network asked to slow down",
    ]
    said = programme.read("/")
    places = [said.index(one) for one in sentences]
    assert places == sorted(places)
    assert "Everything moves" not in said


def test_a_lane_that_was_mended_is_no_trouble_and_what_its_tries_came_to_is_told(
    programme: Programme,
) -> None:
    programme.line.instead = lambda _: answered(503)
    for number in range(6):
        programme.signs_up(str(number), "ada")
    programme.services.drain()
    programme.line.instead = lambda _: answered(200, "{}")
    programme.after(minutes=3)
    said = programme.read("/")
    assert "Everything moves." in said
    assert f"Of 12 tries of {LANE} in the last 15 minutes 6 were accepted." in said


def test_a_lane_of_which_nothing_is_accepted_is_not_said_to_move(programme: Programme) -> None:
    """Also before that is long enough for an alarm: it was told that nothing had been sent."""
    programme.line.instead = lambda _: answered(404, "<h1>Not Found</h1>")
    programme.signs_up("1", "ada")
    programme.services.drain()
    said = programme.read("/")
    assert "No alarm so far. Nothing was accepted yet; nothing is due, 1 has a later time." in said
    assert f"Of 1 try of {LANE} in the last 15 minutes none was accepted." in said
    assert "Everything moves" not in said


def test_the_rows_of_a_day_that_are_used_up_are_on_the_overview(
    tmp_path: Path, sqlite_url: str
) -> None:
    with closing(Programme(tmp_path, sqlite_url, S2S_CLICK_DAY=1)) as programme:
        programme.signs_up("1", "ada")
        assert "the click rows of today are used up" in told(programme)[0]
        assert "The click rows of today are used up" in programme.read("/")


def test_what_is_tried_later_is_no_nothing(programme: Programme) -> None:
    programme.line.instead = lambda _: answered(500)
    programme.signs_up("1", "ada")
    programme.services.drain()
    assert "nothing is due, 1 has a later time." in programme.read("/")


def test_what_waits_is_told_by_its_last_word(any_programme: Programme) -> None:
    programme = any_programme
    half = iter([answered(500)] * 2)
    programme.line.instead = lambda _: next(half, None)
    for number in range(4):
        programme.signs_up(str(number), "ada")
    programme.services.drain()
    programme.pays("0", 100, "in_1")
    programme.pays("1", 100, "in_2")
    programme.services.drain()
    programme.signs_up("new", "ada")
    said = programme.read("/delivery")
    assert (
        "answered 500; nobody knows yet whether it was taken The network may have it: no answer "
        "came that says. It is asked, or told again. Waits to be sent 2 2 00:00" in said
    )
    assert "not tried yet Waits to be sent 1 1 00:00" in said
    assert "waits for what it belongs to It goes out by itself once" in said
    assert "Waits for another 2 All 5" in said


def test_a_worker_that_is_silent_or_older_is_marked(programme: Programme) -> None:
    services, now = programme.services, programme.clock.now()
    services.supervisor.workers.report(now, 0, {})
    worker = services.storage.tables.worker
    with services.storage.engine().begin() as connection:
        connection.execute(update(worker).values(version="0.0.1"))
    programme.clock.advance(timedelta(minutes=3))
    page = programme.client().get("/partners/delivery").text
    assert '<span class="bad">not seen for 3 minutes</span>' in page
    assert '<span class="slow">0.0.1, not ' in page


def test_what_keeps_all_from_moving_is_told_before_what_failed_alone(programme: Programme) -> None:
    programme.line.instead = lambda _: answered(400, '{"message": "meta does not match"}')
    programme.signs_up("1", "ada")
    programme.services.drain()
    programme.signs_up("2", "ada")
    programme.clock.advance(timedelta(hours=1))
    nothing, refused = told(programme)
    assert nothing.startswith("nothing drains")
    assert refused == "1 refused in the last 7 days"
    # The page that the overview leads to says it as well, and nothing that is looked into elsewhere.
    said = programme.read("/delivery")
    assert "Nothing drains" in said
    assert "refused in the last" not in said
