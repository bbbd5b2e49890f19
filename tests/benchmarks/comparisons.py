"""The comparisons, and their budgets."""

from __future__ import annotations

from collections.abc import Callable

from tests.benchmarks.crediting import credited_in_time
from tests.benchmarks.figures import Figure, Ratio
from tests.benchmarks.processes import Plan, measure, measure_steps
from tests.benchmarks.subjects.recording import WAITING


def requests() -> list[Figure]:
    """Serving with the extension."""
    cost = measure("serving", Plan(warm_up=50, few=50, many=300))
    bare, landing = cost["ordinary-bare"], cost["landing-bare"]
    return [
        Ratio(
            what="ordinary request",
            against="the same on a bare app",
            budget=1.01,
            bare=bare,
            cost=cost["ordinary"],
        ),
        Ratio(
            what="landing, cookie only",
            against="the same on a bare app",
            budget=2.2,
            bare=landing,
            cost=cost["landing-cookie"],
        ),
        Ratio(
            what="landing, with its SQLite row",
            against="the same on a bare app",
            budget=4.0,
            bare=landing,
            cost=cost["landing-row"],
        ),
        Ratio(
            what="ordinary, led to by a page of the site",
            against="the same on a bare app",
            budget=1.01,
            bare=cost["led-bare"],
            cost=cost["led"],
        ),
    ]


def conversions() -> list[Figure]:
    """Recording a conversion, and delivering it."""
    cost = measure("recording", Plan(warm_up=3 * WAITING, few=3 * WAITING, many=13 * WAITING))
    return [
        Ratio(
            what="track_signup(session=)",
            against="a bare Core insert of the same row",
            budget=1.6,
            bare=cost["insert"],
            cost=cost["signup"],
        ),
        Ratio(
            what="the worker's part, a delivery",
            against="a bare Core insert of its row",
            budget=None,
            bare=cost["insert"],
            cost=cost["delivery"] - cost["waiting"],
        ),
    ]


def imports() -> list[Figure]:
    """Importing on top of flask, sqlalchemy.orm and requests."""
    base, package, extension, delivering = measure_steps("importing")
    against = "flask + sqlalchemy.orm + requests"
    return [
        Ratio(
            what="import flask_s2s",
            against=against,
            budget=1.15,
            bare=base,
            cost=base + package,
        ),
        Ratio(
            what="from flask_s2s import S2S",
            against=against,
            budget=1.15,
            bare=base,
            cost=base + package + extension,
        ),
        Ratio(
            what="and what delivers and verifies",
            against=against,
            budget=1.2,
            bare=base,
            cost=base + package + extension + delivering,
        ),
    ]


BENCHMARKS: dict[str, Callable[[], list[Figure]]] = {
    "requests": requests,
    "conversions": conversions,
    "imports": imports,
    "crediting": credited_in_time,
}
