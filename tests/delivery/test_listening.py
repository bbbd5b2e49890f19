"""On PostgreSQL a worker of another process is woken by the commit, on the host's own terms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Thread

import pytest
from sqlalchemy import Engine, create_engine, text

from flask_s2s.delivery.bell import Bell
from flask_s2s.delivery.listening import listen
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
def listening(engine: Engine) -> Iterator[Bell]:
    bell = Bell()
    thread = Thread(target=listen, args=(engine, bell), daemon=True)
    thread.start()
    try:
        wait_until(lambda: listeners(engine) == 1)
        # The first ring is for what was committed before.
        bell.wait(60)
        yield bell
    finally:
        bell.stop()
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
    with closing(Shop(postgresql_url)) as shop, listening(engine) as bell:
        rung: list[bool] = []
        Thread(target=lambda: rung.append(bell.wait(60)), daemon=True).start()
        shop.sign_up()
        wait_until(lambda: rung == [False])
    assert listeners(engine) == 0
