"""The alert rules ask for metrics that there are, and lead to pages that there are."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.integrations.test_prometheus import Shop
from tests.test_readme import ROOT, headings

RULES = (ROOT / "docs" / "alerts.yml").read_text()
ALERTS = re.findall(r"- alert: (\w+)", RULES)


def test_each_rule_leads_to_its_page_of_the_runbook() -> None:
    pages = re.findall(r"runbook: docs/runbook\.md#([a-z0-9]+)", RULES)
    assert pages == [name.lower() for name in ALERTS]
    assert headings(ROOT / "docs" / "runbook.md") >= set(pages)
    assert len(set(ALERTS)) == len(ALERTS) >= 10


def test_each_rule_and_each_row_of_the_page_names_a_metric_that_there_is(
    tmp_path: Path, sqlite_url: str
) -> None:
    shop = Shop(tmp_path, sqlite_url)
    page = shop.app.test_client().get("/metrics").text
    shop.services.close()
    shop.services.storage.engine().dispose()
    shown = set()
    for family in text_string_to_metric_families(page):
        counted = {"counter": ("_total",), "histogram": ("", "_bucket")}
        shown |= {family.name + end for end in counted.get(family.type, ("",))}
    asked = set(re.findall(r"\bs2s_\w+", RULES))
    assert asked - shown == set()
    hidden = ("_bucket", "_created")
    documented = set(re.findall(r"`(s2s_\w+)`", (ROOT / "docs" / "metrics.md").read_text()))
    assert documented == {name for name in shown if not name.endswith(hidden)}


def test_what_raises_an_alarm_is_shown_before_it_happens(tmp_path: Path, sqlite_url: str) -> None:
    shop = Shop(tmp_path, sqlite_url)
    found = shop.metrics()
    shop.services.close()
    shop.services.storage.engine().dispose()
    assert found["s2s_conversions_lost_total", ("signup", "away")] == 0
    assert found["s2s_deliveries_settled_total", ("missing",)] == 0
    assert found["s2s_verifications_total", ("test_record",)] == 0
