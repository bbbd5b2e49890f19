"""Tests to run once, on the newest releases: those in which the oldest change nothing.

Whole programs, whose parts are tested on both, and what our own code or the database server alone
decides. Everything else runs twice, the second time against the installed wheel with the oldest
releases (`-m "not once"`). Where a test is for each database in turn, there it is for one of them, by
its name: so each oldest driver meets a third of all tests, and each test one. The programs take longest,
so they begin first: of several processes none is left alone with them at the end.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import pytest

_HERE = Path(__file__).parent
#: Folders and files beside this one, the longest first.
ONCE = (
    "test_failures.py",
    "browsers",
    "chaos",
    "dashboard/test_browser.py",
    "servers",
    "example_app",
    "cli/test_processes.py",
    "integrations/test_brokers.py",
    "simulation",
    "sandbox",
    # Plans of the server's; rules, addresses and answers, which no other package reads.
    "dashboard/test_scale.py",
    "delivery/test_scale.py",
    "rules",
    "redirects",
    "caches",
    "capture/test_damaged_urls.py",
    "capture/test_landing_urls.py",
    "capture/test_record.py",
    "networks/test_readers.py",
    "networks/test_redaction.py",
)


#: The fixtures that give a test each database in turn, and those databases.
_IN_TURN = ("database_url", "lasting_database_url")
_DATABASES = ("sqlite", "postgresql", "mariadb")


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _place(item) < len(ONCE) or _is_of_another_turn(item):
            item.add_marker("once")
    items.sort(key=_place)


def _is_of_another_turn(item: pytest.Item) -> bool:
    """Say whether the test is for a database that is not the one that its name chooses."""
    given = item.callspec.params if hasattr(item, "callspec") else {}
    its = {given[one] for one in _IN_TURN if one in given}
    return bool(its - {_DATABASES[crc32(item.nodeid.partition("[")[0].encode()) % 3]})


def _place(item: pytest.Item) -> int:
    """Return the test's place in `ONCE`, or the one behind it."""
    places = enumerate(_HERE / one for one in ONCE)
    return next((at for at, one in places if item.path.is_relative_to(one)), len(ONCE))
