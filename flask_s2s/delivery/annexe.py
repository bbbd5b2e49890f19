"""The rooms that not every process uses; each is imported when it is first asked for.

A web process beside `flask s2s work` sends nothing, a site without API keys verifies nothing, and
what a person looks at or changes by hand is for commands. A process that will send says so while it
is built (`furnish`): its thread must not import, because a fork would leave the import's lock held.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..networks.readback import ReadBack as ReadBack
    from ..networks.records import Records as Records
    from .dispatch import Dispatch as Dispatch
    from .gate import Gates as Gates
    from .ledger import Ledger as Ledger
    from .pace import Pace as Pace
    from .probation import Probation as Probation
    from .verification import Verifier as Verifier
    from .worker import Worker as Worker

_SENDING = {
    "Dispatch": ".dispatch",
    "Gates": ".gate",
    "Pace": ".pace",
    "ReadBack": "..networks.readback",
    "Records": "..networks.records",
    "Worker": ".worker",
}
_VERIFYING = {"Probation": ".probation", "Verifier": ".verification"}
_HOMES = {**_SENDING, **_VERIFYING, "Ledger": ".ledger"}


def furnish(*, verifying: bool) -> None:
    """Import what sending needs, and what verifying does."""
    for home in (_SENDING | _VERIFYING if verifying else _SENDING).values():
        import_module(home, __package__)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home, __package__), name)
    globals()[name] = value
    return value
