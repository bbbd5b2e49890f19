"""Losses: what a process dropped is added to the database, by reason, once that is there again."""

from __future__ import annotations

import json

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from flask_s2s import Click, NotStored, Services
from flask_s2s.cli import s2s
from flask_s2s.store.background import Write
from flask_s2s.store.clicks import PAUSE
from flask_s2s.store.losses import Losses
from flask_s2s.testing import ManualClock
from tests.cli.runner import cli_runner
from tests.recording.test_waits import Opening, locked, open_services, report  # noqa: F401 - a fixture
from tests.waiting import wait_until


def drop(services: Services, number: int) -> None:
    now = services.clock.now()
    for one in range(number):
        assert not services.touches.remember(Click(click_id=f"click{one}", at=now), now)


def lost(services: Services) -> dict[tuple[str, str], int]:
    found = services.losses.lately(services.clock.now())
    return {(one.kind, one.reason): one.number for one in found}


def test_clicks_that_a_database_did_not_take_are_counted_in_it_when_it_is_there_again(
    open_services: Opening,  # noqa: F811
    database_url: str,
) -> None:
    services = open_services(database_url)
    services.storage.create()
    clock = services.clock
    assert isinstance(clock, ManualClock)
    first = Click(click_id="first", at=clock.now())

    def is_stored() -> bool:
        clock.advance(PAUSE)
        return services.touches.remember(first, now=clock.now())

    wait_until(is_stored)
    with locked(database_url):
        drop(services, 4)
    # The first failed, and may be stored after all; the others came soon after it.
    wait_until(lambda: lost(services).get(("click", "paused"), 0) >= 3)


def test_processes_add_up(open_services: Opening, database_url: str) -> None:  # noqa: F811
    one, other = (open_services(database_url, S2S_CLICK_RATE=0) for _ in range(2))
    one.storage.create()
    drop(one, 2)
    drop(other, 3)
    wait_until(lambda: lost(one) == {("click", "rate"): 5})


def test_a_conversion_that_no_database_takes_is_counted_by_its_kind_and_told(
    open_services: Opening,  # noqa: F811
    postgresql_url: str,
) -> None:
    services = open_services(postgresql_url, S2S_RECORD_WAIT=30, S2S_CLICK_RATE=0)
    services.storage.create()
    with services.storage.engine().begin() as connection:
        connection.execute(text("ALTER TABLE s2s_delivery ALTER click_id TYPE varchar(3)"))
    assert report(services) == NotStored(why="DataError")
    drop(services, 2)
    wait_until(lambda: lost(services) == {("signup", "refused"): 1, ("click", "rate"): 2})
    app = Flask("shop")
    app.extensions["s2s"] = services
    ran = cli_runner(app).invoke(s2s, ["status"])
    assert "1 lost in the last 7 days: no database took them" in ran.output
    told = json.loads(cli_runner(app).invoke(s2s, ["status", "--json"]).output)
    assert told["losses"] == [
        {"kind": "signup", "reason": "refused", "number": 1},
        {"kind": "click", "reason": "rate", "number": 2},
    ]


def test_what_could_not_be_added_is_kept_for_the_next_try_and_told_where_there_is_none(
    open_services: Opening,  # noqa: F811
    sqlite_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    services = open_services(sqlite_url)
    services.storage.create()
    later: list[Write[None]] = []

    def keep(write: Write[None]) -> bool:
        later.append(write)
        return True

    storage = services.storage
    losses = Losses(storage, services.clock, keep, lambda *_, **__: None)
    losses.count("click", "rate", 2)
    (adding,) = later
    with locked(sqlite_url):
        with pytest.raises(OperationalError):
            adding.run()
        adding.lost(None)
    assert "2 losses are in this log alone" in caplog.text
    adding.run()
    assert lost(services) == {("click", "rate"): 2}
