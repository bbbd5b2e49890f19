"""How conversions were lost, doubled or stolen elsewhere, and what forbids each of it here.

For each failure: the protections against it, and a test that goes red without one of them. That is
not believed but tried: a copy of the package is made without the protection, and the test is run on
it. Where the code that protects is rewritten, its text here is to be rewritten too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import flask_s2s

_TESTS = Path(__file__).parent
_ROOT = _TESTS.parent
_PACKAGE = Path(flask_s2s.__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """Code that forbids a failure, what is left when it is taken out, and the test that sees it."""

    file: str
    code: str
    without: str
    #: Below `tests/`.
    test: str


#: In our own words: what went wrong, then what forbids it.
FAILURES: dict[str, list[Protection]] = {
    "a mark of having done it outlives what was undone, and the customer who comes again is turned "
    "away as known": [
        Protection(
            file="delivery/upsert.py",
            code='_GIVES_WAY = ("unattributed", "withdrawn")',
            without='_GIVES_WAY = ("unattributed",)',
            test="delivery/test_leases.py::test_a_withdrawn_customer_who_comes_again_is_sent[sqlite]",
        ),
    ],
    "what was promised to be kept is in memory only, and a killed process takes it along": [
        Protection(
            file="delivery/enlist.py",
            code="    waiting, joined.waiting = joined.waiting, []\n    for",
            without="    waiting = list[_Ticket]()\n    for",
            test="recording/test_matrix.py::test_killed_right_after_the_commit"
            "[flask-sqlalchemy-signal-commit after told]",
        ),
        Protection(
            file="delivery/storage.py",
            code="PRAGMA synchronous=FULL",
            without="PRAGMA synchronous=OFF",
            test="chaos/test_power_cut.py"
            "::test_a_committed_conversion_survives_a_power_cut_at_any_moment",
        ),
    ],
    "a server forks after the app was made, and its workers share connections or send nothing": [
        Protection(
            file="delivery/storage.py",
            code="            if self._pid != pid:\n                self._let_go(self._engine)\n",
            without="",
            test="servers/test_forks.py"
            "::test_a_connection_that_only_the_host_used_at_import_is_not_used_either",
        ),
        Protection(
            file="delivery/embedded.py",
            code="return self._pid == os.getpid() and ended",
            without="return ended",
            test="servers/test_forks.py"
            "::test_a_child_has_its_parents_worker_neither_alive_nor_in_reach",
        ),
    ],
    "what a worker held when it died is never taken up, or is ended twice when it comes back": [
        Protection(
            file="delivery/claiming.py",
            code="where(rows.c.due_at <= _NOW)",
            without='where(rows.c.due_at <= _NOW, rows.c.status != "sending")',
            test="delivery/test_leases.py"
            "::test_an_expired_lease_is_claimed_again_and_the_stale_settle_changes_nothing[sqlite]",
        ),
        Protection(
            file="delivery/settling.py",
            code="(rows.c.id == held.id, rows.c.lease_token == held.lease_token)",
            without="(rows.c.id == held.id, rows.c.id == held.id)",
            test="delivery/test_leases.py"
            "::test_an_expired_lease_is_claimed_again_and_the_stale_settle_changes_nothing[sqlite]",
        ),
    ],
    "what waits for a network that is away is given up too soon, or cleaned away by its age": [
        Protection(
            file="delivery/settlement.py",
            code="return last if click_at is None else max(last, click_at + window)",
            without="return converted_at + timedelta(days=1)",
            test="delivery/test_outage.py"
            "::test_a_week_s_outage_loses_nothing_and_is_over_by_itself[503]",
        ),
        Protection(
            file="delivery/retention.py",
            code="            rows.c.status.in_(statuses),\n            rows.c.settled_at < before,\n",
            without="            rows.c.created_at < before,\n",
            test="operations/test_prune.py::test_what_has_work_left_is_never_touched",
        ),
    ],
    "an answer is taken for a success that is none": [
        Protection(
            file="networks/partnerstack.py",
            code='RetryLater(detail="success answered with something that is not JSON", alarm=True)',
            without='Accepted(detail="")',
            test="delivery/test_answers.py"
            "::test_what_is_no_success_is_never_taken_for_one[a page with 200]",
        ),
        Protection(
            file="networks/partnerstack.py",
            code="if 200 <= status < 300:\n            return _read",
            without="if 200 <= status < 400:\n            return _read",
            test="delivery/test_answers.py"
            "::test_what_is_no_success_is_never_taken_for_one[moved for good]",
        ),
        Protection(
            file="delivery/verdict.py",
            code="            return _absent(delivery, now)",
            without='            return Confirmed(detail="accepted")',
            test="verification/test_verifying.py"
            "::test_what_is_absent_twice_is_sent_again_and_confirmed[sqlite]",
        ),
    ],
    "a later visit takes a partner's click away, or one that is no visit makes one": [
        Protection(
            file="capture/landing.py",
            code="(kept.network, kept.click_id) == (new.network, new.click_id)",
            without="False",
            test="capture/test_attribution.py::test_the_signal_tells_new_clicks_only",
        ),
        Protection(
            file="capture/landing.py",
            code='if environ.get("REQUEST_METHOD") != "GET":',
            without="if False:",
            test="capture/test_visitors.py::test_nobody_makes_no_click",
        ),
    ],
    "a cache hands one visitor's cookie to all of them, or a redirect loses the click": [
        Protection(
            file="capture/cookie.py",
            code='"private, no-store"',
            without='"public"',
            test="capture/test_shared_cache.py::test_a_shared_cache_hands_nobody_anothers_click",
        ),
        Protection(
            file="middleware.py",
            code="if visit is None:",
            without='if visit is None or not environ["PATH_INFO"].endswith("/"):',
            test="capture/test_shared_cache.py"
            "::test_a_redirect_that_drops_the_parameter_drops_no_click[a trailing slash]",
        ),
    ],
    "one customer or one payment counts twice": [
        Protection(
            file="delivery/claiming.py",
            code="(rows.c.due_at, _UNTIL)",
            without="(rows.c.due_at, rows.c.due_at)",
            test="delivery/test_leases.py"
            "::test_a_claim_leases_the_row_and_opens_the_attempt[sqlite]",
        ),
        Protection(
            file="delivery/sending.py",
            code="if written is None or exchange",
            without="if True or exchange",
            test="revenue/test_ambiguity.py"
            "::test_what_arrived_without_an_answer_is_found_and_not_repeated"
            "[timeout_after_write-payment]",
        ),
        Protection(
            file="delivery/claiming.py",
            code="null()), else_=rows.c.read_to",
            without="rows.c.read_to), else_=rows.c.read_to",
            test="revenue/test_long_lists.py"
            "::test_what_arrived_after_a_look_that_was_cut_short_is_not_overlooked",
        ),
    ],
    "one row that cannot be sent, or one slow network, stops all the others": [
        Protection(
            file="delivery/rows.py",
            code="(InvalidConversion, LookupError, TypeError, ValueError, OverflowError)",
            without="ZeroDivisionError",
            test="delivery/test_worker.py"
            "::test_a_row_that_cannot_be_read_hurts_no_other[no customer]",
        ),
        Protection(
            file="networks/connection.py",
            code="        self.fp.close()\n        self.fp = _Lines(_HurriedFile(sock))\n",
            without="",
            test="networks/test_transport.py::test_a_byte_now_and_then_does_not_buy_more_time[]",
        ),
        Protection(
            file="networks/readback.py",
            code="cursor=self._sure)",
            without="cursor=None)",
            test="revenue/test_long_lists.py"
            "::test_what_arrived_is_found_behind_thousands_of_others[payment]",
        ),
    ],
}
ALL = [
    pytest.param(one, id=f"{Path(one.file).stem}-{one.test.partition('::test_')[2][:40]}")
    for protections in FAILURES.values()
    for one in protections
]


def test_each_failure_has_a_protection_whose_code_and_test_are_there() -> None:
    for failure, protections in FAILURES.items():
        assert protections, failure
        for one in protections:
            code = (_PACKAGE / one.file).read_text(encoding="utf-8")
            assert one.code in code, f"{failure}: {one.file} no longer has {one.code!r}"
            file, name = one.test.partition("[")[0].split("::")
            assert f"def {name}(" in (_TESTS / file).read_text(encoding="utf-8"), one.test


@pytest.mark.slow
@pytest.mark.parametrize("protection", ALL)
def test_without_its_protection_a_test_goes_red(protection: Protection, tmp_path: Path) -> None:
    unneeded = shutil.ignore_patterns("__pycache__", "benchmarks")
    for tree in (_PACKAGE, _TESTS, _ROOT / "example_app"):
        shutil.copytree(tree, tmp_path / "copy" / tree.name, ignore=unneeded)
    shutil.copy(_ROOT / "pyproject.toml", tmp_path / "copy")
    file = tmp_path / "copy" / "flask_s2s" / protection.file
    before = file.read_text(encoding="utf-8")
    file.write_text(before.replace(protection.code, protection.without), encoding="utf-8")
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [*run, f"--basetemp={tmp_path / 'inner'}", f"tests/{protection.test}"],
        # The copy goes first, whatever the path says.
        env={**os.environ, "PYTHONPATH": str(tmp_path / "copy"), "PYTEST_ADDOPTS": ""},
        cwd=tmp_path / "copy",
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    ending = done.stdout.splitlines()[-1].split(",")[0].split(" in ")[0]
    if ending == "1 skipped":
        pytest.skip(re.findall(r"^SKIPPED .*?(needs .*)$", done.stdout, re.MULTILINE)[-1])
    # An error would be the test's own, such as a name that is gone.
    assert (done.returncode, ending) == (1, "1 failed"), done.stdout + done.stderr
