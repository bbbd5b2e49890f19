"""A Bottle site whose users are its own: a file of SQLite beside the outbox, and no SQLAlchemy."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from bottle import Bottle, request

from flask_s2s import S2SMiddleware, Services, Settings

folder = Path(os.environ["FLASK_FOLDER"])
services = Services.build(
    Settings.from_mapping(
        {
            "SECRET_KEY": os.environ["FLASK_SECRET_KEY"],
            "S2S_TOKEN": os.environ["FLASK_S2S_TOKEN"],
            "S2S_PARTNERSTACK_URL": os.environ["FLASK_S2S_PARTNERSTACK_URL"],
        }
    ),
    folder=folder,
)
site = Bottle()


def landing() -> str:
    click = request.environ["flask_s2s.click"]
    return f"click: {click and click.click_id}"


def form() -> str:
    return f'<form method="post" action="{site.get_url("/signup")}"><input name="username"></form>'


def sign_up() -> str:
    key = add_user(request.forms["username"])
    services.track_signup(customer_key=key, environ=request.environ)
    return f"welcome {key}"


def add_user(name: str) -> str:
    with closing(sqlite3.connect(folder / "users.sqlite3")) as users, users:
        users.execute("CREATE TABLE IF NOT EXISTS user (id INTEGER PRIMARY KEY, name TEXT)")
        added = users.execute("INSERT INTO user (name) VALUES (?)", (name,))
        return f"bottle-{added.lastrowid}"


site.route("/", "GET", landing)
site.route("/signup", "GET", form)
site.route("/signup", "POST", sign_up)
application = S2SMiddleware(site, services)
