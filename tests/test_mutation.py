"""A mutation finds its place after a redraw, and says so where there is none, or more than one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutation import Mutation

ENDS = Mutation(
    where="is_over",
    code="    if reached(now, end) and not held:\n        return True\n",
    without="    if held:\n        return True\n",
)
#: One function that stands in a module, or in a class as another.
WAYS = {
    "as it is written": "def is_over(now):\n    if reached(now, end) and not held:\n        return True\n",
    "in a block": "if True:\n    def is_over(now):\n        if reached(now, end) and not held:\n"
    "            return True\n",
    "wrapped": "def is_over(now):\n    if reached(\n        now, end\n    ) and not held:\n"
    "        return True\n",
}


@pytest.mark.parametrize("text", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("file", ["one.py", "room/another.py"])
def test_the_code_is_found_where_it_went(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(f"held = end = 1\n{text}other = 2\n")
    where, changed = ENDS.made(tmp_path)
    assert where == Path(file)
    kept = [line.strip() for line in changed.splitlines() if line.strip() != "if True:"]
    assert kept == [
        "held = end = 1",
        *("def is_over(now):", "if held:", "return True"),
        "other = 2",
    ]


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["def is_done(now):\n    pass\n"], "has no 'is_over'"),
        (["def is_over(now):\n    return now\n"], "0 places called 'is_over'"),
        ([WAYS["wrapped"], WAYS["in a block"]], "2 places called 'is_over'"),
    ],
    ids=["gone", "rewritten", "twice"],
)
def test_a_place_that_is_not_one_is_told(tmp_path: Path, texts: list[str], told: str) -> None:
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.py").write_text(text)
    with pytest.raises(LookupError, match=told):
        ENDS.made(tmp_path)


def test_what_would_be_no_python_is_told(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(WAYS["as it is written"])
    broken = Mutation(where="is_over", code="and not held", without="and")
    with pytest.raises(SyntaxError):
        broken.made(tmp_path)
