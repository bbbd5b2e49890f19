"""From a sign-up to the customer credited on the network, in the demo: its own two processes' clocks.

The demo runs as in its README, with the worker in the site's process. For each sign-up the clock
starts when the conversion is put into the user's transaction (before the commit) and stops when
the network credits the customer; both moments are read from the two databases. What the visitor's
browser would wait for, the POST itself, is hashing a password.
"""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any

import requests

from tests.benchmarks.figures import Delay, Figure
from tests.example_app.demo import Demo
from tests.waiting import wait_until

SIGNUPS = 50
BUDGET = 100.0


def credited_in_time() -> list[Figure]:
    """Sign up `SIGNUPS` visitors, one after the other, and compare the two records."""
    with tempfile.TemporaryDirectory(prefix="flask-s2s-benchmark.") as name:
        demo = Demo(Path(name) / "demo")
        demo.start()
        try:
            pages = tuple(_sign_up(demo, number) for number in range(SIGNUPS))
            customers = wait_until(lambda: _credited(demo), 60, what="every customer credited")
            recorded = _recorded(demo.data / "site.db")
        finally:
            demo.stop()
    spans = tuple(c["created_at"] - recorded[c["external_key"]] for c in customers)
    return [
        Delay(
            what="sign-up to credited",
            against=f"median of {SIGNUPS} sign-ups in the demo",
            budget=BUDGET,
            milliseconds=spans,
        ),
        Delay(
            what="the sign-up's own POST",
            against="mostly the password's hash",
            budget=None,
            milliseconds=pages,
        ),
    ]


def _sign_up(demo: Demo, number: int) -> float:
    """Follow the link and sign up; return how long the POST took, in milliseconds."""
    with requests.Session() as browser:
        browser.get(f"{demo.network}go/ada?sid=newsletter", timeout=60).raise_for_status()
        form = {
            "name": "Ada Rowe",
            "email": f"ada.{number}@example.com",
            "password": "a quiet garden",
        }
        began = perf_counter()
        answer = browser.post(
            f"{demo.site}signup",
            data=form,
            headers={"Sec-Fetch-Site": "same-origin"},
            timeout=60,
            allow_redirects=False,
        )
        took = (perf_counter() - began) * 1000
        assert answer.status_code == 303, answer.text
        return took


def _credited(demo: Demo) -> list[dict[str, Any]]:
    """Return every customer, once all are there."""
    customers: list[dict[str, Any]] = demo.ledger()["customers"]
    return customers if len(customers) == SIGNUPS else []


def _recorded(database: Path) -> dict[str, float]:
    """Return when each conversion was recorded, by customer key, in milliseconds since 1970."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT customer_key, created_at FROM s2s_delivery").fetchall()
    return {key: microseconds / 1000 for key, microseconds in rows}
