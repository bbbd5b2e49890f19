"""A conversion in a transaction of our own: as long as a page waits for it, and then without the page.

What the page did not wait for is tried again in the background, and what cannot be stored is lost
loudly: the log says so, with all that is needed to report it once more.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from ..conversion import Conversion
from ..errors import StorageError
from ..rules.attribution import Attribution
from ..rules.delivery import Delivery, Tracked
from ..signals import conversion_recorded
from ..store.background import Background, Write, why_lost
from ..store.database.storage import Storage
from ..store.losses import Losses

log = logging.getLogger("flask_s2s.conversion")

Record = Callable[[Connection], Delivery]


class Alone:
    """Records what no transaction of a caller's takes along."""

    def __init__(
        self,
        storage: Storage,
        background: Background,
        losses: Losses,
        *,
        testing: Callable[[], bool],
        wake: Callable[[], None],
        tell: Callable[..., None],
    ) -> None:
        """While `testing`, the errors are the page's. `tell` sends a signal."""
        self._storage = storage
        self._background = background
        self._losses = losses
        self._testing = testing
        self._wake = wake
        self._signal = tell
        #: What became of reports that were not stored while a page waited, since the process
        #: started: `late` (they were tried again), `stored` of them, and `lost`.
        self.counts: Counter[str] = Counter()

    def write(self, record: Record, reported: dict[str, Any]) -> Tracked:
        """Write the row that `record` makes; `reported` is what a log may say of it."""
        writing = Write(
            run=lambda: self._write(record),
            stored=lambda delivery: self._stored_late(delivery, reported),
            lost=lambda error: self._lost(error, reported),
        )
        delivery = self._background.patiently(
            writing,
            ready=self._storage.refuse_while_begun,
            late=lambda why: self._late(why, reported),
            raises=lambda error: self._testing(),
        )
        if isinstance(delivery, Delivery):
            self._tell(delivery)
        return delivery

    def _write(self, record: Record) -> Delivery:
        try:
            return self._storage.write(record)
        except (SQLAlchemyError, StorageError):
            if not self._storage.create_ours():
                raise
            return self._storage.write(record)

    def _tell(self, delivery: Delivery) -> None:
        self._signal(conversion_recorded, delivery=delivery)
        self._wake()

    def _late(self, why: str, reported: dict[str, Any]) -> None:
        self.counts["late"] += 1
        log.warning(
            "s2s.conversion.late: %s: %s. It is tried again until it is stored or this process ends",
            why,
            _in_words(reported),
            extra={"action": "conversion.late", "reported": reported},
        )

    def _stored_late(self, delivery: Delivery, reported: dict[str, Any]) -> None:
        self.counts["stored"] += 1
        log.warning(
            "s2s.conversion.stored_late: %s is delivery %d",
            _in_words(reported),
            delivery.id,
            extra={"action": "conversion.stored_late", "delivery_id": delivery.id},
        )
        self._tell(delivery)

    def _lost(self, error: BaseException | None, reported: dict[str, Any]) -> None:
        self.counts["lost"] += 1
        log.critical(
            "s2s.conversion.not_stored: %s: %s. It is lost unless it is recorded again; "
            "`flask s2s check` looks at the database",
            "the process ends" if error is None else type(error).__name__,
            _in_words(reported),
            extra={"action": "conversion.not_stored", "reported": reported},
        )
        kind = str(reported.get("kind"))
        self._losses.conversion(kind, reported.get("customer_key"), why_lost(error))


#: Whose and what it is, nothing else of the person.
_TOLD = ("type", "value", "key", "amount", "currency", "transaction_key", "refunds")


def reported_of(conversion: Conversion, attribution: Attribution) -> dict[str, Any]:
    """Return what a log may say of a conversion."""
    told: dict[str, Any] = {"kind": conversion.kind, "customer_key": conversion.customer_key}
    told |= {name: getattr(conversion, name, None) for name in _TOLD}
    if attribution.click is not None:
        told["click_id"] = attribution.click.click_id
    return {name: value for name, value in told.items() if value is not None}


def _in_words(reported: dict[str, Any]) -> str:
    return " ".join(f"{name}={value!r}" for name, value in reported.items())
