"""The Flask app around us: which app is meant, what it brings, and the facts that it signals."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from flask import Flask, current_app, has_app_context, has_request_context, request
from sqlalchemy import Engine

from .capture.attribution import Attribution
from .capture.handle import PARAMETER
from .conversion import Conversion, Signup
from .delivery.enlist import watch
from .errors import UsageError
from .services import Services

log = logging.getLogger("flask_s2s")

#: Where an app keeps its `Services`, in `app.extensions`.
NAME = "s2s"


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
    return services.attribution_of(current_environ(), handle_in_form)


def handle_in_form() -> str | None:
    """Return the handle that the request's form brought, in the field of `s2s_field()`."""
    if not has_request_context() or request.method != "POST":
        return None
    if request.mimetype == "application/x-www-form-urlencoded":
        # Kept whole first: a view that reads the raw body still can.
        request.get_data(cache=True)
    elif "form" not in vars(request):
        # Reading a file that is on its way is the view's business.
        return None
    return request.form.get(PARAMETER)


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
        services.recorder.fact(make, current_attribution(services), session)


def on_signup_completed(sender: Any, *, session: Any = None, **fields: Any) -> None:
    """Receive our own signal, for all apps of the process."""
    app = app_of(sender)
    if app is not None:
        record_fact(app, lambda: Signup(**fields), session)


def engine_of(app: Flask) -> Engine | None:
    """Return the engine of Flask-SQLAlchemy, where the app has it and gave it a database."""
    database = app.extensions.get("sqlalchemy")
    if database is None:
        return None
    with app.app_context():
        engines = getattr(database, "engines", None) or {}
        engine: Engine | None = engines.get(None)
    if engine is not None:
        watch(database.session)
    return engine
