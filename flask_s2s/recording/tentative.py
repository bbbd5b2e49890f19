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

from sqlalchemy.orm import Session

from ..conversion import Conversion
from ..errors import UsageError
from ..rules.attribution import Attribution
from ..rules.delivery import Delivery, Late, NotStored
from ..rules.states import Status
from ..store.background import Write
from ..store.outbox.rows import new_token
from .joining import LEFT_OUT
from .recorder import Make, Recorder
from .session import End, commits, dismiss, follow, has_writes, register

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
        self._given = session
        self._session = self._joined(session)
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
            register(self._session, self)

    def _joined(self, session: Any) -> Session | None:
        if session is None or session is LEFT_OUT:
            return None
        joined = self._recorder.joining.joinable(session)
        if not isinstance(joined, Session):
            raise UsageError(
                "session= of a conversion view must be a Session: it is asked when it commits. "
                "Pass the Connection to s2s.track_signup(), in the view"
            )
        return joined

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
        """The commit succeeded: the row is in the database."""
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
            register(session, self)
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
        elif session is None:
            self._recorder.fact(self._make, self._attribution(), self._given)
        elif not has_writes(session):
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
        if delivery.status is Status.ARMED and delivery.lease_token != self._token:
            # Another view's, of the same conversion: that one may fail, and this one did not.
            if self._failed is None and self._written is not None:
                self._recorder.alone(self._written, self._attribution())
        elif delivery.lease_token == self._token:
            self._end(delivery)
        self._recorder.wake()

    def _end(self, delivery: Delivery) -> None:
        """Release the row, or withdraw it, for as long as a page waits; then without the page."""
        recorder, id_, token = self._recorder, delivery.id, self._token
        outbox, now, failed = recorder.outbox, recorder.clock.now(), self._failed
        written, attribution = self._written, self._attribution()

        def end() -> bool:
            if failed is None:
                return outbox.release(id_, token, now)
            return outbox.withdraw(id_, token, now, failed)

        def ended(held: bool | Late | NotStored) -> None:
            if held is False and failed is None and written is not None:
                # Shared since with another view, which does not release it if it fails.
                recorder.alone(written, attribution)
            recorder.wake()

        def still_armed(why: str) -> None:
            log.warning(
                "s2s.conversion.still_armed: delivery %d (%s); it is tried again, or its lease runs out",
                id_,
                why,
                extra={"action": "conversion.still_armed", "delivery_id": id_},
            )

        writing = Write(run=end, stored=ended, lost=lambda error: still_armed(type(error).__name__))
        held = recorder.background.patiently(writing, late=still_armed)
        ended(held)

    def _made_so_far(self, session: Session) -> Conversion | None:
        """Ask within a commit: in the middle of the view, what is not there yet is no mistake."""
        session.flush()
        if not self._running:
            return self._recorder.ask(self._make, self._attribution(), session)
        try:
            return self._make()
        except Exception:  # noqa: BLE001 - in the middle of a view nothing is a mistake yet
            return None
