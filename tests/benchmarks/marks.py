"""Inside the measured process: run cases in forks, and mark where a count begins and ends."""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter

#: The function at whose calls callgrind writes its counter down.
MARK = "getloadavg"

Once = Callable[[int], object]
#: Gets an empty folder and returns what is measured; its argument is a number never used before.
Case = Callable[[Path], Once]


def mark() -> None:
    """Make callgrind write down what it has counted since the last mark, and begin at zero."""
    os.getloadavg()


def run_cases(cases: Mapping[str, Case], arguments: list[str]) -> int:
    """Run each case in a fork: FOLDER WARM-UP ROUNDS TIMES... The results go into FOLDER."""
    folder = Path(arguments[0])
    warm_up, rounds, *times = map(int, arguments[1:])
    failed = 0
    for number in range(rounds):
        for name, case in cases.items():
            scratch = folder / f"{name}.{number}"
            scratch.mkdir()
            failed += _forked(case, scratch, warm_up, times)
    return 1 if failed else 0


def write_result(folder: Path, times: list[int], seconds: list[float]) -> None:
    """Leave what the parent needs to read callgrind's dumps of this process."""
    result = {"pid": os.getpid(), "times": times, "seconds": seconds}
    (folder / "result.json").write_text(json.dumps(result))


def _forked(case: Case, scratch: Path, warm_up: int, times: list[int]) -> bool:
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] != 0
    code = 1
    try:
        _run(case, scratch, warm_up, times)
        code = 0
    except BaseException:  # noqa: BLE001 - a fork must never run on into its parent's code
        traceback.print_exc()
    finally:
        os._exit(code)


def _run(case: Case, scratch: Path, warm_up: int, times: list[int]) -> None:
    once = case(scratch)
    done = _repeat(once, 0, warm_up)
    gc.collect()
    gc.freeze()
    seconds = []
    mark()
    for count in times:
        began = perf_counter()
        done = _repeat(once, done, count)
        seconds.append(perf_counter() - began)
        mark()
    write_result(scratch, times, seconds)


def _repeat(once: Once, first: int, count: int) -> int:
    for number in range(first, first + count):
        once(number)
    return first + count
