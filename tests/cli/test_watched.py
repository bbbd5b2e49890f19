"""A worker and a site as others watch them: JSON lines, a health file, probes."""

from __future__ import annotations

import json
import logging
import signal
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from flask_s2s import S2S, Services
from flask_s2s.cli.worker import JsonLines
from flask_s2s.sandbox import create_sandbox
from flask_s2s.sandbox.server import serve
from tests.cli.terminal import Terminal, end
from tests.cli.test_processes import Sign, services, sign_up
from tests.waiting import wait_until

#: Fixtures of the other module.
__all__ = ["services", "sign_up"]


def test_a_worker_logs_json_lines_and_touches_its_file(
    tmp_path: Path, services: Services, sign_up: Sign
) -> None:
    sign_up("42")
    health = tmp_path / "alive"
    with serve(create_sandbox()) as network:
        site = Terminal(
            tmp_path, S2S_PARTNERSTACK_URL=network.url, DEBUG="1", S2S_WORKER="external"
        )
        worker = site.start("work", "--log-json", "--health-file", str(health))
        wait_until(health.exists)
        wait_until(lambda: services.ledger.find(status="delivered") != [])
        code, said = end(worker, signal.SIGTERM)
    assert code == 0
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    (told,) = [line for line in lines if line["event"] == "delivery.delivered"]
    assert told["delivery_id"] == 1
    assert told["http_status"] == 200
    assert told["level"] == "info"
    assert told["message"].startswith("s2s.delivery.delivered: id 1")


def test_a_line_holds_whatever_was_raised(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("flask_s2s.test")
    try:
        raise ValueError("two\nlines \N{SNOWMAN}")
    except ValueError:
        log.exception("s2s.test: %s", "a\nb", extra={"action": "test", "lane": {1, 2}.__class__})
    (record,) = caplog.records
    line = JsonLines().format(record)
    assert "\n" not in line
    assert line.isascii()
    told: dict[str, Any] = json.loads(line)
    assert (told["event"], told["message"]) == ("test", "s2s.test: a\nb")
    assert told["lane"] == "<class 'set'>"
    assert "two\nlines" in told["exception"]


@pytest.fixture
def app(tmp_path: Path, database_url: str) -> Any:
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update(SECRET_KEY="for-tests-only-0123456789", TESTING=True)
    app.config["S2S_DATABASE_URI"] = database_url
    s2s = S2S(app)
    app.register_blueprint(s2s.probes(), url_prefix="/health")
    services: Services = app.extensions["s2s"]
    services.storage.create()
    services.supervisor.prepare()
    yield app
    services.close()
    services.storage.engine().dispose()


def test_a_process_is_ready_while_its_outbox_answers_and_alive_in_any_case(app: Flask) -> None:
    client, services = app.test_client(), app.extensions["s2s"]
    assert client.get("/health/alive").get_json() == {"alive": True}
    answer = client.get("/health/ready")
    assert answer.status_code == 200
    assert answer.get_json() == {"ready": True, "oldest_due": None, "worker_seen": None}
    with services.storage.engine().begin() as connection:
        connection.execute(text("ALTER TABLE s2s_delivery RENAME TO gone"))
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.get_json()["ready"] is False
    assert client.get("/health/alive").status_code == 200
    with services.storage.engine().begin() as connection:
        connection.execute(text("ALTER TABLE gone RENAME TO s2s_delivery"))
    assert client.get("/health/ready").status_code == 200
