"""Deliveries of each engine from one PostgreSQL: `flask s2s work`, and Celery on two brokers.

Each has its default settings: 8 in flight in a process. While a queue is drained, the site goes on
hinting as further commits would: one hint is one task, and one task is one process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from flask_s2s import Services
from tests.benchmarks.delivery import commit_to_post
from tests.benchmarks.figures import Delay, Figure, Measured
from tests.benchmarks.filling import fill
from tests.benchmarks.processes import CannotMeasure
from tests.benchmarks.running import Process, answering, database, delivered, open_site, worker
from tests.integrations.site import make_site
from tests.services import reachable
from tests.waiting import wait_until

_ROUNDS = 3
#: How many are drained in a round, where the network answers at once and where it is far away.
_AT_ONCE, _FAR = 1000, 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine: so many processes of `flask s2s work`, or of Celery on a broker."""

    what: str
    processes: int
    broker: str = ""


_ENGINES = (
    Engine(what="`work`, 1 process", processes=1),
    Engine(what="`work`, 2 processes", processes=2),
    Engine(what="Celery on Redis, 1 process", processes=1, broker="redis"),
    Engine(what="Celery on Redis, 2", processes=2, broker="redis"),
    Engine(what="Celery on RabbitMQ, 2", processes=2, broker="rabbitmq"),
)


def engines() -> list[Figure]:
    """How many a second, and how soon, of each engine."""
    return [figure for engine in _ENGINES for figure in _measure(engine)]


def _measure(engine: Engine) -> Iterator[Figure]:
    with database("postgresql") as url, answering() as network, _site(engine, url, network) as site:
        rate = _rate(site, _AT_ONCE)
        spans = commit_to_post(site, network)
    with database("postgresql") as url, answering(50) as network:
        with _site(engine, url, network) as site:
            far = _rate(site, _FAR)
    yield Measured(
        what=engine.what,
        against="a network that answers at once",
        value=rate,
        unit="/s",
        goal=None,
        rest=f"{far:,.0f} a second from a network 50 ms away",
    )
    yield Delay(
        what="  commit to post", against="each on an idle system", budget=None, milliseconds=spans
    )


def _rate(site: Services, count: int) -> float:
    found = []
    for number in range(_ROUNDS + 1):
        prefix = f"round{number}-"
        fill(site, count, prefix=prefix)
        with _hinting(site.supervisor.wake):
            found.append(count / delivered(site, count, prefix))
    return median(found[1:])  # the first opens connections


@contextmanager
def _hinting(hint: Callable[[], None]) -> Iterator[None]:
    over = threading.Event()

    def go_on() -> None:
        hint()
        while not over.wait(0.05):
            hint()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _site(engine: Engine, url: str, network: str) -> Iterator[Services]:
    """Yield the services of a site, with its engine running."""
    with ExitStack() as stack:
        if engine.broker:
            site = stack.enter_context(_with_celery(engine, url, network))
        else:
            site = open_site(url, S2S_WORKER="external")
            for _ in range(engine.processes):
                stack.enter_context(worker(url, network))
        stack.callback(site.close)
        yield site


@contextmanager
def _with_celery(engine: Engine, url: str, network: str) -> Iterator[Services]:
    try:
        broker = reachable(engine.broker).render_as_string(hide_password=False)
    except (pytest.skip.Exception, pytest.fail.Exception) as missing:
        raise CannotMeasure(str(missing)) from None
    with TemporaryDirectory(prefix="flask-s2s-benchmark.") as folder:
        about = {
            "SITE_NAME": f"s2s_benchmark_{url.rpartition('_')[2]}",
            "SITE_FOLDER": folder,
            "SITE_DATABASE": url,
            "SITE_BROKER": broker,
            "SITE_LEASE": "60",
            "SITE_NETWORK": network,
        }
        app, celery_app = make_site(about)
        site: Services = app.extensions["s2s"]
        site.storage.create()
        site.supervisor.prepare()
        command = ["-m", "celery", "-A", "tests.integrations.worker:celery_app", "worker"]
        options = [f"-c{engine.processes}", "-lINFO", "--without-gossip", "--without-mingle"]
        with Process(*command, *options, **about) as process:
            wait_until(lambda: process.has_logged(b" ready."), 120, what="Celery is ready")
            yield site
        _leave(broker, about["SITE_NAME"], celery_app)


def _leave(broker: str, name: str, celery_app: Any) -> None:
    """Take what a site has left on a broker that others use."""
    if broker.startswith("redis"):
        import redis

        with redis.Redis.from_url(broker) as client:
            for key in client.scan_iter(f"{name}:*"):
                client.delete(key)
        return
    with celery_app.connection_for_write() as connection:
        channel = connection.channel()
        channel.queue_delete(name)
        channel.exchange_delete(name)
