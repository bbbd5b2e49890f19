"""The advertiser: users in its own table, each signed up by one of three doors in one transaction.

Every eighth customer also pays, every sixteenth also reaches a milestone, in the same transaction.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from blinker import Signal
from flask import Flask, Response, g, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String, event
from sqlalchemy.orm import Mapped, mapped_column

from flask_s2s import S2S, Signup
from flask_s2s.clock import Clock
from flask_s2s.signals import delivery_settled
from tests.chaos import marks
from tests.chaos.plan import LEASE, SECRET_KEY, Plan

DOORS = ("call", "decorated", "signal")


db = SQLAlchemy()


class User(db.Model):  # type: ignore[misc,name-defined]
    """A customer of the site; `xid` is the click that brought her."""

    __tablename__ = "users"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    xid: Mapped[str] = mapped_column(String(64))
    door: Mapped[str] = mapped_column(String(16))
    pays: Mapped[bool] = mapped_column()
    acts: Mapped[bool] = mapped_column()


def create_site(plan: Plan, trail: Path) -> Flask:
    """Return the site as one process of it serves or works; its marks go to `trail`."""
    app = Flask(__name__, instance_path=str(plan.folder))
    app.config.update(
        SECRET_KEY=SECRET_KEY,
        SQLALCHEMY_DATABASE_URI=plan.database,
        SQLALCHEMY_ENGINE_OPTIONS=_engine_options(plan),
        S2S_TOKEN="sandbox-token",
        S2S_PARTNERSTACK_URL=plan.network_url,
        S2S_PARTNERSTACK_API_URL=f"{plan.network_url}/api/v2",
        S2S_PARTNERSTACK_PUBLIC_KEY="pk_sandbox",
        S2S_PARTNERSTACK_SECRET_KEY="sk_sandbox",
        S2S_LEASE=None if plan.peace.exists() else LEASE,
        S2S_CONCURRENCY=16,
        S2S_CLICK_RATE=1000,
        S2S_WORKER="external" if plan.workers else "embedded",
    )
    marking = marks.Marks(trail)
    # Until it is set forward, the clock is the one that ships: the database's.
    clock: Clock | None = plan.clock if plan.clock.offset else None
    if plan.clocks:
        clock = plan.clock_of(trail.name.partition(".")[0])
    db.init_app(app)
    s2s = S2S(app, transport=marks.MarkingTransport(marking), clock=clock)
    _watch(app, marking)
    _add_views(app, s2s, marking)
    return app


def _engine_options(plan: Plan) -> dict[str, Any]:
    if plan.pooled:
        # As `check` advises: a statement that was prepared is another connection's.
        return {"connect_args": {"prepare_threshold": None}}
    return {"connect_args": {"timeout": 30}} if plan.database.startswith("sqlite") else {}


def prepare(app: Flask) -> None:
    """Make the tables; a SQLite file is put into WAL mode, as `flask s2s check` advises."""
    with app.app_context():
        db.create_all()
        app.extensions["s2s"].storage.create()
        if db.engine.dialect.name == "sqlite":
            connection = sqlite3.connect(str(db.engine.url.database))
            connection.execute("PRAGMA journal_mode=WAL")
            connection.close()


def _watch(app: Flask, marking: marks.Marks) -> None:
    @delivery_settled.connect_via(app, weak=False)
    def settled(sender: Any, *, delivery: Any, **_: Any) -> None:
        marking.leave(marks.SETTLED, marks.key_of(delivery))

    @event.listens_for(db.session, "after_commit")
    def committed(session: Any) -> None:
        if "key" in g:
            marking.leave(marks.COMMITTED, g.key)


def _add_views(app: Flask, s2s: S2S, marking: marks.Marks) -> None:
    registered = Signal("registered")
    s2s.connect(
        registered, lambda sender, user, **_: Signup(customer_key=user.key), session=db.session
    )

    @app.get("/")
    def landing() -> str:
        return str(os.getpid())

    @app.before_request
    def begin() -> None:
        if request.method == "POST":
            g.key = request.form["key"]
            marking.leave(marks.VIEW, g.key)

    @app.after_request
    def end(response: Response) -> Response:
        if request.method == "POST":
            key = g.key
            response.call_on_close(lambda: marking.leave(marks.SERVED, key))
        return response

    @app.post("/signup/call")
    def call() -> str:
        user = _add_user("call")
        s2s.track_signup(customer_key=user.key, session=db.session)
        return _commit(s2s, user)

    @app.post("/signup/decorated")
    @s2s.conversion("signup", customer_key=lambda: g.key, session=db.session)
    def decorated() -> str:
        return _commit(s2s, _add_user("decorated"))

    @app.post("/signup/signal")
    def signal() -> str:
        user = _add_user("signal")
        registered.send(app, user=user)
        return _commit(s2s, user)


def _add_user(door: str) -> User:
    form = request.form
    user = User(
        key=form["key"], xid=form["xid"], door=door, pays="pays" in form, acts="acts" in form
    )
    db.session.add(user)
    return user


def _commit(s2s: S2S, user: User) -> str:
    key = user.key
    if user.pays:
        s2s.track_transaction(
            customer_key=key, amount=4900, currency="EUR", key=f"t-{key}", session=db.session
        )
    if user.acts:
        s2s.track_action(customer_key=key, type="trial", key=f"a-{key}", session=db.session)
    db.session.commit()
    return "welcome"
