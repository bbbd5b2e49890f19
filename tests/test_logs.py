"""docs/logs.md has every event of the code with its extras, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import flask_s2s

PACKAGE = Path(flask_s2s.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "logs.md"


def logged() -> dict[str, set[str]]:
    """Return the extras of every event that a record of the package can have."""
    found: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Dict) and "." in (event := event_of(node) or ""):
                names = {key.value for key in node.keys if isinstance(key, ast.Constant)}
                found.setdefault(event, set()).update(map(str, names - {"action"}))
    return found


def event_of(node: ast.Dict) -> str | None:
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == "action":
            if isinstance(value, ast.Constant):
                return str(value.value)
            if isinstance(value, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else "*" for p in value.values)
                return "".join(map(str, parts))
    return None


def documented() -> dict[str, set[str]]:
    rows = re.findall(r"^\| `([a-z_.*]+)` \| (.*?) \|", PAGE.read_text(encoding="utf-8"), re.M)
    return {event: set(re.findall(r"`(\w+)`", extras)) for event, extras in rows}


def test_the_page_has_every_event_with_its_extras() -> None:
    known, found = documented(), logged()
    assert len(found) > 50
    assert {event for event in found if event not in known} == set()
    assert {event for event in known if event not in found} == set()
    # Extras that are put together elsewhere are named by the page alone.
    assert {e: found[e] - known[e] for e in found if found[e] - known[e]} == {}


def test_what_is_about_one_conversion_names_it() -> None:
    known = documented()
    about_one = {
        event
        for event in known
        if event.startswith(("conversion.", "delivery.", "verification.test", "refund."))
    }
    several = {"conversion.unused", "conversion.failed", "delivery.expired", "delivery.expiring"}
    names = {"delivery_id", "customer_key", "reported"}
    assert [event for event in sorted(about_one - several) if not known[event] & names] == []
