"""The demo as a site of its own, the stand-in network, and a partner whose link leads to the demo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask

from example_app import create_app
from example_app.accounts import User
from example_app.extensions import db, s2s
from flask_s2s import define_tables
from flask_s2s.sandbox import create_sandbox, serve
from tests.browsers.browser import Browser
from tests.browsers.web import PARTNER, SHOP, Door
from tests.waiting import wait_until

DELIVERY = define_tables(db.metadata).delivery.c
PASSWORD = "a quiet garden"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a sign-up: who is credited at the network, and the reason the site recorded."""

    credited: bool
    reason: str

    def __str__(self) -> str:
        return f"{'credited' if self.credited else 'cannot'} ({self.reason})"


class Town:
    """Everything that a visitor comes by. Each sign-up has a name, which is its sub ID as well."""

    def __init__(self, folder: Path) -> None:
        shop, partner = Door(), Door()
        self.site, self.partner = shop.at(SHOP), partner.at(PARTNER)
        sandbox = create_sandbox(target=f"{self.site}/")
        self._sandbox = sandbox
        # The network has two doors: browsers come by TLS, the site's server by plain HTTP.
        self._network = serve(sandbox)
        self._network.start()
        self.app: Flask = create_app({"S2S_PARTNERSTACK_URL": self._network.url}, folder)
        self._doors = (shop, partner)
        shop.open(self.app)
        partner.open(sandbox)

    def close(self) -> None:
        """End every server."""
        for door in self._doors:
            door.close()
        with self.app.app_context():
            s2s.services.supervisor.embedded.stop()
            db.engine.dispose()
        self._network.stop()

    def follow_link(self, browser: Browser, name: str) -> str:
        """Follow Ada's link on a page of the partner's; return the address that it led to."""
        browser.type(f"{self.partner}/links?sid={name}")
        browser.follow("Follow the link of Ada Byron Media")
        self.expect(browser, "/")
        return browser.url

    def ask_for_letter(self, browser: Browser, name: str) -> None:
        """Leave an address at the lead form."""
        browser.follow("Letter")
        browser.send(email=_email(name))
        self.expect(browser, "/letter/thanks")

    def sign_up(self, browser: Browser, name: str) -> None:
        """Fill the sign-up form that the browser shows."""
        browser.send(name=name, email=_email(name), password=PASSWORD)
        self.expect(browser, "/welcome")

    def expect(self, browser: Browser, path: str) -> None:
        """Wait until the browser is at this page of the site."""
        page = f"{self.site}{path}"
        wait_until(lambda: browser.url.partition("?")[0] == page, what=f"the page {path}")

    def outcome(self, name: str) -> Outcome:
        """Return what became of a sign-up, once nothing is left to do for it."""
        row = wait_until(lambda: self._settled(name), what=f"the end of {name}'s delivery")
        customers = self.ledger()["customers"]
        credits = [c for c in customers if c["external_key"] == row.customer_key]
        if row.status != "delivered":
            assert credits == []
            return Outcome(False, row.reason)
        [credit] = credits
        assert (credit["partner"], credit["sub_ids"]) == ("ada", [name])
        return Outcome(True, row.reason)

    def ledger(self) -> dict[str, Any]:
        """Return the network's record."""
        ledger: dict[str, Any] = self._sandbox.test_client().get("/sandbox/ledger").json or {}
        return ledger

    def _settled(self, name: str) -> Any:
        with self.app.app_context():
            user = db.session.scalar(db.select(User).filter_by(email=_email(name)))
            assert user is not None
            [row] = db.session.execute(
                db.select(DELIVERY.customer_key, DELIVERY.status, DELIVERY.reason).where(
                    DELIVERY.customer_key == str(user.id)
                )
            )
        return row if row.status in ("delivered", "unattributed") else None


def _email(name: str) -> str:
    return f"{name}@example.com"
