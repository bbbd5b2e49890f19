"""Refuse a wheel or source archive that lacks a file of the package, or carries one too many.

Reads the package's tracked files from standard input, one a line, and takes the folder with the
built files as its argument: a template that the build forgot is an error at a user's first page.
"""

from __future__ import annotations

import pathlib
import sys
import tarfile
import zipfile


def main() -> None:
    (folder,) = map(pathlib.Path, sys.argv[1:])
    wanted = {line.strip() for line in sys.stdin}
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    with tarfile.open(sdist) as tar:
        in_sdist = {name.partition("/")[2] for name in tar.getnames()}

    problems = [f"the wheel lacks {name}" for name in sorted(wanted - in_wheel)]
    problems += [f"the source archive lacks {name}" for name in sorted(wanted - in_sdist)]
    problems += [
        f"the wheel carries {name}"
        for name in sorted(in_wheel - wanted)
        if ".dist-info/" not in name
    ]
    problems += [] if "flask_s2s/py.typed" in in_wheel else ["the wheel lacks flask_s2s/py.typed"]
    if problems:
        sys.exit("\n".join(problems))
    print(f"{wheel.name}: {len(in_wheel)} files; {sdist.name}: {len(in_sdist)} files")


if __name__ == "__main__":
    main()
