"""The recipe of docs/databases.md: its script copies a stopped site to another database."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import request
from sqlalchemy import select

from flask_s2s import S2S, Click
from flask_s2s.cli import s2s as commands
from flask_s2s.errors import StorageError
from flask_s2s.networks.messages import Response
from flask_s2s.sandbox import create_sandbox
from flask_s2s.testing import ManualClock, answered
from tests.carrying.site import Browser
from tests.carrying.site import Site as Shop
from tests.verification.site import CONFIG, KEYS, Line

PAGE = Path(__file__).parents[2] / "docs" / "databases.md"
TABLES = (
    "meta",
    "click",
    "click_token",
    "binding",
    "delivery",
    "attempt",
    "breaker",
    "block",
    "audit",
)


class World:
    """A clock, a network, and the same shop on one database after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.sandbox = create_sandbox(now=self.clock.now)
        self.line = Line(self.sandbox)
        self.opened: list[Shop] = []

    def open(self, url: str) -> Shop:
        shop = Shop(str(self.folder), S2S_DATABASE_URI=url, **{**CONFIG, **KEYS})
        shop.s2s = S2S(transport=self.line, clock=self.clock)
        shop.app.add_url_rule("/lead", view_func=lambda: str(lead(shop)), methods=["POST"])
        self.opened.append(shop.start())
        return shop

    def xid(self) -> str:
        """Follow a partner's link."""
        location = self.sandbox.test_client().get("/go/ada").headers["Location"]
        return parse_qs(urlsplit(location).query)["ps_xid"][0]

    def posted(self) -> Counter[str]:
        """Count what was posted, by what it is about; and forget it."""
        posts = [one.body or {} for one in self.line.requests if one.method == "POST"]
        self.line.requests.clear()
        return Counter(str(body.get("key") or body["customer_key"]) for body in posts)


def lead(shop: Shop) -> bool:
    return shop.s2s.identify(email=request.form["email"])


def run(shop: Shop, *arguments: str) -> int:
    return shop.app.test_cli_runner().invoke(commands, list(arguments)).exit_code


def sign_up(world: World, shop: Shop, customer: str, *, credited: bool = True) -> None:
    click = Click(click_id=world.xid(), at=world.clock.now()) if credited else None
    with shop.app.app_context():
        shop.s2s.track_signup(customer_key=customer, email=f"{customer}@shop.example", click=click)


def pay(shop: Shop, customer: str, key: str) -> None:
    with shop.app.app_context():
        shop.s2s.track_transaction(customer_key=customer, amount=4900, currency="EUR", key=key)


def drain(shop: Shop) -> int:
    with shop.app.app_context():
        return shop.s2s.drain()


def rows(shop: Shop, table: str) -> list[dict[str, Any]]:
    with shop.app.app_context():
        storage = shop.s2s.services.storage
        found = select(getattr(storage.tables, table))
        with storage.engine().connect() as connection:
            read = [dict(row) for row in connection.execute(found).mappings()]
    return sorted(read, key=repr)


def fill(world: World, shop: Shop) -> str:
    """One of each; return the address of a page with a click token that was used."""
    assert run(shop, "init-db") == 0
    visitor = shop.app.test_client()
    visitor.get(f"/?ps_xid={world.xid()}")
    assert visitor.post("/lead", data={"email": "bound@shop.example"}).text == "True"
    carried = Browser(shop.app).type(f"/?ps_xid={world.xid()}").click("pricing")
    used = carried.url
    carried.submit("signup", customer="carried")
    sign_up(world, shop, "confirmed")
    pay(shop, "confirmed", "invoice-1")
    for minutes in (0, 15):
        world.clock.advance(minutes=minutes)
        drain(shop)
    sign_up(world, shop, "delivered")
    drain(shop)
    assert run(shop, "block", "--partner", "mallory", "--why", "Zoë said so 🙂") == 0
    sign_up(world, shop, "unattributed", credited=False)
    sign_up(world, shop, "leased")
    with shop.app.app_context():
        services = shop.s2s.services
        lease = services.settings.lease
        assert (
            len(services.supervisor.claims.claim(limit=1, now=world.clock.now(), lease=lease)) == 1
        )

    def refuse(_: Any) -> Response:
        return answered(401)

    sign_up(world, shop, "held")
    world.line.instead = refuse
    drain(shop)
    pay(shop, "held", "invoice-2")
    drain(shop)
    sign_up(world, shop, "pending")
    world.line.mend()
    return used


def script() -> str:
    """Return the script of the page, as a reader pastes it."""
    blocks = re.findall(r"^( *)```python\n(.*?)^\1```$", PAGE.read_text("utf-8"), re.M | re.S)
    (found,) = (dedent(block) for _, block in blocks if "OLD" in block)
    return str(found)


def move(old: str, new: str, **variables: str) -> subprocess.CompletedProcess[str]:
    variables |= {"OLD_DATABASE": old, "NEW_DATABASE": new}
    return subprocess.run(
        [sys.executable, "-"],
        input=script(),
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    for shop in world.opened:
        with shop.app.app_context():
            shop.s2s.services.close()


@pytest.fixture(
    params=[
        pytest.param(("sqlite_url", "postgresql_url"), marks=pytest.mark.service),
        pytest.param(("sqlite_url", "mariadb_url"), marks=pytest.mark.service),
        pytest.param(("postgresql_url", "sqlite_url"), marks=pytest.mark.service),
    ],
    ids="-".join,
)
def urls(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return an old and a new database."""
    old, new = (request.getfixturevalue(name) for name in request.param)
    return old, new


def test_a_site_goes_on_in_another_database(world: World, urls: tuple[str, str]) -> None:
    old_url, new_url = urls
    old = world.open(old_url)
    used = fill(world, old)
    before = {table: rows(old, table) for table in TABLES}
    assert all(before.values()), "there is something in each table"
    statuses = {row["status"] for row in before["delivery"]}
    assert statuses >= {
        "confirmed",
        "delivered",
        "unattributed",
        "sending",
        "held",
        "waiting",
        "pending",
    }
    new = world.open(new_url)
    assert run(new, "init-db") == 0

    moved = move(old_url, new_url)

    assert moved.returncode == 0, moved.stderr
    assert {table: rows(new, table) for table in TABLES} == before

    world.posted()
    for minutes in (2, 60, 15):
        world.clock.advance(minutes=minutes)
        drain(new)
    assert world.posted() == Counter(["leased", "held", "pending", "invoice-2"])
    for customer in ("confirmed", "delivered", "pending"):
        sign_up(world, new, customer)
    assert drain(new) == 0
    assert len(rows(new, "delivery")) == len(before["delivery"])

    sign_up(world, new, "newcomer")
    drain(new)
    assert world.posted() == Counter(["newcomer"])
    with new.app.app_context():
        assert new.s2s.track_signup(customer_key="bound", email="bound@shop.example")
    assert new.reason("bound") == "identity"
    Browser(new.app).type(used, site="same-origin", referer=used).submit("signup", customer="thief")
    assert new.reason("thief") == "token_used"


def test_nothing_is_sent_from_the_old_database_any_more(
    world: World, urls: tuple[str, str]
) -> None:
    old_url, new_url = urls
    fill(world, world.open(old_url))
    assert run(world.open(new_url), "init-db") == 0
    assert move(old_url, new_url).returncode == 0
    world.posted()

    late = world.open(old_url)
    world.clock.advance(days=1)
    with pytest.raises(StorageError, match="of version 9999"):
        drain(late)
    assert run(late, "status") == 1
    assert run(late, "retry", "--since", "2020-01-01", "--yes") == 1
    assert world.posted() == Counter()


def test_a_database_that_has_rows_already_is_left_as_it_is(
    world: World, sqlite_url: str, postgresql_url: str
) -> None:
    old, new = world.open(sqlite_url), world.open(postgresql_url)
    fill(world, old)
    assert run(new, "init-db") == 0
    sign_up(world, new, "theirs")
    there, here = ({table: rows(one, table) for table in TABLES} for one in (new, old))

    assert move(sqlite_url, postgresql_url).returncode != 0

    assert {table: rows(new, table) for table in TABLES} == there
    assert {table: rows(old, table) for table in TABLES} == here
