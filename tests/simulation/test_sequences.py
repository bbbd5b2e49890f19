"""Sequences from capture to settle through a Flask app, against a model of a few lines.

The machine lands visitors, signs them up by each way to report it, rolls back, restarts the site,
lets time pass, and drains while the network answers from a script. The model knows only who was
committed with a click, and what was answered.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from blinker import Signal
from flask import Flask, request
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from flask_s2s import S2S, Signup
from flask_s2s.testing import (
    ManualClock,
    ScriptedTransport,
    accepted,
    answered,
    no_answer,
    not_connected,
)

CUSTOMERS = st.sampled_from(["ann", "bob", "cyd"])
VISITORS = st.sampled_from(["phone", "laptop"])
TROUBLES = {
    "refused connection": not_connected(),
    "lost answer": no_answer(),
    "500": answered(500),
    "429": answered(429, retry_after="30"),
    "web page": answered(200, "<html>hello</html>"),
    "unknown 4xx": answered(418),
}


class Site:
    """One run of the site's process: an app, with its database on disk."""

    def __init__(self, folder: Path, clock: ManualClock, network: ScriptedTransport) -> None:
        url = f"sqlite:///{folder / 'site.sqlite3'}"
        self.engine = create_engine(url)
        with self.engine.begin() as connection:
            connection.execute(text("CREATE TABLE IF NOT EXISTS customer (name TEXT)"))
        self.app = Flask("site", instance_path=str(folder))
        self.app.config.update(
            SECRET_KEY="a-key-for-tests-only-0123456789",
            S2S_TOKEN="tok",
            S2S_DATABASE_URI=url,
            TESTING=True,
        )
        self.s2s = S2S(transport=network, clock=clock)
        self.s2s.init_app(self.app)
        self.joined = Signal()
        self.session: Session
        self._add_views()

    def _add_views(self) -> None:
        current = lambda: self.session  # noqa: E731 - what `session=` takes
        self.s2s.connect(
            self.joined, lambda sender, name: Signup(customer_key=name), session=current
        )

        def sign_up() -> str | tuple[str, int]:
            name, way, end = (request.form[field] for field in ("name", "way", "end"))
            self.session.execute(text("INSERT INTO customer VALUES (:name)"), {"name": name})
            if way == "call":
                self.s2s.track_signup(customer_key=name, session=self.session)
            elif way == "signal":
                self.joined.send(self, name=name)
            if end == "rollback":
                self.session.rollback()
                return "not this time", 400
            self.session.commit()
            return ("sorry", 500) if end == "error" else "welcome"

        decorated = self.s2s.conversion(
            "signup", customer_key=lambda: request.form["name"], session=current
        )(sign_up)
        self.app.add_url_rule("/", view_func=lambda: "hello", endpoint="home")
        self.app.add_url_rule("/join", view_func=sign_up, methods=["POST"], endpoint="join")
        self.app.add_url_rule(
            "/decorated", view_func=decorated, methods=["POST"], endpoint="decorated"
        )

    def close(self) -> None:
        self.app.extensions["s2s"].close()
        self.engine.dispose()


class FromClickToCredit(RuleBasedStateMachine):
    """Each customer is credited exactly when, and to whom, the model says."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock, self.network = ManualClock(), ScriptedTransport()
        self.site = Site(self.folder, self.clock, self.network)
        self.cookies: dict[str, str] = {}
        #: The model: each visitor's click, who must be credited to which, who has been.
        self.clicks: dict[str, str] = {}
        self.owed: dict[str, str] = {}
        self.credited: set[str] = set()
        self.numbers = 0

    def visit(self, visitor: str, path: str, **form: str) -> int:
        client = self.site.app.test_client(use_cookies=False)
        headers = {"Cookie": self.cookies[visitor]} if visitor in self.cookies else {}
        with Session(self.site.engine) as self.site.session:
            if form:
                answer = client.post(path, data=form, headers=headers)
            else:
                answer = client.get(path, headers=headers)
        for cookie in answer.headers.getlist("Set-Cookie"):
            self.cookies[visitor] = cookie.split(";")[0]
        return answer.status_code

    # -- what visitors do ---------------------------------------------------------------------

    @rule(visitor=VISITORS)
    def land(self, visitor: str) -> None:
        self.numbers += 1
        click = f"click{self.numbers}"
        assert self.visit(visitor, f"/?ps_xid={click}") == 200
        self.clicks[visitor] = click

    @rule(visitor=VISITORS)
    def look_around(self, visitor: str) -> None:
        assert self.visit(visitor, "/") == 200

    @rule(
        visitor=VISITORS,
        name=CUSTOMERS,
        way=st.sampled_from(["call", "decorated", "signal"]),
        end=st.sampled_from(["commit", "commit", "commit", "rollback", "error"]),
    )
    def sign_up(self, visitor: str, name: str, way: str, end: str) -> None:
        path = "/decorated" if way == "decorated" else "/join"
        status = self.visit(visitor, path, name=name, way=way, end=end)
        assert status == {"commit": 200, "rollback": 400, "error": 500}[end]
        kept = end == "commit" or (end == "error" and way != "decorated")
        if kept and visitor in self.clicks:
            self.owed.setdefault(name, self.clicks[visitor])

    # -- what happens to the site -------------------------------------------------------------

    @rule()
    def restart(self) -> None:
        self.site.close()
        self.site = Site(self.folder, self.clock, self.network)

    @rule(hours=st.sampled_from([0.01, 1, 30]))
    def time_passes(self, hours: float) -> None:
        self.clock.advance(hours=hours)

    @rule(trouble=st.sampled_from(sorted(TROUBLES)))
    def drain_in_trouble(self, trouble: str) -> None:
        self.drain(TROUBLES[trouble])

    @rule()
    def drain_well(self) -> None:
        before = len(self.network.requests)
        self.drain(accepted())
        answered_now = self.network.requests[before:]
        asked = {request.body["customer_key"] for request in answered_now if request.body}
        self.credited |= asked & self.owed.keys()

    @precondition(lambda self: self.owed)
    @rule()
    def all_is_well_for_a_while(self) -> None:
        """An hour after any failure, all who are owed are credited."""
        self.clock.advance(hours=2)
        self.drain(accepted())
        assert self.rows().get("pending", 0) == 0
        self.credited |= self.owed.keys()

    def drain(self, answer: Any) -> None:
        self.network.then(answer)
        with self.site.app.app_context():
            self.site.s2s.drain()

    # -- what must hold -----------------------------------------------------------------------

    def rows(self) -> dict[str, int]:
        services = self.site.app.extensions["s2s"]
        services.supervisor.prepare()
        counts: dict[str, int] = services.supervisor.summary().counts
        return counts

    @invariant()
    def everybody_is_sent_under_their_own_click_and_nobody_else(self) -> None:
        for sent in self.network.requests:
            assert sent.body is not None
            assert self.owed.get(sent.body["customer_key"]) == sent.body["xid"]

    @invariant()
    def everybody_owed_is_on_the_way_or_credited(self) -> None:
        rows = self.rows()
        assert rows.get("pending", 0) + rows.get("delivered", 0) == len(self.owed)
        assert rows.get("delivered", 0) >= len(self.credited & self.owed.keys())

    def teardown(self) -> None:
        self.site.close()
        shutil.rmtree(self.folder)


FromClickToCredit.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestFromClickToCredit = FromClickToCredit.TestCase
