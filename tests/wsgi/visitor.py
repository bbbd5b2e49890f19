"""A visitor of a site in another process: keeps cookies as a browser behind a proxy would."""

from __future__ import annotations

import re
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlsplit

import requests

from tests.servers.network import StandIn
from tests.servers.running import PATIENCE, Server

#: Where the proxy says that it was asked for a page; Django takes names below localhost.
PUBLIC_HOST = "www.shop.localhost"
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
ACTION = re.compile(r'action="([^"]+)"')


class Visitor:
    """Comes to a site, at its own address or through a proxy in front of it."""

    def __init__(self, server: Server, *, proxied: bool) -> None:
        self.server = server
        self.proxied = proxied
        self.cookies: dict[str, str] = {}
        #: The last header that set our cookie, in lower case.
        self.set_cookie = ""

    def get(self, path: str) -> requests.Response:
        return self._keep(requests.get(self._url(path), headers=self._headers(), timeout=PATIENCE))

    def land(self, network: StandIn) -> str:
        """Follow Ada's link; return the click ID."""
        query = urlsplit(network.link()).query
        answer = self.get(f"/?{query}")
        assert answer.ok, answer.text
        return parse_qs(query)["ps_xid"][0]

    def sign_up(self, name: str) -> requests.Response:
        """Open the form, fill it in and send it to where it says."""
        page = self.get("/signup")
        password = "a quiet garden"
        form = {"username": name, "password1": password, "password2": password}
        if token := TOKEN.search(page.text):
            form["csrfmiddlewaretoken"] = token[1]
        [action] = ACTION.findall(page.text)
        address = f"{self.server.url}{action}"
        headers = self._headers()
        return self._keep(requests.post(address, data=form, headers=headers, timeout=PATIENCE))

    def _url(self, path: str) -> str:
        return f"{self.server.url}{'/shop' if self.proxied else ''}{path}"

    def _headers(self) -> dict[str, str]:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if self.proxied:
            headers["X-Forwarded-Host"] = PUBLIC_HOST
            headers["X-Forwarded-Proto"] = "https"
            headers["Referer"] = f"https://{PUBLIC_HOST}/"
        return headers

    def _keep(self, answer: requests.Response) -> requests.Response:
        for header in answer.raw.headers.getlist("Set-Cookie"):
            for name, morsel in SimpleCookie(header).items():
                self.cookies[name] = morsel.value
                if name == "s2s":
                    self.set_cookie = header.lower()
        return answer
