"""The statuses agree with each other, and with the constraints and sets made from them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import MetaData

import flask_s2s
from flask_s2s import Status
from flask_s2s.cli.explain import _STORY as STORY
from flask_s2s.cli.output import _COLOURS as COLOURS
from flask_s2s.operations.words import GROUP_OF, STATUS_WORDS
from flask_s2s.rules import states
from flask_s2s.rules.states import TRANSITIONS
from flask_s2s.store.schema import define_tables

_PACKAGE = Path(flask_s2s.__file__).parent
_WORDS = {status.value for status in Status}


@pytest.mark.parametrize("status", Status)
def test_a_status_is_one_of_four(status: Status) -> None:
    assert [status.open, status.accepted, status.failed, status.unsent].count(True) == 1


@pytest.mark.parametrize("status", Status)
def test_a_status_has_words_for_people(status: Status) -> None:
    for words in (STORY, COLOURS, GROUP_OF, STATUS_WORDS):
        assert status.value in words


@pytest.mark.parametrize("status", Status)
def test_a_status_says_what_may_follow_it(status: Status) -> None:
    after = TRANSITIONS[status]
    assert status not in after
    # What the network has cannot be withdrawn; whatever it has not can.
    assert (Status.WITHDRAWN in after or status is Status.WITHDRAWN) is not status.sent
    # By hand it is due at once.
    assert not status.retriable or status.may_become(Status.PENDING)
    # A lease is what a claim gives, and whatever waits can be claimed.
    assert status.may_become(Status.SENDING) is status.open
    # Only a worker learns what the network answered; its records are read of what it accepted.
    assert (Status.DELIVERED in after) is (status is Status.SENDING)
    assert (Status.CONFIRMED in after) is (status is Status.SENDING or status.unconfirmed)
    # A view's own row begins anew where there was nothing to send.
    assert (Status.ARMED in after) is (status.replaceable or status is Status.REFUSED)


def test_every_status_is_where_a_row_begins_or_follows_another() -> None:
    begins = {Status.UNATTRIBUTED, Status.INVALID} | {s for s in Status if s.sendable}
    assert set.union(begins, *TRANSITIONS.values()) == set(Status)


def test_the_database_keeps_what_the_statuses_say() -> None:
    table = define_tables(MetaData()).delivery
    checks = {
        str(one.name): str(one.sqltext) for one in table.constraints if hasattr(one, "sqltext")
    }
    said = {name: set(re.findall(r"'(\w+)'", text)) for name, text in checks.items()}
    open_ = {status.value for status in Status if status.open}
    assert said == {
        "ck_s2s_delivery_status": _WORDS,
        "ck_s2s_delivery_due": open_,
        "ck_s2s_delivery_settled": open_,
        "ck_s2s_delivery_lease": {status.value for status in Status if status.leased},
    }


# -- one home -----------------------------------------------------------------------------------

_QUOTED = re.compile(f"'({'|'.join(sorted(_WORDS))})'")


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(_PACKAGE.rglob("*.py")):
        name = path.relative_to(_PACKAGE).as_posix()
        # The stand-in network has statuses of its own.
        if name != "rules/states.py" and not name.startswith("sandbox/"):
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def test_no_other_module_has_the_text_of_a_status() -> None:
    """Reasons, outcomes and verdicts share words with them: these stand beside no status."""
    found = [
        f"{name}:{text.lineno}: {text.value!r}"
        for name, tree in _modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare | ast.Call | ast.keyword | ast.Dict)
        for text in _texts_beside_a_status(node)
    ]
    assert found == []


def test_no_other_module_quotes_a_status() -> None:
    assert [
        f"{name}:{node.lineno}: {node.value}"
        for name, tree in _modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if _QUOTED.search(node.value)
    ] == []


def test_no_other_module_has_a_set_of_statuses() -> None:
    assert [
        f"{name}:{node.lineno}"
        for name, tree in _modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Tuple | ast.List | ast.Set)
        if max(sum(map(_is_status, node.elts)), sum(map(_is_text, node.elts))) > 1
    ] == []


def _texts_beside_a_status(
    node: ast.Compare | ast.Call | ast.keyword | ast.Dict,
) -> Iterator[ast.Constant]:
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "status":
                yield from _texts(value)
    elif isinstance(node, ast.keyword):
        if node.arg == "status":
            yield from _texts(node.value)
    elif any(_names_a_status(one) for one in ast.walk(node)):
        yield from _texts(node)


def _names_a_status(node: ast.AST) -> bool:
    name = getattr(node, "attr", getattr(node, "id", getattr(node, "value", None)))
    return name in ("status", "Status", "counts")


def _texts(node: ast.expr) -> Iterator[ast.Constant]:
    """Yield what is a status's text here, but not in the calls of calls."""
    stack: list[ast.AST] = [node]
    while stack:
        one = stack.pop()
        if isinstance(one, ast.Constant) and _is_text(one):
            yield one
        inner = ast.iter_child_nodes(one)
        stack += [child for child in inner if not isinstance(child, ast.Call | ast.Dict)]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value in _WORDS


def _is_status(node: ast.expr) -> bool:
    if isinstance(node, ast.Attribute) and node.attr == "value":
        node = node.value
    named = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    return named and node.value.id == "Status"  # type: ignore[attr-defined]


def test_no_page_compares_a_status_with_a_text() -> None:
    pages = sorted((_PACKAGE / "dashboard" / "templates").glob("*.html"))
    assert pages
    for page in pages:
        assert not re.search(r"status\.value (==|!=|in|not)", page.read_text(encoding="utf-8"))


def test_a_set_is_written_as_it_is_stored() -> None:
    sets = [
        value for name, value in vars(states).items() if name.isupper() and name != "TRANSITIONS"
    ]
    assert len(sets) > 10
    for one in sets:
        assert one
        assert {type(word) for word in one} == {str}
