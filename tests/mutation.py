"""Changes to the package's code that take a protection out or plant a bug, for tests that must see it.

A place is named by what it is called, wherever it stands: a function that moves to another module keeps
its mutations. Within it the code is found by its words; line breaks and indentation do not count.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent, indent

import flask_s2s

#: The checkout's, or the installed one.
PACKAGE = Path(flask_s2s.__file__).parent


@dataclass(frozen=True, slots=True)
class Span:
    """Lines of a file, counted from nought; `end` is not one of them."""

    file: Path
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """Code within one function, class or constant, and what takes its place."""

    #: `function`, `Class.method` or `CONSTANT`.
    where: str
    #: As it reads where the function's own `def` is not indented.
    code: str
    without: str

    def made(self, package: Path = PACKAGE) -> tuple[Path, str]:
        """Return the file, below the package, and its text with the change in it.

        Raises `LookupError` where not exactly one place of that name has the code, and `SyntaxError`
        where the change leaves no Python.
        """
        spans = _spans(package).get(self.where)
        if spans is None:
            raise LookupError(f"the package has no {self.where!r}")
        pattern = _pattern(self.code)
        found = [span for span in spans if pattern.search(_text(span))]
        if len(found) != 1:
            raise LookupError(f"{len(found)} places called {self.where!r} have {self.code!r}")
        (span,) = found
        lines = span.file.read_text(encoding="utf-8").splitlines(keepends=True)
        margin = re.match(r"[ \t]*", lines[span.start])
        changed = pattern.sub(lambda _: self.without, _text(span))
        lines[span.start : span.end] = [indent(changed, margin[0] if margin else "")]
        file, text = span.file.relative_to(package), "".join(lines)
        compile(text, file, "exec")
        return file, text

    def write(self, copy: Path) -> None:
        """Make it in a copy of the package."""
        file, text = self.made()
        (copy / file).write_text(text, encoding="utf-8")


def _pattern(code: str) -> re.Pattern[str]:
    """Return what finds the code, however it is wrapped; its line break at the end is taken along."""
    words = r"\s*".join(map(re.escape, re.findall(r"\w+|[^\w\s]", code)))
    before = r"^[ \t]*" if code[0].isspace() else ""
    after = r"[ \t]*\n" if code[-1] == "\n" else r"\s" if code[-1].isspace() else ""
    return re.compile(before + words + after, re.MULTILINE)


def _text(span: Span) -> str:
    lines = span.file.read_text(encoding="utf-8").splitlines(keepends=True)
    return dedent("".join(lines[span.start : span.end]))


@cache
def _spans(package: Path) -> dict[str, list[Span]]:
    """Return each function, class and constant of the package by its name."""
    spans = defaultdict(list)
    for file in sorted(package.rglob("*.py")):
        for name, node in _named(ast.parse(file.read_text(encoding="utf-8")), ""):
            first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])
            spans[name].append(Span(file, first - 1, node.end_lineno or first))
    return dict(spans)


def _named(parent: ast.AST, prefix: str) -> Iterator[tuple[str, ast.stmt]]:
    for node in ast.iter_child_nodes(parent):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield prefix + name, node
                yield from _named(node, f"{prefix}{name}.")
            case ast.ClassDef(name=name):
                yield prefix + name, node
                yield from _named(node, f"{prefix}{name}.")
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield prefix + name, node
            case ast.stmt():
                yield from _named(node, prefix)
