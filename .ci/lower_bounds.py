"""Print a wheel's lower bounds as exact pins, so that one test run proves them.

The bounds of `test` and `lint` are left alone: they are tools, not promises to a user.
"""

from __future__ import annotations

import email
import sys
import zipfile

from packaging.requirements import Requirement

PROMISED = ("", "demo", "postgresql", "mariadb", "celery", "robots")


def requirements(wheel: str) -> list[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    return [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]


def is_promised(requirement: Requirement) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in PROMISED)


def lower_bound(requirement: Requirement) -> str:
    (bound,) = (s.version for s in requirement.specifier if s.operator == ">=")
    return f"{requirement.name}=={bound}"


def main() -> None:
    for requirement in requirements(sys.argv[1]):
        if is_promised(requirement):
            print(lower_bound(requirement))


if __name__ == "__main__":
    main()
