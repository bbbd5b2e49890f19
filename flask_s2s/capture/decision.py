"""The last word on which click a conversion belongs to, with what the database knows.

It is asked in the transaction that writes the conversion's row, so it holds if and only if that row
does. What the browser presents itself comes first: a carried click, which is then spent on this one
customer, or the cookie's.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, insert, select

from ..conversion import Conversion, Signup
from ..tables import Tables, inserting
from .attribution import Attribution, Reason


class Decision:
    """Decides for one app."""

    def __init__(
        self, tables: Tables, hashed: Callable[[Connection, tuple[str, ...]], str]
    ) -> None:
        """`hashed` is the keyed hash of what makes a conversion itself."""
        self._handles = tables.handle
        self._hashed = hashed

    def __call__(
        self, connection: Connection, conversion: Conversion, found: Attribution, now: datetime
    ) -> Attribution:
        """Return the attribution that counts. Raises what the database raises."""
        if not isinstance(conversion, Signup):
            return found
        if found.handle is not None and found.click is not None:
            if not self._spend(connection, found.handle, conversion, now):
                return Attribution(None, Reason.HANDLE_USED)
        return found

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
