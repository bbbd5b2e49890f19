"""Waiting for what another thread or process does, without guessing how long it takes.

A test that sleeps is slow where the sleep is long and wrong where it is short; one that polls for
the fact it needs is neither.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
#: Seconds. Long, because a loaded machine takes its time; a wait that succeeds does not last so long.
#: One that must not succeed does: a test that is to go red is given less.
PATIENCE = float(os.environ.get("S2S_TEST_PATIENCE", "60"))


def wait_until(
    condition: Callable[[], T],
    timeout: float = PATIENCE,
    *,
    what: str | None = None,
    interval: float = 0.02,
) -> T:
    """Poll `condition` until it is true, and return what it answered.

    Both times are seconds. Raises AssertionError, naming `what` was waited for and the last answer,
    when `timeout` has passed; `condition` is always asked once more at the very end. An exception
    out of `condition` is not caught: a condition that may fail says so itself.
    """
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while True:
        is_last = time.monotonic() >= deadline
        answer = condition()
        if answer:
            return answer
        if is_last:
            wanted = what or getattr(condition, "__name__", repr(condition))
            raise AssertionError(f"{wanted}: not within {timeout} s, last answer {answer!r}")
        pause.wait(interval)
