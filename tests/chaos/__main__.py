"""`python -m tests.chaos`: load, kill, and count."""

from __future__ import annotations

import argparse
import json
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.chaos.failover import FAILURES, failing
from tests.chaos.plan import Plan
from tests.chaos.run import Run
from tests.private import pooler


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0, or 1 when a conversion was lost or doubled, or an orphan never resumed."""
    options = _parse(arguments)
    with tempfile.TemporaryDirectory(prefix="s2s-chaos-") as folder:
        kept = Path(options.keep or folder)
        kept.mkdir(parents=True, exist_ok=True)
        with _database(options) as (options.database, fail):
            report = Run(_plan(options, kept), fail)()
    text = json.dumps(report.as_json(), indent=1) if options.json else report.as_text()
    sys.stdout.write(text + "\n")
    return 0 if report.good else 1


@contextmanager
def _database(
    options: argparse.Namespace,
) -> Iterator[tuple[str | None, Callable[[], None] | None]]:
    """Yield the database's URL, and what makes its server fail, if it is to."""
    if options.failover:
        with failing(options.failover) as (url, fail):
            yield url, fail
    elif options.pooler:
        with pooler(options.database) as url:
            yield url, None
    else:
        yield options.database, None


def _plan(options: argparse.Namespace, folder: Path) -> Plan:
    database = options.database or f"sqlite:///{folder / 'site.sqlite3'}"
    workers = options.workers
    if workers is None:
        workers = 0 if database.startswith("sqlite") else 2
    network, *web = _free_ports(3)
    return Plan(
        conversions=options.conversions,
        kills=options.kills,
        database=database,
        seed=options.seed,
        workers=workers,
        faults=options.faults,
        pooled=options.pooler,
        failover=options.failover,
        clocks=options.clocks,
        visitors=options.visitors,
        folder=folder,
        network_port=network,
        web_ports=tuple(web),
    )


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(each.getsockname()[1]) for each in taken]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Sign visitors up at a real site whose processes are killed at random, with a "
        "network that fails, and hold the network's ledger against the site's table of users.",
    )
    parser.add_argument("--conversions", type=int, default=2000, metavar="N", help="sign-ups tried")
    parser.add_argument("--kills", type=int, default=20, metavar="K", help="SIGKILLs")
    parser.add_argument(
        "--database", metavar="URL", help="an empty database (default: a SQLite file of its own)"
    )
    parser.add_argument(
        "--pooler",
        action="store_true",
        help="put a PgBouncer in transaction mode before it (PostgreSQL)",
    )
    parser.add_argument(
        "--failover",
        choices=FAILURES,
        help="a PostgreSQL server and its standby of the run's own, whose primary fails amid the "
        "visitors: it takes no writes any more and another is promoted, or dies, or starts again",
    )
    parser.add_argument(
        "--clocks",
        action="store_true",
        help="let the clock of one process at a time be a day or a year ahead, between two kills",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument(
        "--workers", type=int, help="worker processes; 0: in the web processes (SQLite: 0, else 2)"
    )
    parser.add_argument("--faults", type=float, default=0.2, help="share of requests that fail")
    parser.add_argument("--visitors", type=int, default=4, help="how many at once")
    parser.add_argument("--keep", metavar="FOLDER", help="where to keep files and logs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    if options.pooler and not (options.database or "").startswith("postgresql"):
        parser.error("--pooler needs --database with a PostgreSQL URL")
    if options.failover and (options.database or options.pooler):
        parser.error("--failover runs servers of its own: no --database and no --pooler")
    return options


if __name__ == "__main__":
    sys.exit(main())
