"""Verifying beside the worker: it stands in nobody's way, and ends with it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flask_s2s import Status
from flask_s2s.conversion import Action
from flask_s2s.errors import TransportError
from flask_s2s.networks.messages import Request
from flask_s2s.threads import Waker
from tests.verification.site import Site
from tests.waiting import PATIENCE, wait_until


@contextmanager
def working(site: Site, poll: float = 0.05) -> Iterator[Waker]:
    """Run what a worker's process runs, until the block ends."""
    waker = Waker()
    thread = threading.Thread(
        target=site.services.supervisor.work, args=(waker,), kwargs={"poll": poll}
    )
    thread.start()
    try:
        yield waker
    finally:
        waker.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def verifying_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "s2s-verify"]


def test_a_confirmed_sign_up_lets_its_children_go_without_waiting_for_a_poll(
    any_site: Site,
) -> None:
    any_site.switch(readable_after_seconds=600)
    signup = any_site.sign_up()
    action = any_site.track(Action(customer_key="42", type="activated"))
    any_site.services.drain()
    assert any_site.status(action) is Status.WAITING
    any_site.clock.advance(minutes=15)
    with working(any_site, poll=120):
        wait_until(lambda: any_site.status(action) is Status.DELIVERED)
    assert any_site.status(signup) is Status.CONFIRMED
    wait_until(lambda: not verifying_threads())


class CountingWaker(Waker):
    """Counts how often it was woken."""

    def __init__(self) -> None:
        super().__init__()
        self.wakes = 0

    def wake(self) -> None:
        self.wakes += 1
        super().wake()


def test_a_verdict_rings_for_the_worker(site: Site) -> None:
    signup = site.sign_up()
    site.services.drain()
    site.clock.advance(minutes=15)
    waker = CountingWaker()
    with site.services.supervisor.verifier().beside(waker):
        wait_until(lambda: waker.wakes == 1)
    assert site.status(signup) is Status.CONFIRMED


def test_an_api_that_never_answers_stops_no_sign_up(site: Site) -> None:
    site.sign_up("first")
    site.services.drain()
    site.clock.advance(minutes=15)
    asked, hang_up = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        if "/api/" in request.url:
            asked.set()
            hang_up.wait(600)
            raise TransportError("no answer", sent=True)

    site.line.instead = hold
    with working(site):
        assert asked.wait(PATIENCE)
        later = [site.sign_up(f"later-{number}") for number in range(20)]
        wait_until(lambda: all(site.status(one) is Status.DELIVERED for one in later))
        assert not hang_up.is_set()
        hang_up.set()
    assert site.ledger()["totals"]["customers"] == 21


def test_an_api_that_is_down_stops_no_sign_up_either(site: Site) -> None:
    site.line.cut_api()
    with working(site):
        for number in range(5):
            signup = site.sign_up(f"customer-{number}")
            wait_until(lambda one=signup: site.status(one) is Status.DELIVERED)  # type: ignore[misc]
            site.clock.advance(minutes=20)
    assert site.ledger()["totals"]["customers"] == 5


def test_stopping_does_not_wait_for_an_answer_of_the_api(site: Site) -> None:
    site.sign_up()
    site.services.drain()
    site.clock.advance(minutes=15)
    asked, hang_up = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        asked.set()
        hang_up.wait(600)

    site.line.instead = hold
    try:
        with working(site):
            assert asked.wait(PATIENCE)
    finally:
        hang_up.set()
    wait_until(lambda: not verifying_threads())


#: As in a worker of `gunicorn --preload -k gevent`: the app is imported before gevent patches.
PATCHED_LATE = """
import sys
from flask_s2s import Services, Settings
from flask_s2s.threads import Waker

keys = {"S2S_PARTNERSTACK_PUBLIC_KEY": "pk", "S2S_PARTNERSTACK_SECRET_KEY": "sk"}
settings = Settings.from_mapping({"SECRET_KEY": "for-tests-only-0123456789", **keys})
services = Services.build(settings, folder=sys.argv[1])
from gevent import monkey
monkey.patch_all()
import threading
services.supervisor.prepare()
with services.supervisor.verifier().beside(Waker(), farewell=600):
    print([one.name for one in threading.enumerate()].count("s2s-verify"))
"""


def test_an_end_under_gevent_waits_for_no_thread_that_has_ended(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PATCHED_LATE, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    assert done.stdout == "2\n", done.stderr
