"""A conversion wakes the embedded worker, once it is committed: nobody waits for a poll."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from flask import g

from flask_s2s.runtime.embedded import EmbeddedWorker
from flask_s2s.threads import Waker
from tests.recording.desk import Desk
from tests.recording.rows import conversions


class OnlyWhenRung:
    """A worker that never looks by itself: it drains when it is woken, and notes it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.drained = threading.Semaphore(0)

    def __call__(self, waker: Waker) -> None:
        while not waker.wait(600.0):
            if self._desk.drain():
                self.drained.release()


@pytest.fixture
def awake(sqlite_url: str) -> Iterator[tuple[Desk, OnlyWhenRung]]:
    desk = Desk(sqlite_url)
    worker = OnlyWhenRung(desk)
    desk.services.supervisor.embedded = EmbeddedWorker(worker)
    desk.services.supervisor.embedded.ensure()
    yield desk, worker
    desk.services.supervisor.embedded.stop()


@pytest.mark.parametrize("door", ["call", "call alone", "signal", "decorator"])
@pytest.mark.parametrize("when", ["told first", "committed first"])
def test_the_commit_rings(awake: tuple[Desk, OnlyWhenRung], door: str, when: str) -> None:
    desk, worker = awake

    def view() -> str:
        g.user = desk.new_user()
        if when == "committed first" or door == "call alone":
            desk.db.session.commit()
        if door == "call alone":
            desk.s2s.track_signup(customer_key=g.user.id)
        elif door != "decorator":
            desk.tell(door, g.user)
        desk.db.session.commit()
        return ""

    if door == "decorator":
        key = lambda: g.user.id  # noqa: E731
        desk.post(desk.s2s.conversion(customer_key=key, session=desk.db.session)(view))
    else:
        desk.post(view)
    assert worker.drained.acquire(timeout=240), "nobody woke it"
    assert conversions(desk.uri) == [("1", "delivered")]
