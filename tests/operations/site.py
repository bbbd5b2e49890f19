"""A small site whose outbox can be any database, for commands that an operator runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from click.testing import Result
from flask import Flask
from sqlalchemy import func, select

from flask_s2s import S2S, Click, Delivery
from flask_s2s.cli import s2s as commands
from flask_s2s.testing import ManualClock, ScriptedTransport


@dataclass
class Site:
    """An app, its extension, and the doubles it was made with."""

    app: Flask
    s2s: S2S
    clock: ManualClock
    transport: ScriptedTransport

    @classmethod
    def make(cls, folder: Path, database: str | None = None, **settings: Any) -> Site:
        clock = ManualClock(datetime(2026, 3, 1, tzinfo=timezone.utc))
        transport = ScriptedTransport()
        app = Flask("site", instance_path=str(folder))
        app.config.update(SECRET_KEY="k" * 32, TESTING=True, S2S_TOKEN="token", **settings)
        if database is not None:
            app.config["S2S_DATABASE_URI"] = database
        site = cls(app, S2S(app, transport=transport, clock=clock), clock, transport)
        with app.app_context():
            site.s2s.services.storage.create()
        return site

    def close(self) -> None:
        """Close every connection: a test that leaks one is a failed test."""
        with self.app.app_context():
            self.s2s.services.close()

    def sign_up(self, customer: str, click: str | None = "clickid1") -> Delivery:
        with self.app.app_context():
            brought = None if click is None else Click(click_id=click, at=self.clock.now())
            delivery = self.s2s.track_signup(
                customer_key=customer, email=f"{customer}@example.com", click=brought
            )
            assert delivery
            return delivery

    def drain(self) -> int:
        with self.app.app_context():
            return self.s2s.drain()

    def run(self, *arguments: str, typed: str | None = None) -> Result:
        return self.app.test_cli_runner().invoke(commands, list(arguments), input=typed)

    def rows(self, table: str = "delivery") -> list[dict[str, Any]]:
        with self.app.app_context():
            storage = self.s2s.services.storage
            wanted = getattr(storage.tables, table)
            with storage.engine().connect() as connection:
                return [dict(row) for row in connection.execute(select(wanted)).mappings()]

    def count(self, table: str) -> int:
        with self.app.app_context():
            storage = self.s2s.services.storage
            wanted = getattr(storage.tables, table)
            with storage.engine().connect() as connection:
                return connection.scalar(select(func.count()).select_from(wanted)) or 0
