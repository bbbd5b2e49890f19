"""Signs customers up into our own SQLite file, and says so after each: to be watched by a tracer.

`python -m tests.chaos.signing FOLDER LEVEL`: LEVEL is the file's own (`own`) or another one of
SQLite's `synchronous` levels. Checkpoints come early, so that there are some to be cut.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sqlalchemy import event

from flask_s2s import Click, Services, Settings
from flask_s2s.testing import ScriptedTransport

READY = "ready"
SIGNUPS = 12


def main(folder: Path, level: str) -> None:
    settings = Settings.from_mapping({"SECRET_KEY": "power-cuts-only", "S2S_TOKEN": "tok"})
    services = Services.build(settings, folder=folder, transport=ScriptedTransport())

    @event.listens_for(services.storage.engine(), "connect")
    def settle(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA wal_autocheckpoint=40")
        if level != "own":
            connection.execute(f"PRAGMA synchronous={level}")

    services.supervisor.prepare()
    _say(READY)
    for number in range(SIGNUPS):
        click = Click(click_id=f"click{number}", at=datetime.now(timezone.utc))
        services.track_signup(customer_key=f"customer{number:03}", click=click)
        _say(str(number + 1))
    services.close()


def _say(word: str) -> None:
    os.write(1, f"{word}\n".encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
