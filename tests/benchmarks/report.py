"""The table that people read, and the JSON that programs read."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from tests.benchmarks.figures import Cost, Delay, Figure, Measured, Ratio

_NAMES = ("flask", "werkzeug", "sqlalchemy", "requests")
_RULE = "-" * 98


def as_json(results: Mapping[str, Sequence[Figure]]) -> str:
    """Return everything that was measured."""
    figures = {name: [figure.as_json() for figure in found] for name, found in results.items()}
    return json.dumps({"measured_with": measured_with(), "benchmarks": figures}, indent=2)


def measured_with() -> dict[str, str]:
    """Return the versions that the figures depend on."""
    versions = {name: version(name) for name in _NAMES}
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return {"python": python, **versions, "machine": platform.machine()}


def heading() -> str:
    """Return the lines above all tables."""
    used = "  ".join(f"{name} {number}" for name, number in measured_with().items())
    return f"What Flask-S2S costs\n{used}\n"


def table(name: str, figures: Sequence[Figure]) -> str:
    """Return one benchmark's lines: the median of three seeds with its spread, and the budget."""
    lines = ["", f"{name:<32}{_columns(figures)}", _RULE]
    for figure in figures:
        lines += [_line(figure), f"  {figure.against}"]
    return "\n".join(lines)


def verdict(results: Mapping[str, Sequence[Figure]]) -> str:
    """Return the last line."""
    over = [f.what for figures in results.values() for f in figures if f.is_over]
    if over:
        return "\nOver budget: " + "; ".join(over)
    return "\nEvery budget holds."


def _columns(figures: Sequence[Figure]) -> str:
    if isinstance(figures[0], Measured):
        return f"{'measured':>9}  {'':<16}{'goal':>9}    made of"
    if isinstance(figures[0], Delay):
        return f"{'median':>9}  {'':<16}{'budget':>9}    {'fastest, nine in ten, slowest'}"
    return f"{'ratio':>9}  {'over the seeds':<16}{'budget':>9}    {'instructions':<21}{'wall time'}"


def _line(figure: Figure) -> str:
    if isinstance(figure, Measured):
        return _measured(figure)
    mark = "OVER" if figure.is_over else "ok" if figure.budget is not None else ""
    if isinstance(figure, Delay):
        budget = "" if figure.budget is None else f"< {figure.budget:g} ms"
        digits = 0 if figure.value >= 20 else 1
        value, spread, rest = f"{figure.value:.{digits}f} ms", "", _spread(figure)
    else:
        budget = "" if figure.budget is None else f"<= {figure.budget:g}"
        value = f"{figure.value:.3f}"
        spread = f"{min(figure.by_seed):.3f}-{max(figure.by_seed):.3f}"
        rest = _costs(figure)
    return f"{figure.what:<32}{value:>9}  {spread:<16}{budget:>9} {mark:<5}{rest}".rstrip()


def _measured(figure: Measured) -> str:
    mark = "" if figure.goal is None else "MISS" if figure.is_over else "ok"
    sign = "<=" if figure.at_most else ">="
    goal = "" if figure.goal is None else f"{sign} {figure.goal:g}"
    digits = 2 if abs(figure.value) < 100 else 0
    value = f"{figure.value:,.{digits}f}{figure.unit}"
    return f"{figure.what:<32}{value:>9}  {'':<16}{goal:>9} {mark:<5}{figure.rest}".rstrip()


def _spread(figure: Delay) -> str:
    ordered = sorted(figure.milliseconds)
    nine_in_ten = ordered[int(len(ordered) * 0.9)]
    return f"{ordered[0]:.0f}, {nine_in_ten:.0f}, {ordered[-1]:.0f} ms"


def _costs(figure: Ratio) -> str:
    counted = f"{_count(figure.bare)} -> {_count(figure.cost)}"
    bare, cost = figure.bare.seconds * 1e6, figure.cost.seconds * 1e6
    return f"{counted:<21}{bare:,.0f} -> {cost:,.0f} us"


def _count(cost: Cost) -> str:
    ordered = sorted(cost.instructions)
    millions = ordered[len(ordered) // 2] / 1e6
    return f"{millions:,.0f} M" if millions >= 100 else f"{millions:.3f} M"
