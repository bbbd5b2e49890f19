"""No module knows a network by name but its own folder, and the one that lists those built in."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import flask_s2s
from flask_s2s.config.builtin import BUILT_IN, built_in

PACKAGE = Path(flask_s2s.__file__).parent
#: The stand-in is a network of its own, and shares no code with us.
APART = ("sandbox/", "config/builtin.py")


def modules() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")


def names(module: str, source: str) -> set[str]:
    """Return the networks that a module names: in code, in a text, in a docstring or a comment."""
    found = {name for name in BUILT_IN if name in source.lower()}
    return {name for name in found if not module.startswith(f"networks/{name}/")}


def test_no_module_names_a_network() -> None:
    named = {
        module: found
        for module, source in modules()
        if not module.startswith(APART) and (found := names(module, source))
    }
    assert named == {}


def test_no_module_has_a_parameter_or_a_cookie_of_a_network_s_links() -> None:
    """A network's own parameters are read by its `clicks`; nobody else has their names."""
    for module, source in modules():
        if module.startswith((*APART, "networks/")) or module == "testing/__init__.py":
            continue
        texts = {
            node.value
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        words = {text for text in texts if text.isidentifier()}
        known = {one for one in words for network in built_in() if network.clicks.is_click_id(one)}
        assert known == set(), module


def test_the_scan_would_see_it() -> None:
    (first, *_) = BUILT_IN
    assert names("services.py", f"from .networks.{first} import x") == {first}
    assert names(f"networks/{first}/records.py", f'NAME = "{first}"') == set()
