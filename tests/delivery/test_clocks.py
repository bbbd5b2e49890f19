"""Clocks that are wrong for a while lose nothing, and put nothing off."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from threading import Thread

import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, event, insert, update
from sqlalchemy.exc import OperationalError

from flask_s2s import Click, Services, Settings, Status
from flask_s2s.networks.messages import Response
from flask_s2s.store.database.clock import DatabaseClock, Witness
from flask_s2s.store.database.storage import Storage
from flask_s2s.store.dialects.statements import EPOCH
from flask_s2s.testing import ManualClock, ScriptedTransport, answered
from tests.delivery.shop import CONFIG, Shop
from tests.delivery.steps import arm, claim
from tests.private import mariadb_server

YEAR = timedelta(days=365)
AWAY = answered(404, "not found")


def settle_down(shop: Shop) -> None:
    """Let the longest back-off pass."""
    shop.clock.advance(hours=2)
    shop.drain()


# -- nothing expires by one clock alone -----------------------------------------------------------


def test_a_clock_that_is_ahead_for_seconds_expires_nothing(any_shop: Shop) -> None:
    any_shop.network.then(AWAY)
    for number in range(10):
        any_shop.sign_up(str(number))
    any_shop.drain()
    any_shop.clock.step(YEAR)
    any_shop.drain()
    any_shop.clock.advance(seconds=8)
    any_shop.drain()
    any_shop.clock.step(-YEAR)
    assert "expired" not in any_shop.statuses()
    any_shop.network.then(answered(200))
    settle_down(any_shop)
    assert any_shop.statuses() == {"delivered": 10}


def test_an_hour_that_was_counted_beyond_the_deadline_expires(shop: Shop) -> None:
    shop.network.then(AWAY)
    shop.sign_up()
    shop.clock.step(YEAR)
    shop.drain()
    assert shop.status() is Status.PENDING
    shop.clock.advance(minutes=59)
    shop.drain()
    assert shop.status() is Status.PENDING
    shop.clock.advance(minutes=2)
    shop.drain()
    assert shop.status() is Status.EXPIRED


def test_an_hour_by_a_clock_that_is_set_right_in_that_moment_expires_nothing(shop: Shop) -> None:
    """A database whose clock was ahead was away for hours, and comes back with the right time."""
    shop.network.then(AWAY)
    shop.sign_up()
    shop.clock.step(YEAR)
    shop.drain()
    shop.clock.advance(hours=2)
    corrections = [-YEAR]

    def compare() -> None:
        while corrections:
            shop.clock.step(corrections.pop())

    shop.services.supervisor.on_alive.append(compare)
    shop.drain()
    assert shop.status() is Status.PENDING


def dated(moment: datetime) -> Response:
    return answered(404, "not found", date=format_datetime(moment, usegmt=True))


def test_the_networks_own_clock_is_a_witness(shop: Shop) -> None:
    shop.sign_up("early")
    before = shop.clock.now()
    shop.clock.step(YEAR)
    shop.network.then(dated(before))
    shop.drain()
    assert shop.status() is Status.PENDING
    shop.network.then(dated(shop.clock.now()))
    shop.clock.advance(seconds=10)
    shop.drain()
    assert shop.status() is Status.EXPIRED


@given(
    st.text()
    | st.sampled_from(["Thu, 01 Jan 0001 00:00:00 -1200", "Fri, 31 Dec 9999 23:59:59 -2359"])
)
def test_no_date_of_an_answer_raises(said: str) -> None:
    date = Response(status=200, headers={"date": said}).date
    assert date is None or date.tzinfo is timezone.utc


def test_a_jump_begins_the_hour_again() -> None:
    clock = ManualClock()
    witness = Witness(clock.monotonic)
    assert witness.passed(clock.now()) == EPOCH
    clock.advance(hours=1)
    assert witness.passed(clock.now()) == clock.now() - timedelta(hours=1)
    clock.step(days=30)
    assert witness.passed(clock.now()) == EPOCH
    clock.advance(minutes=59)
    assert witness.passed(clock.now()) == EPOCH


def test_what_the_network_said_is_good_for_a_day() -> None:
    clock = ManualClock()
    witness = Witness(clock.monotonic)
    witness.hear(clock.now())
    clock.advance(hours=23)
    clock.step(YEAR)
    assert witness.passed(clock.now()) == clock.now() - YEAR
    clock.advance(hours=2)
    clock.step(1 * YEAR)
    assert witness.passed(clock.now()) == EPOCH


def test_the_grace_of_a_payment_is_counted_and_not_read_from_a_clock() -> None:
    clock = ManualClock()
    witness = Witness(clock.monotonic)
    witness.look(written := clock.now())
    clock.advance(minutes=10)
    assert witness.since(written, clock.now()) == timedelta(minutes=10)
    clock.step(YEAR)
    assert witness.since(written, clock.now()) == timedelta(0)
    clock.advance(minutes=15)
    assert witness.since(written, clock.now()) == timedelta(minutes=15)
    ahead = clock.now()
    clock.step(-YEAR)
    assert witness.since(ahead, clock.now()) == timedelta(0)
    witness.hear(datetime.max.replace(tzinfo=timezone.utc))
    assert witness.since(written, clock.now()) == timedelta(minutes=25)


# -- nothing is put off ---------------------------------------------------------------------------


def test_what_failed_while_the_clock_was_ahead_goes_out_when_it_is_right(any_shop: Shop) -> None:
    any_shop.clock.step(YEAR)
    any_shop.network.then(AWAY)
    for number in range(3):
        any_shop.sign_up(str(number))
    any_shop.drain()
    any_shop.clock.step(-YEAR)
    any_shop.network.then(answered(200))
    assert any_shop.drain() == 3
    assert any_shop.statuses() == {"delivered": 3}


def test_a_lease_from_ahead_runs_out_within_one_lease(any_shop: Shop) -> None:
    any_shop.sign_up()
    any_shop.clock.step(YEAR)
    (stale,) = claim(any_shop, any_shop.another())
    any_shop.clock.step(-YEAR)
    assert any_shop.drain() == 0, "its holder may still be sending"
    any_shop.clock.advance(seconds=61)
    assert any_shop.drain() == 1
    assert any_shop.status() is Status.DELIVERED
    assert any_shop.row().attempts == stale.attempts + 1


def test_no_lease_runs_out_because_a_clock_jumped(any_shop: Shop) -> None:
    """A view is at work on one row, and another process on the other: neither took its time."""
    armed, token = arm(any_shop)
    (_, sending) = any_shop.drain(), any_shop.sign_up("sending")
    claim(any_shop, any_shop.another())
    any_shop.clock.step(days=1)
    assert any_shop.drain() == 0
    any_shop.services.outbox.withdraw(armed.id, token, any_shop.clock.now(), "the view raised")
    assert any_shop.status(armed) is Status.WITHDRAWN
    any_shop.clock.advance(seconds=61)
    assert any_shop.drain() == 1, "its holder had a whole lease, and never came back"
    assert any_shop.row(sending).attempts == 2


def test_a_lease_that_a_clock_ahead_extended_ends_when_the_clock_is_right(any_shop: Shop) -> None:
    left = any_shop.sign_up("left")
    claim(any_shop, any_shop.another())
    any_shop.clock.step(minutes=50)
    assert any_shop.drain() == 0
    any_shop.clock.step(minutes=-50)
    assert any_shop.drain() == 0, "its holder may still be sending"
    any_shop.clock.advance(seconds=61)
    assert any_shop.drain() == 1
    assert any_shop.row(left).attempts == 2


def test_a_lease_from_less_than_an_hour_ahead_runs_out_within_one_lease(any_shop: Shop) -> None:
    """It could be a long one by its end alone; its attempt was opened in the future."""
    any_shop.clock.step(minutes=50)
    armed, _ = arm(any_shop)
    left = any_shop.sign_up("left")
    claim(any_shop, any_shop.another())
    any_shop.clock.step(minutes=-50)
    assert any_shop.drain() == 0, "its holder may still be sending"
    any_shop.clock.advance(seconds=61)
    assert any_shop.drain() == 2
    assert (any_shop.row(left).attempts, any_shop.row(armed).attempts) == (2, 1)


def test_a_lease_that_the_network_says_has_ended_has_ended(shop: Shop) -> None:
    """A clock that jumps each minute (two servers behind one name) keeps no lease for ever."""
    left = shop.sign_up("left")
    claim(shop, shop.another())
    shop.sign_up("asked")
    shop.network.then(dated(shop.clock.now() + timedelta(days=1)))
    shop.drain()
    shop.clock.step(minutes=2)
    shop.drain()
    assert shop.row(left).attempts == 2


def test_a_lease_is_extended_once_however_many_processes_see_a_jump(any_shop: Shop) -> None:
    """One that cron starts on a machine whose clock differs from the database's always sees one."""
    left = any_shop.sign_up("left")
    claim(any_shop, any_shop.another())
    for _ in range(3):
        any_shop.clock.advance(seconds=61)
        any_shop.clock.step(minutes=-5)
        begun = any_shop.another()
        any_shop.clock.step(minutes=5)
        begun.drain()
    assert any_shop.row(left).attempts == 2


def test_a_lane_that_was_paused_ahead_is_probed_when_the_clock_is_right(
    any_shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    any_shop.sign_up()
    row, breakers = any_shop.row(), any_shop.services.storage.tables.breaker
    ahead = any_shop.clock.now() + timedelta(days=1)
    closed = {"lane": row.lane, "reason": "paused, the network fails: 503"}
    with any_shop.services.storage.engine().begin() as connection:
        connection.execute(insert(breakers), {**closed, "since": ahead, "probe_at": ahead})
    with caplog.at_level(logging.WARNING):
        any_shop.services.supervisor.worker().run_once()
        any_shop.services.supervisor.worker().run_once()
    assert any_shop.status() is Status.DELIVERED
    assert "s2s.clock.was_ahead" in caplog.text


def test_a_sign_up_that_was_to_be_verified_in_a_year_is_verified_soon(open_shop: object) -> None:
    shop: Shop = open_shop(  # type: ignore[operator]
        S2S_PARTNERSTACK_PUBLIC_KEY="pk", S2S_PARTNERSTACK_SECRET_KEY="sk"
    )
    shop.sign_up()
    shop.services.supervisor.worker().run_once()
    rows = shop.services.storage.tables.delivery
    with shop.services.storage.engine().begin() as connection:
        connection.execute(update(rows).values(verify_at=shop.clock.now() + YEAR))
    shop.clock.advance(minutes=6)
    shop.services.supervisor.worker().run_once()
    verify_at = shop.row().verify_at
    assert verify_at is not None
    assert verify_at <= shop.clock.now() + timedelta(minutes=15)


@pytest.mark.parametrize("hours", [-1.0, 0.5, 5.9])
def test_an_ordinary_wait_is_left_alone(shop: Shop, hours: float) -> None:
    shop.sign_up()
    rows, due = shop.services.storage.tables.delivery, shop.clock.now() + timedelta(hours=hours)
    with shop.services.storage.engine().begin() as connection:
        waiting = Status.WAITING.value if hours > 1 else Status.PENDING.value
        connection.execute(update(rows).values(due_at=due, status=waiting))
    assert shop.services.supervisor.overdue.pull_in(shop.clock.now(), timedelta(seconds=60)) == 0
    assert shop.row().due_at == due


# -- the server's time ----------------------------------------------------------------------------


class Machine:
    """A machine whose clock can be set."""

    def __init__(self) -> None:
        self.wrong = timedelta(0)
        self.counted = 0.0

    def now(self) -> datetime:
        return datetime.now(timezone.utc) + self.wrong

    def monotonic(self) -> float:
        return self.counted


def is_near(moment: datetime, other: datetime) -> bool:
    return abs(moment - other) < timedelta(minutes=2)


@pytest.mark.service
def test_a_machines_clock_that_is_set_changes_nothing(postgresql_url: str) -> None:
    machine, engine = Machine(), create_engine(postgresql_url)
    clock = DatabaseClock(machine, Storage(uri=None, host=lambda: engine, folder=Path()))
    clock.measure()
    machine.wrong = YEAR
    assert is_near(clock.now(), datetime.now(timezone.utc))
    engine.dispose()


def set_server(engine: Engine, ahead: timedelta) -> None:
    """Play a server whose clock is ahead: each new connection to it is told so."""
    moment = (datetime.now(timezone.utc) + ahead).timestamp()

    @event.listens_for(engine, "connect")
    def _tell(connection: object, _record: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute(f"SET timestamp = {moment:.6f}")
        cursor.close()

    engine.dispose()


@pytest.fixture
def services(mariadb_url: str) -> Iterator[Services]:
    settings = Settings.from_mapping({**CONFIG, "S2S_DATABASE_URI": mariadb_url})
    services = Services.build(settings, transport=ScriptedTransport())
    services.storage.create()
    yield services
    services.close()


@pytest.mark.service
def test_whoever_writes_asks_the_server_for_its_time(services: Services) -> None:
    """No worker runs here, and nothing was prepared: a page is the first to write."""
    ahead = timedelta(hours=1)
    set_server(services.storage.engine(), ahead)
    click = Click(click_id="click1", at=datetime.now(timezone.utc))
    stored = services.track_signup(customer_key="1", click=click)
    assert stored
    assert is_near(stored.created_at, datetime.now(timezone.utc) + ahead)


@pytest.mark.service
def test_a_server_whose_clock_was_corrected_is_asked_again(mariadb_url: str) -> None:
    machine, engine = Machine(), create_engine(mariadb_url)
    clock = DatabaseClock(machine, Storage(uri=None, host=lambda: engine, folder=Path()))
    set_server(engine, timedelta(hours=1))
    clock.measure()
    assert is_near(clock.now(), datetime.now(timezone.utc) + timedelta(hours=1))
    set_server(engine, timedelta(0))
    for counted, hours in ((59.0, 1), (61.0, 0)):
        machine.counted = counted
        with engine.connect() as connection:
            clock.refresh(connection)
        assert is_near(clock.now(), datetime.now(timezone.utc) + timedelta(hours=hours))
    engine.dispose()


@pytest.mark.service
def test_a_machine_that_slept_is_asked_again(mariadb_url: str) -> None:
    machine, engine = Machine(), create_engine(mariadb_url)
    clock = DatabaseClock(machine, Storage(uri=None, host=lambda: engine, folder=Path()))
    clock.measure()
    set_server(engine, timedelta(hours=1))
    machine.wrong = timedelta(hours=1)
    with engine.connect() as connection:
        clock.refresh(connection)
    assert is_near(clock.now(), datetime.now(timezone.utc) + timedelta(hours=1))
    engine.dispose()


@pytest.mark.service
def test_in_the_hour_that_comes_twice_mariadb_tells_utc() -> None:
    with mariadb_server(TZ="Europe/Berlin") as server:
        engine = create_engine(server.url)
        for utc in ("2026-10-24 23:30", "2026-10-25 00:30", "2026-10-25 01:30", "2026-03-29 01:30"):
            moment = datetime.fromisoformat(utc).replace(tzinfo=timezone.utc)
            set_server(engine, moment - datetime.now(timezone.utc))
            clock = DatabaseClock(Machine(), Storage(uri=None, host=lambda: engine, folder=Path()))
            clock.measure()
            assert is_near(clock.now(), moment), utc
        with engine.connect() as connection:
            zone = connection.exec_driver_sql("SELECT @@system_time_zone").scalar()
        assert zone in ("CET", "CEST")
        engine.dispose()


# -- a clock that a host's tests have stopped -----------------------------------------------------


def test_a_clock_that_a_hosts_tests_stopped_is_the_apps(sqlite_url: str) -> None:
    services = Services.build(Settings.from_mapping({**CONFIG, "S2S_DATABASE_URI": sqlite_url}))
    services.storage.create()
    with freeze_time("2020-06-01"):
        signup = services.track_signup(customer_key="42")
    assert signup
    assert signup.created_at.year == 2020
    services.close()


def test_a_drain_ends_though_a_hosts_tests_have_stopped_what_counts_the_seconds(shop: Shop) -> None:
    failures = iter(range(2))

    def fail(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE s2s_attempt") and next(failures, None) is not None:
            raise OperationalError(statement, {}, Exception("disk I/O error"))

    shop.sign_up()
    event.listen(shop.services.storage.engine(), "before_cursor_execute", fail)
    draining = Thread(target=shop.drain, daemon=True)
    with freeze_time("2020-06-01"):
        draining.start()
        draining.join(20)
    assert shop.status() is Status.DELIVERED


def test_a_locked_file_is_told_though_a_hosts_tests_have_stopped_what_counts_the_seconds(
    tmp_path: Path,
) -> None:
    file = tmp_path / "s2s.sqlite3"
    uri = f"sqlite:///{file}?timeout=0.5"
    services = Services.build(Settings.from_mapping({**CONFIG, "S2S_DATABASE_URI": uri}))
    told: list[str] = []

    def create() -> None:
        try:
            services.storage.create()
        except OperationalError as error:
            told.append(str(error))

    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        creating = Thread(target=create, daemon=True)
        with freeze_time("2020-06-01"):
            creating.start()
            creating.join(20)
        other.execute("ROLLBACK")
        creating.join(20)
    assert len(told) == 1
    services.close()
