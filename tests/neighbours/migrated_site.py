"""A site with Flask-Migrate, for `flask --app`; its settings are the `FLASK_` variables.

`FLASK_TABLES` says how the extension's tables come: `defined` on the site's own metadata, so that
Alembic makes them, or `apart` by `flask s2s init-db`, and Alembic is told to overlook them.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from flask_s2s import S2S, define_tables


def overlook_s2s(name: str | None, type_: str, parents: Any) -> bool:
    """Tell Alembic which names of the database are the site's own."""
    return type_ != "table" or not (name or "").startswith("s2s_")


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.from_prefixed_env()
    db = SQLAlchemy()

    class User(db.Model):  # type: ignore[name-defined,misc]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(255))

    if app.config["TABLES"] == "defined":
        define_tables(db.metadata)
        Migrate(app, db)
    else:
        Migrate(app, db, include_name=overlook_s2s)
    db.init_app(app)
    s2s = S2S(app)
    app.add_url_rule("/", endpoint="landing", view_func=lambda: "welcome")

    @app.post("/signup")
    def sign_up() -> str:
        user = User(email=request.form["email"])
        db.session.add(user)
        db.session.flush()
        s2s.track_signup(customer_key=user.id, session=db.session)
        db.session.commit()
        return str(user.id)

    return app
