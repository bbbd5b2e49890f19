"""The advertiser's site that every server serves, set up by its environment.

`FLASK_IMPORT` says what the process that imports it does with the site at once: `drain` sends what
is due, so that connections to database and network are open before any fork; `host` uses the site's
own connection, and nothing of ours. `FLASK_INHERITED` names a file in which each use of a connection
from before a fork is noted.
"""

from __future__ import annotations

import os
import pathlib
import threading
from typing import Any

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.pool import ConnectionPoolEntry

from flask_s2s import S2S, Services
from flask_s2s.signals import delivery_settled


def create_app() -> Flask:
    """Return the site; its settings are the `FLASK_` variables."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    host = "SQLALCHEMY_DATABASE_URI" in app.config
    db = SQLAlchemy(app) if host else None
    s2s = S2S(app)
    services: Services = app.extensions["s2s"]
    delivery_settled.connect(_note_process, app)
    with app.app_context():
        if "INHERITED" in app.config:
            engine = services.storage.engine() if db is None else db.engine
            _note_inherited(engine, pathlib.Path(app.config["INHERITED"]))
        imported = _import(app.config.get("IMPORT"), services, db)

    @app.get("/")
    def page() -> str:
        return "a page"

    @app.post("/signup")
    def signup() -> str:
        session = None if db is None else db.session
        s2s.track_signup(customer_key=request.form["key"], session=session)
        if session is not None:
            session.commit()
        return "welcome"

    @app.post("/drain")
    def drain() -> str:
        """Deliver what is due: what a platform calls by the clock, where no thread runs."""
        return str(s2s.drain())

    @app.get("/process")
    def process() -> ResponseReturnValue:
        """Say what this process is, and which connections it uses."""
        return jsonify(
            pid=os.getpid(),
            imported=imported,
            connections=_connections(services, db),
            threads=[thread.name for thread in threading.enumerate()],
        )

    return app


def _import(what: object, services: Services, db: SQLAlchemy | None) -> dict[str, Any]:
    used = {}
    if what == "drain":
        services.drain()
        used = _connections(services, db)
    elif what == "host":
        used = _host_connection(db)
    return {"pid": os.getpid(), "connections": used}


def _connections(services: Services, db: SQLAlchemy | None) -> dict[str, int]:
    """Return the server's process behind our connection and behind the host's (PostgreSQL)."""
    if services.storage.engine().dialect.name != "postgresql":
        return {}
    with services.storage.engine().connect() as connection:
        return {"ours": _backend(connection), **_host_connection(db)}


def _host_connection(db: SQLAlchemy | None) -> dict[str, int]:
    if db is None:
        return {}
    used = _backend(db.session.connection())
    db.session.rollback()
    return {"host": used}


def _backend(connection: Connection) -> int:
    return int(connection.scalar(text("SELECT pg_backend_pid()")) or 0)


def _note_inherited(engine: Engine, note: pathlib.Path) -> None:
    @event.listens_for(engine, "connect")
    def opened(_: object, record: ConnectionPoolEntry) -> None:
        record.info["process"] = os.getpid()

    @event.listens_for(engine, "checkout")
    def used(_: object, record: ConnectionPoolEntry, __: object) -> None:
        if record.info["process"] != os.getpid():
            note.touch()


def _note_process(app: Flask, **_: object) -> None:
    path = app.config.get("DELIVERED_BY")
    if path:
        with pathlib.Path(path).open("a") as file:
            file.write(f"{os.getpid()}\n")
