"""After a failover: connections that answer `SELECT 1` and refuse to write are thrown away."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from threading import Barrier, Event
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import (
    Connection,
    Engine,
    Select,
    create_engine,
    event,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from flask_s2s import Click
from flask_s2s.conversion import Action
from flask_s2s.store.database.storage import write
from flask_s2s.store.dialects.engines import RESTED
from flask_s2s.store.dialects.errors import is_transient, is_useless
from flask_s2s.testing import ManualClock, ScriptedTransport
from flask_s2s.threads import Waker
from tests.delivery.shop import Shop, open_services_on
from tests.waiting import wait_until

pytestmark = pytest.mark.service

_READ_ONLY = {
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}


@pytest.fixture(params=["postgresql", "mariadb"])
def server_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def shop(server_url: str) -> Iterator[Shop]:
    shop = Shop(server_url)
    yield shop
    shop.close()


def demote(engine: Engine, connections: int = 4) -> None:
    """Fill the pool with connections that lead to a server without writes, as a failover does."""
    with ExitStack() as stack:
        for _ in range(connections):
            connection = stack.enter_context(engine.connect())
            connection.exec_driver_sql(_READ_ONLY[engine.dialect.name])
            connection.commit()


def test_a_signup_is_stored_and_sent_though_the_pool_leads_to_a_replica(shop: Shop) -> None:
    engine = shop.services.storage.engine()
    demote(engine)
    shop.sign_up("1")
    demote(engine)
    assert shop.drain() == 1
    assert shop.statuses() == {"delivered": 1}
    assert len(shop.network.requests) == 1


def test_one_refusal_throws_away_what_else_the_pool_has(shop: Shop) -> None:
    """The retry takes one new connection; the next transaction must not meet the others."""
    engine = shop.services.storage.engine()
    demote(engine)
    shop.sign_up("1")
    with ExitStack() as stack:
        for number in range(4):
            connection = stack.enter_context(engine.connect())
            connection.execute(
                update(shop.services.storage.tables.breaker).values(reason=str(number))
            )


def test_an_engine_of_the_hosts_is_left_at_a_replica_by_our_writes_alone(server_url: str) -> None:
    host = create_engine(server_url)
    services = open_services_on(host, transport=ScriptedTransport(), clock=(clock := ManualClock()))
    demote(host)
    breakers = services.storage.tables.breaker
    with host.connect() as theirs:
        refused = theirs.connection.dbapi_connection
        with pytest.raises(DBAPIError) as caught:
            theirs.execute(update(breakers).values(reason="x"))
        assert is_useless(caught.value.orig)
        assert not theirs.invalidated
        assert theirs.connection.dbapi_connection is refused
    click = Click(click_id="click1", at=clock.now())
    assert services.track_signup(customer_key="1", click=click)
    host.dispose()


def test_a_deadlock_in_a_transaction_of_our_own_is_tried_again(shop: Shop) -> None:
    for key in ("1", "2"):
        shop.sign_up(key)
    engine, rows = shop.services.storage.engine(), shop.services.storage.tables.delivery
    with engine.connect() as connection:
        one, two = connection.scalars(select(rows.c.id).order_by(rows.c.id))
    crossing, tries, through = Barrier(2), [], Event()

    def cross(first: int, second: int) -> Any:
        def work(connection: Connection) -> int:
            tries.append(first)
            if tries.count(first) == 2:
                # The other one is through first, or the two might cross once more.
                through.wait(30)
            touch = update(rows).values(checks=rows.c.checks + 1)
            connection.execute(touch.where(rows.c.id == first))
            if tries.count(first) == 1:
                crossing.wait(30)
            return connection.execute(touch.where(rows.c.id == second)).rowcount

        changed = write(engine, work)
        through.set()
        return changed

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(cross, (one, two), (two, one))) == [1, 1]
    assert len(tries) == 3
    with engine.connect() as connection:
        assert list(connection.scalars(select(rows.c.checks))) == [2, 2]


class _Psycopg2(Exception):
    pgcode = "40P01"


class _MySqlConnector(Exception):
    errno = 1836


class _PyMySql(Exception):
    sqlstate = "HY000"


def test_an_errors_code_is_found_with_each_driver() -> None:
    assert is_transient(_Psycopg2("deadlock detected"))
    assert is_useless(_MySqlConnector("read only mode"))
    assert is_transient(Exception(1213, "Deadlock found"))
    assert is_transient(_PyMySql(1020, "Record has changed since last read"))
    assert is_useless(_PyMySql(1290, "running with the --read-only option"))
    assert not is_useless(Exception("1290"))
    assert not is_useless(Exception())
    assert not is_useless(None)


def rest(began: float) -> None:
    """Leave the pool's connections alone for so long that they are tried before their next use."""
    wait_until(lambda: monotonic() - began > RESTED, 10, what="they have rested")


def test_only_a_connection_that_has_rested_is_asked_whether_it_lives(postgresql_url: str) -> None:
    with closing(Shop(postgresql_url)) as shop, closing(Shop(postgresql_url)) as watcher:
        engine = shop.services.storage.engine()
        asked = text("SELECT query FROM pg_stat_activity WHERE pid = :pid")

        def last_statement() -> str:
            with watcher.services.storage.engine().connect() as connection:
                return str(connection.scalar(asked, {"pid": pid}))

        with engine.connect() as connection:
            pid = connection.scalar(text("SELECT pg_backend_pid()"))
        before = last_statement()
        with engine.connect():
            assert last_statement() == before
        rest(monotonic())
        with engine.connect():
            assert last_statement() != before


def elsewhere(server_url: str) -> Engine:
    return create_engine(server_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")


def seen_elsewhere(server_url: str, question: Select[Any]) -> bool:
    with elsewhere(server_url).connect() as connection:
        return connection.scalar(question) is not None


def end(server_url: str) -> None:
    """End all connections to a database, as a server does that is started again."""
    here, others, ending = (
        "SELECT CONNECTION_ID()",
        "SELECT id FROM information_schema.processlist WHERE db = :name",
        "KILL :number",
    )
    if make_url(server_url).get_backend_name() == "postgresql":
        here, others, ending = (
            "SELECT pg_backend_pid()",
            "SELECT pid FROM pg_stat_activity WHERE datname = :name",
            "SELECT pg_terminate_backend(:number)",
        )
    with elsewhere(server_url).connect() as connection:
        own = connection.scalar(text(here))
        name = {"name": make_url(server_url).database}
        for number in connection.scalars(text(others), name).all():
            if number != own:
                connection.execute(text(ending), {"number": number})


@pytest.mark.parametrize("runs", ["a drain", "a worker"])
def test_what_was_claimed_is_left_with_nobody_when_its_connection_ends_right_then(
    server_url: str, runs: str
) -> None:
    """What actions wait for is read behind their claim."""
    keys = {"S2S_PARTNERSTACK_PUBLIC_KEY": "public", "S2S_PARTNERSTACK_SECRET_KEY": "secret"}
    with closing(Shop(server_url, **keys)) as shop:
        expect_none_left(shop, server_url, runs)


def expect_none_left(shop: Shop, server_url: str, runs: str) -> None:
    shop.sign_up("1")
    shop.drain()
    for number in range(4):
        assert shop.services.track(Action(customer_key="1", type="trial", key=f"a{number}"))
    rows = shop.services.storage.tables.delivery
    sending = select(rows.c.id).where(rows.c.status == "sending").limit(1)
    left = ["once"]

    def cut(*_: object) -> None:
        if left and seen_elsewhere(server_url, sending):
            left.pop()
            end(server_url)

    event.listen(shop.services.storage.engine(), "checkin", cut)
    if runs == "a drain":
        shop.drain()
    else:
        shop.services.supervisor.worker().run(Waker(), until_idle=True)
    assert not left
    # For the sign-up to be readable: none is left with whoever claimed it.
    assert shop.statuses() == {"delivered": 1, "waiting": 4}


def test_a_connection_that_the_server_ended_while_it_rested_is_replaced(
    shop: Shop, server_url: str
) -> None:
    engine, elsewhere = shop.services.storage.engine(), create_engine(server_url)
    number, ending = "SELECT CONNECTION_ID()", "KILL :number"
    if engine.dialect.name == "postgresql":
        number, ending = "SELECT pg_backend_pid()", "SELECT pg_terminate_backend(:number)"
    with engine.connect() as connection:
        ended = connection.scalar(text(number))
    with elsewhere.begin() as connection:
        connection.execute(text(ending), {"number": ended})
    elsewhere.dispose()
    rest(monotonic())
    with engine.connect() as connection:
        assert connection.scalar(text(number)) != ended
