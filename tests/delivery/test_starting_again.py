"""A web process's worker starts again, whatever its first start met."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event

import pytest
from flask import Flask

from flask_s2s import S2S, Click, Services
from flask_s2s.runtime.embedded import EmbeddedWorker
from flask_s2s.testing import ScriptedTransport
from flask_s2s.threads import Waker
from tests.delivery.shop import CONFIG
from tests.waiting import wait_until


class Site:
    """A site with the embedded worker, whose files are in `folder`."""

    def __init__(self, folder: Path, **config: object) -> None:
        self.network = ScriptedTransport()
        self.app = Flask(__name__, instance_path=str(folder))
        self.app.config.update(CONFIG, **config)
        s2s = S2S(self.app, transport=self.network)
        self.services: Services = self.app.extensions["s2s"]

        @self.app.get("/")
        def page() -> str:
            return "hello"

        @self.app.post("/signup")
        def signup() -> str:
            click = Click(click_id="click1", at=self.services.clock.now())
            s2s.track_signup(customer_key="42", click=click)
            return "welcome"

    def get(self) -> bool:
        return self.app.test_client().get("/").text == "hello"

    def sign_up(self) -> None:
        assert self.app.test_client().post("/signup").text == "welcome"

    def delivered(self) -> bool:
        return len(self.network.requests) == 1


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "instance")
    yield site
    site.services.close()


@contextmanager
def no_thread_to_be_had() -> Iterator[None]:
    """Threads ask for more memory than there are addresses."""
    threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(0)


def test_a_folder_that_is_made_later_delivers_what_was_told_before(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_its_place = tmp_path / "instance"
    in_its_place.write_text("no folder")
    assert site.get()
    site.sign_up()
    assert "s2s.conversion.late: StorageError" in caplog.text
    in_its_place.unlink()
    wait_until(site.delivered)


def test_where_no_thread_can_be_had_a_later_request_asks_again(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with no_thread_to_be_had():
        assert site.get()
        site.sign_up()
    assert "s2s.worker.not_started: RuntimeError" in caplog.text
    assert site.network.requests == []
    wait_until(lambda: site.get() and site.services.supervisor.embedded.alive)
    wait_until(site.delivered)


def test_the_stall_alarm_without_a_thread_costs_no_page(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(tmp_path, S2S_WORKER="external")
    site.services.supervisor.prepare()
    with no_thread_to_be_had():
        site.sign_up()
    assert "s2s.wake.failed" in caplog.text
    assert [one.customer_key for one in site.services.ledger.find()] == ["42"]
    site.services.close()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
def test_a_worker_that_dies_while_it_begins_begins_again(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    met = [error]
    works = Event()

    def work(waker: Waker) -> None:
        if met:
            raise met.pop()
        works.set()
        waker.pause(60)

    worker = EmbeddedWorker(work)
    assert worker.ensure()
    assert works.wait(60)
    assert worker.alive
    worker.stop()
    assert f"s2s.worker.not_started: {type(error).__name__}" in caplog.text


def test_a_worker_that_was_stopped_stays_so_until_it_is_asked_for() -> None:
    begun: list[int] = []

    def work(waker: Waker) -> None:
        begun.append(1)
        waker.pause(60)

    worker = EmbeddedWorker(work)
    worker.ensure()
    wait_until(lambda: begun)
    worker.stop()
    worker.wake()
    assert not worker.alive
    assert worker.ensure()
    wait_until(lambda: len(begun) == 2)
    worker.stop()


def test_the_first_page_of_a_process_waits_for_nothing(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A lock on the file makes the worker wait, and tell of it; not the page."""
    caplog.set_level(logging.INFO)
    site.services.supervisor.prepare()
    site.services.close()
    fresh = Site(tmp_path / "instance")
    file = tmp_path / "instance" / "flask_s2s.sqlite3"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=DELETE")
        other.execute("BEGIN EXCLUSIVE")
        assert fresh.get()
        assert "s2s.storage.unusable" not in caplog.text, "nothing has waited until it gave up"
        wait_until(lambda: "s2s.storage.unusable" in caplog.text)
        other.execute("ROLLBACK")
    fresh.sign_up()
    wait_until(fresh.delivered)
    fresh.services.close()
