"""The modules that not every process uses; each is imported when it is first asked for.

A web process beside `flask s2s work` sends nothing, a site without API keys verifies nothing, and
looking up or changing deliveries by hand is for commands. A process that will send says so while it
is built (`load`): its thread must not import, because a fork would leave the import's lock held.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..delivery.completer import Completer as Completer
    from ..delivery.executor import Executor as Executor
    from ..delivery.housekeeping import Housekeeping as Housekeeping
    from ..delivery.housekeeping import Maintenance as Maintenance
    from ..delivery.throttle import Throttle as Throttle
    from ..delivery.verifier import Verifier as Verifier
    from ..delivery.worker import Worker as Worker
    from ..networks.readback import ReadBack as ReadBack
    from ..store.outbox.claims import Claims as Claims
    from ..store.outbox.lanes import CircuitBreakers as CircuitBreakers
    from ..store.outbox.ledger import Ledger as Ledger
    from ..store.outbox.overdue import Overdue as Overdue
    from ..store.outbox.retention import Retention as Retention
    from ..store.outbox.settling import Settling as Settling
    from ..store.outbox.verification_queue import VerificationQueue as VerificationQueue

_SENDING = {
    "Claims": "..store.outbox.claims",
    "Completer": "..delivery.completer",
    "CircuitBreakers": "..store.outbox.lanes",
    "Executor": "..delivery.executor",
    "Housekeeping": "..delivery.housekeeping",
    "Maintenance": "..delivery.housekeeping",
    "Overdue": "..store.outbox.overdue",
    "Settling": "..store.outbox.settling",
    "Throttle": "..delivery.throttle",
    "ReadBack": "..networks.readback",
    "Retention": "..store.outbox.retention",
    "Worker": "..delivery.worker",
}
_VERIFYING = {
    "VerificationQueue": "..store.outbox.verification_queue",
    "Verifier": "..delivery.verifier",
}
_HOMES = {**_SENDING, **_VERIFYING, "Ledger": "..store.outbox.ledger"}


def load(*, verifying: bool) -> None:
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
