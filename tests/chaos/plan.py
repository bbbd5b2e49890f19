"""The plan of one run, as its processes are told."""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

SECRET_KEY = "chaos-chaos-chaos-chaos-chaos"
#: The shortest that there is, so that recovery is quick. Seconds.
LEASE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run. Everything random in it comes from `seed`."""

    conversions: int
    kills: int
    database: str
    seed: int
    #: Worker processes; 0: threads of the web processes deliver.
    workers: int
    faults: float
    visitors: int
    folder: Path
    network_port: int
    web_ports: tuple[int, ...]
    #: Whether a pooler in transaction mode is before the database.
    pooled: bool = False
    #: How the database's server fails once, amid the first visitors.
    failover: str | None = None
    #: Whether the clock of one process at a time is a day or a year ahead, between two kills.
    clocks: bool = False

    @property
    def network_url(self) -> str:
        return f"http://127.0.0.1:{self.network_port}"

    @property
    def peace(self) -> Path:
        """A file that is there once the fire is over: then the site has the lease it ships with."""
        return self.folder / "peace"

    @property
    def clock(self) -> SharedClock:
        return SharedClock(self.folder / "clock")

    def clock_of(self, name: str) -> OwnClock:
        """Return the clock of one of the site's processes, whichever incarnation of it lives."""
        return OwnClock(self.clock, SharedClock(self.folder / f"clock.{name}"))


class SharedClock:
    """The machine's time plus an offset that all processes of a run read from one file."""

    def __init__(self, path: Path) -> None:
        file = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            os.ftruncate(file, 8)
            self._offset = mmap.mmap(file, 8)
        finally:
            os.close(file)

    @property
    def offset(self) -> timedelta:
        return timedelta(seconds=struct.unpack("d", self._offset[:])[0])

    def now(self) -> datetime:
        return datetime.now(timezone.utc) + self.offset

    def set_forward(self, by: timedelta) -> None:
        self._offset[:] = struct.pack("d", (self.offset + by).total_seconds())


class OwnClock:
    """The run's clock, and how far one process's own is ahead of it."""

    def __init__(self, common: SharedClock, own: SharedClock) -> None:
        self._common, self._own = common, own

    def now(self) -> datetime:
        return self._common.now() + self._own.offset

    def set_ahead(self, by: timedelta) -> None:
        self._own.set_forward(by)

    def set_right(self) -> None:
        self._own.set_forward(-self._own.offset)
