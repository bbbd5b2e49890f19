"""Importing what a site with a database imports anyway, and then this package on top."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from time import perf_counter

from tests.benchmarks.marks import mark, write_result


def main(folder: Path) -> None:
    moments = [perf_counter()]
    mark()
    import flask  # noqa: F401
    import requests  # noqa: F401
    import sqlalchemy.orm  # noqa: F401

    moments.append(perf_counter())
    mark()
    import flask_s2s

    moments.append(perf_counter())
    mark()
    from flask_s2s import S2S  # noqa: F401

    moments.append(perf_counter())
    mark()
    from flask_s2s.runtime import deferred

    # What `S2S(app)` does where the process delivers by itself, and has keys to verify with.
    deferred.load(verifying=True)
    import flask_s2s.networks.partnerstack.records  # noqa: F401

    moments.append(perf_counter())
    mark()
    seconds = [after - before for before, after in pairwise(moments)]
    write_result(folder, [1] * len(seconds), seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
