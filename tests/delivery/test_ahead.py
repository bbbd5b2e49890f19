"""Deliveries claimed ahead of their sending: none waits too long, and each is given back unsent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from flask_s2s.delivery.executor import Senders
from flask_s2s.networks.messages import Request, Response
from flask_s2s.testing import ScriptedTransport, answered
from flask_s2s.threads import Waker
from tests.delivery.conftest import Opening
from tests.delivery.shop import Shop
from tests.waiting import wait_until


class Holding(ScriptedTransport):
    """Holds every answer until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = Event()

    def send(self, request: Request, *, seconds: float) -> Response:
        answer = super().send(request, seconds=seconds)
        assert self.let_go.wait(60)
        return answer


@contextmanager
def working(shop: Shop, network: Holding, **config: object) -> Iterator[Waker]:
    """Run a worker in a thread; at the end what it has in flight is answered."""
    waker = Waker()
    worker = shop.another(config, transport=network).supervisor.worker(poll=0.05)
    thread = Thread(target=worker.run, args=(waker,), daemon=True)
    thread.start()
    try:
        yield waker
    finally:
        waker.stop()
        network.let_go.set()
        thread.join(60)
    assert not thread.is_alive()


def attempts(shop: Shop) -> list[int]:
    return sorted(delivery.attempts for delivery in shop.services.ledger.find(limit=100))


def test_twice_as_many_are_claimed_as_are_sent_at_once(open_shop: Opening) -> None:
    shop, network = open_shop(), Holding()
    for key in range(9):
        shop.sign_up(key)
    with working(shop, network, S2S_CONCURRENCY=3):
        wait_until(lambda: len(network.requests) == 3 and attempts(shop) == [0] * 3 + [1] * 6)
        assert len(network.requests) == 3


def test_what_is_claimed_ahead_is_given_back_at_the_end_while_an_answer_is_awaited(
    open_shop: Opening,
) -> None:
    """Its turn comes at the next worker at once: it does not wait for its lease, nor a judgement."""
    shop, network = open_shop(), Holding()
    for key in range(4):
        shop.sign_up(key)
    with working(shop, network, S2S_CONCURRENCY=2) as waker:
        wait_until(lambda: len(network.requests) == 2 and attempts(shop) == [1] * 4)
        waker.stop()
        wait_until(lambda: shop.statuses() == {"sending": 2, "pending": 2})
        assert attempts(shop) == [0, 0, 1, 1]
    assert shop.statuses() == {"delivered": 2, "pending": 2}
    assert shop.drain() == 2


@pytest.mark.parametrize(
    "said", [answered(429, retry_after="30"), answered(401)], ids=["rest", "refused"]
)
def test_what_the_network_says_of_a_lane_is_heeded_by_what_was_claimed_ahead(
    open_shop: Opening, said: Response
) -> None:
    shop, network = open_shop(), Holding()
    for key in range(6):
        shop.sign_up(key)
    network.then(said)
    network.let_go.set()
    waker = Waker()
    worker = shop.another({"S2S_CONCURRENCY": 1}, transport=network).supervisor.worker(poll=0.05)
    thread = Thread(target=worker.run, args=(waker,), daemon=True)
    thread.start()
    wait_until(lambda: shop.statuses().get("sending", 0) == 0 and len(network.requests) > 0)
    waker.stop()
    thread.join(60)
    assert len(network.requests) == 1
    assert attempts(shop) == [0] * 5 + [1]


def test_with_a_rate_nothing_is_claimed_ahead(open_shop: Opening) -> None:
    """Deliveries that waited for an answer would go out in one burst."""
    shop, network = open_shop(), Holding()
    for key in range(6):
        shop.sign_up(key)
    with working(shop, network, S2S_CONCURRENCY=2, S2S_RATE=100) as waker:
        wait_until(lambda: len(network.requests) == 2)
        shop.clock.advance(seconds=1)
        waker.wake()
        wait_until(lambda: not waker.woken)
        assert attempts(shop) == [0] * 4 + [1] * 2


def test_what_waits_in_one_lane_leaves_threads_for_another() -> None:
    let_go = Event()
    with Senders[bool](4, 3) as senders:
        slow = [senders.submit("slow", let_go.wait, 60.0) for _ in range(6)]
        other = senders.submit("other", lambda: True)
        assert other.result(60)
        assert sum(future.running() for future in slow) == 3
        let_go.set()
        assert [future.result(60) for future in slow] == [True] * 6


def test_what_a_thread_is_free_for_is_not_queued_though_none_has_begun_it() -> None:
    """Else a process that ends right after its last sign-up would give that back, for nobody to send."""
    let_go = Event()
    with Senders[bool](4, 2) as senders:
        slow = [senders.submit("slow", let_go.wait, 60.0) for _ in range(3)]
        other = [senders.submit("other", let_go.wait, 60.0) for _ in range(3)]
        assert senders.queued() == [slow[2], other[2]]
        let_go.set()
        assert [future.result(60) for future in (*slow, *other)] == [True] * 6


def test_what_waits_for_a_thread_can_be_cancelled() -> None:
    let_go = Event()
    with Senders[bool](1) as senders:
        first = senders.submit("lane", let_go.wait, 60.0)
        wait_until(first.running)
        second, third = (senders.submit("lane", let_go.wait, 60.0) for _ in range(2))
        assert second.cancel()
        assert not first.cancel()
        let_go.set()
        assert third.result(60)
    assert second.cancelled()
