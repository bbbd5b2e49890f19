"""A host with one view, whose body is the test's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blinker import Signal
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from flask_s2s import S2S, Signup
from flask_s2s.testing import ManualClock, ScriptedTransport
from tests.recording.rows import conversions, customers

LANDING = "/?ps_xid=Click123456789"


#: What a test has opened, to be closed after it.
OPEN: list[Desk] = []


class Boom(Exception):
    """An error that a view raises."""


class Desk:
    """An app on `uri` with Flask-SQLAlchemy; `told` is a signal that is connected to the session."""

    def __init__(self, uri: str, *, session_options: Any = None, **config: Any) -> None:
        self.uri = uri
        OPEN.append(self)
        self.clock = ManualClock()
        self.transport = ScriptedTransport()
        self.app = Flask("desk")
        self.app.config.update(
            SECRET_KEY="desk", SQLALCHEMY_DATABASE_URI=uri, S2S_TOKEN="token", TESTING=True
        )
        self.app.config.update(config)
        self.db = db = SQLAlchemy(self.app, session_options=session_options)
        self.s2s = S2S(self.app, transport=self.transport, clock=self.clock)

        class User(db.Model):  # type: ignore[name-defined,misc]
            id: Mapped[int] = mapped_column(primary_key=True)
            email: Mapped[str] = mapped_column(String(255))

        self.user_model: Any = User
        self.told = Signal("told")
        self.s2s.connect(
            self.told, lambda sender, user, **_: Signup(customer_key=user.id), session=db.session
        )
        self.view: Callable[[], Any] = lambda: ""
        self.app.add_url_rule("/", view_func=lambda: "", endpoint="landing")
        self.app.add_url_rule("/do", view_func=lambda: self.view(), methods=["POST"], endpoint="do")
        with self.app.app_context():
            db.create_all()
            self.services.storage.create()

    @property
    def services(self) -> Any:
        return self.app.extensions["s2s"]

    def new_user(self, email: str = "a@b.example") -> Any:
        """Add a user to the session."""
        user = self.user_model(email=email)
        self.db.session.add(user)
        return user

    def call(self, user: Any) -> Any:
        """Tell by call; the user gets its key first."""
        self.db.session.flush()
        return self.s2s.track_signup(customer_key=user.id, session=self.db.session)

    def send(self, user: Any) -> None:
        """Tell by signal."""
        self.told.send(self.app, user=user)

    def tell(self, door: str, user: Any) -> None:
        (self.call if door == "call" else self.send)(user)

    def post(self, view: Callable[[], Any] | None = None, path: str = "/do", **kwargs: Any) -> int:
        """Come by a partner's link, then post; return the status (0: the view raised `Boom`)."""
        client = self.app.test_client()
        client.get(LANDING)
        if view is not None:
            self.view = lambda: view() or ""
        try:
            return client.post(path, **kwargs).status_code
        except Boom:
            return 0

    def close(self) -> None:
        """Close every connection."""
        with self.app.app_context():
            self.db.engine.dispose()

    def drain(self) -> list[str]:
        """Send what is due; return the customer keys that the network has got so far."""
        with self.app.app_context():
            self.s2s.drain()
        return [str((sent.body or {})["customer_key"]) for sent in self.transport.requests]

    def expect_exactly_the_customers(self, number: int) -> None:
        """There are `number` committed users, and each has its conversion."""
        assert len(customers(self.uri)) == number
        assert sorted(conversions(self.uri)) == [(key, "pending") for key in customers(self.uri)]
