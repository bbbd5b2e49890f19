"""Hosts whose engine or server is set otherwise: what is ours is done as a whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, delete, event, make_url

from flask_s2s import Click, Delivery, Services, Status
from flask_s2s.errors import StorageError
from flask_s2s.networks.messages import Transport
from flask_s2s.testing import ManualClock, ScriptedTransport, accepted
from flask_s2s.threads import Waker
from tests.delivery.shop import Shop, open_services_on
from tests.delivery.steps import claim, settle
from tests.services import execute


class AutocommitShop(Shop):
    """A site that has no database but the engine of its own tables."""

    def another(
        self, config: Mapping[str, object] | None = None, *, transport: Transport | None = None
    ) -> Services:
        host = self.host = create_engine(self.url, isolation_level="AUTOCOMMIT")
        services = open_services_on(host, transport=self.network, clock=self.clock)
        self._open.append(services)
        return services


@pytest.fixture
def shop(lasting_database_url: str) -> Iterator[AutocommitShop]:
    shop = AutocommitShop(lasting_database_url)
    yield shop
    shop.empty()
    shop.close()


@contextmanager
def before(
    engine: Engine, words: str | tuple[str, ...], do: Callable[[], object]
) -> Iterator[None]:
    """Do something once, before the first statement that begins with these words."""
    done: list[bool] = []

    def look(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if " ".join(statement.split()).startswith(words) and not done:
            done.append(True)
            do()

    event.listen(engine, "before_cursor_execute", look)
    yield
    event.remove(engine, "before_cursor_execute", look)
    assert done


def claimed_by_two(shop: Shop) -> list[Delivery]:
    """Let another worker claim between what the first one's claim reads and what it writes."""
    shop.sign_up()
    first, other = shop.services, shop.another()
    claimed: list[Delivery] = []
    writing = ("UPDATE s2s_delivery", "WITH due")
    with before(first.storage.engine(), writing, lambda: claimed.extend(claim(shop, other))):
        claimed.extend(claim(shop, first))
    return claimed


def test_two_claims_at_once_have_each_delivery_once(shop: AutocommitShop) -> None:
    assert len(claimed_by_two(shop)) == 1


@pytest.mark.service
def test_a_driver_that_commits_each_statement_claims_nothing_twice(mariadb_url: str) -> None:
    """SQLAlchemy does not know, and nothing asks for another level."""
    url = make_url(mariadb_url).update_query_dict({"autocommit": "true"})
    shop = Shop(url.render_as_string(hide_password=False))
    assert len(claimed_by_two(shop)) == 1
    shop.close()


@pytest.mark.service
def test_a_server_that_changes_nothing_without_a_key_is_delivered_from(
    guarded_mariadb_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    shop = Shop(guarded_mariadb_url)
    shop.sign_up()
    shop.services.supervisor.worker().run(Waker(), until_idle=True)
    assert (shop.status(), caplog.messages) == (Status.DELIVERED, [])
    shop.close()


@pytest.mark.service
def test_a_server_that_leaves_rows_out_is_refused_with_the_remedy(mariadb_url: str) -> None:
    limited = {"init_command": "SET sql_select_limit = 1"}
    url = make_url(mariadb_url).update_query_dict(limited)
    with pytest.raises(StorageError, match="SET GLOBAL sql_select_limit = DEFAULT"):
        Shop(url.render_as_string(hide_password=False))


@pytest.mark.service
def test_a_database_without_an_encoding_is_delivered_from(postgresql_url: str) -> None:
    """SQLAlchemy cannot even connect to it by psycopg, which gives bytes there."""
    server = make_url(postgresql_url)
    url = server.set(database=f"{server.database}_ascii")
    made = "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    execute(server, f"CREATE DATABASE {url.database} {made}")
    try:
        shop = Shop(url.render_as_string(hide_password=False))
        shop.sign_up("zoë", name="Zoë 漢")
        shop.drain()
        assert shop.row().customer_key == "zoë"
        assert shop.status() is Status.DELIVERED
        shop.close()
    finally:
        execute(server, f"DROP DATABASE {url.database} WITH (FORCE)")


def test_what_a_settle_writes_stands_or_falls_together(shop: AutocommitShop) -> None:
    def fails() -> None:
        raise ConnectionError

    shop.sign_up()
    (claimed,) = claim(shop)
    look = "SELECT s2s_delivery.id FROM s2s_delivery WHERE s2s_delivery.parent"
    with before(shop.host, look, fails), pytest.raises(ConnectionError):
        settle(shop, claimed)
    assert shop.status() is Status.SENDING
    assert settle(shop, claimed)
    assert shop.status() is Status.DELIVERED


def test_the_hosts_own_statements_are_committed_each_as_before(shop: AutocommitShop) -> None:
    shop.sign_up()
    with shop.host.connect() as connection:
        connection.execute(delete(shop.services.storage.tables.delivery))
        connection.rollback()
    assert shop.statuses() == {}


@pytest.mark.service
@pytest.mark.parametrize("level", ["SERIALIZABLE", "REPEATABLE READ"])
def test_what_is_ours_fails_no_serialization_of_the_hosts(postgresql_url: str, level: str) -> None:
    """Two drains that settle beside each other would fail twice, and leave what they have sent."""
    host = create_engine(postgresql_url, isolation_level=level)
    network, clock = ScriptedTransport(accepted()), ManualClock()
    services = open_services_on(host, transport=network, clock=clock)
    levels = set()

    def look(connection: Connection, *_: Any) -> None:
        levels.add(connection.get_isolation_level())

    event.listen(host, "before_cursor_execute", look)
    assert services.track_signup(customer_key="1", click=Click(click_id="c", at=clock.now()))
    assert services.drain() == 1
    assert levels <= {"READ COMMITTED", "AUTOCOMMIT"}
    with host.connect() as connection:
        assert connection.get_isolation_level() == level
    services.close()
    host.dispose()
