"""Dependent deliveries: they learn that the one before them has moved, and take over what it decides.

A transaction that moves a delivery calls its dependents. One that a worker holds at that moment is not
called: it is about to be put back, on the strength of what the other was. So putting it back locks
that one, and looks at it once more. Nor is one called that a host holds, by reporting it again: nobody
waits for it, and it looks by itself when its time comes.

A dependent inherits its partner, and a reversal its amount. It has them from the beginning where the
other was recorded, and credited, before it. Else it gets them from the transaction that settles it,
or, where that came first, from the one that settles the sign-up: reports find a payment by its own row
alone. The other is read without a lock: a host may hold it.

A payment that is undone as a whole takes along the parts of it that were paid back before. A part is a
transaction of its own at the network, with a negative amount. Left there beside a payment that is
undone, it would be taken from the partner a second time. So once the network has undone the payment,
each part gets a reversal of its own; one that is not undone leaves its parts as they are. That is
recorded in the transaction that settles the payment's reversal, for all parts that there are, or the
part, where it is recorded after that. Not when they are recorded: two transactions of a site need not
see each other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    case,
    func,
    null,
    or_,
    select,
    update,
)

from ...conversion import Reversal, Signup, Transaction
from ...rules.attribution import Reason
from ...rules.delivery import Delivery, is_same_customer
from ...rules.states import ACCEPTED, DROPPED, LISTENING, Status
from ..dialects.servers import begin_writing, skip_locked
from ..dialects.statements import CompiledOnce, in_order
from ..row_locks import AT_ONCE, take_free
from .rows import delivery_of

#: Kinds that others wait for.
_PARENTS = ("signup", "transaction")
#: What is revived has at least so long: a customer may be credited when its own time is over.
_REVIVED = timedelta(days=30)
#: How soon a dependent looks again whose dependency somebody holds.
_HELD = timedelta(seconds=1)


def tell_dependents(
    connection: Connection, rows: Table, settled: Sequence[Delivery], now: datetime
) -> None:
    """Tell those that wait for these, which are settled now; and those among these what they inherit."""
    inherit(connection, rows, settled)
    parents = [one.dedupe for one in settled if one.kind in _PARENTS]
    # Most have none: one look does for all that would be asked of them.
    named = {f"its_parent{number}": parent for number, parent in enumerate(parents)}
    if named and _any(rows).execute(connection, len(named), named).first() is not None:
        call_dependents(connection, rows, settled, now)
        pass_on(connection, rows, settled)


@lru_cache(maxsize=8)
def _any(rows: Table) -> CompiledOnce:
    """Return what finds one that waits, or waited, for any of so many."""

    def build(_: Connection, number: int) -> Select[Any]:
        these: list[Any] = [bindparam(f"its_parent{one}") for one in range(number)]
        return select(rows.c.id).where(rows.c.parent.in_(these)).limit(1)

    return CompiledOnce(rows, build)


def call_dependents(
    connection: Connection, rows: Table, parents: Sequence[Delivery], now: datetime
) -> None:
    """Let what waits for these look again: it may go, or learns why it may not.

    So does what was given up for their sake: a parent that was credited, or sent again by hand,
    revives it. What was emptied since has nothing to send, and stays as it ended.
    """
    called = [parent.dedupe for parent in parents if parent.kind in _PARENTS]
    if not called:
        return
    finding, calling = _calling(rows)
    # Most have none (and see `skip_locked`).
    found = list(connection.scalars(finding, {"its_parents": called}))
    free = take_free(connection, rows, found)
    due = {"its_parents": called, "its_due": now, "its_deadline": now + _REVIVED}
    for at in range(0, len(free), AT_ONCE):
        connection.execute(calling, {**due, "its_ids": free[at : at + AT_ONCE]})


@lru_cache(maxsize=8)
def _calling(rows: Table) -> tuple[Select[Any], Update]:
    """Return what finds them, and what calls those of some ids."""
    # A reversal may have asked before it was refused: there was nothing to undo.
    unasked = or_(rows.c.attempts == 0, rows.c.kind == "reversal")
    given_up = and_(rows.c.status == Status.REFUSED.value, unasked)
    listening = or_(rows.c.status.in_(LISTENING), given_up)
    called = rows.c.parent.in_(bindparam("its_parents", expanding=True))
    these = (called, listening, rows.c.conversion.is_not(None))
    soonest = bindparam("its_deadline", type_=rows.c.deadline_at.type)
    short = and_(rows.c.status != Status.WAITING.value, rows.c.deadline_at < soonest)
    calling = in_order(
        update(rows).where(*these, rows.c.id.in_(bindparam("its_ids", expanding=True))),
        (rows.c.deadline_at, case((short, soonest), else_=rows.c.deadline_at)),
        (rows.c.reason, credited_again(rows)),
        (rows.c.status, Status.WAITING.value),
        (rows.c.due_at, bindparam("its_due", type_=rows.c.due_at.type)),
        (rows.c.settled_at, null()),
    )
    return select(rows.c.id).where(*these), calling


def look_again(connection: Connection, rows: Table, parent: Delivery) -> timedelta | None:
    """Return None where a dependency has not moved since it was read, until the transaction ends.

    Else how soon its dependent is to look again. At once where it has moved; somewhat later where
    somebody holds it, who may move it: that is not waited for while the dependent is held.
    """
    this = rows.c.id == parent.id
    begin_writing(connection, rows)
    states = select(rows.c.status, rows.c.verify_at).where(this)
    found = connection.execute(skip_locked(states, shared=True)).one_or_none()
    if found is None:
        return None if connection.execute(states).one_or_none() is None else _HELD
    confirmed, was_confirmed = found.verify_at is None, parent.verify_at is None
    moved = (found.status, confirmed) != (parent.status.value, was_confirmed)
    return timedelta(0) if moved else None


log = logging.getLogger("flask_s2s.worker")

#: Adds a delivery, by what makes it itself, behind the one that must be there first.
Add = Callable[[Connection, Delivery, tuple[str, ...], tuple[str, ...]], Delivery]


def undo_parts(
    connection: Connection, rows: Table, add: Add, taken: Delivery, now: datetime
) -> None:
    """Record what is to be undone because the network has taken this one, which is settled now."""
    match taken.conversion:
        case Reversal():
            for part in _siblings(connection, rows, taken, Transaction.kind):
                if not part.status.absent:
                    _undo(connection, rows, add, part, now)
        case Transaction(refunds=str()):
            if _is_undone(connection, rows, taken):
                _undo(connection, rows, add, taken, now)


def _siblings(
    connection: Connection, rows: Table, delivery: Delivery, kind: str, **lock: Any
) -> Iterator[Delivery]:
    """Yield the customer's deliveries of a kind that wait, or waited, for the same one."""
    same = (rows.c.parent == delivery.parent, rows.c.network == delivery.network)
    found = select(rows).where(*same, rows.c.kind == kind, rows.c.id != delivery.id)
    if lock:
        found = found.with_for_update(**lock)
    for row in connection.execute(found).mappings().all():
        one = delivery_of(row)
        if is_same_customer(one, delivery):
            yield one


def _is_undone(connection: Connection, rows: Table, part: Delivery) -> bool:
    """Say whether the payment was undone before; what becomes of it later takes the part along."""
    for whole in _siblings(connection, rows, part, Reversal.kind):
        if whole.status is Status.SENDING:
            # Perhaps it is being settled, and did not see this part: that is over in a moment.
            found = _siblings(connection, rows, part, Reversal.kind, read=True)
            return any(again.status.accepted for again in found)
        elif whole.status.accepted:
            return True
    return False


def _undo(connection: Connection, rows: Table, add: Add, part: Delivery, now: datetime) -> None:
    """Record the reversal of a part; like every reversal it waits until that is there."""
    undone = part.conversion
    if not isinstance(undone, Transaction):
        if part.status.accepted and not has_reversal(connection, rows, part):
            _tell(part, "it was emptied")
        return
    reversal = Reversal(customer_key=undone.customer_key, transaction_key=undone.key)
    draft = replace(
        part,
        kind=reversal.kind,
        status=Status.PENDING,
        conversion=reversal,
        detail=None,
        attempts=0,
        created_at=now,
        due_at=now,
        deadline_at=now + (part.deadline_at - part.created_at),
        settled_at=None,
        lease_token=None,
        amount=None,
    )
    there = add(connection, draft, reversal.identity, reversal.parent)
    if there.status.given_up:
        _tell(part, f"its reversal (delivery {there.id}) is {there.status}")


def has_reversal(connection: Connection, rows: Table, part: Delivery) -> bool:
    """Say whether the network has taken a reversal of this one."""
    its = (rows.c.parent == part.dedupe, rows.c.network == part.network)
    taken = rows.c.status.in_(ACCEPTED)
    found = select(rows.c.id).where(*its, rows.c.kind == Reversal.kind, taken)
    return connection.scalar(found.limit(1)) is not None


def happened_at(connection: Connection, rows: Table, dedupe: str) -> int | None:
    """Return when a conversion was, in epoch milliseconds; 0: nobody said; None: it is not here."""
    row = connection.execute(select(rows).where(rows.c.dedupe == dedupe)).mappings().first()
    if row is None:
        return None
    own: int | None = (row["conversion"] or {}).get("created_at")
    # A payment without a time is given that of its row.
    return 0 if own is None or own == _milliseconds(row) else own


def undone_at(connection: Connection, rows: Table, payment: str, customer: str) -> int | None:
    """Return when a customer's payment was undone, unless that was kept back or given up.

    One that has no customer's credit yet, or was refused with its payment, may be revived with it. One
    that was recorded before its payment was early: webhooks come in any order.
    """
    theirs = or_(rows.c.customer_key == customer, rows.c.known_as == customer)
    its = (rows.c.parent == payment, rows.c.kind == Reversal.kind, theirs)
    paid = rows.alias("payment")
    same = and_(paid.c.dedupe == rows.c.parent, paid.c.network == rows.c.network)
    later = (rows.c.id > paid.c.id, rows.c.status.not_in(DROPPED))
    found = select(rows).join(paid, same).where(*its, *later).limit(1)
    row = connection.execute(found).mappings().first()
    if row is None:
        return None
    own: int | None = (row["conversion"] or {}).get("created_at")
    return _milliseconds(row) if own is None else own


def _milliseconds(row: RowMapping) -> int:
    return int(row["created_at"].timestamp() * 1000)


def _tell(part: Delivery, why: str) -> None:
    log.error(
        "s2s.refund.left: delivery %d paid back a part of what is undone now, and is not undone "
        "with it: %s. Undo it by hand: `flask s2s retry`, or at the network",
        part.id,
        why,
        extra={"action": "refund.left", "delivery_id": part.id},
    )


def inherit(connection: Connection, rows: Table, settled: Iterable[Delivery]) -> None:
    """Complete the rows of dependents, which the caller has settled."""
    ids = [one.id for one in settled if one.parent is not None and _lacks(one)]
    if not ids:
        return
    finding, completing = _statements(rows)
    found = connection.execute(finding, {"its_ids": ids}).mappings().all()
    if found:
        connection.execute(completing, [dict(row) for row in found])


def pass_on(connection: Connection, rows: Table, settled: Iterable[Delivery]) -> None:
    """Give the partner of these sign-ups to dependents that were settled before they were known.

    Theirs, in turn, get it of them. One that a host holds is left alone.
    """
    by = [one.dedupe for one in settled if one.kind == Signup.kind and one.partner_key is not None]
    lacking, completing = _settled_before(rows)
    while by:
        found = connection.execute(lacking, {"its_parents": by}).mappings().all()
        free = set(take_free(connection, rows, [row["its_id"] for row in found]))
        theirs = [dict(row) for row in found if row["its_id"] in free]
        by = [row.pop("dedupe") for row in theirs]
        if theirs:
            connection.execute(completing, theirs)


def credited_again(rows: Table) -> ColumnElement[str]:
    """Return the reason of what looks again whether its customer is credited."""
    revised = rows.c.reason == Reason.PARENT.value
    return case((revised, Reason.BY_CUSTOMER.value), else_=rows.c.reason)


def _lacks(one: Delivery) -> bool:
    return one.partner_key is None or (one.kind == Reversal.kind and one.amount is None)


@lru_cache(maxsize=8)
def _statements(rows: Table) -> tuple[Select[Any], Update]:
    """Return two statements: one reads from the dependencies what these lack, one writes it."""
    theirs, parent, same = _inherited(rows)
    known = or_(parent.c.partner_key.is_not(None), parent.c.amount.is_not(None))
    finding = (
        select(*theirs)
        .join(parent, same)
        .where(rows.c.id.in_(bindparam("its_ids", expanding=True)), known)
    )
    return finding, _completing(rows, theirs)


@lru_cache(maxsize=8)
def _settled_before(rows: Table) -> tuple[Select[Any], Update]:
    """Return the same of what was settled without a partner that its dependency has by now."""
    theirs, parent, same = _inherited(rows)
    lacking = (
        select(*theirs, rows.c.dedupe)
        .join(parent, same)
        .where(
            rows.c.parent.in_(bindparam("its_parents", expanding=True)),
            rows.c.settled_at.is_not(None),
            rows.c.partner_key.is_(None),
            parent.c.partner_key.is_not(None),
        )
    )
    return lacking, _completing(rows, theirs)


def _completing(rows: Table, theirs: Sequence[ColumnElement[Any]]) -> Update:
    names = [str(value.name) for value in theirs[1:]]
    written: dict[str, Any] = {name.removeprefix("its_"): bindparam(name) for name in names}
    return update(rows).where(rows.c.id == bindparam("its_id")).values(written)


def _inherited(rows: Table) -> tuple[list[Any], Any, ColumnElement[bool]]:
    """Return what a dependent has with what it inherits, its dependency, and how that is joined."""
    parent = rows.alias("parent")
    same = and_(parent.c.network == rows.c.network, parent.c.dedupe == rows.c.parent)
    theirs = {
        "its_partner_key": func.coalesce(rows.c.partner_key, parent.c.partner_key),
        "its_sub_id": func.coalesce(rows.c.sub_id, parent.c.sub_id),
        "its_currency": func.coalesce(rows.c.currency, parent.c.currency),
        "its_amount": func.coalesce(rows.c.amount, -parent.c.amount),
    }
    named = [rows.c.id.label("its_id"), *(value.label(name) for name, value in theirs.items())]
    return named, parent, same
