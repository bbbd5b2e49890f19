"""Puts the stand-in network together."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from flask import Flask

from flask_s2s.sandbox.books.clicks import Clicks
from flask_s2s.sandbox.books.customers import Customers
from flask_s2s.sandbox.books.database import Database
from flask_s2s.sandbox.books.moments import Clock, system_clock
from flask_s2s.sandbox.books.posts import Posts
from flask_s2s.sandbox.books.reports import Reports
from flask_s2s.sandbox.books.requestlog import RequestLog
from flask_s2s.sandbox.books.rewards import Rewards
from flask_s2s.sandbox.books.tokens import Tokens
from flask_s2s.sandbox.doors import control, links, pages, tracking, vendor
from flask_s2s.sandbox.doors.network import EXTENSION, Network
from flask_s2s.sandbox.guard import install_guard
from flask_s2s.sandbox.line import Line
from flask_s2s.sandbox.switches import FaultPlan, Switches


def create_sandbox(
    *,
    database: str = ":memory:",
    target: str = "http://127.0.0.1:5000/",
    now: Clock | None = None,
    seed: int = 0,
    faults: Mapping[str, Any] | None = None,
    allowed_hosts: Iterable[str] = (),
) -> Flask:
    """Return a stand-in network as a WSGI application.

    `database` is a file or `:memory:`; `target` the advertiser's page that partners' links lead
    to; `now` a clock that returns aware datetimes; `seed` starts the stream that decides which
    requests a fault strikes; `faults` are the switches to begin with, as `PUT /sandbox/faults`
    takes them; `allowed_hosts` are names it answers to besides loopback and `.test`.

    Raises `ValueError` when `target` is no http(s) URL, `SwitchError` when a switch is wrong.
    """
    if urlsplit(target).scheme not in ("http", "https") or not urlsplit(target).hostname:
        raise ValueError(f"target must be an http or https URL with a host, not {target!r}")
    plan = FaultPlan(Switches.read(faults or {}, seed=seed))
    network = _network(database, now or system_clock, plan, target=target, seed=seed)
    app = Flask(__name__)
    app.extensions[EXTENSION] = network
    install_guard(app, allowed_hosts)
    for door in (links, tracking, vendor, control, pages):
        app.register_blueprint(door.blueprint)
    app.wsgi_app = Line(  # type: ignore[method-assign]
        app.wsgi_app, plan=plan, log=network.log, posts=network.posts, now=network.now
    )
    return app


def _network(path: str, now: Clock, plan: FaultPlan, *, target: str, seed: int) -> Network:
    database = Database(path)
    clicks = Clicks(database, now)
    return Network(
        database=database,
        clicks=clicks,
        tokens=Tokens(database, now),
        customers=Customers(database, clicks, now),
        rewards=Rewards(database, now),
        posts=Posts(database, now),
        reports=Reports(database),
        plan=plan,
        log=RequestLog(),
        now=now,
        target=target,
        seed=seed,
    )
