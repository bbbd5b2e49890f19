"""A site that does nothing but deliver: `flask --app tests.benchmarks.subjects.site s2s work`.

Its settings come from the environment (`FLASK_S2S_...`), as a deployment's do.
"""

from __future__ import annotations

from flask import Flask

from flask_s2s import S2S


def create_app() -> Flask:
    """Return the site."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    S2S(app)
    return app
