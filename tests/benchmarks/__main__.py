"""`python -m tests.benchmarks`: measure, print, and with `--check` hold the budgets."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from tests.benchmarks.comparisons import BENCHMARKS
from tests.benchmarks.figures import Figure
from tests.benchmarks.loads import LOADS
from tests.benchmarks.processes import CannotMeasure
from tests.benchmarks.report import as_json, heading, table, verdict
from tests.services import ADDRESSES


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0, 1 when `--check` found a budget exceeded, 2 when nothing could be measured."""
    options = _parse(arguments)
    results: dict[str, list[Figure]] = {}
    if not options.json:
        print(heading(), flush=True)
    if options.database:
        os.environ[ADDRESSES["postgresql"][0]] = options.database
    for name in options.names or BENCHMARKS:
        try:
            results[name] = (BENCHMARKS | LOADS)[name]()
        except CannotMeasure as problem:
            print(f"python -m tests.benchmarks: {problem}", file=sys.stderr)
            return 2
        if not options.json:
            print(table(name, results[name]), flush=True)
    print(as_json(results) if options.json else verdict(results))
    over = any(figure.is_over for figures in results.values() for figure in figures)
    return 1 if over and options.check else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = ", ".join(BENCHMARKS)
    loads = ", ".join(LOADS)
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure what Flask-S2S costs, as ratios of instructions, against its budgets. "
        "Takes about five minutes and needs valgrind. What only time and load can show is "
        f"measured when it is named: {loads}.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of: {names} (all of these), {loads}"
    )
    parser.add_argument(
        "--database", metavar="URL", help="the PostgreSQL server of the measurements of load"
    )
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 when a budget is exceeded"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(BENCHMARKS) - set(LOADS))
    if unknown:
        parser.error(f"{unknown[0]!r} is not one of: {names}, {loads}")
    return options


if __name__ == "__main__":
    sys.exit(main())
