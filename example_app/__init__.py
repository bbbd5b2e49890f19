"""Tallyfern, a small invoicing site whose partner programme runs on Flask-S2S.

This file is the application factory. What concerns partners is in four places. One for each way to
report a conversion:

- ``joining.py``: the **call** in ``POST /signup`` and the **decorator** on ``POST /trial``;
- ``studio.py`` sends an ordinary Blinker **signal** and knows nothing about partners; ``create_app``
  connects it below.

``members.py`` reports what a customer pays, gets back and achieves, and ``team.py`` says who may see
the dashboard at ``/partners``. And ``letter.py``, whose readers may become customers weeks later: they are **identified**.

Nothing a visitor needs before they join needs a cookie: ``sameorigin.py`` guards the forms without
one, and without one Flask-S2S reads the click from the address of the page before. The rest is what
any Flask site has. ``python -m example_app`` starts it with a stand-in network.
"""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask

from example_app import joining, letter, members, pages, sameorigin, studio, team
from example_app.extensions import db, s2s
from flask_s2s import Signup, define_tables

define_tables(db.metadata)
s2s.connect(
    studio.early_access_joined,
    lambda sender, user, **_: Signup(customer_key=user.id, email=user.email, name=user.name),
    session=db.session,
)


def create_app(config: Mapping[str, Any] | None = None, data: str | Path = "instance") -> Flask:
    """Make the site, with its files in the folder ``data``.

    ``FLASK_...`` environment variables change the defaults, and ``config`` has the last word.
    """
    app = Flask(__name__, instance_path=str(Path(data).resolve()))
    app.config.from_mapping(
        SQLALCHEMY_DATABASE_URI="sqlite:///site.db",
        SESSION_COOKIE_NAME="tallyfern",  # cookies ignore ports: the network next door has its own
        SESSION_COOKIE_SAMESITE="Lax",
        WTF_CSRF_ENABLED=False,  # its token needs a cookie; `sameorigin` needs none
        S2S_TOKEN="sandbox-token",
        S2S_PARTNERSTACK_URL="http://127.0.0.1:5001",
        S2S_PARTNERSTACK_API_URL="http://127.0.0.1:5001/api/v2",
        S2S_PARTNERSTACK_PUBLIC_KEY="pk_sandbox",
        S2S_PARTNERSTACK_SECRET_KEY="sk_sandbox",
    )
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    if not app.config["SECRET_KEY"]:
        app.config["SECRET_KEY"] = lasting_secret(Path(app.instance_path))

    db.init_app(app)
    s2s.init_app(app)
    for module in (sameorigin, pages, joining, studio, letter, members, team):
        app.register_blueprint(module.bp)
    app.register_blueprint(
        s2s.dashboard(access=team.access, partner_name=team.PARTNERS.get, name="partners"),
        url_prefix="/partners",
    )
    with app.app_context():
        db.create_all()
        if db.engine.dialect.name == "sqlite":  # readers and the writer stop waiting for each other
            db.session.execute(db.text("PRAGMA journal_mode = WAL"))
    return app


def lasting_secret(folder: Path) -> str:
    """Return the key kept in ``folder``, made on first use: log-ins and clicks survive a restart."""
    path = folder / "secret_key"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_hex())
        draft.replace(path)
    return path.read_text()
