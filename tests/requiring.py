"""Nothing may be skipped where `S2S_TEST_REQUIRE` says so.

A skipped test has proved nothing, and a run full of skips is green. So the gate sets
`S2S_TEST_REQUIRE=all`, and every skip anywhere is a failure; a comma list of services
(`postgresql,chromium`) asks for those alone.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest


def required() -> frozenset[str]:
    """The services that must be there: a set of names, or one that holds `all`."""
    names = os.environ.get("S2S_TEST_REQUIRE", "").split(",")
    return frozenset(name.strip().lower() for name in names if name.strip())


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    # An expected failure is reported as skipped too, but did run: it stays what it is.
    if report.skipped and "all" in required() and not hasattr(report, "wasxfail"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"S2S_TEST_REQUIRE=all forbids to skip: {why}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    fail_if_skipped(report)
    return report
