"""A site that adds: `SYSTEM add|work|both COUNT PLACE NETWORK`, for us and for what else is used.

`add` adds `COUNT` conversions, prints the seconds of each as JSON once the last is acknowledged,
and waits to be killed. `work` delivers what others have added, as the system's own worker does.
`PLACE` is the database, the broker or the file. Every system has its default settings.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from time import perf_counter
from typing import Any

import requests
from sqlalchemy.orm import Session

from flask_s2s import Click
from tests.benchmarks.running import open_site

Add = Callable[[str], object]


def post(network: str, key: str) -> None:
    """A queue's task: report one customer."""
    requests.post(f"{network}/conversion/xid", json={"customer_key": key}, timeout=20)


class OurSession:
    """Ours in the caller's transaction; each is acknowledged by its commit."""

    commits = True

    def __init__(self, place: str, network: str) -> None:
        self._site = open_site(place, S2S_PARTNERSTACK_URL=network)
        self._session = Session(self._site.storage.engine())

    def add(self, key: str) -> None:
        click = Click(click_id="a1B2c3D4e5F6g7", at=datetime.now(timezone.utc))
        self._site.track_signup(customer_key=key, click=click, session=self._session)
        if self.commits:
            self._session.commit()

    def work(self) -> None:
        self._site.start_serving()


class OurOpenTransaction(OurSession):
    """Ours, without the commit that the site's own transaction ends with anyway."""

    commits = False


class CeleryOnRedis:
    def __init__(self, place: str, network: str) -> None:
        from celery import Celery

        self._app = Celery("benchmark", broker=place)

        @self._app.task(name="post")  # type: ignore[untyped-decorator]
        def task(key: str) -> None:
            post(network, key)

        self._task = task

    def add(self, key: str) -> None:
        self._task.delay(key)

    def work(self) -> None:
        self._app.worker_main(["worker", "--pool=threads", "--concurrency=8", "--loglevel=ERROR"])


class HueyOnSqlite:
    def __init__(self, place: str, network: str) -> None:
        from huey import SqliteHuey

        self._huey = SqliteHuey(filename=place)
        self._task = self._huey.task(name="post")(lambda key: post(network, key))

    def add(self, key: str) -> None:
        self._task(key)

    def work(self) -> None:
        self._huey.create_consumer(workers=8).run()


class PosthogClient:
    def __init__(self, place: str, network: str) -> None:
        from posthog import Posthog

        self._client = Posthog("phc_benchmark", host=network)

    def add(self, key: str) -> None:
        self._client.capture("signed up", distinct_id=key)


class SegmentClient:
    def __init__(self, place: str, network: str) -> None:
        from segment.analytics.client import Client

        self._client = Client("benchmark", host=network)

    def add(self, key: str) -> None:
        self._client.track(key, "signed up")


SYSTEMS: dict[str, Callable[[str, str], Any]] = {
    "ours": OurSession,
    "ours-open": OurOpenTransaction,
    "celery": CeleryOnRedis,
    "huey": HueyOnSqlite,
    "posthog": PosthogClient,
    "segment": SegmentClient,
}


def main(system: str, what: str, count: str, place: str, network: str) -> None:
    site = SYSTEMS[system](place, network)
    if what == "both":
        site.work()
    if what == "work":
        print("working", flush=True)
        site.work()
        return
    site.add("first")
    seconds = []
    for number in range(int(count)):
        began = perf_counter()
        site.add(f"key{number}")
        seconds.append(perf_counter() - began)
    print(json.dumps(seconds), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
