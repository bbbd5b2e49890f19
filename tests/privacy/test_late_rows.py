"""The row of a landing that is stored after its page went on, once its visitor is forgotten or withdrew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, insert, inspect
from sqlalchemy.orm import Session

from tests.privacy.sites import EMAIL, Browser, Shop
from tests.waiting import PATIENCE, wait_until

Opening = Callable[..., Shop]
MARKS = ("Click123456789", "newsletter", EMAIL, "CUSTOMER-777")


def sign_up(shop: Shop) -> Browser:
    browser = shop.browser()
    browser.land()
    # On a slow machine the sign-up would be late as well.
    wait_until(lambda: inspect(shop.services.storage.engine()).has_table("s2s_delivery"))
    assert browser.post("/signup", key="CUSTOMER-777", email=EMAIL).status_code == 200
    return browser


def kept(shop: Shop) -> list[str]:
    everything = shop.everything()
    return [mark for mark in MARKS if mark in everything]


def is_idle(shop: Shop) -> bool:
    return shop.services.recorder.background.pending == 0


def fresh(tmp_path: Path) -> Shop:
    """A site whose own file has no tables: the first landing's row waits for them, beside its page."""
    return Shop(tmp_path, prepared=False, TESTING=False, S2S_CONSENT=None, S2S_WORKER="external")


@pytest.fixture
def go_on() -> Iterator[Event]:
    """What a click's row waits for, from now on, in whichever thread it is stored."""
    gate = Event()

    def wait(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith("INSERT INTO s2s_click "):
            assert gate.wait(PATIENCE)

    event.listen(Engine, "before_cursor_execute", wait)
    yield gate
    gate.set()
    event.remove(Engine, "before_cursor_execute", wait)


def test_the_first_landing_of_a_fresh_site_does_not_come_back_after_forget(
    tmp_path: Path, go_on: Event
) -> None:
    shop = fresh(tmp_path)
    sign_up(shop)
    assert shop.run("forget", "CUSTOMER-777", "--yes").exit_code == 0
    assert not is_idle(shop), "its row is not stored yet"
    go_on.set()
    wait_until(lambda: is_idle(shop))
    assert kept(shop) == []

    # Whoever lands later is somebody else, or comes anew.
    shop.clock.advance(minutes=1)
    shop.browser().land("/?ps_xid=Another1234567")
    assert [row["click_id"] for row in shop.rows("click")] == ["Another1234567"]
    shop.close()


@pytest.mark.parametrize(
    "bound", [None, Session, Connection], ids=["alone", "session", "connection"]
)
def test_the_first_landing_of_a_fresh_site_does_not_come_back_after_a_withdrawal(
    tmp_path: Path, go_on: Event, bound: Any
) -> None:
    shop = fresh(tmp_path)

    @shop.app.post("/withdraw-within")
    def withdraw_within() -> str:
        with bound(shop.services.storage.engine()) as joined, joined.begin():
            assert not shop.s2s.withdraw(session=joined).late
        return "gone"

    browser = sign_up(shop)
    assert browser.post("/withdraw" if bound is None else "/withdraw-within").status_code == 200
    go_on.set()
    wait_until(lambda: is_idle(shop))
    assert shop.rows("click") == []
    assert kept(shop) == ["CUSTOMER-777"], "the site's own key"
    shop.close()


def test_a_fresh_site_keeps_the_first_landing_of_who_is_not_forgotten(
    tmp_path: Path, go_on: Event
) -> None:
    shop = fresh(tmp_path)
    sign_up(shop)
    shop.browser().post("/signup", key="another", email="another@shop.test")
    shop.clock.advance(seconds=-1)
    assert shop.run("forget", "another", "--yes").exit_code == 0
    go_on.set()
    wait_until(lambda: is_idle(shop))
    assert [row["click_id"] for row in shop.rows("click")] == ["Click123456789"]
    shop.close()


@pytest.mark.service
@pytest.mark.parametrize("erased", ["forget", "withdrawal"])
@pytest.mark.parametrize("server", ["postgresql_url", "mariadb_url"])
def test_a_row_that_a_server_stores_late_does_not_come_back(
    open_shop: Opening, server: str, erased: str, request: pytest.FixtureRequest
) -> None:
    shop = open_shop(S2S_DATABASE_URI=request.getfixturevalue(server), S2S_CONSENT=None)
    shop.browser().land("/?ps_xid=Warm")
    wait_until(lambda: len(shop.rows("click")) == 1)
    table, now = shop.services.storage.tables.click, shop.clock.now()
    mine = {"network": "partnerstack", "click_id": "Click123456789", "sub_ids": [], "at": now}
    with shop.services.storage.engine().connect() as other:
        # Until this ends, nobody knows whether there is a row of this click already.
        other.execute(insert(table).values(mine))
        shop.clock.advance(minutes=1)  # whatever was late before is tried again
        browser = sign_up(shop)
        assert shop.services.touches.skipped["failed"] == 1, "the page has left its row behind"
        if erased == "forget":
            assert shop.run("forget", "CUSTOMER-777", "--yes").exit_code == 0
        else:
            assert browser.post("/withdraw").status_code == 200
        other.rollback()
    wait_until(lambda: shop.services.touches.skipped["failed"] == 0)
    assert kept(shop) == ([] if erased == "forget" else ["CUSTOMER-777"])
