"""A disk that forgets: what a power cut may leave of what a program wrote.

Made from the program's own system calls, as `strace` saw them. What was written before a file's last
`fdatasync` is there. Of what was written after it, anything may be: nothing, all, or some of the
writes, any of them only in part (whole sectors of 512 bytes), later ones without earlier ones. A
removed file may be back until its folder is synced.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
CALLS = "openat,pwrite64,write,fdatasync,fsync,ftruncate,unlink"
_CALL = re.compile(r"^\d+\s+(\w+)\((.*)\)\s+= (-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(?:\.\.\.)?')
_FILE = re.compile(r"\d+<([^>]*)>")


@dataclass(frozen=True, slots=True)
class Call:
    """One system call about one file; `data` of a write, `at` its place or the new length."""

    name: str
    file: str
    data: bytes = b""
    at: int = 0


@dataclass(slots=True)
class _File:
    kept: bytearray = field(default_factory=bytearray)
    #: Writes (and cuts to a length) since the last sync.
    pending: list[Call] = field(default_factory=list)
    #: Removed, as long as a cut may undo that.
    removed: bool = False


def read_calls(log: Path) -> Iterator[Call]:
    """Read a log of `strace -f -y -xx -e trace=CALLS`, all strings of it in hex."""
    for line in log.read_text().splitlines():
        found = _CALL.match(line)
        if found is None or int(found[3]) < 0:
            continue
        name, arguments = found[1], found[2]
        texts = [_bytes(text) for text in _TEXT.findall(arguments)]
        if name in ("unlink", "openat"):
            yield Call(name, texts[0].decode())
            continue
        file = _FILE.match(arguments)
        assert file is not None
        path = _bytes(file[1]).decode() if "\\x" in file[1] else file[1]
        numbers = arguments.rpartition(", ")[2]
        at = int(numbers) if name in ("pwrite64", "ftruncate") else 0
        yield Call(name, path, texts[0] if texts else b"", at)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


class Disk:
    """The files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = f"{folder}/"
        self._files: dict[str, _File] = {}

    def apply(self, call: Call) -> bool:
        """Do what a program did; say whether it was about a file here that outlives a restart."""
        if call.name in ("fdatasync", "fsync") and f"{call.file}/" == self._folder:
            self._files = {name: file for name, file in self._files.items() if not file.removed}
            return True
        name = call.file.removeprefix(self._folder)
        # The index of the log is memory, made anew by whoever opens the file next.
        if name == call.file or name.endswith("-shm"):
            return False
        file = self._files.setdefault(name, _File())
        if call.name in ("fdatasync", "fsync"):
            file.kept = _written(file.kept, file.pending)
            file.pending = []
        elif call.name == "unlink":
            file.removed = True
        elif call.name == "openat":
            if file.removed:
                self._files[name] = _File()
        else:
            assert call.name != "write", f"an unexpected write to {name}"
            file.pending.append(call)
        return True

    def leave(self, folder: Path, chance: random.Random) -> None:
        """Write into `folder` what a power cut now may leave."""
        keep = chance.choice((0.0, 0.5, 0.9, 1.0))
        for name, file in self._files.items():
            if file.removed and chance.random() < 0.5:
                continue
            some = [_torn(call, chance, keep) for call in file.pending if chance.random() <= keep]
            (folder / name).write_bytes(_written(file.kept, some))


def _torn(call: Call, chance: random.Random, keep: float) -> Call:
    if call.name != "pwrite64" or len(call.data) <= SECTOR or keep == 1.0 or chance.random() < 0.7:
        return call
    sectors = chance.randrange(len(call.data) // SECTOR)
    return Call(call.name, call.file, call.data[: sectors * SECTOR], call.at)


def _written(before: bytearray, calls: Iterable[Call]) -> bytearray:
    after = bytearray(before)
    for call in calls:
        end = call.at + len(call.data)
        if call.name == "ftruncate":
            del after[call.at :]
        after.extend(bytes(max(end - len(after), 0)))
        after[call.at : end] = call.data
    return after
