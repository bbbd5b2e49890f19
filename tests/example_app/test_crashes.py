"""A committed sign-up is credited once, whatever is killed or down; a rolled-back one never.

The demo runs as a process and is ended with SIGKILL. "Any one request" after a restart is a page
that has nothing to do with sign-up.
"""

import sqlite3
from contextlib import closing

import pytest
import requests

from tests.example_app.demo import (
    PATIENCE,
    Demo,
    follow_link,
    follow_link_and_sign_up,
    sign_up,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


def delivery_states(demo: Demo) -> list[tuple[str, int]]:
    """Return status and number of attempts of every delivery, from the site's database."""
    with closing(sqlite3.connect(demo.data / "site.db", timeout=PATIENCE)) as database:
        return database.execute("SELECT status, attempts FROM s2s_delivery").fetchall()


def expect_one_credit(demo: Demo) -> None:
    """Wait until nothing is left to do, then compare with the network's record."""
    wait_until(lambda: [s for s, _ in delivery_states(demo)] == ["delivered"], PATIENCE)
    ledger = demo.ledger()
    [customer] = ledger["customers"]
    assert (customer["external_key"], customer["partner"]) == ("1", "ada")
    assert customer["sub_ids"] == ["newsletter"]
    assert ledger["accepted_posts"] == {"1": 1}


def any_request(demo: Demo) -> None:
    """Ask for a page that has nothing to do with sign-up."""
    assert requests.get(f"{demo.site}pricing", timeout=PATIENCE).ok


@pytest.mark.parametrize("path", ["signup", "trial", "studio"])
def test_killed_after_the_commit_and_before_the_post(demo: Demo, path: str) -> None:
    demo.start(FLASK_S2S_WORKER="external")  # nobody posts: the kill is certain to come first
    follow_link_and_sign_up(demo, path)
    assert delivery_states(demo) == [("pending", 0)]
    demo.kill()
    demo.start()
    assert demo.ledger()["conversion_posts"] == {}
    any_request(demo)
    expect_one_credit(demo)


@pytest.mark.parametrize("fault", ["timeout_before_write", "timeout_after_write"])
def test_killed_while_the_network_holds_the_post(demo: Demo, fault: str) -> None:
    demo.start(FLASK_S2S_LEASE="3")
    demo.set_faults(**{fault: 1.0, "hold_seconds": 600})
    follow_link_and_sign_up(demo)
    wait_until(lambda: demo.ledger()["conversion_posts"] == {"1": 1}, PATIENCE)
    demo.kill()
    demo.start(FLASK_S2S_LEASE="3")
    any_request(demo)
    expect_one_credit(demo)


def test_network_down_for_the_whole_run_and_up_in_the_next(demo: Demo) -> None:
    demo.start()
    with requests.Session() as browser:
        follow_link(browser, demo)
        demo.stop()
        demo.start_site_alone()
        sign_up(browser, demo)
        wait_until(lambda: delivery_states(demo)[0][1] > 0, PATIENCE, what="an attempt")
        demo.kill()
    demo.start()
    assert demo.ledger()["conversion_posts"] == {}
    any_request(demo)
    expect_one_credit(demo)


def test_network_failing_and_then_well_again_in_one_run(demo: Demo) -> None:
    demo.start()
    demo.set_faults(reset_before_write=0.5, error_before_write=0.5)
    follow_link_and_sign_up(demo)
    wait_until(lambda: delivery_states(demo)[0][1] > 1, PATIENCE, what="a second attempt")
    assert demo.ledger()["customers"] == []
    demo.set_faults()
    expect_one_credit(demo)
