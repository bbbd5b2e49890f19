"""`check` tells when the database's own settings let it forget a commit in a power cut."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import create_engine, event

from flask_s2s import Services, Settings
from flask_s2s.checkup import check
from flask_s2s.testing import ScriptedTransport

CONFIG = {"SECRET_KEY": "durability-tests-only", "S2S_TOKEN": "tok"}


def forgetful(url: str, *statements: str) -> list[str]:
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
    return [message.partition(":")[0] for message in found]


@pytest.mark.parametrize(("level", "noted"), [("OFF", ["synchronous = 0"]), ("FULL", [])])
def test_sqlite(sqlite_url: str, level: str, noted: list[str]) -> None:
    assert forgetful(sqlite_url, f"PRAGMA synchronous={level}") == noted


def test_sqlite_in_wal_mode_with_a_sync_only_now_and_then(sqlite_url: str) -> None:
    wal = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL")
    assert forgetful(sqlite_url, *wal) == ["synchronous = 1"]


@pytest.mark.service
@pytest.mark.parametrize(
    ("value", "noted"), [("off", ["synchronous_commit = off"]), ("local", []), ("on", [])]
)
def test_postgresql(postgresql_url: str, value: str, noted: list[str]) -> None:
    found = forgetful(postgresql_url, f"SET synchronous_commit = {value}")
    assert [each for each in found if each != "fsync = off"] == noted


@pytest.mark.service
def test_mariadb(mariadb_url: str) -> None:
    with create_engine(mariadb_url).connect() as connection:
        server = connection.exec_driver_sql("SELECT @@innodb_flush_log_at_trx_commit").scalar()
    connection.engine.dispose()
    noted = [] if server == 1 else [f"innodb_flush_log_at_trx_commit = {server}"]
    assert forgetful(mariadb_url) == noted
