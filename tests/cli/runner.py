"""Runs commands in process, with standard error apart from standard output on every click."""

from __future__ import annotations

import inspect
from typing import Any

from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskCliRunner

#: click 8.2 keeps the two apart by itself, and has no word for it any more.
_APART: dict[str, Any] = (
    {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
)


def cli_runner(app: Flask) -> FlaskCliRunner:
    """Return a runner of the app's commands."""
    return app.test_cli_runner(**_APART)
