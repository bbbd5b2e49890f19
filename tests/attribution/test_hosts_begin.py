"""A host whose SQLite transactions begin by `BEGIN`, as SQLAlchemy's documentation has it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event

from flask_s2s import Click, Services, Settings
from flask_s2s.rules.attribution import Attribution, Reason
from flask_s2s.rules.identity import identities
from flask_s2s.testing import ManualClock, ScriptedTransport


@pytest.fixture
def services(sqlite_url: str) -> Iterator[Services]:
    # Whose lock comes in between is refused at once, however long the others wait their turn.
    engine = create_engine(sqlite_url, connect_args={"timeout": 60})

    @event.listens_for(engine, "connect")
    def without_begin(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    yield from _serving(engine)
    engine.dispose()


def _serving(engine: Engine) -> Iterator[Services]:
    settings = Settings.from_mapping({"SECRET_KEY": "for tests", "TESTING": True})
    services = Services.build(
        settings,
        host_engine=lambda: engine,
        transport=ScriptedTransport(),
        clock=ManualClock(),
    )
    services.storage.create()
    services.supervisor.prepare()
    yield services
    services.close()


def _at_once(work: Callable[[int], object]) -> int:
    with ThreadPoolExecutor(8) as threads:
        return sum(1 for done in threads.map(work, range(120)) if done)


def test_sign_ups_that_look_a_binding_up_do_not_lock_each_other_out(services: Services) -> None:
    def sign_up(number: int) -> object:
        return services.track_signup(customer_key=number, email=f"{number}@shop.example")

    assert _at_once(sign_up) == 120


def test_nor_do_lead_forms(services: Services) -> None:
    now = services.clock.now()

    def bind(number: int) -> object:
        partner = f"partner{number}"
        click = Click(click_id=f"click{number}", partner_key=partner, at=now)
        found = Attribution(click, Reason.COOKIE)
        who = identities(f"{number}@shop.example", None)
        return services.bindings.bind_alone(who, found, now, bool)

    assert _at_once(bind) == 120


def test_nor_do_blocks(services: Services) -> None:
    now = services.clock.now()

    def block(number: int) -> object:
        return services.blocks.add("partnerstack", "click", f"click{number}", now)

    assert _at_once(block) == 120
