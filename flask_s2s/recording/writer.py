"""The writer: a conversion becomes a row, in a session's transaction, armed for a view, or alone.

A conversion that was reported before, a key that is another person's, and a call with an
unacceptable field become rows that say so.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from ..click import Click
from ..clock import Clock, counting
from ..config.settings import Settings
from ..conversion import Conversion, Reversal, Signup, Transaction, again
from ..errors import InvalidConversion, StorageError, UsageError
from ..networks.network import Network
from ..rules.attribution import Attribution, Reason
from ..rules.delivery import Delivery, Late, Tracked
from ..rules.states import Status
from ..signals import conversion_recorded
from ..store.background import Background, Write, why_lost
from ..store.database.storage import Storage, tables_missing
from ..store.dialects.errors import lacks_a_table
from ..store.dialects.servers import ends_the_transaction, shielded
from ..store.losses import Losses
from ..store.outbox.outbox import Outbox
from ..store.outbox.rows import new_token
from ..store.transactions import write
from .draft import Drafts, cleaned, is_of_the_same, other_amount, taken_key
from .joining import Joining
from .session import after, note, once_committed
from .standing import standing

log = logging.getLogger("flask_s2s.conversion")

#: How long a conversion view holds the row that it armed: its lease.
ARMED = timedelta(seconds=60)

#: What is recorded once a transaction is out of its way.
AFTER = Late(why="the open transaction comes first")

#: Decides with what the database knows, in the transaction that writes the row.
Resolve = Callable[[Connection, Conversion, Attribution, datetime], Attribution]


class Writer:
    """Writes conversions into one app's outbox."""

    def __init__(
        self,
        *,
        settings: Settings,
        storage: Storage,
        outbox: Outbox,
        networks: Mapping[str, Network],
        clock: Clock,
        background: Background,
        resolve: Resolve,
        wake: Callable[[], None],
        losses: Losses,
        tell: Callable[..., None],
        refresh: Callable[[Connection], None] = lambda connection: None,
        session_in_use: Callable[[], Session | None] = lambda: None,
    ) -> None:
        """`tell` sends a signal; `refresh` looks at the database's clock on the connection that is written on."""
        self._settings = settings
        self._drafts = Drafts(settings, networks)
        self._networks = networks
        self._routes = self._drafts.route
        self._storage = storage
        self.joining = Joining(storage, session_in_use, testing=settings.testing)
        self.outbox = outbox
        self.clock = clock
        self.background = background
        self._resolve = resolve
        self.wake = wake
        self._losses = losses
        self._signal = tell
        #: What became of reports that were not stored while a page waited, since the process
        #: started: `late` (they were tried again), `stored` of them, and `lost`.
        self.counts: Counter[str] = Counter()
        self._refresh = refresh
        self._counted = counting(clock)

    @property
    def strict(self) -> bool:
        """Whether somebody is developing or testing, and wants to see mistakes at once."""
        return self._settings.debug or self._settings.testing

    def alone(self, conversion: Conversion, attribution: Attribution) -> Tracked:
        """Record in a transaction of our own, as long as a page waits for that."""
        told = self._counted()
        return self._alone(
            lambda connection: self._record(connection, conversion, attribution, told=told),
            _reported(conversion, attribution),
        )

    def write(
        self,
        session: Session,
        conversion: Conversion,
        attribution: Attribution,
        armed: str | None = None,
    ) -> Delivery:
        """Insert in the session's transaction. `armed` is the token of the view that holds it."""
        connection = self.joining.connection(session)
        delivery = self._record_on(connection, conversion, attribution, armed)
        self._signal(conversion_recorded, delivery=delivery)
        return delivery

    def write_on(
        self, connection: Connection, conversion: Conversion, attribution: Attribution
    ) -> Delivery:
        """Insert in the transaction of a Core connection, whose commit wakes the worker."""
        delivery = self._record_on(self.joining.connection(connection), conversion, attribution)
        once_committed(connection, self.wake)
        self._signal(conversion_recorded, delivery=delivery)
        return delivery

    def join(
        self, session: Session, conversion: Conversion, attribution: Attribution
    ) -> Delivery | Late:
        """Insert in the transaction of a session that nobody named; its page fails for nothing.

        Late where the database refuses: then it is recorded alone, once that transaction has ended.
        An error that took the caller's transaction along is raised, or a commit would pass for one
        of what is gone.
        """
        connection = self.joining.connection(session)
        try:
            with shielded(connection):
                delivery = self._record(connection, conversion, attribution)
        except UsageError:
            raise
        except Exception as error:
            if ends_the_transaction(error, connection):
                raise
            return self.alone_after(session, conversion, attribution)
        self._signal(conversion_recorded, delivery=delivery)
        return delivery

    def alone_after(
        self, session: Session, conversion: Conversion, attribution: Attribution
    ) -> Late:
        """Record in a transaction of our own, once the session's has ended."""
        note(session)
        after(session, lambda: self.alone(conversion, attribution))
        return AFTER

    def keep_invalid(
        self,
        error: InvalidConversion,
        attribution: Attribution,
        session: Session | Connection | None = None,
    ) -> Tracked:
        """Keep a conversion that cannot be as a row that says so."""
        if session is not None:
            return self._keep_invalid(self.joining.connection(session), error, attribution)
        return self._alone(
            lambda connection: self._keep_invalid(connection, error, attribution),
            {"kind": error.kind, "customer_key": error.customer_key, "field": error.field},
        )

    def _record_on(
        self,
        connection: Connection,
        conversion: Conversion,
        attribution: Attribution,
        armed: str | None = None,
    ) -> Delivery:
        """Record on a connection that the caller named. Raises what the database raises."""
        with _telling_what_to_do():
            return self._record(connection, conversion, attribution, armed)

    def _record(
        self,
        connection: Connection,
        conversion: Conversion,
        attribution: Attribution,
        armed: str | None = None,
        told: float | None = None,
    ) -> Delivery:
        """`told` is what was counted when it was reported, where that may be a while ago."""
        self._refresh(connection)
        now = self.clock.now()
        if told is not None:
            now -= timedelta(seconds=self._counted() - told)
        conversion = standing(connection, self.outbox, reported := conversion)
        new = conversion is not reported
        comes_back = new and not self.outbox.has(connection, conversion.identity)
        attribution = self._resolve(connection, conversion, attribution, now)
        known = self._known(connection, conversion, attribution)
        person = None
        if isinstance(conversion, Signup) and conversion.email:
            person = self.outbox.person(connection, conversion.email)
        draft = self._drafts.draft(conversion, attribution, now, known, person)
        if notes := cleaned(conversion):
            log.warning(
                "s2s.conversion.cleaned: %s of customer %r: %s",
                conversion.kind,
                conversion.customer_key,
                "; ".join(notes),
                extra={
                    "action": "conversion.cleaned",
                    "kind": conversion.kind,
                    "customer_key": conversion.customer_key,
                },
            )
        if armed is not None and draft.status is Status.PENDING:
            until = draft.created_at + ARMED
            draft = replace(draft, status=Status.ARMED, lease_token=armed, due_at=until)
        parent = self._drafts.parent(draft, conversion)
        delivery = self.outbox.add(connection, draft, conversion.identity, parent)
        if comes_back:
            _tell_again(delivery)
        if delivery is draft:
            # A row that is new: there is nothing to compare it with.
            return delivery
        if self._is_somebody_elses(connection, draft, delivery):
            return self._keep_reused(connection, draft, delivery)
        if (there := delivery.conversion) is not None and not is_of_the_same(conversion, delivery):
            error = taken_key(conversion, delivery)
            self.refuse(error)
            return self._keep_invalid(connection, error, attribution)
        if there is not None and there is not draft.conversion:
            self._tell_repeat(connection, conversion, there, delivery)
        if delivery.status is Status.ARMED and delivery.lease_token != armed:
            self.outbox.share(connection, delivery, new_token())
        return delivery

    def _known(
        self, connection: Connection, conversion: Conversion, attribution: Attribution
    ) -> Delivery | None:
        """Return what was told of the customer before, where it decides who is told of this."""
        explicit = attribution.reason is Reason.EXPLICIT
        if explicit or not self._routes or conversion.parent is None:
            return None
        signup = (Signup.kind, conversion.customer_key)
        names, wanted = list(self._networks), (conversion.parent, signup)
        found = (self.outbox.told(connection, one, names) for one in wanted)
        return next((one for one in found if one is not None), None)

    def _is_somebody_elses(self, connection: Connection, draft: Delivery, there: Delivery) -> bool:
        """Say whether a sign-up's key is that of another person, whose click it is not.

        SQLite gives the ID of a deleted row to the next one. Of a customer who was forgotten nothing
        is left to compare, and they are one delivery however they come back: a new click is told.
        """
        new = draft.click
        if draft.kind != Signup.kind or new is None:
            return False
        if there.click is not None and there.click.click_id == new.click_id:
            return False
        if there.customer_key is None:
            _tell_emptied(there, new)
            return False
        person = draft.person and self.outbox.person_of(connection, there)
        return bool(person) and person != draft.person

    def _keep_reused(self, connection: Connection, draft: Delivery, there: Delivery) -> Delivery:
        """Keep the click of somebody whose key is taken in a row that says so, once for each click."""
        log.error(
            "s2s.conversion.key_reused: the customer key of delivery %d is now another person's, "
            "whose sign-up and click are kept and not sent. Give every customer a key of their own "
            "(SQLite: AUTOINCREMENT), then record the sign-up under it",
            there.id,
            extra={"action": "conversion.key_reused", "delivery_id": there.id},
        )
        click, now = draft.click, draft.created_at
        kept = replace(
            draft,
            status=Status.INVALID,
            reason=str(Reason.KEY_REUSED),
            detail=f"customer_key is that of delivery {there.id}, of another person",
            conversion=None,
            due_at=None,
            settled_at=now,
            lease_token=None,
        )
        who = (*(str(Reason.KEY_REUSED), str(draft.customer_key)), click.click_id if click else "")
        return self.outbox.add(connection, kept, who)

    def _tell_repeat(
        self, connection: Connection, conversion: Conversion, there: Conversion, delivery: Delivery
    ) -> None:
        """Say, where it matters, that the earlier report stands and is not sent again."""
        told = {"delivery_id": delivery.id, "kind": delivery.kind}
        if other := other_amount(conversion, there):
            log.warning(
                "s2s.conversion.differs: delivery %d has this key with another amount (%s), which "
                "is not reported: give what changed a key of its own",
                delivery.id,
                other,
                extra={"action": "conversion.differs", **told},
            )
        if conversion.kind == "transaction" and self.outbox.is_undone(connection, delivery):
            log.warning(
                "s2s.conversion.undone: delivery %d was undone at the network since it was made: this "
                "is a repeat, and is not reported again",
                delivery.id,
                extra={"action": "conversion.undone", **told},
            )
        if isinstance(conversion, Reversal) and self._came_back(connection, conversion):
            log.warning(
                "s2s.conversion.repeated: the payment that delivery %d undid came back since: this is "
                "a repeat, and does not undo it again",
                delivery.id,
                extra={"action": "conversion.repeated", **told},
            )

    def _came_back(self, connection: Connection, conversion: Reversal) -> bool:
        after = again(conversion.transaction_key)
        return after is not None and self.outbox.has(connection, (Transaction.kind, after))

    def refuse(self, error: InvalidConversion) -> None:
        """Raise it while somebody is developing or testing; in production, say it in the log."""
        if self.strict:
            raise error
        log.error(
            "s2s.conversion.invalid: %s (%s of customer %r)",
            error,
            error.kind or "a conversion",
            error.customer_key,
            extra={
                "action": "conversion.invalid",
                "kind": error.kind,
                "customer_key": error.customer_key,
            },
        )

    def _keep_invalid(
        self, connection: Connection, error: InvalidConversion, attribution: Attribution
    ) -> Delivery:
        draft = self._drafts.invalid(error, attribution, self.clock.now())
        return self.outbox.add(connection, draft, ())

    def _alone(self, record: Callable[[Connection], Delivery], reported: dict[str, Any]) -> Tracked:
        writing = Write(
            run=lambda: self._write_alone(record),
            stored=lambda delivery: self._stored_late(delivery, reported),
            lost=lambda error: self._lost(error, reported),
        )
        delivery = self.background.patiently(
            writing,
            ready=self._storage.refuse_while_begun,
            late=lambda why: self._late(why, reported),
            raises=lambda error: self._settings.testing,
        )
        if isinstance(delivery, Delivery):
            self._tell(delivery)
        return delivery

    def _write_alone(self, record: Callable[[Connection], Delivery]) -> Delivery:
        try:
            return write(self._storage.engine(), record)
        except (SQLAlchemyError, StorageError):
            if not self._storage.create_ours():
                with _telling_what_to_do():
                    raise
            return write(self._storage.engine(), record)

    def _tell(self, delivery: Delivery) -> None:
        self._signal(conversion_recorded, delivery=delivery)
        self.wake()

    # -- what a page did not wait for ---------------------------------------------------------

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


@contextmanager
def _telling_what_to_do() -> Iterator[None]:
    """Raise what the database raises; where it finds none of our tables, an error with the remedy."""
    try:
        yield
    except DBAPIError as error:
        if lacks_a_table(error.orig):
            raise tables_missing() from error
        raise


def _tell_emptied(there: Delivery, click: Click) -> None:
    log.warning(
        "s2s.conversion.key_reused: delivery %d has this customer key, and was emptied since. The new "
        "click %s came with it, and is not sent: if this is another person (SQLite without "
        "AUTOINCREMENT), record the sign-up under a key of its own",
        there.id,
        click.click_id,
        extra={"action": "conversion.key_reused", "delivery_id": there.id},
    )


#: What a log may say of a conversion: whose and what it is, nothing else of the person.
_TOLD = ("type", "value", "key", "amount", "currency", "transaction_key", "refunds")


def _reported(conversion: Conversion, attribution: Attribution) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": conversion.kind, "customer_key": conversion.customer_key}
    told |= {name: getattr(conversion, name, None) for name in _TOLD}
    if attribution.click is not None:
        told["click_id"] = attribution.click.click_id
    return {name: value for name, value in told.items() if value is not None}


def _in_words(reported: dict[str, Any]) -> str:
    return " ".join(f"{name}={value!r}" for name, value in reported.items())


def _tell_again(delivery: Delivery) -> None:
    log.warning(
        "s2s.conversion.again: %s is of a payment that was undone and came back, and is recorded under "
        "%r (delivery %d). Give created_at= with each payment, and a webhook that comes twice is none",
        delivery.kind,
        delivery.key,
        delivery.id,
        extra={
            "action": "conversion.again",
            "delivery_id": delivery.id,
            "kind": delivery.kind,
        },
    )
