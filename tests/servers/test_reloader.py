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
RELOADING = Kind(
    lambda port: [
        *(sys.executable, "-m", "flask", "--app", "edited_site", "run"),
        *("--debug", f"--port={port}"),
    ]
)


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

    code.write_text(CODE + "changed = True\n")
    os.utime(code, (0, 0))  # a change for sure, however coarse the file system's clock
    wait_until(lambda: server.describe()["pid"] != serving, PATIENCE, what="the reload")
    left = shop.leave_undelivered()
    second = shop.sign_up(server)
    shop.expect_credited_once(left, second)

    reloaded = server.describe()["pid"]
    wait_until(lambda: len(note.read_text().split()) == 3, PATIENCE, what="three deliveries")
    assert [int(pid) for pid in note.read_text().split()] == [serving, reloaded, reloaded]
    assert shop.row(second).status is Status.DELIVERED
    assert server.complaints() == []
