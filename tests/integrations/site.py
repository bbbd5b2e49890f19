"""A site with Celery as its engine, made alike in the web process and in Celery's worker.

Everything about it is in a mapping of texts, so that a worker can have it from its environment.
"""

from __future__ import annotations

from collections.abc import Mapping

from celery import Celery
from flask import Flask, request

from flask_s2s import S2S
from flask_s2s.integrations.celery import CeleryEngine

LANDING = "/?ps_xid=Click123456789"


def make_site(about: Mapping[str, str]) -> tuple[Flask, Celery]:
    """Return the site and its Celery app, which uses no names of the broker but its own."""
    name = about["SITE_NAME"]
    app = Flask(name, instance_path=about["SITE_FOLDER"])
    app.config.update(
        SECRET_KEY="for-tests-only-0123456789",
        DEBUG=True,
        S2S_TOKEN="sandbox-token",
        S2S_WORKER="external",
        S2S_LEASE=int(about["SITE_LEASE"]),
        S2S_DATABASE_URI=about["SITE_DATABASE"],
        S2S_PARTNERSTACK_URL=about["SITE_NETWORK"],
        S2S_PARTNERSTACK_API_URL=about["SITE_NETWORK"] + "/api/v2",
    )
    s2s = S2S(app)

    @app.get("/")
    def landing() -> str:
        return "hello"

    @app.post("/signup")
    def signup() -> str:
        s2s.track_signup(customer_key=request.form["key"])
        return "welcome"

    celery_app = Celery(name, broker=about["SITE_BROKER"], set_as_current=False)
    celery_app.conf.update(
        task_default_queue=name,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
    )
    if about["SITE_BROKER"].startswith("redis"):
        celery_app.conf.broker_transport_options = {"global_keyprefix": f"{name}:"}
    CeleryEngine(celery_app).init_app(app, sweep=1.0)
    return app, celery_app
