"""A host application that commits where it is told to, and is killed there if it is told to.

One view signs a customer up. `door` says how it is told to us, `ending` what becomes of the host's
transaction. As a program, it runs every case in a process of its own that kills itself with SIGKILL
right after the commit: `python -m tests.recording.shop FOLDER`.
"""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import signal
import sys
import warnings
from typing import Any

from blinker import Signal
from flask import Flask, current_app, g, request
from flask_security import Security, SQLAlchemyUserDatastore, hash_password, user_registered
from flask_security.models import fsqla_v3
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String, event
from sqlalchemy.orm import Mapped, mapped_column

from flask_s2s import S2S, Signup
from flask_s2s.testing import ManualClock, ScriptedTransport

HOSTS = ("flask-sqlalchemy", "flask-security")
DOORS = ("call", "decorator", "signal")
#: What the host does with its transaction. `told` is the moment of the call or the signal.
ENDINGS = (
    "commit after told",
    "commit before told",
    "commit in after_request",
    "commit in teardown_request",
    "rollback in the view",
    "exception and teardown",
    "error after the commit",
    "error status after the commit",
)
LANDING = "/?ps_xid=Click123456789&sid=newsletter"


class DiskFull(Exception):
    """An error that the host raises."""


class Shop:
    """One app with one case wired in."""

    def __init__(self, uri: str, host: str, door: str, ending: str, **config: Any) -> None:
        self.host, self.door, self.ending = host, door, ending
        self.clock = ManualClock()
        self.transport = ScriptedTransport()
        self.app = Flask(__name__)
        self.app.config.update(
            SECRET_KEY="shop", SQLALCHEMY_DATABASE_URI=uri, S2S_TOKEN="token", TESTING=True
        )
        self.app.config.update(config)
        self.db = SQLAlchemy(self.app)
        self.s2s = S2S(self.app, transport=self.transport, clock=self.clock)
        self.told = user_registered if host == "flask-security" else Signal("told")
        self.user_model = self._models()
        self._wire()
        with self.app.app_context():
            self.db.create_all()
            self.app.extensions["s2s"].storage.create()

    def _models(self) -> Any:
        db = self.db
        if self.host == "flask-security":
            fsqla_v3.FsModels.set_db_info(db)  # type: ignore[attr-defined, no-untyped-call]
            role = type("Role", (db.Model, fsqla_v3.FsRoleMixin), {})
            user = type("User", (db.Model, fsqla_v3.FsUserMixin), {})
            self.app.config.update(
                SECURITY_PASSWORD_SALT="salt",
                SECURITY_PASSWORD_HASH="plaintext",
                SECURITY_PASSWORD_SCHEMES=["plaintext"],
                SECURITY_REGISTERABLE=True,
                SECURITY_SEND_REGISTER_EMAIL=False,
                WTF_CSRF_ENABLED=False,
            )
            self.store = SQLAlchemyUserDatastore(db, user, role)
            Security(self.app, self.store)
            return user

        class User(db.Model):  # type: ignore[name-defined,misc]
            id: Mapped[int] = mapped_column(primary_key=True)
            email: Mapped[str] = mapped_column(String(255))

        return User

    def _wire(self) -> None:
        app, session = self.app, self.db.session
        view: Any = self._sign_up
        if self.door == "decorator":
            key = lambda: g.user.id  # noqa: E731
            view = self.s2s.conversion(customer_key=key, session=session)(self._sign_up)
            if self.host == "flask-security":
                register = app.view_functions["security.register"]
                by_name = self.s2s.conversion(customer_key=key, session=session)
                app.view_functions["security.register"] = by_name(register)
                user_registered.connect(self._keep_user, app)
        elif self.door == "signal":
            self.s2s.connect(
                self.told, lambda sender, user, **_: Signup(customer_key=user.id), session=session
            )
        elif self.host == "flask-security":
            user_registered.connect(self._call, app)
        app.add_url_rule("/", view_func=lambda: "", endpoint="landing")
        app.add_url_rule("/signup", view_func=view, methods=["POST"], endpoint="signup")
        app.before_request(self._before)
        app.after_request(self._after)
        app.teardown_request(self._teardown)

    # -- the host -----------------------------------------------------------------------------

    def _before(self) -> None:
        if request.path == "/signup":
            g.user = self._add_user()
            if self.ending == "commit before told":
                self.db.session.commit()

    def _sign_up(self) -> Any:
        """Sign a customer up; the user was added before."""
        session = self.db.session
        self._tell(g.user)
        if self.ending == "exception and teardown":
            raise DiskFull
        if self.ending == "rollback in the view":
            session.rollback()
        if self.ending in ("commit after told", *_ERRORS):
            session.commit()
        if self.ending == "error after the commit":
            raise DiskFull
        return ("sorry", 500) if self.ending == "error status after the commit" else "welcome"

    def _after(self, response: Any) -> Any:
        if request.path == "/signup" and self.ending == "commit in after_request":
            self.db.session.commit()
        return response

    def _teardown(self, error: BaseException | None) -> None:
        if request.path == "/signup" and self.ending == "commit in teardown_request":
            self.db.session.commit()

    def _add_user(self) -> Any:
        if self.host == "flask-security":
            return self.store.create_user(email="a@b.example", password=hash_password("secret"))
        user = self.user_model(email="a@b.example")
        self.db.session.add(user)
        return user

    def _tell(self, user: Any) -> None:
        app: Any = current_app._get_current_object()  # type: ignore[attr-defined]
        if self.door == "decorator":
            return
        if self.host == "flask-security":
            kwargs: dict[str, Any] = {"confirm_token": None, "confirmation_token": None}
            user_registered.send(app, user=user, form_data={}, **kwargs)
        elif self.door == "signal":
            self.told.send(app, user=user)
        else:
            self._call(app, user)

    def _call(self, sender: Flask, user: Any, **_: Any) -> None:
        if user.id is None:
            self.db.session.flush()
        self.s2s.track_signup(customer_key=user.id, session=self.db.session)

    def _keep_user(self, sender: Flask, user: Any, **_: Any) -> None:
        g.user = user

    # -- what a test does ---------------------------------------------------------------------

    def visit(self, path: str = "/signup", **form: str) -> int:
        """Follow a partner's link, then post; return the status (0: the host raised)."""
        client = self.app.test_client()
        client.get(LANDING)
        try:
            return client.post(path, data=form).status_code
        except DiskFull:
            return 0

    def kill_after_commit(self) -> None:
        """From now on, die right after the first commit of the host's own session."""
        die = lambda session: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
        event.listen(self.db.session, "after_commit", die, insert=True)

    def close(self) -> None:
        """Close every connection."""
        with self.app.app_context():
            self.db.engine.dispose()

    def drain(self) -> list[str]:
        """Send what is due; return the customer keys that the network has got so far."""
        with self.app.app_context():
            self.s2s.drain()
        return [str((sent.body or {})["customer_key"]) for sent in self.transport.requests]


_ERRORS = ("error after the commit", "error status after the commit")
CASES = list(itertools.product(HOSTS, DOORS, ENDINGS))


def file_of(folder: pathlib.Path, case: tuple[str, str, str]) -> str:
    """Return the URL of the database of a case."""
    return f"sqlite:///{folder / '-'.join(case).replace(' ', '_')}.sqlite3"


def main(folder: pathlib.Path, cases: list[tuple[str, str, str]]) -> dict[str, int]:
    """Run each case in a process that is killed; return the signals that ended them."""
    ended = {}
    for case in cases:
        pid = os.fork()
        if pid == 0:
            shop = Shop(file_of(folder, case), *case)
            shop.kill_after_commit()
            shop.visit()
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        ended["-".join(case)] = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return ended


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.stdout.write(json.dumps(main(pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]))))
