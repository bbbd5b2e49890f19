"""The metrics: what is counted, by the signals; what is asked, of an index; and who shows them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, text

from flask_s2s import S2S, Click, ConfigError, Services
from flask_s2s.cli import s2s as command
from flask_s2s.integrations.prometheus import Metrics
from flask_s2s.testing import ManualClock, ScriptedTransport, accepted, answered
from tests.cli.runner import cli_runner
from tests.cli.terminal import ROOT, Terminal, end

HUMAN = {"User-Agent": "Mozilla/5.0", "Sec-Fetch-Dest": "document"}


class Shop:
    """A site that counts, with a network whose answers are given."""

    def __init__(self, folder: Path, url: str, **config: object) -> None:
        self.clock, self.network = ManualClock(), ScriptedTransport()
        self.app = Flask("shop", instance_path=str(folder))
        own = {"SECRET_KEY": "for-tests-only-0123456789", "S2S_TOKEN": "tok", "TESTING": True}
        self.app.config.update({**own, "S2S_DATABASE_URI": url, **config})
        S2S(self.app, clock=self.clock, transport=self.network)
        self.app.add_url_rule("/", "home", lambda: "home")
        Metrics().init_app(self.app)
        self.services: Services = self.app.extensions["s2s"]
        self.services.storage.create()
        self.services.supervisor.prepare()

    def sign_up(self, key: str) -> None:
        click = Click(click_id=f"c{key}", at=self.clock.now())
        self.services.track_signup(customer_key=key, click=click)

    def metrics(self) -> dict[tuple[str, tuple[str, ...]], float]:
        answer = self.app.test_client().get("/metrics")
        assert answer.status_code == 200
        return samples(answer.text)


def samples(page: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return each sample by its name and the values of its labels."""
    return {
        (one.name, tuple(one.labels.values())): one.value
        for family in text_string_to_metric_families(page)
        for one in family.samples
    }


@pytest.fixture
def open_shop(tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    opened: list[Shop] = []

    def open_(url: str, **config: object) -> Shop:
        opened.append(Shop(tmp_path, url, **config))
        return opened[-1]

    yield open_
    for one in opened:
        one.services.close()
        one.services.storage.engine().dispose()


@pytest.fixture
def shop(open_shop: Callable[..., Shop], sqlite_url: str) -> Shop:
    return open_shop(sqlite_url)


def test_attempts_are_counted_by_lane_and_outcome_and_timed(
    open_shop: Callable[..., Shop], database_url: str
) -> None:
    shop = open_shop(database_url)
    shop.network.then(answered(503), accepted(), accepted())
    shop.sign_up("1")
    shop.services.drain()
    assert shop.metrics()["s2s_open", ("pending",)] == 1
    shop.clock.advance(hours=2)
    shop.sign_up("2")
    shop.services.drain()
    found = shop.metrics()
    lane = "partnerstack/tracking"
    assert found["s2s_attempts_total", (lane, "ambiguous")] == 1
    assert found["s2s_attempts_total", (lane, "accepted")] == 2
    assert found["s2s_attempt_duration_seconds_count", (lane,)] == 3
    # One of them waited for two hours.
    assert found["s2s_accepted_after_seconds_bucket", ("signup", "3600.0")] == 1
    assert found["s2s_accepted_after_seconds_count", ("signup",)] == 2
    assert found["s2s_deliveries_settled_total", ("delivered",)] == 2
    assert found["s2s_conversions_total", ("signup", "explicit")] == 2
    assert found["s2s_open", ("pending",)] == 0
    assert found["s2s_database_up", ()] == 1


def test_what_is_answered_404_is_counted_by_itself(shop: Shop) -> None:
    shop.network.then(answered(404), answered(429))
    shop.sign_up("1")
    shop.sign_up("2")
    shop.services.drain()
    found = shop.metrics()
    assert found["s2s_attempts_total", ("partnerstack/tracking", "not_found")] == 1
    since = found["s2s_lane_tried_timestamp_seconds", ("partnerstack/tracking",)]
    assert since == shop.clock.now().timestamp()
    assert found["s2s_attempts_total", ("partnerstack/tracking", "retry_later")] == 1


def test_a_lane_that_is_paused_for_a_time_is_told_from_one_that_is_closed(shop: Shop) -> None:
    lane, now = "partnerstack/tracking", shop.clock.now()
    for until, paused in ((now + timedelta(hours=4), 1), (None, 0)):
        shop.services.supervisor.breakers.pause(lane, "their night", until, now)
        found = shop.metrics()
        assert found["s2s_lane_closed", (lane,)] == 1
        assert found["s2s_lane_paused", (lane,)] == paused


def test_landings_are_counted_kept_or_ignored_by_why(shop: Shop) -> None:
    client = shop.app.test_client()
    client.get("/?ps_xid=abcdefgh1234", headers=HUMAN)
    robot = {**HUMAN, "User-Agent": "Googlebot/2.1"}
    client.get("/?ps_xid=abcdefgh1234", headers=robot)
    client.get("/?ps_xid={xid}", headers=HUMAN)
    found = shop.metrics()
    assert found["s2s_clicks_total", ()] == 1
    assert found["s2s_clicks_ignored_total", ("robot",)] == 1
    assert found["s2s_clicks_ignored_total", ("placeholder",)] == 1


def test_a_click_without_a_row_is_counted_by_why(
    open_shop: Callable[..., Shop], sqlite_url: str
) -> None:
    shop = open_shop(sqlite_url, S2S_CLICK_DAY=0)
    shop.app.test_client().get("/?ps_xid=abcdefgh1234", headers=HUMAN)
    assert shop.metrics()["s2s_clicks_not_stored_total", ("day",)] == 1


def test_a_closed_lane_is_a_gauge_and_a_signal_until_it_opens(shop: Shop) -> None:
    from flask_s2s.signals import lane_closed, lane_opened

    heard: list[tuple[str, str]] = []

    def closes(sender: object, *, lane: str, reason: str) -> None:
        heard.append((lane, reason))

    def opens(sender: object, *, lane: str) -> None:
        heard.append((lane, "open"))

    shop.network.then(answered(401), accepted())
    with lane_closed.connected_to(closes, shop.app), lane_opened.connected_to(opens, shop.app):
        shop.sign_up("1")
        shop.services.drain()
        found = shop.metrics()
        assert found["s2s_lane_closed", ("partnerstack/tracking",)] == 1
        assert found["s2s_lane_closed", ("partnerstack/api",)] == 0
        assert found["s2s_lane_paused", ("partnerstack/tracking",)] == 0
        assert found["s2s_open", ("held",)] == 1
        since = found["s2s_lane_closed_timestamp_seconds", ("partnerstack/tracking",)]
        assert since == shop.clock.now().timestamp()
        shop.clock.advance(minutes=1)
        shop.services.drain()
    assert shop.metrics()["s2s_lane_closed", ("partnerstack/tracking",)] == 0
    assert heard == [
        ("partnerstack/tracking", "the credential was answered with 401"),
        ("partnerstack/tracking", "open"),
    ]


def test_processes_that_live_are_counted_with_what_they_send(shop: Shop) -> None:
    workers = shop.services.supervisor.workers
    assert shop.metrics()["s2s_workers", ()] == 0
    workers.report(shop.clock.now(), 3, {})
    found = shop.metrics()
    assert (found["s2s_workers", ()], found["s2s_in_flight", ()]) == (1, 3)
    shop.clock.advance(minutes=3)
    found = shop.metrics()
    assert (found["s2s_workers", ()], found["s2s_in_flight", ()]) == (0, 0)


def test_losses_of_all_processes_are_a_gauge_by_reason(shop: Shop) -> None:
    losses = shop.services.losses
    losses.count("signup", "refused")
    losses.count("click", "rate", 4)
    losses.add()
    found = shop.metrics()
    assert found["s2s_losses", ("signup", "refused")] == 1
    assert found["s2s_losses", ("click", "rate")] == 4
    shop.clock.advance(days=8)
    assert not any(name == "s2s_losses" for name, _ in shop.metrics())


def test_a_scrape_reads_no_table_to_its_end(shop: Shop) -> None:
    shop.sign_up("1")
    asked: list[str] = []
    engine = shop.services.storage.engine()

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        asked.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    shop.metrics()
    event.remove(engine, "before_cursor_execute", note)
    plans = []
    with engine.connect() as connection:
        for statement in (one for one in asked if one.startswith("SELECT")):
            count = statement.count("?")
            raw = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", ("1",) * count)
            plans += [row[3] for row in raw]
        connection.execute(text("SELECT 1"))
    assert any("ix_s2s_delivery_status" in plan for plan in plans)
    scanned = [plan for plan in plans if plan.startswith("SCAN")]
    # Small, and kept so.
    small = ("s2s_breaker", "s2s_worker")
    assert [plan for plan in scanned if not any(name in plan for name in small)] == []


def test_a_database_that_is_away_fails_no_scrape(
    open_shop: Callable[..., Shop], sqlite_url: str
) -> None:
    shop = open_shop(sqlite_url)
    shop.sign_up("1")
    with shop.services.storage.engine().begin() as connection:
        connection.execute(text("ALTER TABLE s2s_delivery RENAME TO gone"))
    found = shop.metrics()
    assert found["s2s_database_up", ()] == 0
    assert found["s2s_conversions_total", ("signup", "explicit")] == 1


def test_a_site_that_shows_metrics_already_brings_its_registry(
    tmp_path: Path, sqlite_url: str
) -> None:
    registry = CollectorRegistry()
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update(
        SECRET_KEY="for-tests-only-0123456789", TESTING=True, S2S_DATABASE_URI=sqlite_url
    )
    S2S(app)
    Metrics(registry).init_app(app, path=None)
    assert registry.get_sample_value("s2s_clicks_total") == 0
    assert app.test_client().get("/metrics").status_code == 404


def test_metrics_of_an_app_that_is_none_of_ours_are_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"Call S2S\(\)\.init_app\(app\) first"):
        Metrics().init_app(Flask("other"))


def test_without_the_package_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['prometheus_client'] = None; "
    code += "import flask_s2s.integrations.prometheus"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "pip install 'flask-s2s[prometheus]'" in ran.stderr


def test_processes_that_share_a_folder_show_one_sum(tmp_path: Path) -> None:
    code = (
        "from tests.integrations.test_prometheus import Shop, samples; import pathlib, sys;"
        "folder = pathlib.Path(sys.argv[1]);"
        "shop = Shop(folder, f'sqlite:///{folder}/s2s.db');"
        "shop.sign_up(sys.argv[2]);"
        "print(shop.metrics()['s2s_conversions_total', ('signup', 'explicit')])"
    )
    shared = tmp_path / "shared"
    shared.mkdir()
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(shared)}
    said = [
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), key],
            capture_output=True,
            text=True,
            env=env,
            cwd=ROOT,
            check=True,
        ).stdout
        for key in ("1", "2")
    ]
    assert said == ["1.0\n", "2.0\n"]


# -- a worker of its own ----------------------------------------------------------------------------


def test_a_worker_shows_its_own(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    site = Terminal(tmp_path, S2S_WORKER="external", SITE_METRICS="1")
    worker = site.start("work", "--metrics", str(port))
    assert worker.stderr is not None
    while "Working." not in worker.stderr.readline():
        assert worker.poll() is None
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        found = samples(answer.read().decode())
    assert found["s2s_database_up", ()] == 1
    code, _ = end(worker, signal.SIGTERM)
    assert code == 0


def test_a_worker_of_an_app_that_counts_nothing_says_what_to_add(
    tmp_path: Path, sqlite_url: str
) -> None:
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update(SECRET_KEY="for-tests-only-0123456789", S2S_DATABASE_URI=sqlite_url)
    S2S(app)
    for port, says in (("9108", "Metrics().init_app(app)"), ("x", "is no [HOST:]PORT")):
        result = cli_runner(app).invoke(command, ["work", "--metrics", port])
        assert result.exit_code == 2
        assert says in result.stderr
