"""The table that the matrix of browsers prints at the end of a run.

Its cells travel as properties of the tests' reports, which reach the process that prints also where
tests run side by side.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from _pytest.terminal import TerminalReporter

Record = Callable[[int, str, str, object], None]
PROPERTY = "browser matrix"


@pytest.fixture
def matrix(record_property: Callable[[str, object], None]) -> Record:
    """Write one cell: the number and the name of its row, its column, and what became of it."""

    def record(number: int, row: str, column: str, cell: object) -> None:
        record_property(PROPERTY, [number, row, column, str(cell)])

    return record


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print the table, in the Markdown that docs/attribution.md shows."""
    rows: dict[tuple[int, str], dict[str, str]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            for name, value in report.user_properties:
                if name == PROPERTY:
                    number, row, column, cell = value
                    rows.setdefault((number, row), {})[column] = cell
    if not rows:
        return
    terminalreporter.section("who is credited, by browser and way")
    for line in lines({name: cells for (_, name), cells in sorted(rows.items())}):
        terminalreporter.write_line(line)


def lines(rows: dict[str, dict[str, str]]) -> list[str]:
    """Return a table's lines; a column is as wide as its widest cell."""
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    table = [["", *columns]]
    table += [[row, *(cells.get(column, "") for column in columns)] for row, cells in rows.items()]
    widths = [max(3, *(len(line[i]) for line in table)) for i in range(len(columns) + 1)]
    table.insert(1, ["-" * width for width in widths])
    padded = [
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in table
    ]
    return [f"| {' | '.join(line)} |" for line in padded]
