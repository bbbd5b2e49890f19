"""`python -m flask s2s ...` as a process of its own."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import click

import tests

ROOT = Path(tests.__file__).parents[1]
#: Seconds; a loaded machine is slow to start Python.
PATIENCE = 60.0


class Terminal:
    """Runs commands of one site."""

    def __init__(self, folder: Path, **config: str) -> None:
        self.folder = folder
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("FLASK_", "S2S_"))}
        own = {"SECRET_KEY": "for-tests-only-0123456789", "S2S_TOKEN": "sandbox-token"}
        own |= {"S2S_RECORD_WAIT": "60", **config}
        self.env = {
            **kept,
            **{f"FLASK_{name}": value for name, value in own.items()},
            "SITE_FOLDER": str(folder),
            "PYTHONUNBUFFERED": "1",
        }

    def start(self, *command: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start `flask s2s ...`; its two streams are pipes, unless told otherwise."""
        return subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", "tests.cli.site", "s2s", *command],
            cwd=ROOT,
            env=self.env,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )

    def run(self, *command: str) -> tuple[int, str, str]:
        """Run to its end; return exit code, output and errors."""
        process = self.start(*command)
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err

    def show(self, *command: str) -> str:
        """Run to its end on a screen of 80 columns; return what stands on it."""
        ours, its = os.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        process = self.start(*command, stdout=its)
        os.close(its)
        shown = b""
        try:
            while read := os.read(ours, 65536):
                shown += read
        except OSError:
            pass  # it ended: Linux has it so
        finally:
            os.close(ours)
        process.communicate(timeout=PATIENCE)
        return click.unstyle(shown.decode()).replace("\r\n", "\n")


def end(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Send a signal; return exit code and errors once it has ended."""
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    return process.returncode, err
