"""One advertiser: a site on some server, its database, and the network that it reports to."""

from __future__ import annotations

import pathlib
import uuid
from functools import partial
from urllib.parse import urlsplit

import requests

from flask_s2s import Click, Delivery, Services, Settings, Status
from tests.servers.network import StandIn
from tests.servers.running import KINDS, PATIENCE, Kind, Server
from tests.waiting import wait_until

SETTINGS = {"SECRET_KEY": "a-key-for-tests-only-0123456789", "S2S_TOKEN": "sandbox-token"}


class Shop:
    """Starts servers, does what visitors do, and looks into the database."""

    def __init__(self, url: str, network: StandIn, folder: pathlib.Path) -> None:
        self.network = network
        self.folder = folder
        self.servers: list[Server] = []
        self.url = url
        self.settings = {**SETTINGS, "S2S_PARTNERSTACK_URL": network.url}
        self.services = Services.build(
            Settings.from_mapping({**self.settings, "S2S_DATABASE_URI": url})
        )
        self.services.storage.create()
        self.services.supervisor.prepare()

    def serve(self, kind: str | Kind, *, host: bool = False, **settings: str) -> Server:
        """Start a server, and wait until it listens. With `host`, the database is the site's own."""
        database = "SQLALCHEMY_DATABASE_URI" if host else "S2S_DATABASE_URI"
        # However loaded the machine is, a report is there when the call returns.
        own = {**self.settings, database: self.url, "S2S_RECORD_WAIT": "60"}
        settings = {**own, **settings}
        found = KINDS[kind] if isinstance(kind, str) else kind
        self.servers.append(Server(found, self.folder, settings))
        return self.servers[-1].wait()

    def close(self) -> None:
        for server in self.servers:
            server.kill()
        self.services.close()

    # -- visitors -----------------------------------------------------------------------------

    def sign_up(self, server: Server) -> str:
        """Come by Ada's link and sign up; return the customer's key."""
        key = uuid.uuid4().hex
        query = urlsplit(self.network.link()).query
        # Each on a connection of its own: uWSGI ends one without having said so.
        landed = requests.get(f"{server.url}/?{query}", timeout=PATIENCE)
        assert landed.ok, landed.text
        posted = requests.post(
            f"{server.url}/signup", data={"key": key}, cookies=landed.cookies, timeout=PATIENCE
        )
        assert posted.ok, posted.text
        return key

    def leave_undelivered(self) -> str:
        """Record a sign-up as a process that has ended since would have; return its key."""
        key = uuid.uuid4().hex
        click = Click(click_id=self.network.click(), at=self.services.clock.now())
        assert self.services.track_signup(customer_key=key, click=click)
        return key

    # -- the books ----------------------------------------------------------------------------

    def row(self, key: str) -> Delivery:
        [found] = [d for d in self.services.ledger.find(limit=1000) if d.customer_key == key]
        return found

    def expect_credited_once(self, *keys: str) -> None:
        """Wait until all are delivered, then compare with the network's own record."""
        for key in keys:
            wait_until(partial(self._is_delivered, key), PATIENCE, what="delivery")
            self.network.expect_credited_once(key)

    def _is_delivered(self, key: str) -> bool:
        return self.row(key).status is Status.DELIVERED

    def expect_none_leased(self) -> None:
        found = self.services.ledger.find(limit=1000)
        assert [row.status for row in found if row.lease_token is not None] == []
