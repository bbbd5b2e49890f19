"""A conversion in the caller's open transaction, a bare insert of the same row, and a delivery.

The two inserts use one session with a write of its own in the transaction. The visitor's cookie is
read anew each time, as in a request; the request context is made once, for both.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from flask import Flask, request
from sqlalchemy import insert
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from flask_s2s import S2S, Click, define_tables
from flask_s2s.testing import ScriptedTransport
from tests.benchmarks.marks import Once, run_cases

#: How many deliveries wait in the outbox when it is drained.
WAITING = 8


class Base(DeclarativeBase):
    """The site's own tables."""


class User(Base):
    """The site's own row in the transaction."""

    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)


TABLES = define_tables(Base.metadata)


def visitor_signing_up(folder: Path) -> tuple[S2S, Session]:
    """A site, its session, and a request (left open) of somebody whose cookie has a click."""
    uri = f"sqlite:///{folder / 'site.sqlite3'}"
    app = Flask("shop", instance_path=str(folder))
    app.config.update(
        SECRET_KEY="benchmark" * 4,
        S2S_WORKER="external",
        S2S_DATABASE_URI=uri,
        S2S_TOKEN="benchmark",
    )
    s2s = S2S(app, transport=ScriptedTransport())
    with app.app_context():
        services = s2s.services
    engine = services.storage.engine()
    Base.metadata.create_all(engine)
    # As a process that serves does beside its first request.
    services.supervisor.prepare()
    click = Click(
        click_id="a1B2c3D4e5F6g7",
        partner_key="adalovelace",
        sub_ids=("newsletter",),
        at=datetime.now(timezone.utc),
    )
    cookie = f"theme=dark; s2s={services.signer.dumps(click)}; session=eyJ1c2VyIjo0Mn0"
    app.test_request_context("/signup", method="POST", headers={"Cookie": cookie}).push()
    return s2s, Session(engine)


def in_transaction(build: Callable[[S2S, Session], Once]) -> Callable[[Path], Once]:
    def prepare(folder: Path) -> Once:
        s2s, session = visitor_signing_up(folder)
        session.add(User(id=1))
        session.flush()
        return build(s2s, session)

    return prepare


def tracked(s2s: S2S, session: Session) -> Once:
    environ = request.environ

    def once(number: int) -> None:
        environ.pop("flask_s2s.attribution.s2s", None)
        s2s.track_signup(
            customer_key=number,
            email="ada.rowe@example.com",
            name="Ada Rowe",
            session=session,
        )

    return once


def inserted(s2s: S2S, session: Session) -> Once:
    """Insert by hand what `track_signup` wrote for the same visitor."""
    rows = TABLES.delivery
    s2s.track_signup(customer_key=0, email="ada.rowe@example.com", name="Ada Rowe", session=session)
    written = session.connection().execute(rows.select()).mappings().one()
    row = {name: value for name, value in written.items() if name != "id"}
    prefix = row["dedupe"][:32]
    assert row["status"] == "pending"

    def once(number: int) -> None:
        values: dict[str, Any] = {
            **row,
            "customer_key": str(number),
            "dedupe": f"{prefix}{number:032d}",
        }
        session.connection().execute(insert(rows), values)

    return once


def waiting(folder: Path) -> Once:
    """Record, and commit every `WAITING` conversions: what `delivery` does before it drains."""
    return _deliveries(folder, drained=False)


def delivery(folder: Path) -> Once:
    """And drain them then: claim, send to a network that accepts, settle."""
    return _deliveries(folder, drained=True)


def _deliveries(folder: Path, *, drained: bool) -> Once:
    s2s, session = visitor_signing_up(folder)

    def once(number: int) -> None:
        s2s.track_signup(customer_key=number, email="ada.rowe@example.com", session=session)
        if number % WAITING == WAITING - 1:
            session.commit()
            if drained:
                assert s2s.drain() == WAITING

    return once


CASES = {
    "insert": in_transaction(inserted),
    "signup": in_transaction(tracked),
    "waiting": waiting,
    "delivery": delivery,
}

if __name__ == "__main__":
    sys.exit(run_cases(CASES, sys.argv[1:]))
