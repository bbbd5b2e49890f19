"""A migration makes tables and no rows: the first sign-ups are hashed with one key all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from flask_s2s import Services, Settings
from tests.recording.rows import conversions, read

Process = Callable[[], Services]


@pytest.fixture
def process(database_url: str) -> Iterator[Process]:
    """Makes what one more process of the site has, on a database that was migrated just now."""
    made: list[Services] = []

    def make() -> Services:
        config = {"SECRET_KEY": "a", "S2S_TOKEN": "token", "S2S_DATABASE_URI": database_url}
        made.append(Services.build(Settings.from_mapping({**config, "TESTING": True})))
        return made[-1]

    make().storage.create()
    engine = create_engine(database_url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM s2s_meta"))
    yield make
    for services in made:
        services.close()


def test_a_customer_is_one_row_whichever_process_comes_first(
    process: Process, database_url: str
) -> None:
    for services in (process(), process()):
        services.track_signup(customer_key="42")
    assert conversions(database_url) == [("42", "unattributed")]


def test_a_rollback_does_not_take_back_a_key_that_is_remembered(
    process: Process, database_url: str
) -> None:
    first, second = process(), process()
    with Session(first.storage.engine()) as session:
        first.track_signup(customer_key="7", session=session)
        session.rollback()
    second.track_signup(customer_key="42")
    first.track_signup(customer_key="42")
    assert conversions(database_url) == [("42", "unattributed")]


def test_sign_ups_at_the_same_moment_agree_on_the_key(process: Process, database_url: str) -> None:
    processes = [process() for _ in range(4)]

    def sign_up(services: Services) -> Any:
        return services.track_signup(customer_key="42")

    with ThreadPoolExecutor(4) as threads:
        assert None not in list(threads.map(sign_up, processes))
    assert conversions(database_url) == [("42", "unattributed")]
    named = "SELECT count(*) FROM s2s_meta WHERE name = 'installation'"
    assert read(database_url, named) == [1]


def test_processes_that_begin_at_once_write_the_rows_once(
    process: Process, database_url: str
) -> None:
    first, second = process(), process()
    begun: list[str] = []

    def begin(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT") and "s2s_meta" in statement and not begun:
            begun.append(statement)
            second.supervisor.prepare()

    event.listen(first.storage.engine(), "before_cursor_execute", begin)
    first.supervisor.prepare()
    assert len(begun) == 1
    named = "SELECT name FROM s2s_meta WHERE name IN ('installation', 'schema_version')"
    assert sorted(read(database_url, named)) == ["installation", "schema_version"]
    for services in (first, second):
        services.track_signup(customer_key="42")
    assert conversions(database_url) == [("42", "unattributed")]
