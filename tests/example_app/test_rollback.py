"""A sign-up that is rolled back is never sent: the site and the network over real HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from example_app import create_app
from example_app.extensions import db, s2s
from flask_s2s.sandbox import create_sandbox, serve
from tests.example_app.recorded import accounts, conversions
from tests.example_app.visitor import ADA, send
from tests.waiting import wait_until

LOST = {"name": ADA["name"], "email": ADA["email"]}
KEPT = {"name": "Grace Lind", "email": "grace.lind@example.com"}


class DiskFull(Exception):
    """Makes a commit fail."""


@pytest.fixture
def network() -> Iterator[tuple[Flask, str]]:
    """A stand-in network on a free port, and its address."""
    app = create_sandbox()
    with serve(app) as server:
        yield app, server.url


@pytest.fixture
def site(tmp_path: Path, network: tuple[Flask, str]) -> Iterator[Flask]:
    """The site as it runs in production: its own thread delivers."""
    app = create_app({"S2S_PARTNERSTACK_URL": network[1]}, tmp_path)
    yield app
    with app.app_context():
        s2s.services.supervisor.embedded.stop()
        db.engine.dispose()


def settled(site: Flask) -> bool:
    """Say whether nothing is left to send."""
    return all(status not in ("armed", "pending", "sending") for *_, status in conversions(site))


@pytest.mark.parametrize("path", ["/signup", "/trial", "/studio"])
def test_rolled_back_joining_is_never_sent(
    site: Flask, network: tuple[Flask, str], path: str
) -> None:
    sandbox = network[0].test_client()

    def visit(form: dict[str, str]) -> int:
        client = site.test_client()
        client.get("/?" + sandbox.get("/go/ada").headers["Location"].partition("?")[2])
        return send(client, path, form | {"password": ADA["password"]}).status_code

    def fail(session: object) -> None:
        raise DiskFull

    event.listen(db.session, "before_commit", fail)
    try:
        assert visit(LOST) == 500
    finally:
        event.remove(db.session, "before_commit", fail)
    assert accounts(site) == 0
    assert conversions(site) == []

    assert visit(KEPT) == 303
    wait_until(lambda: settled(site), what="an end of every delivery")
    assert [status for *_, status in conversions(site)] == ["delivered"]
    ledger: Any = sandbox.get("/sandbox/ledger").json
    [customer] = ledger["customers"]
    assert customer["details"] == KEPT
