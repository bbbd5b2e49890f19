"""Session events: by them a conversion joins the caller's transaction. SQLAlchemy, nothing of Flask.

The caller's user row and our row must commit together or not at all, and the caller decides when.
Learned by trying: `in_transaction()` says nothing of writes (reading an attribute after a commit
begins a transaction that will only be closed, and a row written into it is gone: 200, and no row);
a teardown's `session.remove()` *closes*, which is no rollback; a rollback's transaction has ended
before `after_soft_rollback` tells of it; a savepoint that was released is undone with the one
around it.

So sessions are watched for writes (an object added, a flush, a bulk operation, or a statement that is
no SELECT; not what is executed on `session.connection()` itself), and an `Entry` waits on its session:
`before_commit` writes it within that commit, and it is told how that ends.

All sessions of the process are watched: which of them a host uses is not known before it forgets to
say so. Those with something open are found again by whoever runs in the same context.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from threading import get_ident
from typing import Any, Protocol
from weakref import ref

from sqlalchemy import Connection, event
from sqlalchemy.exc import InvalidRequestError
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
_watching: list[bool] = []
#: Sessions that wrote something in this context (a thread's, or a task's).
_writers: ContextVar[tuple[ref[Session], ...]] = ContextVar("flask_s2s_writers", default=())


class End(Enum):
    """The end of a transaction that was not committed."""

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
        """The commit succeeded: the row is in the database."""
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
    """Our notes on a session, kept in its `session.info`."""

    #: Transactions and savepoints, open now, that the caller wrote in (None: not begun yet).
    writes: list[SessionTransaction | None] = field(default_factory=list)
    #: `holders` finds the session, until its transaction ends.
    found: bool = False
    #: Something was written in the open transaction; a savepoint's rollback keeps its locks.
    locks: bool = False
    #: So was something of ours.
    ours: bool = False
    #: The thread that wrote last.
    thread: int = 0
    #: Called once the open transaction has ended, however it does.
    after: list[Callable[[], object]] = field(default_factory=list)
    #: How often the caller committed writes through this session.
    commits: int = 0
    waiting: list[_Ticket] = field(default_factory=list)
    written: list[_Ticket] = field(default_factory=list)
    committing: bool = False
    rolled_back: bool = False


def unwrap(session: Any) -> Session | Connection:
    """Return the session or Core connection behind `session`, or behind what a callable returns.

    Raises `UsageError` for what is none.
    """
    # Of its own type: a LocalProxy says that it is an instance.
    if issubclass(type(session), Session):
        plain: Session = session
        return plain
    given, session = session, _called(session)
    if isinstance(session, Session | Connection):
        if _called(given) is not session:
            raise UsageError(
                f"session= makes a new {type(session).__name__} each time, which nobody commits. "
                "Pass the one that the customer is written with, or a callable that returns that one"
            )
        return session
    if hasattr(session, "sync_session") or hasattr(session, "sync_connection"):
        kind = "AsyncSession" if hasattr(session, "sync_session") else "AsyncConnection"
        raise UsageError(
            f"session= got an {kind}, whose statements cannot be run from here. Write: "
            "await session.run_sync(lambda sync: s2s.track_signup(..., session=sync))"
        )
    if _is_raw(session):
        raise UsageError(
            f"session= got a raw DB-API connection ({type(session).__module__}."
            f"{type(session).__name__}). Pass the SQLAlchemy Session or Connection that it is of"
        )
    raise UsageError(
        "session= must be a SQLAlchemy Session, a scoped_session or a callable that returns the "
        f"session in use, not {type(session).__name__}"
    )


def _called(session: Any) -> object:
    """Return what a callable returns: that may well be a scoped_session, which is one itself."""
    for _ in range(2):
        if callable(session) and not isinstance(session, sessionmaker) and not _is_raw(session):
            # A LocalProxy passes a call on to what it stands for, and a session takes none.
            session = getattr(session, "_get_current_object", session)()
    return session


def _is_raw(session: Any) -> bool:
    """Say whether this is a driver's connection: it makes cursors and commits."""
    return hasattr(session, "cursor") and hasattr(session, "commit")


def watch() -> None:
    """Watch the sessions of this process from now on: before any of them is at work elsewhere."""
    if not _watching:
        _watching.append(True)
        for name, listener in _LISTENERS.items():
            event.listen(Session, name, listener)


def has_writes(session: Session) -> bool:
    """Say whether the session's transaction has, or is about to have, the caller's own writes."""
    return bool(_joined(session).writes or session.new or session.dirty or session.deleted)


def holders() -> list[Session]:
    """Return the sessions whose open transaction wrote something in this very context, or will."""
    found = [session for one in _writers.get() if (session := one()) is not None and _holds(one)]
    return [one for one in found if _joined(one).thread == get_ident()]


def may_hold_locks(session: Session) -> bool:
    """Say whether the session's transaction wrote anything: the caller's, ours, undone or not."""
    return _joined(session).locks


def holds_ours(session: Session) -> bool:
    """Say whether something of ours was written in the session's transaction, undone or not."""
    return _joined(session).ours


def commits(session: Session) -> int:
    """Return how often the caller has committed writes through this session."""
    return _joined(session).commits


def register(session: Session, entry: Entry) -> None:
    """Let `entry` be written by this session's next commit."""
    _joined(session).waiting.append(_Ticket(entry, _current(session)))


def dismiss(session: Session, entry: Entry) -> None:
    """Forget an entry that waits."""
    joined = _joined(session)
    joined.waiting = [ticket for ticket in joined.waiting if ticket.entry is not entry]


def follow(session: Session, entry: Entry) -> None:
    """Tell `entry`, which is written already, how the transaction ends."""
    now, joined = _current(session), _lock(session)
    joined.ours = True
    joined.written.append(_Ticket(entry, now, now))


def note(session: Session) -> None:
    """Remember that something of ours was written in the session's transaction."""
    _lock(session).ours = True


def after(session: Session, call: Callable[[], object]) -> None:
    """Call back once the session's open transaction has ended, however it does."""
    _joined(session).after.append(call)


def once_committed(joined: Session | Connection, call: Callable[[], object]) -> None:
    """Call back once the open transaction is committed; a session's has ended then."""
    if isinstance(joined, Connection):
        _on_commit(joined, lambda _: call())
    else:
        follow(joined, _Committed(joined, call))


def _on_commit(connection: Connection, listener: Callable[[Connection], object]) -> None:
    try:
        event.listen(connection, "commit", listener, once=True)
    except InvalidRequestError:
        # SQLAlchemy 2.0.20 takes such a connection for none where its engine has options of its own.
        event.registry._EventKey(connection, "commit", listener, connection).listen(once=True)


class _Committed:
    """A call that waits for a session's commit."""

    def __init__(self, session: Session, call: Callable[[], object]) -> None:
        self._session = session
        self._call = call

    def write(self, session: Session) -> bool:
        return True

    def committed(self) -> None:
        after(self._session, self._call)

    def dropped(self, end: End) -> None:
        pass


def _joined(session: Session) -> _Joined:
    joined: _Joined | None = session.info.get(_KEY)
    if joined is None:
        joined = session.info[_KEY] = _Joined()
    return joined


def _current(session: Session) -> SessionTransaction | None:
    return session.get_nested_transaction() or session.get_transaction()


def _wrote(session: Session, where: SessionTransaction | None) -> None:
    joined = _lock(session)
    if not joined.writes or joined.writes[-1] is not where:
        joined.writes.append(where)


def _lock(session: Session) -> _Joined:
    """Note that the session's transaction may hold locks, for `holders` to find it."""
    joined = _here(session)
    joined.locks = True
    return joined


def _here(session: Session) -> _Joined:
    joined = _joined(session)
    if not joined.found:
        joined.found = True
        others = [one for one in _writers.get() if one() not in (None, session)]
        _writers.set((*(one for one in others if _holds(one)), ref(session)))
    joined.thread = get_ident()
    return joined


def _holds(one: ref[Session]) -> bool:
    session = one()
    return session is not None and (may_hold_locks(session) or bool(session.new))


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


def _on_added(session: Session, _: object) -> None:
    _here(session)


def _before_commit(session: Session) -> None:
    joined: _Joined | None = session.info.get(_KEY)
    if joined is None or not joined.waiting:
        return
    waiting, joined.waiting = joined.waiting, []
    for ticket in waiting:
        if ticket.entry.write(session):
            joined.ours = True
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
    joined.writes, joined.found, joined.locks, joined.ours = [], False, False, False
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
        return
    calls, joined.after = joined.after, []
    if was_committed:
        for ticket in joined.waiting:
            ticket.home = None
    else:
        _end(session, joined)
    for call in calls:
        call()


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
    "transient_to_pending": _on_added,
    "before_commit": _before_commit,
    "after_commit": _after_commit,
    "after_rollback": _after_rollback,
    "after_transaction_end": _after_end,
}
