"""The first landings of a fresh site, whose own file has no tables yet, get their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from flask_s2s import S2S, Services
from flask_s2s.testing import ScriptedTransport
from tests.waiting import wait_until

Opening = Callable[[str], Flask]


@pytest.fixture
def open_fresh(tmp_path: Path) -> Iterator[Opening]:
    apps: list[Flask] = []

    def open_(worker: str) -> Flask:
        app = Flask("fresh", instance_path=str(tmp_path))
        app.config.update(
            SECRET_KEY="for-tests-only-0123456789", S2S_TOKEN="token", S2S_WORKER=worker
        )
        S2S(app, transport=ScriptedTransport())
        app.add_url_rule("/", view_func=lambda: "hello")
        apps.append(app)
        return app

    yield open_
    for app in apps:
        app.extensions["s2s"].close()


@pytest.mark.parametrize("worker", ["embedded", "external"])
def test_the_first_landings_of_a_fresh_site_are_stored(open_fresh: Opening, worker: str) -> None:
    app = open_fresh(worker)
    services: Services = app.extensions["s2s"]
    for number in range(3):
        assert app.test_client().get(f"/?ps_xid=click{number}").status_code == 200
    services.supervisor.prepare()
    wait_until(lambda: services.touches.count() == 3)
    assert app.test_client().get("/?ps_xid=click3").status_code == 200
    assert services.touches.count() == 4
    assert services.touches.skipped == {}
