"""A site with pages, a lead form, a log-in and a sign-up; and browsers that are each their own."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from flask import Flask, request, session
from sqlalchemy import select
from werkzeug.http import parse_cookie
from werkzeug.test import TestResponse

from flask_s2s import S2S, Services
from flask_s2s.testing import ManualClock, ScriptedTransport
from tests.waiting import wait_until

ORIGIN = "http://www.shop.example"
#: A page with the site's own form.
_PAGE = '<html><body><form method="post" action="/lead"></form></body></html>'


class Site:
    """One process of a site; another with the same folder is another process of the same site."""

    def __init__(self, folder: Path, url: str | None = None, **config: Any) -> None:
        self.clock = ManualClock()
        self.transport = ScriptedTransport()
        self.s2s = S2S(transport=self.transport, clock=self.clock)
        self.app = app = Flask("site", instance_path=str(folder))
        app.config.update(SECRET_KEY="for-tests-only-0123456789", TESTING=True, S2S_TOKEN="token")
        app.config.update(S2S_CLICK_RATE=1000)
        if url is not None:
            app.config["S2S_DATABASE_URI"] = url
        app.config.update(config)
        app.add_url_rule("/", view_func=lambda: _PAGE, endpoint="page")
        app.add_url_rule("/lead", view_func=self._lead, methods=["POST"])
        app.add_url_rule("/login", view_func=self._login, methods=["POST"])
        app.add_url_rule("/signup", view_func=self._signup, methods=["POST"])
        self.s2s.init_app(app)
        self.services.storage.create()
        self.services.supervisor.prepare()

    @property
    def services(self) -> Services:
        services = self.app.extensions["s2s"]
        assert isinstance(services, Services)
        return services

    def rows(self, table: str = "delivery") -> list[dict[str, Any]]:
        wanted = getattr(self.services.storage.tables, table)
        with self.services.storage.engine().connect() as connection:
            return [dict(row) for row in connection.execute(select(wanted)).mappings()]

    def row_of(self, customer: str) -> dict[str, Any]:
        """The one row of a customer's sign-up."""
        rows = self.services.storage.tables.delivery
        wanted = select(rows).where(rows.c.customer_key == customer)
        with self.services.storage.engine().connect() as connection:
            return dict(connection.execute(wanted).mappings().one())

    def close(self) -> None:
        self.services.close()

    def _lead(self) -> str:
        bound = self.s2s.identify(
            email=request.form.get("email"),
            user_id=request.form.get("user_id"),
            verified="verified" in request.form,
        )
        return json.dumps(bound)

    def _login(self) -> str:
        session.clear()
        session["user"] = request.form["user"]
        return _PAGE

    def _signup(self) -> str:
        delivery = self.s2s.track_signup(
            customer_key=request.form["customer"], email=request.form.get("email")
        )
        assert delivery
        click = None if delivery.click is None else delivery.click.click_id
        return json.dumps([delivery.id, delivery.reason, click])


class Browser:
    """One visitor's device. It sends what a browser sends, and keeps cookies or does not."""

    def __init__(self, site: Site, *, keeps_cookies: bool = True) -> None:
        self.site = site
        self.keeps_cookies = keeps_cookies
        #: By name and domain: a site's cookies may be host-only or the whole domain's.
        self.cookies: dict[tuple[str, str], str] = {}

    def land(self, query: str) -> str:
        """Follow a partner's link; return the address of the page.

        A database that took longer than a page waits stores the click's row a moment later.
        """
        page, late = self._page(f"/?{query}", "cross-site"), self.site.services.touches.skipped
        wait_until(lambda: not late["failed"], what=f"the row of {query[:40]} is stored")
        return page

    def browse(self, page: str | None = None) -> str:
        """Follow a link to the site's page, from another of its pages; return its address."""
        return self._page("/", "same-origin", page)

    def open(self, address: str) -> str:
        """Open an address by hand; return the one that the browser shows then."""
        return self._page(address, "none")

    def lead(self, page: str | None = None, **fields: Any) -> bool:
        """Fill in the lead form of a page; return whether something was bound."""
        bound: bool = json.loads(self._post("/lead", page, fields).text)
        return bound

    def log_in(self, user: str) -> None:
        self._post("/login", None, {"user": user})

    def sign_up(
        self, customer: str, email: str | None = None, page: str | None = None
    ) -> tuple[int, str, str | None]:
        """Become a customer by a page's form; return the row's ID, its reason and its click."""
        fields = {"customer": customer} if email is None else {"customer": customer, "email": email}
        found: tuple[int, str, str | None] = tuple(
            json.loads(self._post("/signup", page, fields).text)
        )
        return found

    def _page(self, path: str, came_from: str, page: str | None = None) -> str:
        answer = self._send("GET", path, came_from, page)
        if answer.status_code == 302:
            path = urljoin(path, answer.headers["Location"])
            answer = self._send("GET", path, came_from, page)
        assert answer.status_code == 200
        return path

    def _post(self, path: str, page: str | None, fields: dict[str, Any]) -> TestResponse:
        answer = self._send("POST", path, "same-origin", page, data=fields)
        assert answer.status_code == 200
        return answer

    def _send(
        self, method: str, path: str, came_from: str, page: str | None, **more: Any
    ) -> TestResponse:
        headers = {"Sec-Fetch-Site": came_from, "Sec-Fetch-Dest": "document"}
        if page is not None:
            headers["Referer"] = f"{ORIGIN}{page}"
        if self.cookies:
            pairs = (f"{name}={value}" for (name, _), value in self.cookies.items())
            headers["Cookie"] = "; ".join(pairs)
        client = self.site.app.test_client(use_cookies=False)
        answer = client.open(path, method=method, base_url=ORIGIN, headers=headers, **more)
        if self.keeps_cookies:
            self._keep(answer.headers.getlist("Set-Cookie"))
        return answer

    def _keep(self, headers: Iterable[str]) -> None:
        for header in headers:
            pair, _, attributes = header.partition(";")
            name, _, value = pair.partition("=")
            said = parse_cookie(attributes)
            domain = said.get("Domain", "")
            self.cookies.pop((name, domain), None)
            if said.get("Max-Age") != "0":
                self.cookies[name, domain] = value
