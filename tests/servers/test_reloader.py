"""Flask's reloader: only the process that serves delivers, and a change of code goes on."""

from __future__ import annotations

import os
import pathlib
import sys

import pytest

from flask_s2s import Status
from tests.servers.running import PATIENCE, Kind
from tests.servers.shop import Shop
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

CODE = "from tests.servers.site import create_app\n"
#: Flask prints it of each process that is to serve, the first one too.
STARTED = " * Restarting with"
RELOADING = Kind(
    lambda port: [
        *(sys.executable, "-m", "flask", "--app", "edited_site", "run"),
        *("--debug", f"--port={port}"),
    ]
)


def save(code: pathlib.Path, text: str) -> None:
    """Save a change as an editor does, in one go, and later than the last one by any clock."""
    saved = code.with_suffix(".saved")
    saved.write_text(text)
    later = code.stat().st_mtime + 10
    os.utime(saved, (later, later))
    saved.replace(code)


def test_the_serving_process_delivers_before_and_after_a_change(
    shop: Shop, tmp_path: pathlib.Path
) -> None:
    code, note = tmp_path / "edited_site.py", tmp_path / "delivered-by"
    code.write_text(CODE)
    server = shop.serve(RELOADING, DELIVERED_BY=str(note))
    first = shop.sign_up(server)
    serving = server.describe()["pid"]
    assert serving != server.process.pid
    shop.expect_credited_once(first)

    save(code, CODE + "changed = True\n")
    # Asked only then: a reload breaks off what is being answered.
    wait_until(lambda: server.output().count(STARTED) == 2, PATIENCE, what="the reload")
    left = shop.leave_undelivered()
    second = shop.sign_up(server)
    shop.expect_credited_once(left, second)

    reloaded = server.describe()["pid"]
    assert reloaded != serving
    wait_until(lambda: len(note.read_text().split()) == 3, PATIENCE, what="three deliveries")
    assert [int(pid) for pid in note.read_text().split()] == [serving, reloaded, reloaded]
    assert shop.row(second).status is Status.DELIVERED
    assert server.complaints() == []
