"""No release that pyproject.toml allows has a public advisory against it.

Read in November 2026: the PyPA and GitHub advisory databases, CVE records and the projects' own
release notes, as far as they were found. None was found for SQLAlchemy 2, itsdangerous 2, blinker,
psycopg 3 and publicsuffixlist. A new advisory is a new line here, and then a new bound.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

#: Package, the release that fixed it, and the advisory.
ADVISORIES = [
    ("flask", "3.1.3", "CVE-2026-27205 GHSA-68rp-wp8r-4726"),
    ("werkzeug", "3.0.1", "CVE-2023-46136"),
    ("werkzeug", "3.1.4", "CVE-2025-66221 GHSA-hgf8-39gv-g3f2"),
    ("werkzeug", "3.1.5", "CVE-2026-21860 GHSA-87hc-h4r5-73f7"),
    ("werkzeug", "3.1.6", "GHSA-29vq-49wr-vm6x"),
    # Its project disputes it; scanners report it all the same.
    ("click", "8.3.3", "CVE-2026-7246 GHSA-47fr-3ffg-hgmw"),
    ("requests", "2.32.0", "CVE-2024-35195 GHSA-9wx4-h78v-vm56"),
    ("requests", "2.32.4", "CVE-2024-47081 GHSA-9hjg-9r4m-mvj7"),
    ("requests", "2.33.0", "CVE-2026-25645 GHSA-gc5v-m9x4-r6x2"),
    ("urllib3", "2.6.3", "CVE-2026-21441"),
    ("urllib3", "2.7.0", "CVE-2026-44431 GHSA-qccp-gfcp-xxvc"),
    ("urllib3", "2.7.0", "CVE-2026-44432 GHSA-mf9v-mfxr-j63j"),
    ("urllib3", "2.8.0", "CVE-2026-97687"),
    ("urllib3", "2.8.0", "CVE-2026-97688"),
    ("urllib3", "2.8.0", "CVE-2026-97689"),
    ("pymysql", "1.1.1", "CVE-2024-36039"),
]
_BOUND = re.compile(r'^\s*(?:\w+ = \[)?"([a-z0-9-]+)(?:\[\w+\])?>=([0-9.]+)"', re.MULTILINE)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


@pytest.mark.parametrize(("package", "fixed", "advisory"), ADVISORIES)
def test_no_release_with_an_advisory_is_allowed(package: str, fixed: str, advisory: str) -> None:
    declared = Path(__file__).parents[1] / "pyproject.toml"
    bounds = dict(_BOUND.findall(declared.read_text()))
    assert _numbers(bounds[package]) >= _numbers(fixed), advisory
