"""Behind PgBouncer in transaction mode, and in the caller's transaction of two phases."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from sqlalchemy import create_engine, select, text
from sqlalchemy.orm import Session

from flask_s2s import Click, ConfigError
from flask_s2s.operations.check.findings import Level
from flask_s2s.operations.check.installation import database
from flask_s2s.store.database.listener import listen
from flask_s2s.store.database.opening import make_engine
from flask_s2s.threads import Waker
from tests.delivery.shop import Shop
from tests.private import Pair

pytestmark = pytest.mark.service


@pytest.fixture
def shop(pooled_url: str) -> Iterator[Shop]:
    shop = Shop(pooled_url)
    yield shop
    shop.close()


def test_no_signup_is_lost_behind_a_pooler(shop: Shop) -> None:
    def sign_up(number: int) -> None:
        for count in range(20):
            shop.sign_up(f"{number}-{count}")

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(sign_up, range(5)))
    assert shop.statuses() == {"pending": 100}
    assert shop.drain() == 100
    assert shop.statuses() == {"delivered": 100}


def test_our_own_engine_prepares_no_statement(shop: Shop) -> None:
    for number in range(20):
        shop.sign_up(str(number))
    prepared = text("SELECT count(*) FROM pg_prepared_statements")
    with shop.services.storage.engine().connect() as connection:
        assert connection.scalar(prepared) == 0


def told_of_the_pooler(url: str, **options: object) -> list[Level]:
    with closing(Shop(url, S2S_DATABASE_OPTIONS={"connect_args": options})) as shop:
        return [found.level for found in database(shop.services) if found.subject == "pooler"]


def test_check_tells_of_an_engine_that_prepares_behind_a_pooler(
    pooled_url: str, postgresql_url: str
) -> None:
    assert told_of_the_pooler(pooled_url, prepare_threshold=5) == [Level.ERROR, Level.NOTE]
    assert told_of_the_pooler(pooled_url) == [Level.NOTE]
    assert told_of_the_pooler(postgresql_url) == []


def test_nobody_listens_behind_a_pooler_and_nothing_warns(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "flask_s2s"):
        listen(shop.services.storage.engine(), Waker())
    (record,) = caplog.records
    assert (record.levelno, record.action) == (logging.INFO, "listen.pooled")  # type: ignore[attr-defined]


def test_a_transaction_of_two_phases_takes_a_signup_along(pair: Pair) -> None:
    url = pair.primary.url.render_as_string(hide_password=False)
    shop = Shop(url)
    engine = create_engine(url)
    for key in ("1", "2"):
        with Session(engine, twophase=True) as session:
            click = Click(click_id="click1", at=shop.clock.now())
            shop.services.track_signup(customer_key=key, click=click, session=session)
            session.execute(select(1))
            session.commit()
    assert shop.drain() == 2
    engine.dispose()
    shop.close()


@pytest.mark.parametrize(
    "options", [{"pool_sise": 2}, {"connect_args": 5}, {"poolclass": "NoSuchPool"}]
)
def test_options_that_the_engine_does_not_have_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        make_engine("postgresql+psycopg://postgres@127.0.0.1/x", "S2S_DATABASE_URI", options)
    assert caught.value.key == "S2S_DATABASE_OPTIONS"


def test_options_reach_our_own_engine() -> None:
    url = "postgresql+psycopg://postgres@127.0.0.1/x"
    options = {"poolclass": "NullPool", "hide_parameters": False}
    engine = make_engine(url, "S2S_DATABASE_URI", options)
    assert type(engine.pool).__name__ == "NullPool"
    assert engine.hide_parameters
