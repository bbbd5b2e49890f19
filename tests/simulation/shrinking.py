"""From a history that breaks a promise to the shortest one that still breaks it.

Events are left out in ever smaller groups (delta debugging). Leaving one out changes what the seed
decides afterwards, so each shorter list gets a few other seeds too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.simulation.events import Event, History

_SEEDS = 6


def sort_of(violation: str) -> str:
    """Return what a violation is, without which delivery it happened to."""
    return violation.split(":")[0]


def shrink(history: History, breaks: Callable[[History], bool], most: int = 400) -> History:
    """Return a history with as few events as can be found in `most` tries."""
    tries = 0

    def again(events: tuple[Event, ...], base: History) -> History | None:
        nonlocal tries
        for number in range(_SEEDS):
            tries += 1
            candidate = replace(base, events=events, seed=base.seed + number)
            if breaks(candidate):
                return candidate
        return None

    size = max(len(history.events) // 2, 1)
    while tries < most:
        for start in range(0, len(history.events), size):
            events = history.events[:start] + history.events[start + size :]
            shorter = again(events, history)
            if shorter is not None:
                history = shorter
                break
        else:
            if size == 1:
                break
            size = max(size // 2, 1)
    return _plainer(history, breaks)


def _plainer(history: History, breaks: Callable[[History], bool]) -> History:
    """Set right every clock, and leave one worker, where that changes nothing."""
    for skews in ((0.0, 0.0, 0.0), (0.0,) * len(history.skews)):
        plain = replace(history, skews=skews)
        if breaks(plain):
            return plain
    return history
