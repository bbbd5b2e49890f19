"""A database server that fails in the middle of a run."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from tests.private import Pair, postgresql_pair
from tests.waiting import wait_until


def address(pair: Pair) -> str:
    """Return the URL of whichever server takes writes, as sites name a pair of servers."""
    hosts = "&".join(f"host=127.0.0.1:{one.url.port}" for one in (pair.primary, pair.standby))
    return f"postgresql+psycopg://postgres@/postgres?{hosts}&target_session_attrs=read-write"


def demote(pair: Pair) -> None:
    """The old primary goes on answering, and takes no writes any more (25006)."""
    pair.primary.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    pair.primary.execute("SELECT pg_reload_conf()")
    # What had begun before would wait for a standby that there is none of any more.
    wait_until(lambda: not _writers(pair), 60)
    pair.promote()


def kill(pair: Pair) -> None:
    """The primary dies as it stands; the standby has what was committed."""
    pair.primary.stop(signal.SIGQUIT)
    pair.promote()


def restart(pair: Pair) -> None:
    """The server dies as it stands, and comes back; it commits again once its standby has found it."""
    pair.primary.stop(signal.SIGQUIT)
    pair.primary.start()
    pair.primary.execute("CREATE TEMPORARY TABLE served ()")


#: How a server fails.
FAILURES: Mapping[str, Callable[[Pair], None]] = {
    "demote": demote,
    "kill": kill,
    "restart": restart,
}


@contextmanager
def failing(how: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Run a pair of servers; yield its address, and what makes the primary fail in that way."""
    with postgresql_pair() as pair:
        pair.start_standby()
        yield address(pair), lambda: FAILURES[how](pair)


def _writers(pair: Pair) -> int:
    engine = create_engine(pair.primary.url, poolclass=NullPool)
    writing = text("SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL")
    with engine.connect() as connection:
        return int(connection.scalar(writing) or 0)
