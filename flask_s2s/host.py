"""The Flask app around us: which app is meant, what it brings, and the facts that it signals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from flask import Flask, current_app, g, has_app_context, has_request_context, request
from sqlalchemy import Engine
from sqlalchemy.orm import Session, scoped_session

from .clock import Clock
from .config.settings import Settings
from .conversion import Conversion, Signup
from .errors import UsageError
from .networks.messages import Transport
from .networks.network import Network
from .recording.joining import LEFT_OUT
from .rules.attribution import Attribution
from .services import Services
from .signals import signup_completed

log = logging.getLogger("flask_s2s")

#: Where an app keeps its `Services`, in `app.extensions`.
NAME = "s2s"


def services_for(
    app: Flask,
    *,
    networks: Sequence[type[Network]],
    transport: Transport | None,
    clock: Clock | None,
    at_first_request: Callable[[], None],
) -> Services:
    """Build an app's `Services` from its config, with its own engine, session and signals."""
    return Services.build(
        Settings.from_mapping(app.config, networks),
        folder=Path(app.instance_path),
        host_engine=lambda: _engine_of(app),
        transport=transport,
        clock=clock,
        sender=app,
        static_path=app.static_url_path,
        session_in_use=lambda: _session_of(app),
        at_first_request=at_first_request,
        networks=networks,
    )


def current_services() -> Services:
    """Return the current app's `Services`. Raises `UsageError` where there is none."""
    if not has_app_context():
        raise UsageError(
            "There is no current app. Outside a request, wrap the call: with app.app_context(): ..."
        )
    services = current_app.extensions.get(NAME)
    if not isinstance(services, Services):
        raise UsageError("This app has no Flask-S2S. Call S2S().init_app(app) when it is made.")
    return services


def current_environ() -> dict[str, Any] | None:
    """Return the WSGI environment of the current request, if there is one."""
    return request.environ if has_request_context() else None


def current_attribution(services: Services) -> Attribution:
    """Return what the current request, if any, says of its visitor's click."""
    return services.visitors.attribution_of(current_environ())


def app_of(sender: Any) -> Flask | None:
    """Return the app that a signal is about: the current one, else its sender."""
    if has_app_context():
        return current_app._get_current_object()  # type: ignore[attr-defined, no-any-return]
    if isinstance(sender, Flask):
        return sender
    log.warning(
        "s2s.signal.no_app: a signal was sent outside of an app context, and not by an app. "
        "Wrap the sending: with app.app_context(): ...",
        extra={"action": "signal.no_app"},
    )
    return None


def record_fact(app: Flask, make: Callable[[], Conversion | None], session: Any) -> None:
    """Record what a signal told of this app."""
    services = app.extensions.get(NAME)
    if isinstance(services, Services):
        services.recorder.fact(make, services.visitors.crediting(current_environ()), session)


def listen_for_signups() -> None:
    """Hear our own signal: the same function each time, so it is connected once for however many apps."""
    signup_completed.connect(_on_signup_completed)


def _on_signup_completed(sender: Any, *, session: Any = LEFT_OUT, **fields: Any) -> None:
    app = app_of(sender)
    if app is not None:
        record_fact(app, lambda: Signup(**fields), session)


def _engine_of(app: Flask) -> Engine | None:
    """Return the engine of Flask-SQLAlchemy (or -Lite) that our tables are, or would be, on."""
    database = app.extensions.get("sqlalchemy")
    if database is None:
        return None
    here = has_app_context() and app_of(app) is app
    # The end of a context removes a session of the whole thread, in the middle of its transaction.
    with nullcontext() if here else app.app_context():
        engines = getattr(database, "engines", None) or {}
    for key, metadata in getattr(database, "metadatas", {}).items():
        if any(table.name == "s2s_delivery" for table in metadata.tables.values()):
            # Flask-SQLAlchemy's word, by which its sessions find a table's engine.
            app.extensions[NAME].storage.metadata.info["bind_key"] = key
            return engines.get(key)
    # Flask-SQLAlchemy's name for the app's own database, and -Lite's.
    return engines.get(None) or engines.get("default")


def _session_of(app: Flask) -> Session | None:
    """Return the session that the app's extension has open in this context; it makes none."""
    database = app.extensions.get("sqlalchemy")
    if database is None or not has_app_context() or app_of(app) is not app:
        return None
    scoped = vars(database).get("session")
    if isinstance(scoped, scoped_session):
        return scoped.registry() if scoped.registry.has() else None
    # Flask-SQLAlchemy-Lite's.
    session = g.get("_sqlalchemy_sessions", {}).get("default")
    return session if isinstance(session, Session) else None
