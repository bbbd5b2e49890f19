"""`check` tells when the database's own settings let it forget a commit in a power cut."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import create_engine, event

from flask_s2s import Services, Settings
from flask_s2s.operations.check import check
from flask_s2s.testing import ScriptedTransport

CONFIG = {"SECRET_KEY": "durability-tests-only", "S2S_TOKEN": "tok"}


def forgetful(url: str, *statements: str) -> list[str]:
    """Return the settings that `check` notes; see `noted`."""
    return [message.partition(":")[0] for message in noted(url, *statements)]


def noted(url: str, *statements: str) -> list[str]:
    """Return what `check` notes about a host's engine whose connections begin with `statements`."""
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def begin(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()
        connection.commit()

    settings = Settings.from_mapping(CONFIG)
    services = Services.build(settings, host_engine=lambda: engine, transport=ScriptedTransport())
    services.storage.create()
    found = [finding.message for finding in check(services) if "power cut" in finding.message]
    services.close()
    engine.dispose()
    return found


@pytest.mark.parametrize(("level", "settings"), [("OFF", ["synchronous = 0"]), ("FULL", [])])
def test_sqlite(sqlite_url: str, level: str, settings: list[str]) -> None:
    assert forgetful(sqlite_url, f"PRAGMA synchronous={level}") == settings


def test_what_may_damage_the_whole_database_is_told_apart(sqlite_url: str) -> None:
    (off,) = noted(sqlite_url, "PRAGMA synchronous=OFF")
    (normal,) = noted(sqlite_url, "PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL")
    assert "may damage the whole database" in off
    assert "may cost the last commits" in normal


@pytest.mark.service
def test_postgresql_that_does_not_sync_may_be_damaged_as_a_whole(postgresql_url: str) -> None:
    """These two are the server's: a test cannot turn them off for itself, only read them."""
    with create_engine(postgresql_url).connect() as connection:
        off = connection.exec_driver_sql(
            "SELECT name || ' = off' FROM pg_settings WHERE setting = 'off'"
            " AND name IN ('fsync', 'full_page_writes')"
        )
        expected = sorted(off.scalars())
    connection.engine.dispose()
    damaging = [one for one in noted(postgresql_url) if "may damage the whole database" in one]
    assert sorted(one.partition(":")[0] for one in damaging) == expected


def test_sqlite_in_wal_mode_with_a_sync_only_now_and_then(sqlite_url: str) -> None:
    wal = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL")
    assert forgetful(sqlite_url, *wal) == ["synchronous = 1"]


@pytest.mark.service
@pytest.mark.parametrize(
    ("value", "settings"), [("off", ["synchronous_commit = off"]), ("local", []), ("on", [])]
)
def test_postgresql(postgresql_url: str, value: str, settings: list[str]) -> None:
    found = forgetful(postgresql_url, f"SET synchronous_commit = {value}")
    servers = ("fsync = off", "full_page_writes = off")
    assert [each for each in found if each not in servers] == settings


@pytest.mark.service
def test_mariadb(mariadb_url: str) -> None:
    with create_engine(mariadb_url).connect() as connection:
        server = connection.exec_driver_sql("SELECT @@innodb_flush_log_at_trx_commit").scalar()
    connection.engine.dispose()
    lazy = [f"innodb_flush_log_at_trx_commit = {server}"] if server in (0, 2) else []
    assert forgetful(mariadb_url) == lazy
