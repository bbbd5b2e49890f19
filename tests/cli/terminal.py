"""`python -m flask s2s ...` as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import tests

ROOT = Path(tests.__file__).parents[1]
#: Seconds; a loaded machine is slow to start Python.
PATIENCE = 60.0


class Terminal:
    """Runs commands of one site."""

    def __init__(self, folder: Path, **config: str) -> None:
        self.folder = folder
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("FLASK_", "S2S_"))}
        own = {"SECRET_KEY": "for-tests-only-0123456789", "S2S_TOKEN": "sandbox-token", **config}
        self.env = {
            **kept,
            **{f"FLASK_{name}": value for name, value in own.items()},
            "SITE_FOLDER": str(folder),
            "PYTHONUNBUFFERED": "1",
        }

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start `flask s2s ...`; its two streams are pipes."""
        return subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", "tests.cli.site", "s2s", *command],
            cwd=ROOT,
            env=self.env,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *command: str) -> tuple[int, str, str]:
        """Run to its end; return exit code, output and errors."""
        process = self.start(*command)
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err


def end(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Send a signal; return exit code and errors once it has ended."""
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    return process.returncode, err
