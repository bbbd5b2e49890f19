"""A page's wait for a report in a transaction of our own, and the report's fate after it.

How long is not asserted: a page that returns while the lock is held, or while the host has not
answered, did not wait for them.
"""

from __future__ import annotations

import logging
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from threading import Event
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from flask_s2s import Click, Delivery, Late, NotStored, Services, Settings, Transaction
from flask_s2s.store.background import MOST, Background, Write
from flask_s2s.testing import ManualClock, ScriptedTransport
from tests.waiting import wait_until

Opening = Callable[..., Services]
_MARIADB = "LOCK TABLES s2s_delivery WRITE, s2s_binding WRITE, s2s_click WRITE, s2s_loss WRITE"
LOCKS = {
    "postgresql": "LOCK TABLE s2s_delivery, s2s_binding, s2s_click, s2s_loss IN ACCESS EXCLUSIVE MODE",
    "mysql": _MARIADB,
    "mariadb": _MARIADB,
}


@pytest.fixture
def open_services() -> Iterator[Opening]:
    opened: list[Services] = []

    def open_(url: str, **config: Any) -> Services:
        settings = Settings.from_mapping(
            {
                "SECRET_KEY": "for-tests-only-0123456789",
                "S2S_TOKEN": "token",
                "S2S_DATABASE_URI": url,
                "S2S_RECORD_WAIT": 0.1,
                **config,
            }
        )
        opened.append(Services.build(settings, transport=ScriptedTransport(), clock=ManualClock()))
        return opened[-1]

    yield open_
    for services in opened:
        services.recorder.background.close(0)
        services.close()


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Hold a lock that no report gets by."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            yield
            db.execute("ROLLBACK")
        return
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(LOCKS[engine.dialect.name]))
        yield
    engine.dispose()


def report(services: Services, key: str = "cus-7") -> Delivery | Late | NotStored:
    click = Click(click_id="click1", at=services.clock.now())
    return services.track_signup(
        customer_key=key, email="ada@example.com", name="Ada Byron", click=click
    )


def stored(services: Services) -> list[str]:
    return sorted(one.customer_key or "" for one in services.ledger.find())


def test_a_page_leaves_a_locked_table_and_its_report_is_stored_when_it_is_free(
    open_services: Opening, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    services = open_services(database_url)
    services.storage.create()
    with locked(database_url):
        assert isinstance(report(services), Late)
        (told,) = [r for r in caplog.records if r.msg.startswith("s2s.conversion.late")]
        assert "customer_key='cus-7'" in told.getMessage()
        assert "click_id='click1'" in told.getMessage()
    wait_until(lambda: stored(services) == ["cus-7"])
    wait_until(lambda: services.recorder.counts == {"late": 1, "stored": 1})
    assert "s2s.conversion.not_stored" not in caplog.text
    assert "ada@example.com" not in caplog.text
    assert "Ada Byron" not in caplog.text


def test_a_late_report_has_the_time_at_which_it_was_told(
    open_services: Opening, sqlite_url: str
) -> None:
    services = open_services(sqlite_url)
    services.storage.create()
    clock, told_at = services.clock, services.clock.now()
    assert isinstance(clock, ManualClock)
    with locked(sqlite_url):
        report(services)
        clock.advance(timedelta(hours=1))
    wait_until(lambda: stored(services) == ["cus-7"])
    assert [one.created_at for one in services.ledger.find()] == [told_at]


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "mariadb+pymysql"])
def test_a_host_that_never_answers_holds_no_page_and_the_loss_says_who_and_what(
    open_services: Opening, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as hole:
        port = hole.getsockname()[1]
        services = open_services(f"{driver}://user:hidden@127.0.0.1:{port}/shop")
        assert isinstance(report(services), Late)
        payment = Transaction(customer_key="cus-7", amount=4900, currency="usd", key="inv-1")
        assert isinstance(services.track(payment), Late)
        assert services.recorder.background.pending == 2
        services.recorder.background.close(0)
    lost = [r for r in caplog.records if r.levelno == logging.CRITICAL]
    assert services.recorder.counts == {"late": 2, "lost": 2}
    assert {r.msg.split(":")[0] for r in lost} == {"s2s.conversion.not_stored"}
    words = " ".join(r.getMessage() for r in lost)
    assert "kind='transaction' customer_key='cus-7' key='inv-1' amount=4900" in words
    assert "hidden" not in caplog.text
    assert "ada@example.com" not in caplog.text


def test_a_refused_connection_is_tried_again_in_the_background(
    open_services: Opening, postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    services = open_services(postgresql_url, S2S_RECORD_WAIT=30)
    assert isinstance(report(services), Late), "there are no tables yet"
    assert "s2s.conversion.late: StorageError" in caplog.text
    services.storage.create()
    wait_until(lambda: stored(services) == ["cus-7"])


def test_what_no_database_takes_is_lost_at_once(
    open_services: Opening, postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    services = open_services(postgresql_url, S2S_RECORD_WAIT=30)
    services.storage.create()
    with services.storage.engine().begin() as connection:
        connection.execute(text("ALTER TABLE s2s_delivery ALTER click_id TYPE varchar(3) "))
    assert report(services) == NotStored(why="DataError")
    assert services.recorder.counts == {"lost": 1}
    wait_until(lambda: services.recorder.background.pending == 0, what="its number is added")


def test_what_comes_beyond_those_that_may_wait_is_lost_and_told_once() -> None:
    free, lost = Event(), list[BaseException | None]()
    background = Background(wait=0.0, inline=lambda: False)
    write: Write[Any] = Write(run=free.wait, lost=lost.append)
    late = [background.patiently(write, late=bool) for _ in range(MOST)]
    assert set(late) == {Late(why="no answer in time")}
    assert background.patiently(write, late=bool) == NotStored(why="no answer in time")
    assert lost == [None]
    free.set()
    wait_until(lambda: background.pending == 0)


def test_a_write_that_failed_often_is_tried_as_often_as_a_lease_wants() -> None:
    tried, stored = list[int](), list[None]()
    background = Background(wait=60.0, inline=lambda: False, longest_pause=0.01)

    def run() -> None:
        tried.append(1)
        if len(tried) < 12:
            raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    late = background.patiently(Write(run=run, stored=stored.append), late=bool)
    assert late == Late(why="OperationalError")
    wait_until(lambda: stored)


def test_one_report_that_is_stuck_holds_up_no_other(
    open_services: Opening, postgresql_url: str
) -> None:
    services = open_services(postgresql_url)
    services.storage.create()
    report(services)
    wait_until(lambda: stored(services) == ["cus-7"])
    engine = create_engine(postgresql_url)
    with engine.begin() as connection:
        connection.execute(text("SELECT id FROM s2s_delivery FOR UPDATE"))
        assert not any(report(services) for _ in range(2))
        report(services, "cus-8")
        wait_until(lambda: stored(services) == ["cus-7", "cus-8"])
        assert services.recorder.background.pending >= 2
    engine.dispose()
    wait_until(lambda: services.recorder.background.pending == 0)
    assert stored(services) == ["cus-7", "cus-8"]
    assert services.recorder.counts["lost"] == 0
