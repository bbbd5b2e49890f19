"""Days of reports in the advertiser's own zone (`S2S_REPORT_ZONE`), also where its clocks change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from flask_s2s import Settings
from flask_s2s.cli import s2s
from flask_s2s.errors import ConfigError
from flask_s2s.operations.period import Period
from flask_s2s.operations.report import days, overview, partners, total
from tests.cli.runner import cli_runner
from tests.dashboard.programme import Programme
from tests.dashboard.test_numbers import sums
from tests.dashboard.test_verdict import has_everything

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def berlin(tmp_path: Path, database_url: str) -> Iterator[Programme]:
    """A site in Berlin, at 23:30 of the last day of the year by its own clock."""
    made = Programme(tmp_path, database_url, S2S_REPORT_ZONE="Europe/Berlin")
    made.clock.advance(timedelta(minutes=-90))
    yield made
    made.close()


def test_a_sign_up_counts_on_the_sites_own_day(berlin: Programme) -> None:
    berlin.signs_up("old year", "ada")
    berlin.clock.advance(timedelta(hours=1))
    berlin.signs_up("new year", "ada")
    now = berlin.clock.now().astimezone(BERLIN)
    period = Period.named("7d", now)
    found = overview(sums(berlin), period)
    assert [sum(split.values()) for _, split in found.days] == [0, 0, 0, 0, 0, 1, 1]
    assert (found.days[-1][0], found.clicks) == (datetime(2026, 1, 1, tzinfo=BERLIN), 2)
    (line,) = partners(sums(berlin), period)
    assert line.days == [0, 0, 0, 0, 0, 1, 1]
    by_day = days(sums(berlin), period)
    assert [(one.name, one.clicks) for one in by_day[-2:]] == [("2025-12-31", 1), ("2026-01-01", 1)]
    assert overview(sums(berlin), Period.named("today", now)).recorded == 1


def test_the_pages_and_the_command_line_have_one_day(berlin: Programme) -> None:
    berlin.signs_up("old year", "ada")
    berlin.clock.advance(timedelta(hours=1))
    berlin.signs_up("new year", "ada")
    today = berlin.read("/?period=today")
    assert "Credited sign-ups 1 100.0 % of clicks" in today
    assert "Times are in Europe/Berlin." in today
    listed = berlin.read("/conversions?from=2025-12-31&to=2025-12-31")
    assert "31 Dec 2025, 23:30" in listed
    assert "1 shown of 1." in listed
    command = ["report", "--since", "today", "--by", "day"]
    said = cli_runner(berlin.app).invoke(s2s, command).stdout
    assert "2026-01-01 to 2026-01-01 (Europe/Berlin)" in said
    told = json.loads(cli_runner(berlin.app).invoke(s2s, [*command, "--json"]).stdout)
    assert (told["since"], told["total"]["signups"]) == ("2026-01-01T00:00:00+01:00", 1)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("America/Havana", "2026-03-08", 23),
        ("Asia/Kolkata", "2026-06-01", 24),
    ],
)
def test_each_hour_is_on_one_day_where_the_clocks_change(
    tmp_path: Path, database_url: str, zone: str, day: str, hours: float
) -> None:
    changing = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    first = changing - timedelta(days=2)
    period = Period.between(
        f"{first:%Y-%m-%d}", f"{changing + timedelta(days=2):%Y-%m-%d}", changing.tzinfo
    )
    programme = Programme(tmp_path, database_url, S2S_REPORT_ZONE=zone)
    at, every = period.since.astimezone(timezone.utc), timedelta(minutes=30)
    programme.clock.advance(at - programme.clock.now())
    number = 0
    while at < period.until.astimezone(timezone.utc):
        programme.signs_up(str(number), "ada")
        programme.clock.advance(every)
        at, number = at + every, number + 1
    found = overview(sums(programme), period)
    by_day = [sum(split.values()) for _, split in found.days]
    assert by_day == [48, 48, int(hours * 2), 48, 48]
    assert sum(by_day) == found.credited == total(days(sums(programme), period)).signups == number
    assert [line.days for line in partners(sums(programme), period)] == [by_day]
    programme.close()


def test_a_pause_until_tomorrow_morning_is_the_sites_own(berlin: Programme) -> None:
    client, path = berlin.client(), "/partners/delivery/pause?lane=partnerstack/tracking"
    page = client.get(path).text
    token = page.split('name="token" value="')[1].split('"')[0]
    form = {"token": token, "until": "tomorrow", "why": "their night"}
    assert client.post(path, data=form).status_code == 303
    assert "until 1 Jan 2026, 08:00" in berlin.read("/delivery")


def test_a_zone_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="Europe/Berln"):
        Settings.from_mapping({"SECRET_KEY": "a" * 32, "S2S_REPORT_ZONE": "Europe/Berln"})
    read = Settings.from_mapping({"SECRET_KEY": "a" * 32, "S2S_REPORT_ZONE": "utc"})
    assert read.report_zone is timezone.utc


def test_the_verdict_and_the_checks_are_in_the_reports_zone(
    tmp_path: Path, sqlite_url: str
) -> None:
    with closing(Programme(tmp_path, sqlite_url, S2S_REPORT_ZONE="Europe/Berlin")) as programme:
        has_everything(programme)
        lane = "partnerstack/api"
        now = programme.clock.now()
        programme.services.supervisor.breakers.pause(lane, "their night", None, now)
        for page in ("/", "/settings"):
            said = programme.read(page)
            assert f"{lane} is paused by hand since 2026-01-01 01:00 CET, until" in said
            assert "partnerstack/tracking rests until 01:10:00 CET" in said
            assert "UTC" not in said
