"""One run of a conversion view: the row that it arms, releases or withdraws.

A decorated view wants two things that exclude each other: the conversion in the user's own
transaction, and only if the view succeeds (which is known after that transaction). So a commit
during the view writes the row *armed*: leased to the view. Success releases it, an error withdraws
it, and if the process dies in between the lease runs out and the row is sent, because the user
really was committed.

Where two views commit the same conversion, the second takes the row out of the first one's hands:
either may succeed, or die with its user committed, so neither may withdraw it. The first success
releases it; if none comes, the lease runs out and it is sent, even where both failed. The
alternative was to lose a committed customer when one failed and the other's process was killed.

Releasing and withdrawing are a transaction of our own. It waits until the session's has ended: that
one may hold the lock which ours needs, and they would wait for each other in one thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from ..capture.attribution import Attribution
from ..conversion import Conversion
from .enlist import End, commits, dismiss, enlist, follow, has_writes
from .outbox import new_token
from .recorder import Make, Recorder
from .settlement import Delivery, Status

log = logging.getLogger("flask_s2s.conversion")


class ArmedView:
    """Waits on the view's session, and ends with `succeeded` or `failed`."""

    def __init__(
        self,
        recorder: Recorder,
        make: Make,
        attribution: Callable[[], Attribution],
        session: Any,
    ) -> None:
        self._recorder = recorder
        self._make = make
        self._attribution = attribution
        self._session = None if session is None else recorder.joinable(session)
        self._token = new_token()
        self._running = True
        #: Why the view failed, if it did.
        self._failed: str | None = None
        #: What a commit after the view will write.
        self._conversion: Conversion | None = None
        #: What a commit within the view wrote.
        self._written: Conversion | None = None
        self._delivery: Delivery | None = None
        self._committed = False
        self._commits_before = 0
        if self._session is not None:
            self._commits_before = commits(self._session)
            enlist(self._session, self)

    # -- what the session says ----------------------------------------------------------------

    def write(self, session: Session) -> bool:
        """The session is about to commit."""
        if self._failed is not None:
            return True
        conversion = self._conversion or self._made_so_far(session)
        if conversion is None:
            return not self._running
        token = self._token if self._running else None
        self._written = conversion
        self._delivery = self._recorder.write(session, conversion, self._attribution(), token)
        return True

    def committed(self) -> None:
        """What was written is in the database."""
        self._committed = True
        if not self._running:
            self._leave()

    def dropped(self, end: End) -> None:
        """The transaction ended without a commit."""
        session = self._session
        if self._committed:
            self._leave()
        elif session is not None and self._running:
            self._delivery = None
            enlist(session, self)
        elif session is not None and self._conversion is not None and end is not End.ROLLED_BACK:
            # The view committed earlier, and left something that nobody wanted to commit.
            if commits(session) > self._commits_before:
                self._recorder.alone(self._conversion, self._attribution())

    # -- what the view says -------------------------------------------------------------------

    def succeeded(self) -> None:
        """The view returned, and not an error."""
        # A commit that comes later may be out of the request.
        self._attribution()
        self._running = False
        session = self._session
        if self._delivery is not None:
            self._leave_in_time()
        elif session is None or not has_writes(session):
            self._forget()
            conversion = self._recorder.ask(self._make, self._attribution())
            if conversion is not None:
                self._recorder.alone(conversion, self._attribution())
        elif not session.new:
            self._conversion = self._recorder.ask(self._make, self._attribution(), session)
            if self._conversion is None:
                self._forget()
        # Else its objects have no keys yet: the commit asks.

    def failed(self, why: str) -> None:
        """The view raised, or returned an error."""
        self._running = False
        self._failed = why
        if self._delivery is None:
            self._forget()
        else:
            self._leave_in_time()

    # -----------------------------------------------------------------------------------------

    def _forget(self) -> None:
        if self._session is not None:
            dismiss(self._session, self)

    def _leave_in_time(self) -> None:
        session = self._session
        if not self._committed or session is None:
            # Written into a savepoint: the commit is still to come.
            return
        if session.in_transaction():
            follow(session, self)
        else:
            self._leave()

    def _leave(self) -> None:
        if self._running:
            return
        delivery, self._delivery = self._delivery, None
        if delivery is None:
            return
        outbox, now = self._recorder.outbox, self._recorder.clock.now()
        if delivery.status is Status.ARMED and delivery.lease_token != self._token:
            # Another view's, of the same conversion: that one may fail, and this one did not.
            if self._failed is None and self._written is not None:
                self._recorder.alone(self._written, self._attribution())
        elif delivery.lease_token == self._token:
            try:
                if self._failed is None:
                    if not outbox.release(delivery.id, self._token, now) and self._written:
                        # Shared since with another view, which does not release it if it fails.
                        self._recorder.alone(self._written, self._attribution())
                else:
                    outbox.withdraw(delivery.id, self._token, now, self._failed)
            except SQLAlchemyError as error:
                log.warning(
                    "s2s.conversion.still_armed: delivery %d (%s); its lease runs out",
                    delivery.id,
                    type(error).__name__,
                    extra={"action": "conversion.still_armed"},
                )
        self._recorder.wake()

    def _made_so_far(self, session: Session) -> Conversion | None:
        """Ask within a commit: in the middle of the view, what is not there yet is no mistake."""
        session.flush()
        if not self._running:
            return self._recorder.ask(self._make, self._attribution(), session)
        try:
            return self._make()
        except Exception:  # noqa: BLE001 - in the middle of a view nothing is a mistake yet
            return None
