"""Payments that were undone and came back: which report of a payment a call is about.

A refund fails, a dispute is won: the money is there after all, and the site reports the payment again,
with the time when it came. What a network does with a key that was deleted is not known (the first
one's answer is not documented), so it is reported under a key of its own, `inv-1:again1`. From then on
that is the payment: a refund, of it all or of a part, is of the newest report.

A report without a time, or of a time before the payment was undone, is a repeat. Webhooks come twice, and
say the same; counted, they would pay a partner for money that was paid back, and nobody gets that back.
Money that came back and was not counted is told in the log, and is reported whenever somebody sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection

from ..conversion import Conversion, Reversal, Transaction, again
from ..store.outbox.outbox import Outbox


def standing(connection: Connection, outbox: Outbox, conversion: Conversion) -> Conversion:
    """Return the conversion as it is recorded: a payment, or what it undoes, by its newest key."""

    def is_reported(_: str, after: str) -> bool:
        return outbox.has(connection, (Transaction.kind, after))

    def is_undone_before(at: int) -> Callable[[str, str], bool]:
        def is_undone(key: str, _: str) -> bool:
            payment = (Transaction.kind, key)
            undone = outbox.undone_at(connection, payment, conversion.customer_key)
            return undone is not None and at > undone.timestamp() * 1000

        return is_undone

    match conversion:
        case Transaction(refunds=None, created_at=int(at), key=paid):
            if (new := _newest(paid, is_undone_before(at))) != paid:
                return replace(conversion, key=new)
        case Transaction(refunds=str() as paid) if (new := _newest(paid, is_reported)) != paid:
            return replace(conversion, refunds=new)
        case Reversal(transaction_key=paid) if (new := _newest(paid, is_reported)) != paid:
            return replace(conversion, transaction_key=new)
    return conversion


def _newest(key: str, goes_on: Callable[[str, str], bool]) -> str:
    """Return the last key of a payment's reports; `goes_on` is asked about one and the next."""
    while (after := again(key)) is not None and goes_on(key, after):
        key = after
    return key
