"""Erasing what was stored of a person: because they withdrew consent, or asked to be forgotten.

A row never goes as a whole: its keyed de-duplication hash stays, so that the same customer is still
one delivery. What is not delivered becomes `withdrawn`, and what it would have sent is gone. A row
that a worker is sending at that moment loses its lease: the request that is on its way cannot be
called back, and is counted; but what comes of it is written by nobody, because settling filters on
the lease. Such a row keeps when it may have arrived.

A click belongs to a visit by its time too: another visitor who opens the same link makes a click with
the same ID, and must not be able to erase the first one's.

An erased row stays in the database's own files for a while. On a file of our own every connection
overwrites what it erases; the write-ahead log is emptied without waiting for anybody for longer than
a moment. A host's database keeps its settings: there we can only say what is left to do.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    and_,
    case,
    delete,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from ... import threads
from ...click import Click
from ...clock import Clock
from ...errors import StorageError
from ...rules.attribution import Reason
from ...rules.states import SENT, Status
from ...threads import Late, Written
from ..background import Background, Write, is_passing
from ..database.storage import Storage
from ..dialects.engines import is_local, truncate_log
from ..dialects.servers import how_to_erase
from ..dialects.statements import EPOCH, in_order, microseconds, upsert
from ..schema import FORGOTTEN, Tables

log = logging.getLogger("flask_s2s.capture")

#: What a row knows of a person, besides the site's own key of the customer.
PERSONAL = (
    *("conversion", "click", "click_id", "touches", "person"),
    *("partner_key", "sub_id", "click_at", "key"),
)
#: How long nothing is tried after a failure.
_PAUSE = timedelta(seconds=30)
#: How long after a caller's commit it is looked for what came beside it, in seconds.
_AGAIN = 0.1
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """Counts of what a withdrawal has erased."""

    #: Whether the browser has a cookie, which ends with this response.
    cookie: bool = False
    #: Click rows.
    clicks: int = 0
    #: What an e-mail address or a user's ID was bound to.
    bindings: int = 0
    #: Deliveries that were not sent, and will not be.
    deliveries: int = 0
    #: Those of them that a worker was sending: the network may get them all the same.
    in_flight: int = 0
    #: Whether the database took longer than a page waits: it is tried again until all is erased.
    late: bool = False


class Erasing:
    """Erases in one database."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def withdraw(self, connection: Connection, clicks: Sequence[Click], now: datetime) -> Erased:
        """Erase what these clicks' visits left, in the caller's transaction."""
        if not clicks:
            return Erased()
        # The writes come first: one that begins by reading may not be let write (`begin_writing`).
        gone = self._delete_clicks(connection, clicks)
        bindings = self._delete_bindings(connection, clicks)
        ids, in_flight = self._unsent_of(connection, clicks)
        self.stop(connection, ids, now, reason=Reason.CONSENT_DENIED.value)
        return Erased(clicks=gone, bindings=bindings, deliveries=len(ids), in_flight=in_flight)

    def note(self, connection: Connection, now: datetime) -> None:
        """Let a click's row that is stored after its page went on see that somebody was erased.

        It is noted before the clicks are looked for, in a transaction of our own: others wait for its end.
        """
        row = {"name": FORGOTTEN, "value": str(microseconds(now))}
        noting = upsert(
            connection,
            self._tables.meta,
            ["name"],
            where=lambda new: true(),
            changes=lambda new: [("value", new.value)],
        )
        connection.execute(noting, row)

    def stop(self, connection: Connection, ids: Sequence[int], now: datetime, **also: Any) -> None:
        """Withdraw deliveries whatever they are about to do, and forget their attempts."""
        if not ids:
            return
        rows, attempts = self._tables.delivery, self._tables.attempt
        sending = rows.c.status == Status.SENDING.value
        late = "a worker was sending it at that moment: the network may have it"
        values = [
            (rows.c.ambiguous_at, case((sending, rows.c.due_at), else_=rows.c.ambiguous_at)),
            (rows.c.detail, case((sending, late), else_=null())),
            (rows.c.status, Status.WITHDRAWN.value),
            *((rows.c[name], None) for name in (*PERSONAL, "due_at", "lease_token", "verify_at")),
            (rows.c.settled_at, now),
            *((rows.c[name], value) for name, value in also.items()),
        ]
        connection.execute(in_order(update(rows).where(rows.c.id.in_(ids)), *values))
        connection.execute(delete(attempts).where(attempts.c.delivery_id.in_(ids)))

    def _delete_clicks(self, connection: Connection, clicks: Sequence[Click]) -> int:
        rows = self._tables.click
        theirs = or_(*(and_(_named(rows, one), *_at(rows.c.at, one)) for one in clicks))
        return connection.execute(delete(rows).where(theirs)).rowcount

    def _delete_bindings(self, connection: Connection, clicks: Sequence[Click]) -> int:
        rows = self._tables.binding
        theirs = or_(*(and_(_named(rows, one), *_at(rows.c.at, one)) for one in clicks))
        return connection.execute(delete(rows).where(theirs)).rowcount

    def _unsent_of(self, connection: Connection, clicks: Sequence[Click]) -> tuple[list[int], int]:
        """Return the unsent deliveries of these clicks' customers, and how many are on their way."""
        rows = self._tables.delivery
        named = select(rows.c.network, rows.c.customer_key, rows.c.click_id, rows.c.click).where(
            or_(*(_named(rows, one) for one in clicks))
        )
        visits = {(one.network, one.click_id, _second(one.at.timestamp())) for one in clicks}
        theirs = [
            (row["network"], row["customer_key"], row["click_id"])
            for row in connection.execute(named).mappings()
            if visit_of(row) in visits
        ]
        if not theirs:
            return [], 0
        of_them = or_(*(_of_customer(rows, *one) for one in theirs))
        unsent = select(rows.c.id, rows.c.status).where(
            of_them, rows.c.status.not_in(SENT), has_something(rows, PERSONAL)
        )
        found = connection.execute(unsent.order_by(rows.c.id).with_for_update()).all()
        in_flight = sum(status == Status.SENDING for _, status in found)
        return [id_ for id_, _ in found], in_flight


class Withdrawals:
    """Erases while a visitor's page waits for a moment, or goes on without it."""

    def __init__(
        self, storage: Storage, erasing: Erasing, clock: Clock, background: Background
    ) -> None:
        self._storage = storage
        self._erasing = erasing
        self._clock = clock
        self._background = background
        self._write: Callable[[Sequence[Click]], None] | None = None
        self._pid = 0
        self._paused_until: datetime | None = None

    def now(self, clicks: Sequence[Click], connection: Connection | None = None) -> Erased:
        """Erase at once. In a transaction of our own, as long as a page waits, then without it.

        With `connection`, raises what the database raises.
        """
        if connection is not None:
            return self._erasing.withdraw(connection, clicks, self._clock.now())
        self._storage.refuse_while_begun()
        inline = self._background.inline
        erased = self._background.patiently(
            Write(run=lambda: self._alone(clicks), lost=_tell_kept),
            late=_tell_late,
            raises=lambda error: inline() or not is_passing(error),
        )
        return erased if isinstance(erased, Erased) else Erased(late=True)

    def _alone(self, clicks: Sequence[Click]) -> Erased:
        try:
            return self._once(clicks)
        except (SQLAlchemyError, StorageError):
            if not self._storage.create_ours():
                raise
            return self._once(clicks)

    def again(self, clicks: Sequence[Click]) -> None:
        """Erase what was stored beside a caller's transaction, which has erased what it saw."""
        if clicks:
            write = Write(run=lambda: self._alone(clicks), lost=_tell_kept)
            self._background.later(write, _AGAIN)

    def _once(self, clicks: Sequence[Click]) -> Erased:
        now = self._clock.now()
        if clicks:
            # By itself: erasing may wait for a row of a host's, and nobody is to wait for that here.
            self._storage.write(lambda connection: self._erasing.note(connection, now))
        return self._storage.write(
            lambda connection: self._erasing.withdraw(connection, clicks, now)
        )

    def soon(self, clicks: Sequence[Click]) -> bool:
        """Erase, and say whether it is done; what was only late will be by the next time."""
        now = self._clock.now()
        if self._paused_until is not None and now < self._paused_until <= now + _PAUSE:
            return False
        late: Written[Sequence[Click]] | None = None
        try:
            if self._storage.begun:
                return False
            self._get_writer()(clicks)
            return True
        except Late as error:
            problem, late = "no answer in time", error.write
        except Exception as error:  # noqa: BLE001 - logged below; the visitor's cookie stays for it
            problem = type(error).__name__
        self._paused_until = now + _PAUSE
        log.warning(
            "s2s.consent.not_erased: %s; a later request of the visitor's tries again",
            problem,
            extra={"action": "consent.not_erased"},
        )
        if late is not None:
            late.tell(self._ended)
        return False

    def _ended(self, error: Exception | None) -> None:
        """Erasing that no page waited for has ended: where it was only slow, go on as before."""
        if error is None:
            self._paused_until = None

    def _get_writer(self) -> Callable[[Sequence[Click]], None]:
        if self._write is None or self._pid != os.getpid():
            self._pid = os.getpid()
            if self._storage.shared_connection:
                self._write = self._erase
            else:
                self._write = threads.InThread("s2s-erase", self._erase)
        return self._write

    def _erase(self, clicks: Sequence[Click]) -> None:
        erased = self._alone(clicks)
        log.info(
            "s2s.consent.erased: %d clicks, %d bindings, %d deliveries (%d on their way)",
            erased.clicks,
            erased.bindings,
            erased.deliveries,
            erased.in_flight,
            extra={"action": "consent.erased"},
        )


def _tell_late(why: str) -> None:
    log.warning(
        "s2s.consent.late: %s. It is tried again until it is erased or this process ends",
        why,
        extra={"action": "consent.late"},
    )


def _tell_kept(error: BaseException | None) -> None:
    log.critical(
        "s2s.consent.not_erased: %s. What is kept of a visitor who withdrew stays: `flask s2s forget`",
        "the process ends" if error is None else type(error).__name__,
        extra={"action": "consent.not_erased"},
    )


def visit_of(row: Any) -> tuple[str, str | None, int]:
    """Return which visit a row's click belongs to: a record has whole seconds of its time."""
    return row["network"], row["click_id"], _second((row["click"] or {}).get("at", 0))


def has_something(rows: Any, names: Iterable[str]) -> ColumnElement[bool]:
    """Say whether a row has anything in one of these columns."""
    return or_(*(rows.c[name].is_not(None) for name in names))


def _named(rows: Any, click: Click) -> ColumnElement[bool]:
    return and_(rows.c.click_id == click.click_id, rows.c.network == click.network)


def _of_customer(
    rows: Any, network: str, customer: str | None, click_id: str
) -> ColumnElement[bool]:
    """The sign-up itself, and what of its customer is credited through it."""
    itself = and_(rows.c.network == network, rows.c.click_id == click_id)
    if customer is None:
        return and_(itself, rows.c.customer_key.is_(None))
    mine = and_(rows.c.network == network, rows.c.customer_key == customer)
    return and_(mine, or_(itself, rows.c.click_id.is_(None)))


def _at(column: Any, click: Click) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """A record has whole seconds, a row has microseconds."""
    begun = EPOCH + _second(click.at.timestamp()) * _SECOND
    return column >= begun, column < begun + _SECOND


def _second(at: float) -> int:
    return int(at // 1)


#: How long one try to empty the log waits for a reader, in milliseconds.
MOMENT = 50
_TRIES = 10


def left_to_do(engine: Engine, *, ours: bool) -> str | None:
    """Do what can be done now about what was erased, and say what is left; None: nothing is."""
    if not (ours and is_local(engine)):
        return f"{how_to_erase(engine)}; logs and backups go by their own rules (docs/privacy.md)."
    if any(truncate_log(engine, MOMENT) for _ in range(_TRIES)):
        return None
    return "The file's log is in use: a worker empties it within a minute."
