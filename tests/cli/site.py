"""A site for commands: everything about it comes from the environment (`FLASK_...`)."""

from __future__ import annotations

import os

from flask import Flask, abort, request

from flask_s2s import S2S


def create_app() -> Flask:
    """Return a site whose files are in the folder `SITE_FOLDER`."""
    app = Flask(__name__, instance_path=os.environ["SITE_FOLDER"])
    app.config.from_prefixed_env()
    s2s = S2S(app)

    @app.post("/signup")
    def signup() -> str:
        if s2s.track_signup(customer_key=request.form["key"]) is None:
            abort(503)
        return "welcome"

    return app
