"""The garbage of thousands of sites, which are cycles each, and threads of theirs that go on.

What is there when the tests begin is there at their end, and the collector need not look at it again.
With Python's own thresholds it looked through all the rest for a quarter of the time.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from threading import current_thread, main_thread
from threading import enumerate as enumerate_threads

import pytest


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture(autouse=True)
def others_are_not_heard(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Leave out of a test's log what threads say that were there before it: another test's sites."""
    older = set(enumerate_threads())

    def is_ours(_record: logging.LogRecord) -> bool:
        thread = current_thread()
        return thread is main_thread() or thread not in older

    caplog.handler.addFilter(is_ours)
    yield
    caplog.handler.removeFilter(is_ours)
