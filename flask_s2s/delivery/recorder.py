"""Recording a conversion: in the caller's transaction, or in one of our own.

`call` is for code that says "now, in this session". `fact` is for signals: the row is written by
the session's own commit, because a signal is often sent before the user has an id. Both keep to
what really happens to the transaction: committed users have a conversion, and no others.

The one gap: a caller that commits *before* it tells us, and is killed between the two, has a
customer that we never heard of. Tell first, and commit then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from sqlalchemy.orm import Session

from ..capture.attribution import Attribution
from ..conversion import Conversion
from ..errors import InvalidConversion, UsageError
from .enlist import End, commits, enlist, follow, has_writes, may_hold_locks
from .settlement import Delivery
from .writer import Writer

log = logging.getLogger("flask_s2s.conversion")

Make = Callable[[], Conversion | None]


class Recorder(Writer):
    """Puts conversions into one app's outbox."""

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

    def _is_over(self, session: Session) -> bool:
        """Say whether no commit of this session is to be expected, and nothing is in our way."""
        if may_hold_locks(session):
            # A transaction of our own would wait for that one, in the same thread.
            return False
        return commits(session) > 0 or not session.in_transaction()


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
