"""A site, the stand-in network, and real Celery workers as processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
import requests

import tests
from flask_s2s import Services
from flask_s2s.sandbox import create_sandbox
from flask_s2s.sandbox.server import SandboxServer, serve
from tests.integrations.brokers import OwnRabbitMQ, OwnRedis
from tests.integrations.site import make_site
from tests.services import unavailable

ROOT = Path(tests.__file__).parents[1]
#: Seconds; a loaded machine is slow to start Python, and a worker to find its broker again.
PATIENCE = 60.0


class Site:
    """One site in this process, and its Celery workers in others."""

    def __init__(
        self, folder: Path, network: SandboxServer, database: str, broker: str, lease: int
    ) -> None:
        self.about = {
            "SITE_NAME": f"s2s_test_{uuid.uuid4().hex[:12]}",
            "SITE_FOLDER": str(folder),
            "SITE_DATABASE": database,
            "SITE_BROKER": broker,
            "SITE_LEASE": str(lease),
            "SITE_NETWORK": network.url,
        }
        self._folder = folder
        self._network = network.url
        self._workers: list[subprocess.Popen[bytes]] = []
        self.app, self.celery_app = make_site(self.about)
        self.services: Services = self.app.extensions["s2s"]
        self.services.storage.create()
        self.services.supervisor.prepare()

    # -- a visitor ----------------------------------------------------------------------------

    def sign_up(self, *keys: str) -> None:
        """Follow a partner's link and sign up, once for each key."""
        for key in keys:
            landing = requests.get(
                f"{self._network}/go/ada", allow_redirects=False, timeout=PATIENCE
            ).headers["Location"]
            client = self.app.test_client()
            client.get("/?" + landing.partition("?")[2])
            assert client.post("/signup", data={"key": key}).status_code == 200

    # -- what became of it --------------------------------------------------------------------

    def statuses(self) -> dict[str, str]:
        return {d.customer_key or "": d.status.value for d in self.services.ledger.find()}

    def are_delivered(self, *keys: str) -> bool:
        return self.statuses() == dict.fromkeys(keys, "delivered")

    def ledger(self) -> dict[str, Any]:
        """The network's customers."""
        record: dict[str, Any]
        record = requests.get(f"{self._network}/sandbox/ledger", timeout=PATIENCE).json()
        return record

    def credited(self) -> list[tuple[str, str]]:
        """Customers and their partners, as the network has them."""
        return sorted((one["external_key"], one["partner"]) for one in self.ledger()["customers"])

    def set_faults(self, **switches: object) -> None:
        answer = requests.put(f"{self._network}/sandbox/faults", json=switches, timeout=PATIENCE)
        answer.raise_for_status()

    # -- its workers --------------------------------------------------------------------------

    def start_worker(self, *, beat: bool) -> subprocess.Popen[bytes]:
        """Start a worker with two processes, and with the schedule inside or none at all."""
        schedule = ["-B", "-s", str(self._folder / f"beat-{len(self._workers)}")] if beat else []
        options = ["--without-gossip", "--without-mingle", "--without-heartbeat", *schedule]
        where = ["-A", "tests.integrations.worker:celery_app"]
        with open(self._folder / "celery.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", *where, "worker", "-c2", "-lINFO", *options],
                cwd=ROOT,
                env={**os.environ, **self.about},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._workers.append(process)
        return process

    def kill_workers(self) -> None:
        """SIGKILL, for each worker with all its processes."""
        for process in self._workers:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)
        self._workers.clear()

    def log(self) -> str:
        return (self._folder / "celery.log").read_text()

    def close(self) -> None:
        self.kill_workers()
        self.services.close()
        name = self.about["SITE_NAME"]
        with suppress(OSError, redis.ConnectionError, redis.TimeoutError):
            self._clean(name)

    def _clean(self, name: str) -> None:
        if self.about["SITE_BROKER"].startswith("redis"):
            with redis.Redis.from_url(self.about["SITE_BROKER"], socket_timeout=5) as client:
                for key in client.scan_iter(f"{name}:*"):
                    client.delete(key)
            return
        with self.celery_app.connection_for_write(connect_timeout=5) as connection:
            channel = connection.channel()
            channel.queue_delete(name)
            channel.exchange_delete(name)


@pytest.fixture
def network() -> Iterator[SandboxServer]:
    with serve(create_sandbox()) as server:
        yield server


@pytest.fixture
def open_site(tmp_path: Path, network: SandboxServer) -> Iterator[Callable[..., Site]]:
    """Make a site of a database and a broker; at the end its workers are killed."""
    opened: list[Site] = []

    def open_site(database: str, broker: str, lease: int = 3) -> Site:
        opened.append(Site(tmp_path, network, database, broker, lease))
        return opened[-1]

    yield open_site
    for site in opened:
        site.close()


@pytest.fixture
def own_redis(tmp_path: Path, redis_url: str) -> Iterator[OwnRedis]:
    """A Redis to be killed; where none runs at all there is no program for one either."""
    server = OwnRedis(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def own_rabbitmq(tmp_path: Path, rabbitmq_url: str) -> Iterator[OwnRabbitMQ]:
    """A RabbitMQ to be killed."""
    if not OwnRabbitMQ.PROGRAM.exists():
        unavailable("rabbitmq", "S2S_TEST_RABBITMQ", f"there is no {OwnRabbitMQ.PROGRAM} to kill")
    folder = tmp_path / "rabbitmq"
    folder.mkdir()
    server = OwnRabbitMQ(folder)
    server.start()
    yield server
    server.kill()
