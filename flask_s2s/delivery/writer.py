"""The rows that a conversion becomes: in a session's transaction, armed for a view, or alone."""

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
from .drafting import Drafts, taken_key
from .enlist import unwrap
from .outbox import Outbox, new_token
from .settlement import Delivery, Status
from .storage import Storage

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

    @property
    def strict(self) -> bool:
        """Whether somebody is developing or testing, and wants to see mistakes at once."""
        return self._settings.debug or self._settings.testing

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
        return self._alone(lambda connection: self._record(connection, conversion, attribution))

    def write(
        self,
        session: Session,
        conversion: Conversion,
        attribution: Attribution,
        armed: str | None = None,
    ) -> Delivery:
        """Insert in the session's transaction. `armed` is the token of the view that holds it."""
        delivery = self._record(session.connection(), conversion, attribution, armed)
        self._recorded(delivery)
        return delivery

    def invalid(
        self, error: InvalidConversion, attribution: Attribution, session: Session | None = None
    ) -> None:
        """A conversion that cannot be: raised while developing, in production kept as a row."""
        self._refuse(error)
        if session is None:
            self._alone(lambda connection: self._keep_invalid(connection, error, attribution))
        else:
            self._keep_invalid(session.connection(), error, attribution)

    def invalid_call(self, error: UsageError, attribution: Attribution, session: Any) -> None:
        """A call with an unacceptable field: a row where it may be one, else raised."""
        if not isinstance(error, InvalidConversion):
            raise error
        self.invalid(error, attribution, None if session is None else self.joinable(session))

    def _record(
        self,
        connection: Connection,
        conversion: Conversion,
        attribution: Attribution,
        armed: str | None = None,
    ) -> Delivery:
        now = self.clock.now()
        draft = self._drafts.draft(
            conversion, self._resolve(connection, conversion, attribution, now), now
        )
        if armed is not None and draft.status is Status.PENDING:
            until = draft.created_at + ARMED
            draft = replace(draft, status=Status.ARMED, lease_token=armed, due_at=until)
        delivery = self.outbox.add(connection, draft, conversion.identity, conversion.parent)
        if (there := delivery.conversion) is not None and there.subject != conversion.subject:
            error = taken_key(conversion, delivery)
            self._refuse(error)
            return self._keep_invalid(connection, error, attribution)
        if delivery.status is Status.ARMED and delivery.lease_token != armed:
            self.outbox.share(connection, delivery, new_token())
        return delivery

    def _refuse(self, error: InvalidConversion) -> None:
        if self.strict:
            raise error
        log.error("s2s.conversion.invalid: %s", error, extra={"action": "conversion.invalid"})

    def _keep_invalid(
        self, connection: Connection, error: InvalidConversion, attribution: Attribution
    ) -> Delivery:
        draft = self._drafts.invalid(error, attribution, self.clock.now())
        return self.outbox.add(connection, draft, ())

    def _alone(self, record: Callable[[Connection], Delivery]) -> Delivery | None:
        try:
            self._storage.refuse_while_begun()
            try:
                delivery = self._begun(record)
            except (SQLAlchemyError, StorageError):
                # A job or a shell may come before the first request has made our own file.
                if not (self._storage.ours and self._storage.create()):
                    raise
                delivery = self._begun(record)
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

    def _begun(self, record: Callable[[Connection], Delivery]) -> Delivery:
        with self._storage.engine().begin() as connection:
            return record(connection)
