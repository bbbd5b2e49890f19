"""The time of each page of the dashboard, of `status`, `list` and a scrape, with a large programme.

`python -m tests.benchmarks pages` has a million deliveries and three million clicks on PostgreSQL; another
size or database is `python -m tests.benchmarks.pages`'s. What they read is held by
`tests/dashboard/test_scale.py`, with a small one; milliseconds are a machine's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from time import perf_counter

from prometheus_client import CollectorRegistry, generate_latest

from flask_s2s.cli import s2s
from flask_s2s.dashboard.filters import place_after
from flask_s2s.integrations.prometheus import Outbox
from tests.benchmarks.figures import Delay, Figure
from tests.benchmarks.programme import populate
from tests.benchmarks.running import database
from tests.cli.runner import cli_runner
from tests.dashboard.programme import Programme

Act = Callable[[Programme], object]
_TRIES = 3
#: Deliveries and clicks.
LARGE = (1_000_000, 3_000_000)


def _page(path: str) -> Act:
    def read(programme: Programme) -> None:
        answer = programme.client().get(f"/partners{path}")
        assert answer.status_code in (200, 302), (path, answer.text)
        answer.get_data()

    return read


def _command(*arguments: str) -> Act:
    def run(programme: Programme) -> None:
        result = cli_runner(programme.app).invoke(s2s, list(arguments))
        assert isinstance(result.exception, SystemExit | None), result.exception
        assert result.exit_code in (0, 1), result.output

    return run


def _older(programme: Programme) -> None:
    before = place_after(programme.clock.now() - timedelta(days=45), 9)
    _page(f"/conversions?period=90d&before={before}")(programme)


def _scrape(programme: Programme) -> None:
    registry = CollectorRegistry()
    registry.register(Outbox(programme.services))
    assert b"s2s_database_up 1.0" in generate_latest(registry)


#: Lists of fifty, searches and stories: each reads a few rows, by an index.
LISTS: dict[str, Act] = {
    "conversions": _page("/conversions"),
    "conversions, older": _older,
    "conversions, confirmed": _page("/conversions?state=confirmed"),
    "conversions, failed": _page("/conversions?state=failed"),
    "conversions, open": _page("/conversions?state=open"),
    "conversions, of one partner": _page("/conversions?partner=partner200"),
    "conversions, of a rare reason": _page("/conversions?period=90d&reason=handle_used"),
    "conversions, refunds": _page("/conversions?kind=refund"),
    "conversions, of one error": _page("/conversions?status=refused&detail=unknown+click"),
    "conversions, of a customer": _page("/conversions?customer=c0"),
    "search, an invoice": _page("/conversions?q=in_1"),
    "search, an address": _page("/conversions?q=c0@example.com"),
    "search, a click": _page("/conversions?q=click000000000"),
    "one conversion": _page("/conversions/1"),
    "customers": _page("/customers"),
    "customers, found": _page("/customers?q=c0"),
    "one customer": _page("/customer?key=c0"),
    "audit log": _page("/acts"),
    "list": _command("list"),
    "list, an invoice": _command("list", "--key", "in_1"),
    "list, one error": _command("list", "--error", "unknown click"),
    "show": _command("show", "1"),
    "explain": _command("explain", "c0"),
}
#: What counts: by an index that has all that it reads.
COUNTS: dict[str, Act] = {
    "overview": _page("/"),
    "overview, 90 days": _page("/?period=90d"),
    "partners": _page("/partners"),
    "one partner": _page("/partner?key=partner200"),
    "failed": _page("/failed"),
    "fraud": _page("/fraud"),
    "send again": _page("/failed/retry?status=refused&kind=signup"),
    "lanes and workers": _page("/delivery"),
    "settings": _page("/settings"),
    "status": _command("status"),
    "a scrape": _scrape,
}
#: Filters that no index has: each is looked up in the rows of the period, in the order of the list.
FILTERS: dict[str, Act] = {
    "conversions, of a network": _page("/conversions?network=partnerstack"),
    "conversions, of no network": _page("/conversions?network=other"),
    "conversions, of a lane": _page("/conversions?lane=partnerstack/api"),
    "conversions, of a cause": _page("/conversions?cause=refused"),
    "conversions, of a currency": _page("/conversions?currency=EUR"),
    "conversions, of an amount": _page("/conversions?currency=EUR&least=100000"),
    "conversions, of a sub ID": _page("/conversions?sub_id=nobodys"),
    "one partner, by second sub ID": _page("/partner?key=partner200&place=second"),
}
EXPORTS: dict[str, Act] = {
    "conversions.csv": _page("/conversions.csv"),
    "partners.csv": _page("/partners.csv"),
}
#: Milliseconds that each may take with a million deliveries, on two cores that do nothing else: a
#: statement of a page is given up after 2,000.
BUDGETS = {
    **dict.fromkeys(LISTS, 500.0),
    **dict.fromkeys(COUNTS | FILTERS | EXPORTS, 2_000.0),
    "overview, 90 days": 6_000.0,
}


@contextmanager
def opened(folder: Path, url: str) -> Iterator[Programme]:
    """Open the site anew: its pages have kept no answer, and its database is connected."""
    with closing(Programme(folder, url)) as programme:
        programme.services.storage.engine().connect().close()
        yield programme


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill a database that is dropped afterwards, and print the milliseconds of each page."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.pages", description=__doc__)
    parser.add_argument("--deliveries", type=int, default=20_000)
    parser.add_argument("--clicks", type=int, default=60_000)
    parser.add_argument("--on", default="sqlite", choices=("sqlite", "postgresql", "mariadb"))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="flask-s2s-pages.") as name,
        database(options.on) as url,
    ):
        folder, began = Path(name), perf_counter()
        with opened(folder, url) as programme:
            populate(programme.services, options.deliveries, options.clicks, seed=options.seed)
        against = f"{options.deliveries:,} deliveries and {options.clicks:,} clicks on {options.on}"
        print(f"{against}, filled in {perf_counter() - began:.0f} s", flush=True)
        for figure in measured(folder, url, against):
            over = f", over {figure.budget:,.0f}" if figure.is_over else ""
            print(f"{figure.what:<32}{figure.value:9.1f} ms{over}", flush=True)
    return 0


def pages() -> list[Figure]:
    """A million deliveries, on PostgreSQL."""
    with (
        tempfile.TemporaryDirectory(prefix="flask-s2s-pages.") as name,
        database("postgresql") as url,
    ):
        with opened(Path(name), url) as programme:
            populate(programme.services, *LARGE)
        return list(measured(Path(name), url, "{:,} deliveries, {:,} clicks".format(*LARGE)))


def measured(folder: Path, url: str, against: str) -> Iterator[Delay]:
    """Yield the milliseconds of each, with no answer kept from before."""
    for what, act in (LISTS | COUNTS | FILTERS | EXPORTS).items():
        taken = tuple(_milliseconds(folder, url, act) for _ in range(_TRIES))
        yield Delay(what=what, against=against, budget=BUDGETS[what], milliseconds=taken)


def _milliseconds(folder: Path, url: str, act: Act) -> float:
    with opened(folder, url) as programme:
        began = perf_counter()
        act(programme)
        return (perf_counter() - began) * 1000


if __name__ == "__main__":
    sys.exit(main())
