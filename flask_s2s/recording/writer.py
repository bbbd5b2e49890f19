"""The writer: a conversion becomes a row, on the connection that it is given; armed, for a view.

A conversion that was reported before, a key that is another person's, and a call with an
unacceptable field become rows that say so.

Payments that were undone may come back: a refund fails, a dispute is won, and the site reports the
payment again. What a network does with a key that was deleted is not known (the first one's answer is
not documented), so it is reported under a key of its own, `inv-1:again1`. From then on that is the
payment: a refund, of it all or of a part, is of the newest report.

The last word counts. A webhook that merely comes twice says the same, unless it says when it
happened: a payment that was made before it was undone is a repeat, and so is a refund of before it came
back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from ..click import Click
from ..clock import Clock, counting
from ..config.settings import Settings
from ..conversion import Conversion, Reversal, Signup, Transaction, again
from ..errors import InvalidConversion
from ..networks.network import Network
from ..rules.attribution import Attribution, Reason
from ..rules.delivery import Delivery
from ..rules.states import Status
from ..store.database.storage import tables_missing
from ..store.dialects.errors import lacks_a_table
from ..store.outbox.outbox import Outbox
from ..store.outbox.rows import new_token
from .draft import Drafts, cleaned, is_of_the_same, other_amount, taken_key

log = logging.getLogger("flask_s2s.conversion")

#: How long a conversion view holds the row that it armed: its lease.
ARMED = timedelta(seconds=60)

#: Decides with what the database knows, in the transaction that writes the row.
Resolve = Callable[[Connection, Conversion, Attribution, datetime], Attribution]


class Writer:
    """Writes conversions into one app's outbox."""

    def __init__(
        self,
        *,
        settings: Settings,
        outbox: Outbox,
        networks: Mapping[str, Network],
        clock: Clock,
        resolve: Resolve,
        refresh: Callable[[Connection], None],
    ) -> None:
        """`refresh` looks at the database's clock on the connection that is written on."""
        self._settings = settings
        self._drafts = Drafts(settings, networks)
        self._networks = networks
        self._routes = self._drafts.route
        self._outbox = outbox
        self._clock = clock
        self._resolve = resolve
        self._refresh = refresh
        #: Counts the seconds beside the clock.
        self.counted = counting(clock)

    def record(
        self,
        connection: Connection,
        conversion: Conversion,
        attribution: Attribution,
        *,
        armed: str | None = None,
        told: float | None = None,
    ) -> Delivery:
        """Insert its row, or find the one that is there. Raises what the database raises.

        `armed` is the token of the view that holds it; `told` is what `counted` said when it was
        reported, where that may be a while ago.
        """
        try:
            return self._record(connection, conversion, attribution, armed, told)
        except DBAPIError as error:
            if lacks_a_table(error.orig):
                raise tables_missing() from error
            raise

    def keep_invalid(
        self, connection: Connection, error: InvalidConversion, attribution: Attribution
    ) -> Delivery:
        """Keep a conversion that cannot be as a row that says so. Raises as `record` does."""
        try:
            return self._keep_invalid(connection, error, attribution)
        except DBAPIError as refused:
            if lacks_a_table(refused.orig):
                raise tables_missing() from refused
            raise

    def _record(
        self,
        connection: Connection,
        conversion: Conversion,
        attribution: Attribution,
        armed: str | None,
        told: float | None,
    ) -> Delivery:
        self._refresh(connection)
        now = self._clock.now()
        if told is not None:
            now -= timedelta(seconds=self.counted() - told)
        conversion = _standing(connection, self._outbox, reported := conversion)
        new = conversion is not reported
        comes_back = new and not self._outbox.has(connection, conversion.identity)
        attribution = self._resolve(connection, conversion, attribution, now)
        known = self._known(connection, conversion, attribution)
        person = None
        if isinstance(conversion, Signup) and conversion.email:
            person = self._outbox.person(connection, conversion.email)
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
        delivery = self._outbox.add(connection, draft, conversion.identity, parent)
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
            self._outbox.share(connection, delivery, new_token())
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
        found = (self._outbox.told(connection, one, names) for one in wanted)
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
        person = draft.person and self._outbox.person_of(connection, there)
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
        return self._outbox.add(connection, kept, who)

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
        if conversion.kind == "transaction" and self._outbox.is_undone(connection, delivery):
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
        return after is not None and self._outbox.has(connection, (Transaction.kind, after))

    def refuse(self, error: InvalidConversion) -> None:
        """Raise it while somebody is developing or testing; in production, say it in the log."""
        if not self._settings.production:
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
        draft = self._drafts.invalid(error, attribution, self._clock.now())
        return self._outbox.add(connection, draft, ())


def _standing(connection: Connection, outbox: Outbox, conversion: Conversion) -> Conversion:
    """Return the conversion as it is recorded: a payment, or what it undoes, by its newest key."""
    at: int | None = getattr(conversion, "created_at", None)

    def undone_at(key: str) -> int | None:
        return outbox.undone_at(connection, (Transaction.kind, key), conversion.customer_key)

    def has_come_back(key: str, after: str) -> bool:
        back = outbox.happened_at(connection, (Transaction.kind, after))
        if back is None or at is None:
            return back is not None
        # Where nobody said when it came back, a refund of after the first one is another.
        return at >= back if back else at > (undone_at(key) or 0)

    def is_undone(key: str, _: str) -> bool:
        undone = undone_at(key)
        return undone is not None and (at is None or at > undone)

    match conversion:
        case Transaction(refunds=None, key=key) if (new := _newest(key, is_undone)) != key:
            return replace(conversion, key=new)
        case Transaction(refunds=str() as paid) if (new := _newest(paid, has_come_back)) != paid:
            return replace(conversion, refunds=new)
        case Reversal(transaction_key=paid) if (new := _newest(paid, has_come_back)) != paid:
            return replace(conversion, transaction_key=new)
    return conversion


def _newest(key: str, goes_on: Callable[[str, str], bool]) -> str:
    """Return the last key of a payment's reports; `goes_on` is asked about one and the next."""
    while (after := again(key)) is not None and goes_on(key, after):
        key = after
    return key


def _tell_emptied(there: Delivery, click: Click) -> None:
    log.warning(
        "s2s.conversion.key_reused: delivery %d has this customer key, and was emptied since. The new "
        "click %s came with it, and is not sent: if this is another person (SQLite without "
        "AUTOINCREMENT), record the sign-up under a key of its own",
        there.id,
        click.click_id,
        extra={"action": "conversion.key_reused", "delivery_id": there.id},
    )


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
