"""What a payment that is undone as a whole takes along: the parts of it that were paid back before.

A part is a transaction of its own at the network, with a negative amount. Left there beside a payment
that is undone, it would be taken from the partner a second time. So each part gets a reversal of its
own, in the transaction that records the payment's, or that records the part where it comes later.
Like every reversal it waits until what it undoes is there.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, Table, select

from ..conversion import Conversion, Reversal, Transaction
from .outbox import Outbox
from .rows import delivery_of


def undone_with(
    connection: Connection, outbox: Outbox, rows: Table, conversion: Conversion
) -> Iterator[Reversal]:
    """Yield what is to be undone because of this conversion."""
    match conversion:
        case Reversal():
            paid = outbox.hashed(connection, conversion.parent)
            parts = select(rows).where(rows.c.parent == paid, rows.c.kind == Transaction.kind)
            for row in connection.execute(parts).mappings().all():
                part = delivery_of(row).conversion
                if isinstance(part, Transaction):
                    yield _undoing(part)
        case Transaction(refunds=str(key)):
            whole = Reversal(customer_key=conversion.customer_key, transaction_key=key).identity
            undone = rows.c.dedupe == outbox.hashed(connection, whole)
            if connection.scalar(select(rows.c.id).where(undone).limit(1)) is not None:
                yield _undoing(conversion)


def _undoing(part: Transaction) -> Reversal:
    return Reversal(customer_key=part.customer_key, transaction_key=part.key)
