"""The last word on which click a conversion belongs to, with what the database knows.

It is asked in the transaction that writes the conversion's row, so it holds if and only if that row
does. The order: the click that the caller names; what the browser presents itself (a carried click,
which is then spent on this one customer, or the cookie's); the click that the customer's e-mail
address or user ID was bound to; the network's own script's. Anybody can type a stranger's address
into a form, so a binding never outranks a browser. The site's own rule comes after all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from traceback import extract_tb

from sqlalchemy import Connection, insert, select

from ..config import Rule
from ..conversion import Conversion, Signup
from ..tables import Tables, inserting
from .attribution import Attribution, Reason
from .binding import Bindings
from .identity import identities

log = logging.getLogger("flask_s2s.capture")

#: Nothing is decided by these: others may know of a click.
_OPEN = frozenset(
    {
        Reason.NO_CLICK,
        Reason.EXPIRED,
        Reason.FUTURE,
        Reason.BAD_SIGNATURE,
        Reason.HANDLE_USED,
        Reason.OUTSIDE_REQUEST,
    }
)
#: They say less to whoever asks why than that a bound click was too old.
_LESS_THAN_EXPIRED = frozenset({Reason.NO_CLICK, Reason.OUTSIDE_REQUEST})
#: What `s2s_delivery.detail` holds.
_LONGEST = 255


class Decision:
    """Decides for one app."""

    def __init__(
        self,
        tables: Tables,
        hashed: Callable[[Connection, tuple[str, ...]], str],
        bindings: Bindings,
        rule: Rule | None,
    ) -> None:
        """`hashed` is the keyed hash of what makes a conversion itself."""
        self._handles = tables.handle
        self._hashed = hashed
        self._bindings = bindings
        self._rule = rule

    def __call__(
        self, connection: Connection, conversion: Conversion, found: Attribution, now: datetime
    ) -> Attribution:
        """Return the attribution that counts. Raises what the database raises."""
        if not isinstance(conversion, Signup):
            return found
        if found.handle is not None and found.click is not None:
            if not self._spend(connection, found.handle, conversion, now):
                found = Attribution(None, Reason.HANDLE_USED, fallback=found.fallback)
        if found.click is None and found.reason in _OPEN:
            found = self._without_click(connection, conversion, found, now)
        return self._allowed(conversion, found)

    def _without_click(
        self, connection: Connection, conversion: Signup, found: Attribution, now: datetime
    ) -> Attribution:
        """Decide where the browser presents no click of its own."""
        who = identities(conversion.email, conversion.customer_key)
        bound = self._bindings.find(connection, who, now)
        if bound is not None and bound.click is not None:
            return bound
        if found.fallback is not None:
            return Attribution(found.fallback, Reason.SCRIPT_COOKIE)
        return bound if bound is not None and found.reason in _LESS_THAN_EXPIRED else found

    def _allowed(self, conversion: Signup, found: Attribution) -> Attribution:
        """Ask the site's own rule, which nobody can make lose a conversion."""
        if self._rule is None or found.click is None or found.reason is Reason.CREDITED:
            return found
        try:
            said = self._rule(conversion, found.click)
            if said is not None and not isinstance(said, str):
                raise TypeError(f"None or text was expected, not {type(said).__name__}")
        except Exception as error:  # noqa: BLE001 - logged, without its text: it may be personal
            log.error(
                "s2s.rule.failed: %s in line %d of %s; the sign-up is credited",
                type(error).__name__,
                *_place(error),
                extra={"action": "rule.failed"},
            )
            return found
        if said is None or not said.strip():
            return found
        return Attribution(None, Reason.RULE, detail=_storable(said))

    def _spend(self, connection: Connection, token: str, conversion: Signup, now: datetime) -> bool:
        """Say whether the handle is this customer's: who comes first has it."""
        handles, dialect = self._handles, connection.dialect.name
        customer = self._hashed(connection, conversion.identity)
        row = {"token": token, "customer": customer, "at": now}
        whose = select(handles.c.customer).where(handles.c.token == token)
        if dialect in ("mysql", "mariadb"):
            connection.execute(insert(handles).prefix_with("IGNORE"), row)
            # An ordinary read sees the caller's snapshot, in which the other's row may be missing.
            whose = whose.with_for_update(read=True)
        else:
            connection.execute(inserting(dialect)(handles).on_conflict_do_nothing(), row)
        return connection.scalar(whose) == customer


def _place(error: Exception) -> tuple[int, str]:
    """Return the line, and the file, in which an error was raised."""
    frame = extract_tb(error.__traceback__)[-1]
    return frame.lineno or 0, frame.filename


def _storable(text: str) -> str:
    """Return a rule's reason as every database takes it."""
    kept = "".join(letter if letter.isprintable() else " " for letter in text)
    return kept.strip()[:_LONGEST]
