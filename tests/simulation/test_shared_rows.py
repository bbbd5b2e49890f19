"""One customer, two requests: what one of them may not undo for the other.

The simulation found these: a row that a view has armed was withdrawn when that view failed, though
another request had committed the same conversion meanwhile and was told that it is recorded.
"""

from __future__ import annotations

import pytest

from tests.simulation.database import Database
from tests.simulation.events import Event, History, Record, Strike
from tests.simulation.play import play
from tests.simulation.world import SECOND, START


def both(*events: Event) -> History:
    return History(
        seed=1,
        events=events,
        skews=(0.0, 0.0, 0.0),
        second_reward=True,
        lag=60.0,
        wakes=True,
    )


def signing_up(number: int, how: str, end: str, pause: float) -> Record:
    return Record(
        at=float(number),
        number=number,
        what="signup",
        customer="c0",
        xid="xid0",
        how=how,
        end=end,
        pause=pause,
    )


@pytest.mark.parametrize("how", ["call", "fact", "alone"])
def test_a_failing_view_does_not_withdraw_what_another_request_recorded(
    database: Database, how: str
) -> None:
    failing = signing_up(0, "view", "fail", 3.0)
    played = play(both(failing, signing_up(1, how, "commit", 0.0)), database)
    assert not played.violations
    assert played.statuses == {"confirmed": 1}


@pytest.mark.parametrize("pause", [0.0, 10.0])
def test_a_failing_view_does_not_withdraw_what_another_view_recorded(
    database: Database, pause: float
) -> None:
    failing = signing_up(0, "view", "fail", 3.0)
    played = play(both(failing, signing_up(1, "view", "commit", pause)), database)
    assert not played.violations
    assert played.statuses == {"confirmed": 1}


def test_a_second_view_that_fails_does_not_withdraw_what_the_first_recorded(
    database: Database,
) -> None:
    succeeding = signing_up(0, "view", "commit", 10.0)
    played = play(both(succeeding, signing_up(1, "view", "fail", 1.0)), database)
    assert not played.violations
    assert played.statuses == {"confirmed": 1}


def test_a_failing_view_does_not_withdraw_what_a_killed_one_committed(database: Database) -> None:
    failing = signing_up(0, "view", "fail", 3.0)
    strike = Strike(at=0.9, how="kill", victim=1, label="view", countdown=1, seconds=0.5)
    played = play(both(failing, strike, signing_up(1, "view", "commit", 10.0)), database)
    assert played.deaths == {"view": 1}
    assert not played.violations
    assert played.statuses == {"confirmed": 1}


def test_the_first_success_releases_what_two_views_share(database: Database) -> None:
    succeeding = signing_up(0, "view", "commit", 3.0)
    play(both(succeeding, signing_up(1, "view", "fail", 10.0)), database)
    (attempt,) = database.rows("SELECT opened_at FROM s2s_attempt")
    # Not only when the lease has run out, after a minute.
    assert attempt["opened_at"] < START + 20 * SECOND
