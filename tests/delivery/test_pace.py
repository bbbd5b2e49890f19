"""`S2S_RATE`: how much one worker asks of the network, and what counts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flask_s2s import Status
from flask_s2s.delivery.throttle import Throttle
from flask_s2s.networks.messages import Request, Response
from flask_s2s.store.dialects.statements import EPOCH
from flask_s2s.testing import ScriptedTransport, accepted, answered
from flask_s2s.threads import Waker
from tests.delivery.conftest import Opening
from tests.delivery.shop import Shop
from tests.delivery.steps import claim
from tests.revenue.test_ordering import paid
from tests.verification.site import Site


class Patient(Waker):
    """Stops its worker once that has had nothing to do for so many times."""

    def __init__(self, waits: int = 40) -> None:
        super().__init__()
        self._left = waits

    def wait(self, seconds: float) -> bool:
        self._left -= 1
        if not self._left:
            self.stop()
        return super().wait(min(seconds, 0.02))


def test_no_more_is_sent_than_the_rate_allows(open_shop: Opening) -> None:
    shop = open_shop()
    for key in range(7):
        shop.sign_up(key)
    worker = shop.another({"S2S_RATE": 2}).supervisor.worker()
    # The clock stands still while it works: it has what it may send in one second.
    for sent in (2, 4, 6, 7):
        worker.run(Patient())
        assert len(shop.network.requests) == sent
        shop.clock.advance(seconds=1)
    assert shop.statuses() == {"delivered": 7}


def test_what_only_waits_costs_no_rate(sqlite_url: str) -> None:
    site = Site(sqlite_url)
    site.sign_up("there")
    site.services.drain()
    site.after(minutes=16)

    def full(request: Request) -> Response | None:
        return answered(429) if request.url.endswith("/conversion/xid") else None

    site.line.instead = full
    site.sign_up("waiting")
    site.services.drain()
    for number in range(20):
        site.track(paid("waiting", f"waits-{number}"))
    payment = site.track(paid("there", "paid-1"))
    site.another(S2S_RATE=1).supervisor.worker().run(Patient())
    assert site.status(payment) is Status.DELIVERED
    site.close()


def test_a_network_that_asks_to_wait_is_asked_nothing_meanwhile(open_shop: Opening) -> None:
    """Not by the others either: it is asked too much, and not by one customer."""
    shop = open_shop()
    for key in range(5):
        shop.sign_up(key)
    worker = shop.another({"S2S_CONCURRENCY": 1}).supervisor.worker()
    shop.network.then(answered(429, retry_after="30"))
    worker.run(Patient())
    shop.network.then(accepted())
    shop.clock.advance(seconds=29)
    worker.run(Patient())
    assert len(shop.network.requests) == 1
    shop.clock.advance(seconds=1)
    worker.run(Patient())
    assert shop.statuses() == {"delivered": 5}


def test_it_is_asked_again_after_a_minute_whatever_it_asks_for(open_shop: Opening) -> None:
    shop = open_shop()
    for key in range(5):
        shop.sign_up(key)
    worker = shop.another({"S2S_CONCURRENCY": 1}).supervisor.worker()
    shop.network.then(answered(503, retry_after="86400"))
    worker.run(Patient())
    shop.network.then(accepted())
    shop.clock.advance(seconds=60)
    worker.run(Patient())
    assert shop.statuses() == {"delivered": 4, "pending": 1}


def test_what_goes_by_another_credential_does_not_wait(sqlite_url: str) -> None:
    site = Site(sqlite_url)
    site.sign_up("there")
    site.services.drain()
    site.after(minutes=16)

    def busy(request: Request) -> Response | None:
        to_track = request.url.endswith("/conversion/xid")
        return answered(429, retry_after="30") if to_track else None

    site.line.instead = busy
    for number in range(5):
        site.sign_up(f"new-{number}")
    worker = site.another(S2S_CONCURRENCY=1).supervisor.worker()
    worker.run(Patient())
    site.track(paid("there", "paid-1"))
    worker.run(Patient())
    assert len(site.line.asked("/conversion/xid")) == 2, "the one before, and one that was refused"
    assert len(site.line.asked("/transactions")) == 1
    site.close()


def test_the_worker_wakes_when_it_may_ask_again(open_shop: Opening) -> None:
    """Not at its next poll."""
    shop = open_shop()
    shop.sign_up("1")
    shop.sign_up("2")
    worker = shop.another({"S2S_CONCURRENCY": 1}).supervisor.worker(poll=300.0)
    asked: list[float] = []

    class Noting(Patient):
        def wait(self, seconds: float) -> bool:
            asked.append(seconds)
            return super().wait(seconds)

    shop.network.then(answered(429, retry_after="30"))
    worker.run(Noting())
    assert asked[-1] == 30.0


class Limited(ScriptedTransport):
    """Asks for rest at the tenth request, and takes everything else."""

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self.seconds = seconds

    def send(self, request: Request, *, seconds: float) -> Response:
        super().send(request, seconds=seconds)
        tenth = len(self.requests) == 10
        return answered(429, retry_after=str(self.seconds)) if tenth else accepted()


class Passing(Waker):
    """Its waits take no time but the clock's."""

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self._shop = shop

    def wait(self, seconds: float) -> bool:
        ends = super().wait(min(seconds, 0.05))
        if seconds >= 1 and not self._interrupted:
            self._shop.clock.advance(seconds=seconds)
        return ends


@pytest.mark.parametrize(("asked", "delivered"), [(2, 30), (40, 9)])
def test_a_drain_outlasts_a_short_rest_and_leaves_a_long_one_to_the_next(
    open_shop: Opening, asked: int, delivered: int
) -> None:
    """`flask s2s work --once`, or a Celery task, comes again in a minute."""
    shop = open_shop()
    shop.network = Limited(asked)
    for key in range(30):
        shop.sign_up(key)
    worker = shop.another({"S2S_CONCURRENCY": 1}).supervisor.worker()
    worker.run(Passing(shop), until_idle=True)
    assert shop.statuses().get("delivered") == delivered


def test_a_shorter_rest_ends_no_longer_one() -> None:
    throttle, now = Throttle(8), EPOCH
    throttle.rest("lane", now, timedelta(seconds=60))
    throttle.rest("lane", now, timedelta(seconds=1))
    assert list(throttle.rests(now + timedelta(seconds=59))) == ["lane"]
    assert not throttle.rests(now + timedelta(seconds=60))


def test_a_clock_that_is_set_back_makes_no_rest_longer() -> None:
    throttle, now = Throttle(8), EPOCH + timedelta(days=1)
    throttle.rest("lane", now, timedelta(seconds=60))
    assert not throttle.rests(now - timedelta(minutes=10))


def test_a_lane_that_rests_is_not_probed(open_shop: Opening) -> None:
    """Closed after twenty failures: then one goes at a time, and as rarely as the network asks."""
    shop = open_shop()
    shop.network.then(answered(429, retry_after="60"))
    for key in range(60):
        shop.sign_up(key)
    shop.drain()
    asked = len(shop.network.requests)
    worker = shop.another({"S2S_CONCURRENCY": 1}).supervisor.worker()
    for seconds in (0, 30, 29, 1):
        shop.clock.advance(seconds=seconds)
        worker.run(Patient())
    assert len(shop.network.requests) - asked == 2, "when it began, and a minute later"


class Noting(Waker):
    """Notes for how long it is waited on first, and stops its worker."""

    seconds = 0.0

    def wait(self, seconds: float) -> bool:
        self.seconds = seconds
        self.stop()
        return super().wait(0.0)


def test_a_closed_lane_that_rests_wakes_its_worker_when_the_rest_is_over(
    open_shop: Opening,
) -> None:
    """Its probe would be due before."""
    shop = open_shop()
    shop.network.then(answered(429, retry_after="60"))
    for key in range(60):
        shop.sign_up(key)
    shop.drain()
    worker = shop.another({"S2S_CONCURRENCY": 1}).supervisor.worker(poll=300.0)
    worker.run(Patient())
    shop.clock.advance(seconds=45)
    waker = Noting()
    worker.run(waker)
    assert waker.seconds == 15.0


def test_a_drain_waits_for_half_a_minute_of_rests_in_all(open_shop: Opening) -> None:
    shop = open_shop()
    shop.network.then(answered(429, retry_after="8"))
    for key in range(40):
        shop.sign_up(key)
    began = shop.clock.now()
    worker = shop.another({"S2S_CONCURRENCY": 1}).supervisor.worker()
    worker.run(Passing(shop), until_idle=True)
    assert timedelta(seconds=24) <= shop.clock.now() - began <= timedelta(seconds=60)


def test_what_a_dead_worker_left_waits_for_no_rest(open_shop: Opening) -> None:
    shop = open_shop()
    shop.sign_up("orphan")
    shop.sign_up("refused")
    claim(shop, limit=1)
    worker = shop.another({"S2S_CONCURRENCY": 1}).supervisor.worker()
    shop.clock.advance(seconds=30)
    shop.network.then(answered(429, retry_after="60"))
    worker.run(Patient())
    shop.network.then(accepted())
    shop.clock.advance(seconds=30)
    worker.run(Patient())
    assert shop.statuses() == {"delivered": 1, "pending": 1}
