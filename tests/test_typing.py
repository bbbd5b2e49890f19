"""A type checker's word on a site's calls: good ones pass, a wrong word or value is told."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

#: A line that ends with `# no` must be refused, for the word behind it.
SITE = """
from datetime import datetime, timezone
from decimal import Decimal
from uuid import UUID

from flask import Flask, g
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.ext.asyncio import AsyncSession

from flask_s2s import (
    S2S, Delivery, Late, NotStored, Services, Settings, Status, signup_completed
)

app = Flask(__name__)
s2s = S2S(app)
db = SQLAlchemy(app)
services = Services.build(Settings.from_mapping({}))


def told() -> str:
    result = s2s.track_signup(customer_key=42, email="a@shop.example", meta={"plan": "pro"})
    if result:
        return result.reason
    match result:
        case Late(why=why):
            return why
        case NotStored(why=why):
            return why
    return ""


def all_of_them() -> None:
    s2s.track_signup(customer_key="42", name=None, origin="shop.example", session=None)
    s2s.track_action(customer_key=UUID(int=7), type="activated", value=2, key="step-1")
    now = datetime.now(timezone.utc)
    s2s.track_transaction(
        customer_key=42, amount=Decimal("49.00"), currency="EUR", key="inv-1", created_at=now,
        metadata={"plan": "pro"},
    )
    s2s.track_refund(customer_key=42, transaction_key="inv-1", session=db.session)
    s2s.track_refund(customer_key=42, transaction_key="inv-1", amount=1, currency="EUR", key="r-1")
    services.track_signup(customer_key=42, provider_key="cus_1", environ={})
    signup_completed.send(app, customer_key=42, email="a@shop.example", session=None)
    assert isinstance(services.track_signup(customer_key=42), Delivery | Late | NotStored)


def unacceptable() -> None:
    s2s.track_signup(customer_key=42, emial="a@shop.example")  # no emial
    s2s.track_signup(customer_key=4.2)  # no customer_key
    s2s.track_signup(email="a@shop.example")  # no customer_key
    s2s.track_action(customer_key=42, type="activated", when="now")  # no when
    s2s.track_transaction(customer_key=42, amount=4.9, currency="EUR", key="i-1")  # no amount
    s2s.track_transaction(customer_key=42, amount=4, curency="EUR", key="i-1")  # no curency
    s2s.track_refund(customer_key=42, transaction="inv-1")  # no transaction
    s2s.track_signup(customer_key=42, session=AsyncSession())  # no AsyncSession
    services.track_signup(customer_key=42, emial="a@shop.example")  # no emial
    signup_completed.send(app, customer_key=42, emial="a@shop.example")  # no emial
    print(s2s.track_signup(customer_key=42).status)  # no Late


@app.post("/join")
@s2s.conversion(customer_key=lambda: g.user.id, email=lambda: g.user.email, origin="shop.example")
def join() -> str:
    return "welcome"


@app.post("/bare")  # no customer_key
@s2s.conversion  # no conversion
def bare() -> str:
    return "welcome"


s2s.conversion(customer_key=42)  # no customer_key
s2s.conversion()  # no customer_key
s2s.conversion("sign-up", customer_key=lambda: 1)  # no sign-up
s2s.conversion(customer_key=lambda: 1, emial="a@shop.example")  # no emial
answer: int = join()  # no str
"""


def test_a_type_checker_completes_good_calls_and_refuses_the_others(tmp_path: Path) -> None:
    site = tmp_path / "site_of_a_host.py"
    site.write_text(SITE, encoding="utf-8")
    checker = [sys.executable, "-m", "mypy", "--strict", "--config-file="]
    done = subprocess.run(
        [*checker, f"--cache-dir={tmp_path / 'cache'}", site.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    expected = {
        number: line.partition("# no ")[2]
        for number, line in enumerate(SITE.splitlines(), 1)
        if "# no " in line
    }
    said: dict[int, str] = {}
    for number, what in re.findall(r"^\w+\.py:(\d+): error: (.*)$", done.stdout, re.MULTILINE):
        said[int(number)] = said.get(int(number), "") + what
    assert said.keys() == expected.keys(), done.stdout + done.stderr
    missing = {number: word for number, word in expected.items() if word not in said[number]}
    assert not missing, done.stdout
