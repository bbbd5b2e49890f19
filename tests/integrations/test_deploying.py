"""The examples of docs/deploying.md as they stand: each worker starts, says that it lives, and ends on SIGTERM."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_s2s import Services, Settings
from tests.cli.terminal import PATIENCE, ROOT, Terminal, end
from tests.private import free_port
from tests.waiting import wait_until

PAGE = (ROOT / "docs" / "deploying.md").read_text("utf-8")
SYSTEMD = shutil.which("systemd-analyze")
SHOP = """
import os
from flask import Flask
from flask_s2s import S2S
from flask_s2s.integrations.prometheus import Metrics
app = Flask(__name__, instance_path=os.environ["SITE_FOLDER"])
app.config.from_prefixed_env()
S2S(app)
Metrics().init_app(app)
"""


def example(form: str) -> str:
    """Return the block of one form of text."""
    (block,) = re.findall(rf"^```{form}\n(.*?)^```$", PAGE, re.M | re.S)
    found: str = block
    return found


def unit() -> list[str]:
    return shlex.split(example("ini").partition("ExecStart=")[2].partition("\n")[0])


def procfile() -> list[str]:
    (line,) = re.findall(r"^worker: (.*)$", PAGE, re.M)
    return shlex.split(line)


def image() -> list[str]:
    found: list[str] = json.loads(re.findall(r"^CMD (\[.*\])$", PAGE, re.M)[0])
    return found


def manifest() -> list[str]:
    (line,) = re.findall(r"^ +args: \[(.*)\]$", PAGE, re.M)
    return [word.strip().strip('"') for word in line.split(",")]


@pytest.mark.parametrize("command", [unit, procfile, image, manifest])
def test_a_worker_of_the_examples_lives_and_ends_when_it_is_told_to(
    tmp_path: Path, command: Callable[[], list[str]]
) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    settings = Settings.from_mapping({"SECRET_KEY": "for-tests-only-0123456789"})
    services = Services.build(settings, folder=tmp_path)
    services.supervisor.prepare()
    program, *words = command()
    assert Path(program).name == "flask"
    # Not where another test, or another worker of this machine, has its own.
    here = {"/tmp/alive": str(tmp_path / "alive"), "0.0.0.0:9108": f"127.0.0.1:{free_port()}"}
    words = [here.get(word, word) for word in words]
    worker = subprocess.Popen(
        [sys.executable, "-m", "flask", *words],
        cwd=tmp_path,
        env=Terminal(tmp_path).env,
        text=True,
        stderr=subprocess.PIPE,
    )
    try:
        wait_until(lambda: bool(services.supervisor.workers.all()), PATIENCE)
        if "--health-file" in words:
            wait_until((tmp_path / "alive").exists, PATIENCE)
        code, said = end(worker, signal.SIGTERM)
        assert code == 0, said
    finally:
        worker.kill()
        worker.communicate()
        services.storage.engine().dispose()


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze is not here")
def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    # What the shop's own machine would have.
    there = example("ini").replace("/srv/shop/venv/bin/flask", "/bin/true")
    (tmp_path / "shop-s2s.service").write_text(there.replace("User=shop\n", "User=root\n"))
    run = subprocess.run(
        [str(SYSTEMD), "verify", "--man=no", str(tmp_path / "shop-s2s.service")],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    # It looks at the machine's own units, too.
    ours = [line for line in run.stderr.splitlines() if "shop-s2s" in line]
    assert (run.returncode, ours) == (0, [])
