"""A Flask site with users, to which each test adds the neighbour that it is about."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column

from flask_s2s import S2S, Services
from flask_s2s.testing import ManualClock, ScriptedTransport

LANDING = "/?ps_xid=Click123456789&sid=letter"
CLICK = "Click123456789"


class Shop:
    """The app, its database and the extension; `start` makes the tables."""

    def __init__(self, uri: str, **config: Any) -> None:
        self.clock = ManualClock()
        self.transport = ScriptedTransport()
        self.app = Flask(__name__)
        self.app.config.update(
            SECRET_KEY="shop", SQLALCHEMY_DATABASE_URI=uri, S2S_TOKEN="token", TESTING=True
        )
        self.app.config.update(config)
        self.db = SQLAlchemy()
        self.s2s = S2S(transport=self.transport, clock=self.clock)
        self.user_model: Any = None
        self.app.add_url_rule("/", endpoint="landing", view_func=lambda: "welcome")

    def start(self, *, with_users: bool = True) -> Shop:
        if with_users:
            db = self.db

            class User(db.Model):  # type: ignore[name-defined,misc]
                id: Mapped[int] = mapped_column(primary_key=True)
                email: Mapped[str]

            self.user_model = User
        if "sqlalchemy" not in self.app.extensions:
            self.db.init_app(self.app)
        if "s2s" not in self.app.extensions:
            self.s2s.init_app(self.app)
        with self.app.app_context():
            self.db.create_all()
            self.services.storage.create()
        return self

    @property
    def services(self) -> Services:
        services = self.app.extensions["s2s"]
        assert isinstance(services, Services)
        return services

    def add_user(self, email: str = "a@b.example") -> Any:
        """Save a user in the session, and report the sign-up in the same transaction."""
        user = self.user_model(email=email)
        self.db.session.add(user)
        self.db.session.flush()
        self.s2s.track_signup(customer_key=user.id, session=self.db.session)
        return user

    def visitor(self, *, from_partner: bool = True) -> FlaskClient:
        """Return a browser, which has followed a partner's link or has not."""
        client = self.app.test_client()
        if from_partner:
            assert client.get(LANDING).text == "welcome"
            assert client.get_cookie("s2s") is not None
        return client

    def recorded(self) -> list[tuple[str | None, str]]:
        """Return customer key and reason of each conversion, oldest first."""
        found = self.services.ledger.find(limit=99)
        return sorted((d.customer_key, d.reason) for d in found)

    def credited(self) -> list[tuple[str, str]]:
        """Send what is due; return customer key and click of all that was sent so far."""
        with self.app.app_context():
            self.s2s.drain()
        bodies = [sent.body or {} for sent in self.transport.requests]
        return [(str(body["customer_key"]), str(body["xid"])) for body in bodies]

    def close(self) -> None:
        self.services.close()
        with self.app.app_context():
            for engine in self.db.engines.values():
                engine.dispose()
