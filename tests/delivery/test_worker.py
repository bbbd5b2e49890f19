"""One bad row, one bad moment: what a worker does about them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from threading import Event, Thread

import pytest
from sqlalchemy import event, text, update
from sqlalchemy.exc import OperationalError

from flask_s2s import Status
from flask_s2s.networks.messages import Request, Response
from flask_s2s.signals import delivery_settled
from flask_s2s.testing import ScriptedTransport
from flask_s2s.threads import Waker
from tests.delivery.shop import Shop
from tests.delivery.steps import LEASE, claim
from tests.waiting import wait_until


def alarms(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        str(record.__dict__.get("action"))
        for record in caplog.records
        if record.levelno >= logging.ERROR
    ]


class Choking:
    """A transport that cannot send one customer."""

    def __init__(self, customer: str, failure: Exception) -> None:
        self.customer = customer
        self.failure = failure
        self.served = ScriptedTransport()

    def send(self, request: Request, *, seconds: float) -> Response:
        if request.body is not None and request.body["customer_key"] == self.customer:
            raise self.failure
        return self.served.send(request, seconds=seconds)


def test_a_row_whose_sending_fails_hurts_no_other(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    for key in ("a", "poison", "b"):
        shop.sign_up(key)
    services = shop.another(transport=Choking("poison", RuntimeError("no")))
    services.drain()
    assert shop.statuses() == {"delivered": 2, "pending": 1}
    (poison,) = services.ledger.find(customer="poison")
    assert "RuntimeError" in (poison.detail or "")
    assert "delivery.broken" in alarms(caplog)
    shop.clock.advance(hours=1)
    shop.drain()
    assert shop.statuses() == {"delivered": 3}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"conversion": {"nonsense": 1}}, id="fields of another version"),
        pytest.param({"conversion": {"customer_key": None}}, id="no customer"),
        pytest.param({"conversion": [1, 2]}, id="no mapping"),
        pytest.param({"kind": "handshake"}, id="a kind of another version"),
        pytest.param({"click": {"click_id": "x"}}, id="half a click"),
        pytest.param({"network": "othernet"}, id="a network of another version"),
    ],
)
def test_a_row_that_cannot_be_read_hurts_no_other(shop: Shop, change: dict[str, object]) -> None:
    bad = shop.sign_up("bad")
    rows = shop.services.storage.tables.delivery
    with shop.services.storage.engine().begin() as connection:
        connection.execute(update(rows).where(rows.c.id == bad.id).values(**change))
    good = shop.sign_up("good")
    shop.drain()
    assert shop.status(good) is Status.DELIVERED
    assert shop.status(bad) is Status.PENDING
    assert [request.body and request.body["customer_key"] for request in shop.network.requests] == [
        "good"
    ]


class Running:
    """A worker in a thread, as in a web process."""

    def __init__(self, shop: Shop, **config: object) -> None:
        self.waker = Waker()
        self.services = shop.another(config)
        worker = self.services.supervisor.worker(poll=0.05)
        self.thread = Thread(target=worker.run, args=(self.waker,), daemon=True)

    def __enter__(self) -> Running:
        self.thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.waker.stop()
        self.thread.join(30)
        assert not self.thread.is_alive()


def test_a_worker_outlives_a_database_that_fails_for_a_while(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "flask_s2s")
    failing = Event()

    def fail(*_: object) -> None:
        if failing.is_set():
            raise OperationalError("SELECT 1", {}, Exception("disk I/O error"))

    with Running(shop) as worker:
        event.listen(worker.services.storage.engine(), "before_cursor_execute", fail)
        shop.sign_up("before")
        wait_until(lambda: shop.statuses() == {"delivered": 1})
        failing.set()
        wait_until(lambda: "worker.failed" in [r.__dict__.get("action") for r in caplog.records])
        shop.sign_up("meanwhile")
        failing.clear()
        wait_until(lambda: shop.statuses() == {"delivered": 2}, 30)
    assert [request.body and request.body["customer_key"] for request in shop.network.requests] == [
        "before",
        "meanwhile",
    ]


@pytest.mark.parametrize("refused", ["UPDATE s2s_meta", "SELECT count(*) AS count_1"])
def test_a_drain_goes_on_where_the_database_refuses_what_is_done_now_and_then(
    shop: Shop, caplog: pytest.LogCaptureFixture, refused: str
) -> None:
    def fail(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith(refused):
            raise OperationalError(statement, {}, Exception("permission denied"))

    shop.sign_up()
    services = shop.another()
    event.listen(services.storage.engine(), "before_cursor_execute", fail)
    assert services.drain() == 1
    assert shop.status() is Status.DELIVERED
    assert "housekeeping.failed" in [record.__dict__.get("action") for record in caplog.records]


class Tireless(Waker):
    """Sleeps for no time, so and so often."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.slept: list[float] = []
        self._waits = waits

    def wait(self, seconds: float) -> bool:
        self.slept.append(seconds)
        if len(self.slept) == self._waits:
            self.stop()
        return self.stopped


def test_a_worker_outlives_a_database_that_fails_for_days(shop: Shop) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("no such host"))

    services = shop.another({"S2S_LEASE": 600})
    event.listen(services.storage.engine(), "before_cursor_execute", fail)
    waker = Tireless(1100)
    services.supervisor.worker().run(waker)
    assert waker.slept[:6] == [2, 4, 8, 16, 30, 30]
    assert waker.slept[-1] == 30


def test_a_database_that_is_back_waits_for_no_worker_longer_than_a_lease_allows(shop: Shop) -> None:
    """What another one held is due by three quarters of a lease, and has its turn within one."""

    def fail(*_: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("no such host"))

    services = shop.another({"S2S_LEASE": 6})
    event.listen(services.storage.engine(), "before_cursor_execute", fail)
    waker = Tireless(6)
    services.supervisor.worker().run(waker)
    assert waker.slept == [1] * 6


def test_a_settle_waits_no_longer_either_for_a_database_that_is_away(shop: Shop) -> None:
    def fail(*_: object) -> None:
        if shop.network.requests:
            raise OperationalError("UPDATE", {}, Exception("database or disk is full"))

    class Pausing(Tireless):
        def pause(self, seconds: float) -> bool:
            paused.append(seconds)
            return self.wait(seconds)

    paused: list[float] = []
    shop.sign_up()
    services = shop.another({"S2S_LEASE": 6})
    event.listen(services.storage.engine(), "before_cursor_execute", fail)
    services.supervisor.worker().run(Pausing(12))
    assert len(shop.network.requests) == 1
    assert paused[:6] == [0.1, 0.2, 0.4, 0.8, 1, 1]


def test_what_was_sent_is_settled_though_the_database_was_away_for_longer_than_a_lease(
    shop: Shop,
) -> None:
    def fail(*_: object) -> None:
        if shop.network.requests and shop.clock.now() < back:
            raise OperationalError("UPDATE", {}, Exception("database or disk is full"))

    class Passing(Tireless):
        def wait(self, seconds: float) -> bool:
            shop.clock.advance(seconds=seconds)
            return super().wait(seconds)

        pause = wait

    back = shop.clock.now() + timedelta(seconds=15)
    shop.sign_up()
    services = shop.another({"S2S_LEASE": 6})
    event.listen(services.storage.engine(), "before_cursor_execute", fail)
    services.supervisor.worker().run(Passing(60))
    assert shop.status() is Status.DELIVERED
    assert len(shop.network.requests) == 1


def test_what_failed_long_ago_makes_no_pause_longer(shop: Shop) -> None:
    idle, failing = 7.0, Event()

    class Restless(Tireless):
        def wait(self, seconds: float) -> bool:
            if seconds == idle:
                failing.set()
            return super().wait(seconds)

    def fail(*_: object) -> None:
        if failing.is_set():
            failing.clear()
            raise OperationalError("SELECT 1", {}, Exception("disk I/O error"))

    services = shop.another()
    event.listen(services.storage.engine(), "before_cursor_execute", fail)
    waker = Restless(7)
    services.supervisor.worker(poll=idle).run(waker)
    assert waker.slept == [7, 2, 7, 2, 7, 2, 7]


def test_a_clock_that_is_set_back_is_compared_with_the_databases_at_once(shop: Shop) -> None:
    worker = shop.services.supervisor.worker()
    worker.run_once()
    shop.clock.advance(minutes=-10)
    worker.run_once()
    assert shop.services.supervisor.summary().worker_seen == shop.clock.now()


class Blocking(ScriptedTransport):
    """A network that keeps one customer waiting until it is let go."""

    def __init__(self, customer: str) -> None:
        super().__init__()
        self.customer = customer
        self.reached = Event()
        self.go = Event()

    def send(self, request: Request, *, seconds: float) -> Response:
        if request.body is not None and request.body["customer_key"] == self.customer:
            self.reached.set()
            self.go.wait(30)
        return super().send(request, seconds=seconds)


def test_a_slow_answer_holds_up_no_other(shop: Shop) -> None:
    shop.sign_up("slow")
    network = Blocking("slow")
    shop.network = network
    with Running(shop):
        assert network.reached.wait(30)
        for key in range(20):
            shop.sign_up(key)
        wait_until(lambda: shop.statuses().get("delivered") == 20, 30)
        network.go.set()
        wait_until(lambda: shop.statuses() == {"delivered": 21}, 30)


def test_the_next_is_on_its_way_while_an_answer_is_settled(shop: Shop) -> None:
    shop.sign_up("first")
    shop.sign_up("next")
    network = Blocking("next")
    shop.network = network
    on_its_way: list[bool] = []

    def settled(sender: object, **_: object) -> None:
        on_its_way.append(network.reached.wait(10))
        network.go.set()

    with Running(shop, S2S_CONCURRENCY=1) as worker, delivery_settled.connected_to(settled):
        wait_until(lambda: shop.statuses() == {"delivered": 2}, 30)
        worker.waker.stop()
    assert on_its_way[0]


def test_an_answer_is_settled_though_the_next_claim_fails(shop: Shop) -> None:
    def fail(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if shop.network.requests and "ambiguous_at=CASE" in statement:
            raise OperationalError(statement, {}, Exception("disk I/O error"))

    with Running(shop) as worker:
        event.listen(worker.services.storage.engine(), "before_cursor_execute", fail)
        shop.sign_up()
        wait_until(lambda: shop.statuses() == {"delivered": 1}, 10)
    assert len(shop.network.requests) == 1


def test_a_drain_settles_what_it_has_sent_though_the_database_fails_for_a_moment(
    shop: Shop,
) -> None:
    failures = iter(range(2))

    def fail(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE s2s_attempt") and next(failures, None) is not None:
            raise OperationalError(statement, {}, Exception("disk I/O error"))

    shop.sign_up()
    event.listen(shop.services.storage.engine(), "before_cursor_execute", fail)
    assert shop.drain() == 1
    assert (shop.statuses(), next(failures, None)) == ({"delivered": 1}, None)
    assert len(shop.network.requests) == 1


def test_a_worker_that_is_stopped_finishes_what_is_in_flight_and_takes_nothing_new(
    shop: Shop,
) -> None:
    shop.sign_up("slow")
    network = Blocking("slow")
    shop.network = network
    with Running(shop) as worker:
        assert network.reached.wait(30)
        worker.waker.stop()
        shop.sign_up("too late")
        network.go.set()
    assert shop.statuses() == {"delivered": 1, "pending": 1}
    assert [
        one.outcome for one in shop.attempts(shop.services.ledger.find(customer="slow")[0])
    ] == ["accepted"]


@pytest.mark.parametrize("wakes", [True, False])
def test_what_a_process_records_last_goes_before_it_ends(shop: Shop, wakes: bool) -> None:
    """Its worker may not even have begun; what others have recorded is left to others."""
    shop.sign_up()
    waker = Waker()
    if wakes:
        waker.wake()
    waker.stop()
    shop.another().supervisor.worker().run(waker)
    assert shop.statuses() == {"delivered": 1} if wakes else {"pending": 1}


def test_a_ring_in_the_very_moment_of_the_end_is_heard(shop: Shop) -> None:
    class Ending(Waker):
        def wait(self, seconds: float) -> bool:
            shop.sign_up("last")
            self.wake()
            ends = super().wait(seconds)
            self.stop()
            return ends

    shop.another().supervisor.worker().run(Ending())
    assert shop.statuses() == {"delivered": 1}


def test_what_a_dead_worker_left_does_not_keep_the_last_from_going(shop: Shop) -> None:
    shop.sign_up("orphan")
    claim(shop)
    shop.clock.advance(LEASE)
    shop.sign_up("last")
    waker = Waker()
    waker.wake()
    waker.stop()
    shop.another().supervisor.worker().run(waker)
    assert shop.statuses() == {"delivered": 2}


def test_an_end_that_can_start_no_thread_leaves_it_to_the_next(
    shop: Shop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interpreter that ends may start none any more: CPython 3.12.1 does not."""
    shop.sign_up()
    services = shop.another()
    waker = Waker()
    waker.wake()
    waker.stop()
    caplog.clear()
    caplog.set_level(logging.INFO)

    def refuse(thread: Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(Thread, "start", refuse)
    services.supervisor.worker().run(waker)
    assert shop.statuses() == {"pending": 1}
    assert [(record.levelno, record.exc_info) for record in caplog.records] == [
        (logging.INFO, None)
    ]
    assert "goes out when this site serves again" in caplog.text


def test_an_end_takes_no_more_because_an_answer_came(shop: Shop) -> None:
    shop.sign_up("slow")
    shop.sign_up("quick")
    network = Blocking("slow")
    shop.network = network

    def settled(sender: object, **_: object) -> None:
        shop.sign_up("too late")
        worker.waker.stop()
        network.go.set()

    with Running(shop) as worker, delivery_settled.connected_to(settled):
        worker.thread.join(30)
    assert shop.statuses() == {"delivered": 2, "pending": 1}


def test_two_workers_over_one_database_send_each_once(shop: Shop) -> None:
    with Running(shop), Running(shop):
        for key in range(40):
            shop.sign_up(key)
        wait_until(lambda: shop.statuses() == {"delivered": 40}, 30)
    assert len(shop.network.requests) == 40


def test_a_host_s_write_lock_delays_and_loses_nothing(shop: Shop) -> None:
    shop.sign_up()
    with shop.services.storage.engine().connect() as connection:
        connection.execute(text("BEGIN IMMEDIATE"))
        impatient = shop.another()
        event.listen(impatient.storage.engine(), "connect", _impatient)
        impatient.storage.engine().dispose()
        with pytest.raises(OperationalError):
            impatient.drain()
        connection.rollback()
    assert shop.drain() == 1
    assert shop.status() is Status.DELIVERED


def _impatient(connection: object, _record: object) -> None:
    execute: Callable[[str], object] = connection.execute  # type: ignore[attr-defined]
    execute("PRAGMA busy_timeout=50")


#: Claim, open the attempt, settle, close it, look for dependents; servers lock first, or do all at once.
STATEMENTS = {"sqlite": 5, "postgresql": 3, "mysql": 8, "mariadb": 8}


def test_what_a_delivery_asks_of_the_database_does_not_grow(any_shop: Shop) -> None:
    engine = any_shop.services.storage.engine()
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    counted = []
    for number in (1, 5, 15):
        for customer in range(number):
            any_shop.sign_up(f"{number}-{customer}")
        asked.clear()
        assert any_shop.drain() == number
        counted.append(len(asked))
    assert (counted[2] - counted[1]) / 10 == STATEMENTS[engine.dialect.name], asked
