"""Recording a conversion: in the caller's transaction, or in one of our own.

`call` is for code that says "now, in this session". `fact` is for signals: the row is written by
the session's own commit, because a signal is often sent before the user has an id. Both keep to
what really happens to the transaction: committed users have a conversion, and no others.

The one gap: a caller that commits *before* it tells us, and is killed between the two, has a
customer that we never heard of. Tell first, and commit then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from ..config.settings import Settings
from ..conversion import Conversion
from ..errors import InvalidConversion, UsageError
from ..networks.network import Network
from ..rules.attribution import Attribution
from ..rules.delivery import Delivery, Late, Tracked
from ..signals import conversion_recorded
from ..store.dialects.servers import ends_the_transaction, shielded
from ..store.stores import Stores
from .alone import Alone, reported_of
from .decision import Decision
from .joining import LEFT_OUT, After, Apart, Joining, Within
from .session import (
    End,
    after,
    commits,
    follow,
    has_writes,
    may_hold_locks,
    note,
    once_committed,
    register,
    unwrap,
)
from .writer import Writer

log = logging.getLogger("flask_s2s.conversion")

Make = Callable[[], Conversion | None]
#: What is recorded once a transaction is out of its way.
AFTER = Late(why="the open transaction comes first")
#: How a transaction may end after which a row that joined it by itself is recorded alone.
_UNDECIDED = frozenset({End.CLOSED, End.ABANDONED})


class Recorder:
    """Puts conversions into one app's outbox."""

    def __init__(
        self,
        *,
        settings: Settings,
        stores: Stores,
        networks: Mapping[str, Network],
        wake: Callable[[], None],
        tell: Callable[..., None],
        session_in_use: Callable[[], Session | None] = lambda: None,
    ) -> None:
        """`wake` wakes the worker, `tell` sends a signal."""
        self._settings = settings
        self.outbox, self.background = stores.outbox, stores.background
        self.clock = stores.times.clock
        self.joining = Joining(stores.storage, session_in_use, testing=settings.is_testing)
        self.wake = wake
        self._signal = tell
        self._writer = Writer(
            settings=settings,
            outbox=self.outbox,
            networks=networks,
            clock=self.clock,
            resolve=Decision(stores, settings),
            refresh=stores.times.refresh,
        )
        self._alone = Alone(
            stores.storage,
            self.background,
            stores.losses,
            testing=settings.is_testing,
            wake=wake,
            tell=tell,
        )
        self.counts = self._alone.counts

    def call(
        self, conversion: Conversion, attribution: Attribution, session: Any = LEFT_OUT
    ) -> Tracked:
        """Record now. With `session`, one statement in its transaction; errors there are raised.

        Where it is left out, in the transaction of the session in use, if that has writes open;
        else, or with None, in one of our own: after the thread's own, where that is in the way.
        """
        if session is None or session is LEFT_OUT:
            return self._call(conversion, attribution, join=session is LEFT_OUT)
        joined = unwrap(session)
        if isinstance(joined, Connection):
            return self._write_on(joined, conversion, attribution)
        # Committed before, and nothing new: this transaction may never be committed.
        uncertain = not has_writes(joined) and commits(joined) > 0
        delivery = self.write(joined, conversion, attribution)
        alone = frozenset({End.CLOSED} if uncertain else ())
        follow(joined, _Called(self, conversion, attribution, alone))
        return delivery

    def _call(self, conversion: Conversion, attribution: Attribution, *, join: bool) -> Tracked:
        match self.joining.find(join=join):
            case Within(session):
                delivery = self.join(session, conversion, attribution)
                if isinstance(delivery, Delivery):
                    follow(session, _Called(self, conversion, attribution, _UNDECIDED))
                return delivery
            case After(session):
                return self._alone_after(session, conversion, attribution)
            case Apart():
                return self.alone(conversion, attribution)

    def alone(self, conversion: Conversion, attribution: Attribution) -> Tracked:
        """Record in a transaction of our own, as long as a page waits for that."""
        writer, told = self._writer, self._writer.counted()
        return self._alone.write(
            lambda connection: writer.record(connection, conversion, attribution, told=told),
            reported_of(conversion, attribution),
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
        delivery = self._writer.record(connection, conversion, attribution, armed=armed)
        self._signal(conversion_recorded, delivery=delivery)
        return delivery

    def _write_on(
        self, connection: Connection, conversion: Conversion, attribution: Attribution
    ) -> Delivery:
        """Insert in the transaction of a Core connection, whose commit wakes the worker."""
        joined = self.joining.connection(connection)
        delivery = self._writer.record(joined, conversion, attribution)
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
                delivery = self._writer.record(connection, conversion, attribution)
        except UsageError:
            raise
        except Exception as error:
            if ends_the_transaction(error, connection):
                raise
            return self._alone_after(session, conversion, attribution)
        self._signal(conversion_recorded, delivery=delivery)
        return delivery

    def _alone_after(
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
        if session is None:
            return self._alone.write(
                lambda connection: self._writer.keep_invalid(connection, error, attribution),
                {"kind": error.kind, "customer_key": error.customer_key, "field": error.field},
            )
        return self._writer.keep_invalid(self.joining.connection(session), error, attribution)

    def fact(self, make: Make, attribution: Attribution, session: Any = LEFT_OUT) -> None:
        """Record what a signal tells.

        `make` is asked again within the commit where there are objects without their keys yet.
        """
        if session is None or session is LEFT_OUT:
            self._fact(make, attribution, join=session is LEFT_OUT)
            return
        joined = self.joining.joinable(session)
        if isinstance(joined, Connection):
            conversion = self.ask(make, attribution, joined)
            if conversion is not None:
                self._write_on(joined, conversion, attribution)
        elif has_writes(joined):
            self._wait(joined, make, attribution, by_itself=False)
        else:
            self._undecided(joined, make, attribution)

    def _fact(self, make: Make, attribution: Attribution, *, join: bool) -> None:
        place = self.joining.find(join=join)
        if isinstance(place, Within):
            self._wait(place.session, make, attribution, by_itself=True)
            return
        conversion = self.ask(make, attribution)
        if conversion is not None and isinstance(place, After):
            self._alone_after(place.session, conversion, attribution)
        elif conversion is not None:
            self.alone(conversion, attribution)

    def _wait(
        self, session: Session, make: Make, attribution: Attribution, *, by_itself: bool
    ) -> None:
        """Let the commit of a session with writes record it."""
        conversion = None
        if not session.new:
            conversion = self.ask(make, attribution, session, by_itself=by_itself)
            if conversion is None:
                return
        alone = _UNDECIDED if by_itself else frozenset()
        register(session, _Fact(self, make, attribution, conversion, alone, by_itself))

    def _undecided(self, session: Session, make: Make, attribution: Attribution) -> None:
        """Record what is told beside a transaction without writes."""
        conversion = self.ask(make, attribution)
        if conversion is None:
            return
        if self._is_over(session):
            if self.alone(conversion, attribution) or not session.in_transaction():
                return
        # Only reads so far: what becomes of this transaction decides.
        alone = frozenset({End.CLOSED})
        register(session, _Fact(self, make, attribution, conversion, alone, by_itself=False))

    def ask(
        self,
        make: Make,
        attribution: Attribution,
        session: Session | Connection | None = None,
        *,
        by_itself: bool = False,
    ) -> Conversion | None:
        """Return what `make` does. What it raises is the caller's mistake, and not the visitor's.

        While developing it is raised; in production a bad key becomes a row (in the session's
        transaction, if one is given), anything else is logged.
        """
        try:
            made = make()
            if made is None or isinstance(made, Conversion):
                return made
            raise UsageError(f"a conversion or None was expected, not {type(made).__name__}")
        except InvalidConversion as error:
            self._writer.refuse(error)
            if by_itself and isinstance(session, Session):
                self._keep_after(session, error, attribution)
            else:
                self.keep_invalid(error, attribution, session)
        except Exception:
            if not self._settings.production:
                raise
            log.exception("s2s.conversion.failed", extra={"action": "conversion.failed"})
        return None

    def invalid_call(self, error: UsageError, attribution: Attribution, session: Any) -> Tracked:
        """A call with an unacceptable field: a row where it may be one, else raised."""
        if not isinstance(error, InvalidConversion):
            raise error
        if session is not None and session is not LEFT_OUT:
            joined = self.joining.joinable(session)
            self._writer.refuse(error)
            return self.keep_invalid(error, attribution, joined)
        self._writer.refuse(error)
        place = self.joining.find(join=session is LEFT_OUT)
        if isinstance(place, Apart):
            return self.keep_invalid(error, attribution)
        return self._keep_after(place.session, error, attribution)

    def _keep_after(
        self, session: Session, error: InvalidConversion, attribution: Attribution
    ) -> Late:
        after(session, lambda: self.keep_invalid(error, attribution))
        return AFTER

    def _is_over(self, session: Session) -> bool:
        """Say whether no commit of this session is to be expected, and nothing is in our way."""
        if may_hold_locks(session):
            # A transaction of our own would wait for that one, in the same thread.
            return False
        return commits(session) > 0 or not session.in_transaction()


class _Called:
    """A row that a call wrote: its commit wakes the worker."""

    def __init__(
        self,
        recorder: Recorder,
        conversion: Conversion,
        attribution: Attribution,
        alone: frozenset[End],
    ) -> None:
        self._recorder = recorder
        self._what = (conversion, attribution)
        self._alone = alone

    def write(self, session: Session) -> bool:
        return True

    def committed(self) -> None:
        self._recorder.wake()

    def dropped(self, end: End) -> None:
        if end in self._alone:
            self._recorder.alone(*self._what)
        elif end is not End.ROLLED_BACK:
            _tell_dropped(self._what[0])


class _Fact:
    """The news of a signal, waiting for its session's commit."""

    def __init__(
        self,
        recorder: Recorder,
        make: Make,
        attribution: Attribution,
        conversion: Conversion | None,
        alone: frozenset[End],
        by_itself: bool,
    ) -> None:
        self._recorder = recorder
        self._make = make
        self._attribution = attribution
        self._conversion = conversion
        self._alone = alone
        self._by_itself = by_itself

    def write(self, session: Session) -> bool:
        conversion = self._conversion
        if conversion is None:
            session.flush()
            conversion = self._recorder.ask(
                self._make, self._attribution, session, by_itself=self._by_itself
            )
        if conversion is not None:
            write = self._recorder.join if self._by_itself else self._recorder.write
            write(session, conversion, self._attribution)
        return True

    def committed(self) -> None:
        self._recorder.wake()

    def dropped(self, end: End) -> None:
        if end in self._alone and self._conversion is not None:
            self._recorder.alone(self._conversion, self._attribution)
        elif end is not End.ROLLED_BACK:
            _tell_dropped(self._conversion)


def _tell_dropped(conversion: Conversion | None) -> None:
    """Say what was dropped: None is a signal's that had not been asked what it is."""
    kind = None if conversion is None else conversion.kind
    customer_key = None if conversion is None else conversion.customer_key
    log.warning(
        "s2s.conversion.dropped: %s of customer %r: its session was closed without a commit. If the "
        "customer was committed elsewhere, leave session= out",
        kind or "a conversion",
        customer_key,
        extra={"action": "conversion.dropped", "kind": kind, "customer_key": customer_key},
    )
