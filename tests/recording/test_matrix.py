"""Every door, against everything that a host may do with its transaction.

Read from the database after the request has ended. Exactly the committed users have a conversion,
with one gap that nobody can close from inside: a host that commits *before* it tells us, and is
killed between the two, has a customer that we never heard of (`GAP`).
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from tests.recording.rows import conversions, customers
from tests.recording.shop import CASES, DOORS, ENDINGS, HOSTS, Shop, file_of

SENT, WITHDRAWN, NONE = "pending", "withdrawn", "none"
#: In the database after the request: a call or signal (a fact), a decorated view.
AFTER = {
    "commit after told": (SENT, SENT),
    "commit before told": (SENT, SENT),
    "commit in after_request": (SENT, SENT),
    "commit in teardown_request": (SENT, SENT),
    "rollback in the view": (NONE, NONE),
    "exception and teardown": (NONE, NONE),
    "error after the commit": (SENT, WITHDRAWN),
    "error status after the commit": (SENT, WITHDRAWN),
}
#: The same when the process is killed right after the commit.
ARMED, GAP = "armed", "committed, and killed before we were told"
KILLED = {
    "commit after told": (SENT, ARMED),
    "commit before told": (GAP, GAP),
    "commit in after_request": (SENT, SENT),
    "commit in teardown_request": (SENT, SENT),
    "rollback in the view": (NONE, NONE),
    "exception and teardown": (NONE, NONE),
    "error after the commit": (SENT, ARMED),
    "error status after the commit": (SENT, ARMED),
}


def test_the_tables_have_every_ending() -> None:
    assert list(AFTER) == list(KILLED) == list(ENDINGS)


@pytest.mark.parametrize(("host", "door", "ending"), CASES)
def test_committed_users_and_no_others_have_a_conversion(
    sqlite_url: str, host: str, door: str, ending: str
) -> None:
    expect_after(sqlite_url, host, door, ending)


@pytest.mark.service
@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("door", DOORS)
def test_the_same_on_a_server(
    request: pytest.FixtureRequest, server: str, door: str, ending: str
) -> None:
    expect_after(request.getfixturevalue(f"{server}_url"), HOSTS[0], door, ending)


def expect_after(database_url: str, host: str, door: str, ending: str) -> None:
    """Visit the shop, and compare its database with the table."""
    with contextlib.closing(Shop(database_url, host, door, ending)) as shop:
        shop.visit()
        expect_rows(shop, database_url, AFTER[ending][door == "decorator"])


def expect_rows(shop: Shop, database_url: str, expected: str) -> None:
    """Compare what is committed."""
    if expected == NONE:
        assert customers(database_url) == []
        assert conversions(database_url) == []
        return
    assert len(customers(database_url)) == 1
    assert conversions(database_url) == [(key, expected) for key in customers(database_url)]
    assert shop.drain() == (customers(database_url) if expected == SENT else [])


@pytest.fixture(scope="module")
def killed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, dict[str, int]]:
    """Run every case that is asked for in a process that dies right after its commit."""
    asking = test_killed_right_after_the_commit.__name__
    cases = [
        tuple(item.callspec.params.values())
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == asking
    ]
    folder = tmp_path_factory.mktemp("killed")
    root = str(pathlib.Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "tests.recording.shop", str(folder), json.dumps(cases)],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([root, *sys.path])},
        cwd=root,
        timeout=300,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("host", "door", "ending"), CASES)
def test_killed_right_after_the_commit(
    killed: tuple[pathlib.Path, dict[str, int]], host: str, door: str, ending: str
) -> None:
    folder, ended = killed
    uri = file_of(folder, (host, door, ending))
    expected = KILLED[ending][door == "decorator"]
    assert ended[f"{host}-{door}-{ending}"] == (0 if expected == NONE else signal.SIGKILL)
    assert len(customers(uri)) == (0 if expected == NONE else 1)

    # Another process: this one.
    second = Shop(uri, host, door, ending)
    if expected == ARMED:
        assert [status for _, status in conversions(uri)] == [ARMED]
        assert second.drain() == [], "the view may still be running"
        second.clock.advance(seconds=61)
    if expected == GAP:
        assert conversions(uri) == []
        assert second.drain() == []
    else:
        assert second.drain() == customers(uri)
