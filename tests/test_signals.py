"""Every signal is sent with the facts that its comment names, and no other."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blinker import NamedSignal
from flask import Flask
from sqlalchemy import text

from flask_s2s import S2S, signals
from flask_s2s.networks.messages import Response
from flask_s2s.sandbox import create_sandbox
from flask_s2s.testing import ManualClock
from tests.verification.site import CONFIG, KEYS, Line

HUMAN = {"User-Agent": "Mozilla/5.0", "Sec-Fetch-Dest": "document"}
#: It is for others to send.
OURS = {
    name: one
    for name, one in vars(signals).items()
    if isinstance(one, NamedSignal) and name != "signup_completed"
}
DOCUMENTED = {
    name: set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", words.partition("kwargs:")[2])))
    for words, name in re.findall(
        r"((?:^#:.*\n)+)^(\w+) = _signals", inspect.getsource(signals), re.M
    )
}


@pytest.fixture
def heard() -> Iterator[dict[str, set[str]]]:
    """Return which facts each signal was sent with."""
    facts: dict[str, set[str]] = {}
    receivers = []
    for name, one in OURS.items():

        def hear(sender: object, _name: str = name, **sent: Any) -> None:
            assert isinstance(sender, Flask)
            facts.setdefault(_name, set()).update(sent)

        one.connect(hear)
        receivers.append((one, hear))
    yield facts
    for one, hear in receivers:
        one.disconnect(hear)


def test_each_is_sent_with_what_it_promises(
    heard: dict[str, set[str]], tmp_path: Path, sqlite_url: str
) -> None:
    clock = ManualClock()
    network = create_sandbox(now=clock.now)
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update({**CONFIG, **KEYS, "S2S_DATABASE_URI": sqlite_url})
    app.config.update(S2S_CLICK_DAY=1, S2S_WORKER="external")
    line = Line(network)
    s2s = S2S(app, clock=clock, transport=line)

    @app.post("/signup")
    def signup() -> str:
        s2s.track_signup(customer_key="1")
        return "welcome"

    app.add_url_rule("/", "home", lambda: "home")
    services = app.extensions["s2s"]
    services.storage.create()
    services.supervisor.prepare()
    client, http = app.test_client(), network.test_client()
    for user_agent in ("Mozilla/5.0", "Googlebot/2.1", "Mozilla/5.0"):
        query = http.get("/go/ada").headers["Location"].partition("?")[2]
        client.get(f"/?{query}", headers={**HUMAN, "User-Agent": user_agent})
    client.post("/signup")
    line.instead = lambda request: Response(status=401)
    services.drain()
    line.mend()
    clock.advance(minutes=1)
    services.drain()
    clock.advance(hours=1)
    services.drain()
    with services.storage.engine().begin() as connection:
        connection.execute(text("ALTER TABLE s2s_delivery RENAME TO gone"))
        connection.execute(text("CREATE VIEW s2s_delivery AS SELECT * FROM gone"))
    client.post("/signup")
    # The process ends, and what it could not store ends with it.
    services.close()
    assert heard == {name: DOCUMENTED[name] for name in OURS}
