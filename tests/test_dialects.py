"""Only `store/dialects` asks which database it is: everything else says what it needs of one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import flask_s2s

_PACKAGE = Path(flask_s2s.__file__).parent
_ALONE = _PACKAGE / "store" / "dialects"
_ASKS = ("dialect", "drivername", "get_backend_name", "get_dialect")
MODULES = [one for one in sorted(_PACKAGE.rglob("*.py")) if not one.is_relative_to(_ALONE)]


def _asked(file: Path) -> list[str]:
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return [one.attr for one in nodes if isinstance(one, ast.Attribute) and one.attr in _ASKS]


def test_nothing_else_asks_which_database_it_is() -> None:
    assert {
        str(file.relative_to(_PACKAGE)): found for file in MODULES if (found := _asked(file))
    } == {}


@pytest.mark.parametrize("file", ["servers.py", "engines.py"])
def test_what_asks_is_seen(file: str) -> None:
    assert _asked(_ALONE / file)
