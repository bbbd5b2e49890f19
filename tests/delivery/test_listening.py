"""On PostgreSQL a worker of another process is woken by the commit, on the host's own terms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, text

from flask_s2s.store.database.listener import listen
from flask_s2s.threads import Waker
from tests.delivery.shop import Shop
from tests.waiting import wait_until

pytestmark = pytest.mark.service

#: How the host's connections are made: a certificate, a time-out, a name.
HOST = {"application_name": "the host's"}
_LISTENING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND query = 'LISTEN s2s_outbox' AND state = 'idle' AND application_name = :name"
)


@contextmanager
def listening(engine: Engine) -> Iterator[Waker]:
    waker = Waker()
    thread = Thread(target=listen, args=(engine, waker), daemon=True)
    thread.start()
    try:
        wait_until(lambda: listeners(engine) == 1)
        # The first waking is for what was committed before.
        wait_until(lambda: waker.heard)
        waker.look()
        yield waker
    finally:
        waker.stop()
        thread.join(60)
    assert not thread.is_alive()


def listeners(engine: Engine) -> int:
    with engine.connect() as connection:
        found = connection.execute(_LISTENING, {"name": HOST["application_name"]})
        return int(found.scalar_one())


@pytest.fixture
def engine(postgresql_url: str) -> Iterator[Engine]:
    """An engine with room for one connection: what listens must not take it."""
    engine = create_engine(postgresql_url, connect_args=HOST, pool_size=1, max_overflow=0)
    yield engine
    engine.dispose()


def test_a_commit_wakes_a_worker_of_another_process(engine: Engine, postgresql_url: str) -> None:
    with closing(Shop(postgresql_url)) as shop, listening(engine) as waker:
        shop.sign_up()
        wait_until(lambda: waker.woken)
    wait_until(lambda: listeners(engine) == 0)


def test_a_worker_polls_less_once_a_notification_has_come_back(engine: Engine) -> None:
    with listening(engine) as waker:
        wait_until(lambda: waker.heard)


def swallow(engine: Engine, words: str, instead: str) -> None:
    """Let what stands between us and the server make something else of these words."""

    def change(_c: object, _cursor: object, sql: str, parameters: Any, *_: object) -> Any:
        return sql.replace(words, instead), parameters

    event.listen(engine, "before_cursor_execute", change, retval=True)


def test_where_no_notification_comes_through_it_polls_as_before(postgresql_url: str) -> None:
    engine, waker = create_engine(postgresql_url), Waker()
    swallow(engine, "LISTEN", "UNLISTEN")
    told: list[str] = []
    event.listen(engine, "after_cursor_execute", lambda _c, _u, sql, *_: told.append(sql))
    thread = Thread(target=listen, args=(engine, waker), kwargs={"try_every": 0.1}, daemon=True)
    thread.start()
    # The second trial comes when the first one has had its time.
    wait_until(lambda: len([sql for sql in told if "pg_notify" in sql]) >= 2)
    assert not waker.heard
    waker.stop()
    thread.join(60)
    engine.dispose()
    assert not thread.is_alive()


def test_a_connection_that_went_dead_without_a_word_is_noticed(
    postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine, waker = create_engine(postgresql_url), Waker()
    thread = Thread(target=listen, args=(engine, waker), kwargs={"try_every": 0.2}, daemon=True)
    thread.start()
    wait_until(lambda: waker.heard)
    swallow(engine, "pg_notify(", "concat(")
    wait_until(lambda: "listen.failed" in [r.__dict__.get("action") for r in caplog.records])
    assert not waker.heard
    waker.stop()
    thread.join(60)
    engine.dispose()
    assert not thread.is_alive()
