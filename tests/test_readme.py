"""README is the reference: what it lists is what there is."""

from pathlib import Path

import pytest

from flask_s2s.capture.attribution import Reason
from flask_s2s.config import _KEYS as KEYS

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("key", [*KEYS, "S2S_SECRET_KEY"])
def test_every_setting_has_its_row(key: str) -> None:
    assert any(line.startswith("| `") and f"`{key}`" in line for line in README.splitlines())


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_sentence(reason: Reason) -> None:
    assert f"| `{reason.value}` | {reason.sentence} |" in README


def test_celery_as_written_goes_where_a_plain_worker_reads() -> None:
    (block,) = (one for one in README.split("```") if "CeleryEngine(celery_app)" in one)
    assert "queue=" not in block
