"""Tests to run once, on the newest releases: those in which the oldest change nothing.

Whole programs, whose parts are tested on both, and what our own code or the database server alone
decides. Everything else runs twice, the second time against the installed wheel with the oldest
releases (`-m "not once"`). There a test with many cases runs with one of them, chosen by its name: the
others are values of ours, or another database, and each oldest driver meets a third of those. Where
the cases are other packages (`EACH_CASE`), all run. The programs take longest, so they begin first: of
several processes none is left alone with them at the end.
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
    "hosts/test_browser.py",
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


#: Where a test's cases are other packages, or the ways that those are used in.
EACH_CASE = tuple(
    _HERE / one
    for one in (
        "integrations",
        "neighbours",
        "wsgi",
        "recording/test_binds.py",
        "recording/test_matrix.py",
        "recording/test_sessions.py",
    )
)


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if _place(item) < len(ONCE):
            item.add_marker("once")
        elif not any(item.path.is_relative_to(one) for one in EACH_CASE):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for name, its in cases.items():
        chosen = crc32(name.encode()) % len(its)
        for number, item in enumerate(its):
            if number != chosen:
                item.add_marker("once")
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    """Return the test's place in `ONCE`, or the one behind it."""
    places = enumerate(_HERE / one for one in ONCE)
    return next((at for at, one in places if item.path.is_relative_to(one)), len(ONCE))
