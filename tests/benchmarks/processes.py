"""Runs a subject in processes of its own: under callgrind for its instructions, and for its time."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.figures import Cost
from tests.benchmarks.marks import MARK

SEEDS = (1, 2, 3)
ROOT = Path(__file__).parents[2]
#: Files in memory where the machine has that: each case commits thousands of times, and what a disk
#: takes for it is the disk's.
_SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
_TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)


class CannotMeasure(Exception):
    """A tool is missing, or a subject failed; the message says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How often a case runs: before it counts, and the N1 and N2 that are subtracted."""

    warm_up: int
    few: int
    many: int
    #: Wall time: the median of so many rounds, taken in turns with the other cases.
    rounds: int = 5


def measure(subject: str, plan: Plan) -> dict[str, Cost]:
    """Return the cost of each case of a subject."""
    timed = _run(subject, None, [plan.warm_up, plan.rounds, plan.many])
    seconds: dict[str, list[float]] = {}
    for result in timed:
        seconds.setdefault(result["case"], []).append(result["seconds"][0] / plan.many)
    counted = _with_each_seed(subject, [plan.warm_up, 1, plan.few, plan.many])
    by_case = [{result["case"]: result["counts"] for result in results} for results in counted]
    each = plan.many - plan.few
    return {
        case: Cost(
            instructions=tuple((run[case][1] - run[case][0]) / each for run in by_case),
            seconds=median(seconds[case]),
        )
        for case in seconds
    }


def measure_steps(subject: str) -> list[Cost]:
    """Return the cost of each step of a subject that goes through its steps once."""
    timed = [_run(subject, None, [])[0]["seconds"] for _ in range(5)]
    counted = [results[0]["counts"] for results in _with_each_seed(subject, [])]
    return [
        Cost(
            instructions=tuple(map(float, counts)),
            seconds=median(seconds),
        )
        for counts, seconds in zip(
            zip(*counted, strict=True), zip(*timed[1:], strict=True), strict=True
        )
    ]


def _with_each_seed(subject: str, arguments: Sequence[int]) -> list[list[dict[str, Any]]]:
    if shutil.which("valgrind") is None:
        raise CannotMeasure("valgrind is not installed (Debian: apt-get install valgrind)")
    with ThreadPoolExecutor(max_workers=min(len(SEEDS), os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda seed: _run(subject, seed, arguments), SEEDS))


def _run(subject: str, seed: int | None, arguments: Sequence[int]) -> list[dict[str, Any]]:
    """Run a subject once, under callgrind if there is a seed, and gather what its cases left."""
    with tempfile.TemporaryDirectory(prefix="flask-s2s-benchmark.", dir=_SCRATCH) as name:
        folder = Path(name)
        command = [sys.executable, "-m", f"tests.benchmarks.subjects.{subject}", name]
        command += map(str, arguments)
        if seed is not None:
            command = [*_callgrind(folder), *command]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=_environment(seed or SEEDS[0]),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CannotMeasure(f"{subject} failed:\n{done.stdout}")
        found = sorted(folder.rglob("result.json"))
        return [_result(folder, path, counted=seed is not None) for path in found]


def _callgrind(folder: Path) -> list[str]:
    return [
        "valgrind",
        "--quiet",
        "--tool=callgrind",
        f"--dump-before={MARK}",
        f"--callgrind-out-file={folder}/callgrind.%p",
    ]


def _environment(seed: int) -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("FLASK_", "PYTHON"))}
    return {**kept, "PYTHONHASHSEED": str(seed)}


def _result(folder: Path, path: Path, *, counted: bool) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(path.read_text())
    result["case"] = path.parent.name.partition(".")[0]
    if counted:
        # Dump 1 is what happened before the first mark.
        dumps = range(2, 2 + len(result["times"]))
        result["counts"] = [_total(folder / f"callgrind.{result['pid']}.{n}") for n in dumps]
    return result


def _total(dump: Path) -> int:
    found = _TOTALS.search(dump.read_text(errors="replace"))
    if found is None:
        raise CannotMeasure(f"callgrind wrote no total into {dump.name}")
    return int(found[1])
