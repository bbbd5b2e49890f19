"""A site with a dashboard, its stand-in network in process, and a programme of a few customers."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from flask import Flask, Request
from flask.testing import FlaskClient
from sqlalchemy import insert

from flask_s2s import S2S, Click, Services, Signup
from flask_s2s.conversion import Conversion, Reversal, Transaction
from flask_s2s.dashboard import Act, View
from flask_s2s.rules.attribution import Attribution, Reason
from flask_s2s.sandbox import create_sandbox
from flask_s2s.store.audit import Entry
from flask_s2s.testing import ManualClock
from tests.verification.site import CONFIG, KEYS, Line

HOSTILE = "<script>alert(1)</script>\u202e"


def access(request: Request) -> View | Act | None:
    """Say who asks by a header, as a proxy's log-in would."""
    who = request.headers.get("X-Who")
    if who == "looks":
        return View("Lea")
    return Act("Jo") if who == "acts" else None


class Programme:
    """The app, and what happens on it."""

    def __init__(self, folder: Path, database: str, **config: object) -> None:
        self.clock = ManualClock()
        self.sandbox = create_sandbox(now=self.clock.now)
        self.line = Line(self.sandbox)
        self.app = Flask(__name__, instance_path=str(folder))
        self.app.config.update({**CONFIG, **KEYS, "TESTING": True, **config})
        self.app.config["S2S_DATABASE_URI"] = database
        s2s = S2S(self.app, transport=self.line, clock=self.clock)
        pages = s2s.dashboard(access=access, partner_name={"ada": "Ada & Co"}.get)
        self.app.register_blueprint(pages, url_prefix="/partners")
        services: Services = self.app.extensions["s2s"]
        self.services = services
        services.storage.create()
        services.supervisor.prepare()

    def close(self) -> None:
        self.services.close()
        self.services.storage.engine().dispose()

    # -- what happens ---------------------------------------------------------------------------

    def signs_up(
        self,
        key: str,
        partner: str | None = None,
        reason: Reason | None = None,
        sub_ids: tuple[str, ...] = ("newsletter",),
        **fields: Any,
    ) -> None:
        click = None
        if reason is None:
            xid = "click-of-" + re.sub(r"\W", "", key)
            click = Click(click_id=xid, at=self.clock.now(), partner_key=partner)
            click = replace(click, sub_ids=sub_ids)
            self._lands(click)
        found = Attribution(click, reason or Reason.COOKIE)
        assert self.services.recorder.alone(Signup(customer_key=key, **fields), found)

    def tracks(self, conversion: Conversion) -> None:
        assert self.services.track(conversion)

    def _lands(self, click: Click) -> None:
        row = {
            "network": click.network,
            "click_id": click.click_id,
            "partner_key": click.partner_key,
            "sub_ids": list(click.sub_ids),
            "at": click.at,
        }
        with self.services.storage.engine().begin() as connection:
            connection.execute(insert(self.services.storage.tables.click), row)

    def pays(self, key: str, amount: int, invoice: str, currency: str = "USD") -> None:
        self.tracks(Transaction(customer_key=key, amount=amount, currency=currency, key=invoice))

    def undoes(self, key: str, invoice: str) -> None:
        self.tracks(Reversal(customer_key=key, transaction_key=invoice))

    def acts_on(self, customer: str) -> None:
        """Have all of a customer's deliveries noted as sent again."""
        found = self.services.ledger.find(customer=customer)
        detail = {"deliveries": 1, "ids": [one.id for one in found]}
        entry = Entry(at=self.clock.now(), act="retry", who=HOSTILE, why=HOSTILE, detail=detail)
        self.services.audit.write(entry, [customer])

    def after(self, **span: float) -> None:
        self.clock.advance(timedelta(**span))
        self.services.drain()

    # -- what is seen ---------------------------------------------------------------------------

    def client(self, who: str = "acts") -> FlaskClient:
        client = self.app.test_client()
        client.environ_base["HTTP_X_WHO"] = who
        return client

    def read(self, path: str, who: str = "acts", status: int = 200) -> str:
        """Return what a page says, without its markup."""
        answer = self.client(who).get(f"/partners{path}")
        assert answer.status_code == status, answer.text
        return words_of(answer.text)


def words_of(html: str) -> str:
    """Return the words of a page in one line."""
    reader = _Words()
    reader.feed(html)
    return " ".join(" ".join(reader.said).split())


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def without_names(file: str) -> str:
    """Return a file of the pages as the command line writes it, which knows no partner's name."""
    head, *rows = csv.reader(io.StringIO(file, newline=""))
    assert head.pop() == "partner_name"
    written = io.StringIO(newline="")
    csv.writer(written).writerows([head, *(row[:-1] for row in rows)])
    return written.getvalue()


def token_in(html: str, action: str, name: str = "token") -> str:
    """Return the token of the form that posts to `action`."""
    form = re.search(rf'<form[^>]*action="[^"]*{re.escape(action)}[^"]*".*?</form>', html, re.S)
    assert form is not None, html
    token = re.search(rf'name="{name}" value="([^"]+)"', form.group(0))
    assert token is not None
    return token.group(1)
