"""Output on a terminal, in a pipe and as JSON: in a pipe the colours go by themselves.

Customer keys and a network's answers were written by others: characters that could move the cursor or
colour the screen are replaced. A table that is wider than the terminal is printed as one block a row;
in a pipe it stays a table, however wide. Every command tells of deliveries, clicks and attempts alike.
"""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from tempfile import TemporaryFile
from typing import Any

import click

from ..click import Click
from ..conversion.money import major_units
from ..operations.causes import why
from ..recording.draft import cleaned
from ..rules.delivery import Delivery
from ..rules.states import Status

_COLOURS: dict[str, str | None] = {
    Status.ARMED: "blue",
    Status.PENDING: "blue",
    Status.WAITING: None,
    Status.SENDING: "blue",
    Status.HELD: "yellow",
    Status.DELIVERED: "green",
    Status.CONFIRMED: "green",
    Status.MISSING: "red",
    Status.REFUSED: "red",
    Status.EXPIRED: "yellow",
    Status.UNATTRIBUTED: None,
    Status.INVALID: "red",
    Status.WITHDRAWN: None,
    Status.DRY_RUN: None,
    "ok": "green",
    "note": "yellow",
    "error": "red",
}
#: The fewest columns that a cell is cut to, and its sign (ASCII: every terminal has it).
_NARROWEST = 6
_MORE = "~"


def state(word: str, width: int = 0) -> str:
    """Return a status in its colour."""
    return click.style(word.ljust(width), fg=_COLOURS.get(word), bold=_COLOURS.get(word) == "red")


def faint(text: str) -> str:
    """Return text that matters less."""
    return click.style(text, dim=True)


def moment(at: datetime | None) -> str:
    """Return a time as people write it, UTC."""
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def told_moment(at: datetime | None) -> str:
    """Return the same where no head says that it is UTC."""
    return "-" if at is None else f"{moment(at)} UTC"


def span(length: timedelta) -> str:
    """Return a length of time in its largest fitting unit."""
    seconds = abs(length.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    coloured: int | None = None,
    *,
    err: bool = False,
    cut: Sequence[int] = (),
    spare: Sequence[str] = (),
) -> None:
    """Print columns; column number `coloured` holds a status. With `err` on standard error.

    On a terminal that is too narrow the columns `cut` lose their ends, and then those named `spare`
    are left out, which is said; in a pipe all is whole.
    """
    cells = [[_printable(cell) for cell in row] for row in rows]
    widths = [max(_width(row[i]) for row in [head, *cells]) for i in range(len(head))]
    stream = sys.stderr if err else sys.stdout
    if stream.isatty():
        room = shutil.get_terminal_size().columns
        widths = _narrowed(widths, cut, room) if cut else widths
        if _line(widths) > room and spare:
            kept = [place for place, name in enumerate(head) if name not in spare]
            table(
                [head[i] for i in kept], [[row[i] for i in kept] for row in rows], err=err, cut=cut
            )
            _echo(faint(f"Too wide for this terminal, but not for --csv: {', '.join(spare)}."), err)
            return
        if _line(widths) > room:
            _blocks(head, cells, coloured, err)
            return
        cells = [[_cut(c, w) for c, w in zip(row, widths, strict=True)] for row in cells]
        head = [_cut(c, w) for c, w in zip(head, widths, strict=True)]
    titles = [click.style(_padded(h, w), bold=True) for h, w in zip(head, widths, strict=True)]
    _echo("  ".join(titles), err)
    for row in cells:
        padded = [_padded(cell, width) for cell, width in zip(row, widths, strict=True)]
        if coloured is not None:
            padded[coloured] = state(row[coloured], widths[coloured])
        _echo("  ".join(padded), err)


def _line(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _narrowed(widths: Sequence[int], cut: Sequence[int], room: int) -> list[int]:
    """Take from the widest of the columns `cut`, until all fit or those are as narrow as may be."""
    left = list(widths)
    while _line(left) > room:
        widest = max(cut, key=lambda column: left[column])
        if left[widest] <= _NARROWEST:
            break
        left[widest] -= 1
    return left


def _cut(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    while _width(text) > width - 1:
        text = text[:-1]
    return f"{text}{_MORE}"


def _blocks(
    head: Sequence[str], rows: Sequence[Sequence[str]], coloured: int | None, err: bool
) -> None:
    for number, row in enumerate(rows):
        if number:
            _echo("", err)
        shown = [state(cell) if i == coloured else cell for i, cell in enumerate(row)]
        facts(list(zip(head, shown, strict=True)), clean=True, err=err)


def facts(pairs: Sequence[tuple[str, str]], *, clean: bool = False, err: bool = False) -> None:
    """Print names and values under each other; `clean` values may hold our own colours."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        _echo(f"{faint(name.ljust(width))}  {value if clean else _printable(value)}", err)


def line(text: str) -> None:
    """Print a line that may hold what others wrote."""
    _echo(_printable(text))


def line_of_error(text: str) -> None:
    """Print such a line on standard error."""
    _echo(_printable(text), err=True)


def dump(value: Any) -> None:
    """Print JSON in ASCII, so that no terminal or pipe can spoil it; times as ISO 8601."""
    click.echo(json.dumps(value, indent=2, default=_plain))


def write_csv(place: str, lines: Iterable[str]) -> None:
    """Write a table to a file, or to standard output where the place is `-`.

    All of it is read before the file is opened: what breaks off leaves the one that was there.
    """
    if place == "-":
        for line in lines:
            click.echo(line.rstrip("\r\n"))
        return
    try:
        with TemporaryFile("w+", newline="", encoding="utf-8") as whole:
            whole.writelines(lines)
            whole.seek(0)
            with open(place, "w", newline="", encoding="utf-8") as file:
                shutil.copyfileobj(whole, file)
    except OSError as error:
        problem = f"{place} cannot be written: {error.strerror}."
        raise click.ClickException(f"{problem} Name another place, or print it: --csv -") from error


def _printable(text: str) -> str:
    """Keep what can be printed, and in this encoding."""
    kept = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return kept.encode(encoding, "replace").decode(encoding)


def _width(text: str) -> int:
    return sum(_columns(letter) for letter in text)


def _columns(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _echo(line: str, err: bool = False) -> None:
    click.echo(line.rstrip(), err=err)


def progress(label: str, total: int, steps: Iterable[int]) -> None:
    """Work through `steps`; a bar shows on a terminal, and nothing in a pipe."""
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        for step in steps:
            bar.update(step)


#: Of a delivery, what is not told: a person's data, a worker's lease, hashes that nobody can use.
_HIDDEN = ("conversion", "lease_token", "touches", "person")


def described(delivery: Delivery) -> dict[str, Any]:
    """Return a delivery for JSON, without the customer's personal data."""
    shown = asdict(delivery)
    for hidden in _HIDDEN:
        del shown[hidden]
    shown["click"] = None if delivery.click is None else described_click(delivery.click)
    shown["cause"] = why(delivery.status.value, delivery.detail)
    return {**shown, "product": product(delivery), "cleaned": cleaned(delivery.conversion)}


def described_click(click: Click) -> dict[str, Any]:
    """Return a click for JSON."""
    return {**asdict(click), "sub_ids": list(click.sub_ids)}


def product(delivery: Delivery) -> str | None:
    """Return the product that was paid for."""
    return getattr(delivery.conversion, "product_key", None)


def money(delivery: Delivery) -> str | None:
    """Return the amount with its currency: "-49.00 USD" for a refund."""
    if delivery.amount is None or delivery.currency is None:
        return None
    written = major_units(delivery.amount, delivery.currency).replace("\N{MINUS SIGN}", "-")
    return f"{written} {delivery.currency}"


def what(delivery: Delivery) -> str:
    """Return a conversion in a few words: its kind, type, amount and key."""
    kind = None if delivery.kind == "transaction" and money(delivery) else delivery.kind
    words = (kind, delivery.what, money(delivery), delivery.key)
    return " ".join(word for word in words if word)
