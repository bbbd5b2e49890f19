"""A site for commands: everything about it comes from the environment (`FLASK_...`)."""

from __future__ import annotations

import os
from importlib import import_module

from flask import Flask, abort, request

from flask_s2s import S2S


def create_app() -> Flask:
    """Return a site whose files are in the folder `SITE_FOLDER`."""
    app = Flask(__name__, instance_path=os.environ["SITE_FOLDER"])
    app.config.from_prefixed_env()
    s2s = S2S(app)
    if app.config.get("SITE_METRICS"):
        import_module("flask_s2s.integrations.prometheus").Metrics().init_app(app)

    @app.post("/signup")
    def signup() -> str:
        if not s2s.track_signup(customer_key=request.form["key"]):
            abort(503)
        return "welcome"

    return app
