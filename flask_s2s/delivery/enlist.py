"""How a conversion joins the caller's transaction: SQLAlchemy session events, and nothing of Flask.

The caller's user row and our row must commit together or not at all, and the caller decides when.
Learned by trying: `in_transaction()` says nothing of writes (reading an attribute after a commit
begins a transaction that will only be closed, and a row written into it is gone: 200, and no row);
a teardown's `session.remove()` *closes*, which is no rollback; a rollback's transaction has ended
before `after_soft_rollback` tells of it; a savepoint that was released is undone with the one
around it.

So the session classes that we were shown are watched for writes (a flush, a bulk operation, or a
statement that is no SELECT; not what is executed on `session.connection()` itself), and an `Entry`
waits on its session: `before_commit` writes it within that commit, and it is told how that ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol
from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.orm import (
    ORMExecuteState,
    Session,
    SessionTransaction,
    SessionTransactionOrigin,
    sessionmaker,
)

from ..errors import UsageError

_KEY = "flask_s2s"
_READS = re.compile(
    r"\s*(?:select|show|pragma|explain|with(?!.*\b(?:insert|update|delete|merge)\b))\b",
    re.IGNORECASE | re.DOTALL,
)
_watched: WeakSet[type[Session]] = WeakSet()


class End(Enum):
    """How a transaction ended that was not committed."""

    #: By a rollback, of the whole or of the savepoint that the entry belongs to.
    ROLLED_BACK = "rolled back"
    #: Closed, with writes of the caller's in it.
    ABANDONED = "abandoned"
    #: Closed, with nothing in it but what was read.
    CLOSED = "closed"


class Entry(Protocol):
    """A conversion that waits for a session's commit."""

    def write(self, session: Session) -> bool:
        """Write into the commit that is about to happen; return whether it is done with."""
        ...

    def committed(self) -> None:
        """What was written is in the database."""
        ...

    def dropped(self, end: End) -> None:
        """The transaction ended without a commit; nothing of it is held any more."""
        ...


@dataclass(slots=True, eq=False)
class _Ticket:
    entry: Entry
    #: Where the entry came in: it goes when that is rolled back. None: not begun yet.
    home: SessionTransaction | None
    #: Where its row was written.
    written: SessionTransaction | None = None


@dataclass(slots=True)
class _Joined:
    """What we keep with a session, in `session.info`."""

    #: Transactions and savepoints, open now, that the caller wrote in (None: not begun yet).
    writes: list[SessionTransaction | None] = field(default_factory=list)
    #: Something was written in the open transaction; a savepoint's rollback keeps its locks.
    locks: bool = False
    #: How often the caller committed writes through this session.
    commits: int = 0
    waiting: list[_Ticket] = field(default_factory=list)
    written: list[_Ticket] = field(default_factory=list)
    committing: bool = False
    rolled_back: bool = False


def unwrap(session: Any) -> Session:
    """Return the plain session behind `session`, or behind what a callable returns.

    Raises `UsageError` for what is none.
    """
    for _ in range(2):
        # A callable may well return a scoped_session, which is one itself.
        if callable(session) and not isinstance(session, sessionmaker):
            session = session()
    if isinstance(session, Session):
        return session
    if hasattr(session, "sync_session"):
        raise UsageError(
            "session= got an AsyncSession, whose statements cannot be run from here. Write: "
            "await session.run_sync(lambda sync: s2s.track_signup(..., session=sync))"
        )
    raise UsageError(
        "session= must be a SQLAlchemy Session, a scoped_session or a callable that returns the "
        f"session in use, not {type(session).__name__}"
    )


def watch(session: Any) -> None:
    """Watch the class of a session, or of what a scoped_session makes, from now on."""
    factory = getattr(session, "session_factory", None)
    found = getattr(factory, "class_", None) or type(session)
    if isinstance(found, type) and issubclass(found, Session) and not _is_watched(found):
        _watched.add(found)
        for name, listener in _LISTENERS.items():
            event.listen(found, name, listener)


def has_writes(session: Session) -> bool:
    """Say whether the session's transaction has, or is about to have, the caller's own writes.

    One that was open before its class was watched may have some: yes, then.
    """
    if not _is_watched(type(session)):
        watch(session)
        if session.in_transaction():
            _wrote(session, session.get_transaction())
    return bool(_joined(session).writes or session.new or session.dirty or session.deleted)


def may_hold_locks(session: Session) -> bool:
    """Say whether the session's transaction wrote anything: the caller's, ours, undone or not."""
    return _joined(session).locks


def commits(session: Session) -> int:
    """Return how often the caller has committed writes through this session."""
    return _joined(session).commits


def enlist(session: Session, entry: Entry) -> None:
    """Let `entry` be written by this session's next commit."""
    watch(session)
    _joined(session).waiting.append(_Ticket(entry, _current(session)))


def dismiss(session: Session, entry: Entry) -> None:
    """Forget an entry that waits."""
    joined = _joined(session)
    joined.waiting = [ticket for ticket in joined.waiting if ticket.entry is not entry]


def follow(session: Session, entry: Entry) -> None:
    """Tell `entry`, which is written already, how the transaction ends."""
    watch(session)
    joined, now = _joined(session), _current(session)
    joined.locks = True
    joined.written.append(_Ticket(entry, now, now))


def _is_watched(kind: type[Session]) -> bool:
    return kind in _watched or any(issubclass(kind, watched) for watched in _watched)


def _joined(session: Session) -> _Joined:
    joined: _Joined | None = session.info.get(_KEY)
    if joined is None:
        joined = session.info[_KEY] = _Joined()
    return joined


def _current(session: Session) -> SessionTransaction | None:
    return session.get_nested_transaction() or session.get_transaction()


def _wrote(session: Session, where: SessionTransaction | None) -> None:
    joined = _joined(session)
    joined.locks = True
    if not joined.writes or joined.writes[-1] is not where:
        joined.writes.append(where)


def _is_within(inner: SessionTransaction | None, outer: SessionTransaction) -> bool:
    while inner is not None:
        if inner is outer:
            return True
        inner = inner.parent
    return False


def _on_execute(state: ORMExecuteState) -> None:
    if not state.is_select:
        text = getattr(state.statement, "text", None)
        if not (isinstance(text, str) and _READS.match(text)):
            _wrote(state.session, _current(state.session))


def _before_commit(session: Session) -> None:
    joined: _Joined | None = session.info.get(_KEY)
    if joined is None or not joined.waiting:
        return
    waiting, joined.waiting = joined.waiting, []
    for ticket in waiting:
        if ticket.entry.write(session):
            ticket.written = _current(session)
            joined.written.append(ticket)
        else:
            joined.waiting.append(ticket)


def _after_commit(session: Session) -> None:
    joined: _Joined | None = session.info.get(_KEY)
    if joined is None:
        return
    joined.committing = True
    if session.in_nested_transaction():
        return
    joined.commits += bool(joined.writes)
    joined.writes, joined.locks = [], False
    written, joined.written = joined.written, []
    for ticket in written:
        ticket.entry.committed()


def _after_rollback(session: Session) -> None:
    joined: _Joined | None = session.info.get(_KEY)
    if joined is not None and not session.in_nested_transaction():
        joined.rolled_back = True


def _after_end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.origin is SessionTransactionOrigin.SUBTRANSACTION:
        # What a flush or a bulk operation runs in.
        _wrote(session, transaction.parent)
        return
    joined: _Joined | None = session.info.get(_KEY)
    if joined is None:
        return
    was_committed, joined.committing = joined.committing, False
    if transaction.nested:
        if not was_committed:
            _undo(joined, transaction)
    elif was_committed:
        for ticket in joined.waiting:
            ticket.home = None
    else:
        _end(session, joined)


def _undo(joined: _Joined, savepoint: SessionTransaction) -> None:
    """A savepoint is gone, with all that was released into it."""
    joined.writes = [where for where in joined.writes if not _is_within(where, savepoint)]
    undone = [ticket for ticket in joined.written if _is_within(ticket.written, savepoint)]
    joined.written = [ticket for ticket in joined.written if ticket not in undone]
    everything = joined.waiting + undone
    joined.waiting = [ticket for ticket in everything if not _is_within(ticket.home, savepoint)]
    for ticket in everything:
        if ticket not in joined.waiting:
            ticket.entry.dropped(End.ROLLED_BACK)


def _end(session: Session, joined: _Joined) -> None:
    end = End.ABANDONED if joined.writes else End.CLOSED
    if joined.rolled_back:
        end = End.ROLLED_BACK
    session.info[_KEY] = _Joined(commits=joined.commits)
    for ticket in joined.written + joined.waiting:
        ticket.entry.dropped(end)


_LISTENERS: dict[str, Callable[..., None]] = {
    "do_orm_execute": _on_execute,
    "before_commit": _before_commit,
    "after_commit": _after_commit,
    "after_rollback": _after_rollback,
    "after_transaction_end": _after_end,
}
