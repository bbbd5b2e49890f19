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
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError, UnboundExecutionError
from sqlalchemy.orm import Session

from ..capture.attribution import Attribution
from ..clock import Clock
from ..config import Settings
from ..conversion import Conversion
from ..errors import ConfigError, InvalidConversion, StorageError, UsageError
from ..networks.network import Network
from .drafting import Drafts
from .enlist import End, commits, enlist, follow, has_writes, may_hold_locks, unwrap
from .outbox import Draft, Identity, Outbox, new_token
from .settlement import Delivery, Status
from .storage import Storage

log = logging.getLogger("flask_s2s.conversion")

#: How long a conversion view holds the row that it armed: its lease.
ARMED = timedelta(seconds=60)

Make = Callable[[], Conversion | None]
#: Decides with what the database knows, in the transaction that writes the row.
Resolve = Callable[[Connection, Conversion, Attribution, datetime], Attribution]


class Recorder:
    """Puts conversions into one app's outbox."""

    def __init__(
        self,
        *,
        settings: Settings,
        storage: Storage,
        outbox: Outbox,
        networks: Mapping[str, Network],
        clock: Clock,
        resolve: Resolve,
        wake: Callable[[], None],
        recorded: Callable[[Delivery], None],
    ) -> None:
        self._settings = settings
        self._drafts = Drafts(settings, networks)
        self._storage = storage
        self.outbox = outbox
        self.clock = clock
        self._resolve = resolve
        self.wake = wake
        self._recorded = recorded

    # -- the doors ----------------------------------------------------------------------------

    def call(
        self, conversion: Conversion, attribution: Attribution, session: Any = None
    ) -> Delivery | None:
        """Record now. With `session`, one statement in its transaction; errors there are raised.

        Without it, in a transaction of our own; None when the database did not take it (logged).
        """
        if session is None:
            return self.alone(conversion, attribution)
        plain = self.joinable(session)
        # Committed before, and nothing new: this transaction may never be committed.
        uncertain = not has_writes(plain) and commits(plain) > 0
        delivery = self.write(plain, conversion, attribution)
        follow(plain, _Called(self, conversion, attribution, uncertain))
        return delivery

    def fact(self, make: Make, attribution: Attribution, session: Any = None) -> None:
        """Record what a signal tells.

        `make` is asked again within the commit where there are objects without their keys yet.
        """
        plain = None if session is None else self.joinable(session)
        if plain is not None and has_writes(plain):
            conversion = None
            if not plain.new:
                conversion = self.ask(make, attribution, plain)
                if conversion is None:
                    return
            enlist(plain, _Fact(self, make, attribution, conversion, alone=False))
            return
        conversion = self.ask(make, attribution)
        if conversion is None:
            return
        if plain is None or self._is_over(plain):
            stored = self.alone(conversion, attribution)
            if stored is not None or plain is None or not plain.in_transaction():
                return
        # Only reads so far: what becomes of this transaction decides.
        enlist(plain, _Fact(self, make, attribution, conversion, alone=True))

    def ask(
        self, make: Make, attribution: Attribution, session: Session | None = None
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
            self.invalid(error, attribution, session)
        except Exception:
            if self.strict:
                raise
            log.exception("s2s.conversion.failed", extra={"action": "conversion.failed"})
        return None

    # -- what the doors are made of -----------------------------------------------------------

    @property
    def strict(self) -> bool:
        """Whether somebody is developing or testing, and wants to see mistakes at once."""
        return self._settings.debug or self._settings.testing

    def _is_over(self, session: Session) -> bool:
        """Say whether no commit of this session is to be expected, and nothing is in our way."""
        if may_hold_locks(session):
            # A transaction of our own would wait for that one, in the same thread.
            return False
        return commits(session) > 0 or not session.in_transaction()

    def joinable(self, session: Any) -> Session:
        """Return the plain session, once it is sure that its database is the one we drain."""
        plain = unwrap(session)
        try:
            bind = plain.get_bind()
        except UnboundExecutionError:
            raise UsageError(
                "session= is bound to no database of its own. Bind the Session to the engine of "
                "the outbox, or leave session= out."
            ) from None
        if not self._storage.same_database(bind):
            raise ConfigError(
                "S2S_DATABASE_URI",
                "names another database than the one that session= is bound to, so the two could "
                "not commit together",
                "Point both at one database, or leave session= out.",
            )
        return plain

    def alone(self, conversion: Conversion, attribution: Attribution) -> Delivery | None:
        """Record in a transaction of our own. None when the database did not take it (logged)."""
        return self._alone(
            lambda connection: self._draft(connection, conversion, attribution),
            conversion.identity,
            conversion.parent,
        )

    def write(
        self,
        session: Session,
        conversion: Conversion,
        attribution: Attribution,
        armed: str | None = None,
    ) -> Delivery:
        """Insert in the session's transaction. `armed` is the token of the view that holds it."""
        connection = session.connection()
        draft = self._draft(connection, conversion, attribution)
        if armed is not None and draft.status is Status.PENDING:
            until = draft.created_at + ARMED
            draft = replace(draft, status=Status.ARMED, lease_token=armed, due_at=until)
        delivery = self.outbox.add(connection, draft, conversion.identity, conversion.parent)
        if delivery.status is Status.ARMED and delivery.lease_token != armed:
            self.outbox.share(connection, delivery, new_token())
        self._recorded(delivery)
        return delivery

    def invalid(
        self, error: InvalidConversion, attribution: Attribution, session: Session | None = None
    ) -> None:
        """A conversion that cannot be: raised while developing, in production kept as a row."""
        if self.strict:
            raise error
        log.error("s2s.conversion.invalid: %s", error, extra={"action": "conversion.invalid"})
        draft = self._drafts.invalid(error, attribution, self.clock.now())
        if session is None:
            self._alone(lambda _: draft, ())
        else:
            self.outbox.add(session.connection(), draft, ())

    def invalid_call(self, error: UsageError, attribution: Attribution, session: Any) -> None:
        """A call with an unacceptable field: a row where it may be one, else raised."""
        if not isinstance(error, InvalidConversion):
            raise error
        self.invalid(error, attribution, None if session is None else self.joinable(session))

    def _draft(
        self, connection: Connection, conversion: Conversion, attribution: Attribution
    ) -> Delivery:
        now = self.clock.now()
        return self._drafts.draft(
            conversion, self._resolve(connection, conversion, attribution, now), now
        )

    def _alone(
        self, draft: Draft, identity: Identity, parent: Identity | None = None
    ) -> Delivery | None:
        try:
            self._storage.refuse_while_begun()
            try:
                delivery = self.outbox.add_alone(draft, identity, parent)
            except (SQLAlchemyError, StorageError):
                # A job or a shell may come before the first request has made our own file.
                if not (self._storage.ours and self._storage.create()):
                    raise
                delivery = self.outbox.add_alone(draft, identity, parent)
        except (SQLAlchemyError, StorageError) as error:
            if self._settings.testing:
                raise
            log.critical(
                "s2s.conversion.not_stored: %s. One conversion is lost unless it is recorded "
                "again; `flask s2s check` looks at the database",
                type(error).__name__,
                extra={"action": "conversion.not_stored"},
            )
            return None
        self._recorded(delivery)
        self.wake()
        return delivery


class _Called:
    """A row that a call wrote: its commit wakes the worker."""

    def __init__(
        self, recorder: Recorder, conversion: Conversion, attribution: Attribution, uncertain: bool
    ) -> None:
        self._recorder = recorder
        self._what = (conversion, attribution)
        self._uncertain = uncertain

    def write(self, session: Session) -> bool:
        return True

    def committed(self) -> None:
        self._recorder.wake()

    def dropped(self, end: End) -> None:
        if self._uncertain and end is End.CLOSED:
            self._recorder.alone(*self._what)
        elif end is not End.ROLLED_BACK:
            _tell_dropped()


class _Fact:
    """What a signal told, waiting for its session's commit."""

    def __init__(
        self,
        recorder: Recorder,
        make: Make,
        attribution: Attribution,
        conversion: Conversion | None,
        *,
        alone: bool,
    ) -> None:
        self._recorder = recorder
        self._make = make
        self._attribution = attribution
        self._conversion = conversion
        self._alone = alone

    def write(self, session: Session) -> bool:
        conversion = self._conversion
        if conversion is None:
            session.flush()
            conversion = self._recorder.ask(self._make, self._attribution, session)
        if conversion is not None:
            self._recorder.write(session, conversion, self._attribution)
        return True

    def committed(self) -> None:
        self._recorder.wake()

    def dropped(self, end: End) -> None:
        if self._alone and end is End.CLOSED and self._conversion is not None:
            self._recorder.alone(self._conversion, self._attribution)
        elif end is not End.ROLLED_BACK:
            _tell_dropped()


def _tell_dropped() -> None:
    log.warning(
        "s2s.conversion.dropped: its session was closed without a commit. If the customer was "
        "committed elsewhere, leave session= out",
        extra={"action": "conversion.dropped"},
    )
