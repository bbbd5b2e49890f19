"""Loads on a running system: minutes each, so each is asked for by name."""

from __future__ import annotations

from collections.abc import Callable

from tests.benchmarks.delivery import delivery
from tests.benchmarks.engines import engines
from tests.benchmarks.figures import Figure
from tests.benchmarks.idling import idling
from tests.benchmarks.memory import memory
from tests.benchmarks.pages import pages
from tests.benchmarks.scale import scale
from tests.benchmarks.side_by_side import side_by_side

LOADS: dict[str, Callable[[], list[Figure]]] = {
    "delivery": delivery,
    "engines": engines,
    "idling": idling,
    "memory": memory,
    "pages": pages,
    "scale": scale,
    "side_by_side": side_by_side,
}
