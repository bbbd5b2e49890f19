"""The tasks and their schedule, each called as Celery would, in this process."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from flask import Flask, current_app

from flask_s2s import S2S, Click, ConfigError, Services
from flask_s2s.integrations.celery import DELIVER, SWEEP, CeleryEngine, Site
from flask_s2s.networks.messages import Request, Response, Transport
from flask_s2s.sandbox import create_sandbox
from flask_s2s.signals import delivery_settled
from flask_s2s.testing import ManualClock, ScriptedTransport, accepted, answered
from tests.test_packaging import modules_after, of_package
from tests.verification.site import CONFIG, KEYS, Line

MakeApp = Callable[..., Flask]


@pytest.fixture
def celery_app() -> Celery:
    return Celery("site", broker="memory://", set_as_current=False)


@pytest.fixture
def make_app(tmp_path: Path) -> MakeApp:
    def make_app(
        name: str = "shop",
        *,
        transport: Transport | None = None,
        clock: ManualClock | None = None,
        **config: Any,
    ) -> Flask:
        app = Flask(name, instance_path=str(tmp_path / name))
        app.config.update(CONFIG, S2S_WORKER="external", TESTING=True)
        app.config.update(config)
        S2S(app, transport=transport or ScriptedTransport(), clock=clock or ManualClock())
        return app

    return make_app


def services_of(app: Flask) -> Services:
    services: Services = app.extensions["s2s"]
    return services


def sign_up(app: Flask, *keys: str, click_id: str = "Click123456789") -> None:
    services = services_of(app)
    services.supervisor.prepare()
    for key in keys:
        click = Click(click_id=click_id, at=services.clock.now())
        services.track_signup(customer_key=key, click=click)


def statuses(app: Flask) -> dict[str, str]:
    return {d.customer_key or "": d.status.value for d in services_of(app).ledger.find()}


# -- what is asked of the host ------------------------------------------------------------------


def test_an_embedded_worker_beside_celery_is_refused_with_the_remedy(
    celery_app: Celery, make_app: MakeApp
) -> None:
    with pytest.raises(ConfigError, match="Set it to 'external'"):
        CeleryEngine(celery_app).init_app(make_app(S2S_WORKER="embedded"))


def test_an_app_without_s2s_is_refused(celery_app: Celery) -> None:
    with pytest.raises(ConfigError, match="Call S2S"):
        CeleryEngine(celery_app).init_app(Flask("bare"))


def test_a_name_that_is_taken_is_refused_unless_testing(
    celery_app: Celery, make_app: MakeApp
) -> None:
    engine = CeleryEngine(celery_app)
    engine.init_app(make_app("one", TESTING=False))
    taken = make_app("two", TESTING=False)
    with pytest.raises(ConfigError, match="name="):
        CeleryEngine(celery_app).init_app(taken, name="one")
    # A test-suite makes its app again and again.
    engine.init_app(make_app("three"), name="one")


def test_a_suite_that_sets_testing_after_its_factory_sends_no_hint_and_makes_its_app_again(
    celery_app: Celery, make_app: MakeApp
) -> None:
    for _ in range(2):
        app = make_app("shop", TESTING=False)
        CeleryEngine(celery_app).init_app(app)
        app.config.update(TESTING=True)
        sign_up(app, "42")
        assert "s2s-hint" not in {thread.name for thread in threading.enumerate()}
        celery_app.tasks[DELIVER]("shop")
        assert statuses(app) == {"42": "delivered"}
        services_of(app).close()


def test_without_celery_the_import_names_the_extra() -> None:
    code = "import sys; sys.modules['celery'] = None; import flask_s2s.integrations.celery"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("pip install 'flask-s2s[celery]'")


def test_a_site_that_does_not_ask_for_celery_does_not_load_it() -> None:
    loaded = modules_after("import flask_s2s; flask_s2s.S2S; import flask_s2s.services")
    assert "flask_s2s.extension" in loaded
    assert of_package("celery", loaded) == set()


# -- the tasks ----------------------------------------------------------------------------------


def test_apps_on_one_celery_app_do_not_mix(celery_app: Celery, make_app: MakeApp) -> None:
    one, two = make_app("one"), make_app("two")
    CeleryEngine(celery_app).init_app(one)
    CeleryEngine(celery_app).init_app(two)
    sign_up(one, "1")
    sign_up(two, "2")
    celery_app.tasks[DELIVER]("one")
    assert (statuses(one), statuses(two)) == ({"1": "delivered"}, {"2": "pending"})
    celery_app.tasks[SWEEP]("two")
    assert statuses(two) == {"2": "delivered"}


def test_the_tasks_are_given_to_no_other_celery_app(celery_app: Celery, make_app: MakeApp) -> None:
    CeleryEngine(celery_app).init_app(make_app())
    assert DELIVER in celery_app.tasks
    assert DELIVER not in Celery("other", set_as_current=False).tasks


def test_a_message_for_an_app_that_is_not_here_is_said(
    celery_app: Celery, make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    CeleryEngine(celery_app).init_app(make_app())
    celery_app.tasks[DELIVER]("elsewhere")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "'elsewhere'" in record.getMessage()


def test_a_database_that_fails_is_said_without_its_statement(
    celery_app: Celery, make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()
    CeleryEngine(celery_app).init_app(app)
    sign_up(app, "a person's key")
    with services_of(app).storage.engine().begin() as connection:
        connection.exec_driver_sql("ALTER TABLE s2s_attempt RENAME TO gone")
    celery_app.tasks[DELIVER]("shop")
    assert [r.levelname for r in caplog.records if r.name == "flask_s2s.celery"] == ["ERROR"]
    assert "OperationalError" in caplog.text
    assert "a person's key" not in caplog.text
    with services_of(app).storage.engine().begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO s2s_attempt")
    celery_app.tasks[SWEEP]("shop")
    assert statuses(app) == {"a person's key": "delivered"}


def test_what_settles_is_told_within_the_app(celery_app: Celery, make_app: MakeApp) -> None:
    app = make_app()
    CeleryEngine(celery_app).init_app(app)
    sign_up(app, "1")
    told: list[str] = []

    def tell(sender: Any, **_: Any) -> None:
        told.append(current_app.name)

    with delivery_settled.connected_to(tell, app):
        celery_app.tasks[DELIVER]("shop")
    assert told == ["shop"]


def test_the_sweep_sends_again_and_verifies(celery_app: Celery, make_app: MakeApp) -> None:
    clock = ManualClock()
    sandbox = create_sandbox(now=clock.now)
    line = Line(sandbox)
    app = make_app(transport=line, clock=clock, **KEYS)
    CeleryEngine(celery_app).init_app(app)
    line.instead = lambda request: answered(503)
    landing = sandbox.test_client().get("/go/ada").headers["Location"]
    sign_up(app, "42", click_id=landing.partition("ps_xid=")[2].partition("&")[0])
    celery_app.tasks[DELIVER]("shop")
    assert statuses(app) == {"42": "pending"}
    line.mend()
    clock.advance(timedelta(hours=1))
    celery_app.tasks[SWEEP]("shop")
    assert statuses(app) == {"42": "delivered"}
    clock.advance(timedelta(hours=1))
    celery_app.tasks[SWEEP]("shop")
    assert statuses(app) == {"42": "confirmed"}


class Gated:
    """A network that answers once the test lets it."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self.may_answer = threading.Event()

    def send(self, request: Request, *, seconds: float) -> Response:
        self.arrived.release()
        assert self.may_answer.wait(60)
        return accepted()


def test_a_turn_that_is_too_short_for_all_hints_at_another(make_app: MakeApp) -> None:
    network = Gated()
    app = make_app(transport=network, S2S_CONCURRENCY=1)
    sign_up(app, "1", "2", "3")
    hinted: list[bool] = []
    site = Site(app, services_of(app), lambda: hinted.append(True), turn=0.5)
    turn = threading.Thread(target=site.deliver)
    turn.start()
    assert network.arrived.acquire(timeout=240)
    turn.join(1.0)  # until well after the turn, which waits for what is in flight
    network.may_answer.set()
    turn.join(60)
    assert hinted == [True]
    assert sorted(statuses(app).values()) == ["delivered", "pending", "pending"]
    Site(app, services_of(app), lambda: hinted.append(True)).deliver()
    assert hinted == [True]
    assert set(statuses(app).values()) == {"delivered"}


def test_two_tasks_at_once_in_a_process_are_one_that_looks_again(make_app: MakeApp) -> None:
    network = Gated()
    app = make_app(transport=network, S2S_CONCURRENCY=1)
    sign_up(app, "1")
    site = Site(app, services_of(app), lambda: None)
    first = threading.Thread(target=site.deliver)
    first.start()
    assert network.arrived.acquire(timeout=240)
    sign_up(app, "2")
    site.deliver()  # returns at once, though the first is not done
    assert statuses(app) == {"1": "sending", "2": "pending"}
    network.may_answer.set()
    first.join(60)
    assert statuses(app) == {"1": "delivered", "2": "delivered"}


def test_a_closed_lane_is_probed_at_its_own_pace_and_not_by_every_hint(
    celery_app: Celery, make_app: MakeApp
) -> None:
    network, clock = ScriptedTransport(answered(401)), ManualClock()
    app = make_app(transport=network, clock=clock)
    CeleryEngine(celery_app).init_app(app)
    for number in range(10):
        sign_up(app, str(number))
        celery_app.tasks[DELIVER]("shop")
    asked = len(network.requests)
    assert asked < 10
    clock.advance(timedelta(minutes=1))
    celery_app.tasks[SWEEP]("shop")
    assert len(network.requests) == asked + 1


# -- the schedule -------------------------------------------------------------------------------

_OTHERS = {"mine": {"task": "mine", "schedule": 5.0}}


@pytest.mark.parametrize(
    "order", ["before", "in an object", "in an object later", "after", "after it was read"]
)
def test_the_sweep_is_in_the_schedule_however_the_host_configures(
    celery_app: Celery, make_app: MakeApp, order: str
) -> None:
    engine = CeleryEngine(celery_app)
    if order == "before":
        celery_app.conf.beat_schedule = dict(_OTHERS)
    if order == "in an object":
        celery_app.config_from_object({"beat_schedule": dict(_OTHERS)})
    if order == "after it was read":
        assert celery_app.conf.timezone is None
    engine.init_app(make_app(), sweep=7, queue="conversions")
    if order == "in an object later":
        celery_app.config_from_object({"beat_schedule": dict(_OTHERS)})
    if order.startswith("after"):
        celery_app.conf.beat_schedule = dict(_OTHERS)
    celery_app.finalize()  # as a worker and beat do
    schedule = dict(celery_app.conf.beat_schedule)
    entry = schedule.pop(f"{SWEEP}:shop")
    assert schedule == _OTHERS
    assert (entry["task"], entry["schedule"], entry["args"]) == (SWEEP, 7.0, ("shop",))
    assert entry["options"]["queue"] == "conversions"


def test_a_host_with_a_schedule_of_its_own_leaves_ours_out(
    celery_app: Celery, make_app: MakeApp
) -> None:
    CeleryEngine(celery_app).init_app(make_app(), sweep=None)
    celery_app.finalize()
    assert dict(celery_app.conf.beat_schedule) == {}
    with pytest.raises(ConfigError, match="seconds, or None"):
        CeleryEngine(celery_app).init_app(make_app("other"), sweep=0)
