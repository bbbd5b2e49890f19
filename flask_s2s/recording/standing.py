"""Payments that were undone and came back: which report of a payment a call is about.

A refund fails, a dispute is won: the money is there after all, and the site reports the payment again.
What a network does with a key that was deleted is not known (the first one's answer is not documented),
so it is reported under a key of its own, `inv-1:again1`. From then on that is the payment: a refund, of
it all or of a part, is of the newest report.

The last word counts. A webhook that merely comes twice says the same, unless it says when it
happened: a payment that was made before it was undone is a repeat, and so is a refund of before it came
back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection

from ..conversion import Conversion, Reversal, Transaction, again
from ..store.outbox.outbox import Outbox


def standing(connection: Connection, outbox: Outbox, conversion: Conversion) -> Conversion:
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
