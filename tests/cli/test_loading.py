"""Loading by the `flask` command: for an app that does not use the package, next to nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask

from flask_s2s import S2S
from tests.cli.runner import cli_runner

A_STRANGER = """
import atexit, json, sys
from flask import Flask
app = Flask("stranger")
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
"""
#: The command group, and the words of its errors.
STUB = {"flask_s2s", "flask_s2s.cli", "flask_s2s.errors"}
OLD_SQLALCHEMY = "Metadata-Version: 2.1\nName: SQLAlchemy\nVersion: 1.4.54\n"


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A folder with an app that knows nothing of the package."""
    (tmp_path / "stranger.py").write_text(A_STRANGER)
    return tmp_path


@pytest.fixture
def outdated(stranger: Path) -> Path:
    """The same beside a SQLAlchemy that is too old for the package."""
    (stranger / "sqlalchemy-1.4.54.dist-info").mkdir()
    (stranger / "sqlalchemy-1.4.54.dist-info" / "METADATA").write_text(OLD_SQLALCHEMY)
    (stranger / "sqlalchemy").mkdir()
    (stranger / "sqlalchemy" / "__init__.py").write_text('__version__ = "1.4.54"\n')
    return stranger


def run(folder: Path, *command: str) -> tuple[int, str, str]:
    """Run `flask ...` on the app in that folder, whose modules come first on the path."""
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "stranger", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_command_of_an_app_that_does_not_use_the_package_loads_only_a_stub(
    stranger: Path,
) -> None:
    code, printed, told = run(stranger, "routes")
    assert code == 0
    assert "static" in printed
    loaded = json.loads(told)
    assert {module for module in loaded if module.startswith("flask_s2s")} == STUB
    assert [module for module in loaded if module.startswith(("sqlalchemy", "requests"))] == []


def test_beside_a_sqlalchemy_that_is_too_old_the_other_commands_run(outdated: Path) -> None:
    code, printed, _ = run(outdated, "routes")
    assert code == 0
    assert "static" in printed


@pytest.mark.parametrize("command", [("status",), ("work", "--once"), ("--help",)])
def test_a_sqlalchemy_that_is_too_old_is_one_sentence(
    outdated: Path, command: tuple[str, ...]
) -> None:
    code, _, told = run(outdated, "s2s", *command)
    assert code == 1
    assert re.fullmatch(
        r"Error: Flask-S2S needs sqlalchemy 2\.[\d.]+ or newer, and 1\.4\.54 is installed\. "
        r"Upgrade with pip\.\n",
        told,
    )


def test_the_app_s_own_runner_finds_the_commands(tmp_path: Path) -> None:
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update(SECRET_KEY="for-tests-only-0123456789", S2S_TOKEN="tok")
    S2S(app)
    result = cli_runner(app).invoke(args=["s2s", "init-db"])
    assert result.exit_code == 0
    assert "s2s_delivery" in result.stdout
    app.extensions["s2s"].close()
