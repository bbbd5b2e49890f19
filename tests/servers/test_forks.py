"""No connection that was open before a fork is used after it.

The site is imported, and its connections to database and network are used, in gunicorn's master
(`--preload`); its workers are forks of that.
"""

from __future__ import annotations

import os
import pathlib
import signal
from collections.abc import Callable, Mapping
from threading import Event, Thread

import pytest
from sqlalchemy import Engine, event

from flask_s2s import Click, Services, Settings
from flask_s2s.networks.network import Traits
from flask_s2s.runtime.embedded import EmbeddedWorker
from flask_s2s.store.database.storage import Storage
from flask_s2s.testing import ScriptedTransport
from tests.delivery.shop import CONFIG
from tests.networks.second import Second
from tests.servers.shop import Shop
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

PRELOADED = ["gunicorn-sync-preload", "gunicorn-gevent-preload"]


@pytest.mark.service
@pytest.mark.parametrize("host", [True, False], ids=["the-hosts-engine", "our-own-engine"])
@pytest.mark.parametrize("kind", PRELOADED)
def test_each_process_has_connections_of_its_own(
    postgresql_shop: Shop, kind: str, host: bool
) -> None:
    shop = postgresql_shop
    left = shop.leave_undelivered()
    note = shop.folder / "inherited"
    server = shop.serve(kind, host=host, IMPORT="drain", INHERITED=str(note))
    shop.expect_credited_once(left)
    [used_at_import] = shop.network.ports
    described = server.describe()
    imported = described["imported"]
    assert described["pid"] != imported["pid"] == server.process.pid
    assert described["connections"].keys() == ({"host", "ours"} if host else {"ours"})
    assert set(described["connections"].values()).isdisjoint(imported["connections"].values())
    shop.expect_credited_once(shop.sign_up(server))
    assert used_at_import not in shop.network.ports[1:]
    assert not note.exists()
    assert server.end() == 0
    assert server.complaints() == []


@pytest.mark.service
def test_a_connection_that_only_the_host_used_at_import_is_not_used_either(
    postgresql_shop: Shop,
) -> None:
    shop = postgresql_shop
    note = shop.folder / "inherited"
    server = shop.serve("gunicorn-sync-preload", host=True, IMPORT="host", INHERITED=str(note))
    shop.expect_credited_once(shop.sign_up(server))
    [theirs] = server.describe()["imported"]["connections"].values()
    assert theirs  # there was one to inherit
    assert not note.exists()


@pytest.mark.parametrize("kind", PRELOADED)
def test_what_was_used_at_import_delivers_after_the_fork_on_a_file_too(
    shop: Shop, kind: str
) -> None:
    left = shop.leave_undelivered()
    server = shop.serve(kind, IMPORT="drain")
    shop.expect_credited_once(left)
    [used_at_import] = shop.network.ports
    shop.expect_credited_once(shop.sign_up(server))
    assert used_at_import not in shop.network.ports[1:]


# -- a fork of any other kind -----------------------------------------------------------------


def in_a_fork(child: Callable[[], None]) -> tuple[int, Callable[[], None]]:
    """Run `child` in a fork once it is let go; return its process, and what lets it go."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.read(reading, 1)
            child()
            code = 0
        finally:
            os._exit(code)
    return pid, lambda: (os.write(writing, b"x"), None)[1]


#: Asks whether a process has ended, and leaves it to be waited for.
_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT


def ends(child: Callable[[], None]) -> None:
    """Assert that `child` comes to its end in a fork, by itself and well."""
    pid, let_go = in_a_fork(child)
    let_go()
    try:
        wait_until(lambda: os.waitid(os.P_PID, pid, _ENDED), what="the child's end")
    finally:
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
    assert status == 0


def file_services(url: str) -> Services:
    settings = Settings.from_mapping({**CONFIG, "S2S_DATABASE_URI": url, "S2S_WORKER": "external"})
    services = Services.build(settings)
    services.supervisor.prepare()
    return services


def test_a_commit_in_a_child_outlives_its_parents_connection(sqlite_url: str) -> None:
    services = file_services(sqlite_url)
    # Clicks are written on a connection of their own.
    click = Click(click_id="abcdefghijklmn", at=services.clock.now())
    assert services.touches.remember(click, click.at)
    begun, go_on = os.pipe(), os.pipe()

    def child() -> None:
        services.track_signup(customer_key="first")
        os.write(begun[1], b"x")
        os.read(go_on[0], 1)
        services.track_signup(customer_key="second")

    pid, let_go = in_a_fork(child)
    let_go()
    os.read(begun[0], 1)
    services.close()  # the last one to hold the file, if the child's lock was not its own
    os.write(go_on[1], b"x")
    assert os.waitpid(pid, 0)[1] == 0
    after = file_services(sqlite_url)
    assert {row.customer_key for row in after.ledger.find(limit=9)} == {"first", "second"}
    after.close()


def test_a_child_waits_for_no_lock_that_its_parent_held(tmp_path: pathlib.Path) -> None:
    parent, looking, found = os.getpid(), Event(), Event()

    def host() -> None:
        if os.getpid() == parent:
            looking.set()
            found.wait()

    storage = Storage(uri=None, host=host, folder=tmp_path)
    thread = Thread(target=storage.engine)
    thread.start()
    looking.wait()
    try:
        ends(lambda: storage.engine().dispose())
    finally:
        found.set()
        thread.join()


def test_a_child_builds_the_worker_that_its_parent_was_building(sqlite_url: str) -> None:
    parent, built, asking, forked = os.getpid(), Event(), Event(), Event()

    class Slow(Second):
        @property
        def traits(self) -> Mapping[str, Traits]:  # type: ignore[override]
            if built.is_set() and os.getpid() == parent:
                asking.set()
                forked.wait()
            return Second.traits

    keys = {"S2S_SECOND_KEY": "second-key-0123", "S2S_SECOND_REPORTS_KEY": "reports-key-0123"}
    settings = Settings.from_mapping({**CONFIG, **keys, "S2S_DATABASE_URI": sqlite_url}, [Slow])
    services = Services.build(settings, networks=[Slow], transport=ScriptedTransport())
    services.storage.create()
    services.supervisor.prepare()
    built.set()
    thread = Thread(target=services.drain)
    thread.start()
    asking.wait()
    try:
        ends(lambda: (services.drain(), None)[1])
    finally:
        forked.set()
        thread.join()
    services.close()


def test_a_child_stores_clicks_though_its_parent_was_counting_them(sqlite_url: str) -> None:
    services = file_services(sqlite_url)
    parent, counting, forked = os.getpid(), Event(), Event()
    click = Click(click_id="abcdefghijklmn", at=services.clock.now())

    def wait(_: object, __: object, statement: str, *___: object) -> None:
        if "count(" in statement and os.getpid() == parent:
            counting.set()
            forked.wait()

    event.listen(Engine, "before_cursor_execute", wait)
    thread = Thread(target=services.touches.remember, args=(click, click.at))
    thread.start()
    counting.wait()
    try:
        ends(lambda: (services.touches.remember(click, click.at), None)[1])
    finally:
        forked.set()
        thread.join()
        event.remove(Engine, "before_cursor_execute", wait)
    services.close()


def test_a_child_has_its_parents_worker_neither_alive_nor_in_reach() -> None:
    worker = EmbeddedWorker(lambda waker: (waker.pause(600), None)[1])
    worker.ensure()

    def child() -> None:
        assert not worker.alive
        worker.wake()
        worker.stop()  # would wait for a thread that this process does not have
        worker.ensure()
        assert worker.alive
        worker.stop()
        assert not worker.alive

    pid, let_go = in_a_fork(child)
    let_go()
    assert os.waitpid(pid, 0)[1] == 0
    assert worker.alive
    worker.stop()
    assert not worker.alive
