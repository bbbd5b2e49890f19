"""`status`, `list`, `show` and `explain`: what they print, as JSON too, and how they exit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from flask_s2s import Status
from flask_s2s.cli.explain import _STORY as STORY
from flask_s2s.conversion import Action, Transaction
from flask_s2s.errors import InvalidConversion
from flask_s2s.testing import accepted, answered
from tests.cli.conftest import Site

SCHEMA = '{"message": "\'xid\' is a required property", "status": 400}'
Opening = Callable[..., Site]


def test_status_of_a_site_that_is_well(site: Site) -> None:
    site.sign_up()
    site.drain()
    result = site.run("status")
    assert result.exit_code == 0
    assert "delivered  1" in " ".join(result.stdout.split("\n")).replace("   ", " ")
    told = json.loads(site.run("status", "--json").stdout)
    assert told["counts"] == {"delivered": 1}
    assert told["problems"] == []


def test_status_of_a_new_site(site: Site) -> None:
    result = site.run("status")
    assert result.exit_code == 0
    assert "never seen" in result.stdout


def test_status_fails_while_a_lane_is_held(site: Site) -> None:
    site.network.then(answered(401))
    site.sign_up()
    site.drain()
    result = site.run("status", "--json")
    assert result.exit_code == 1
    assert [
        breaker["lane"]
        for breaker in json.loads(result.stdout)["lanes"]
        if breaker["state"] == "closed"
    ] == ["partnerstack/tracking"]
    site.network.then(accepted())
    site.clock.advance(seconds=31)
    site.drain()
    assert site.run("status").exit_code == 0


def test_status_fails_when_a_customer_had_no_key(site: Site) -> None:
    with site.app.test_request_context():
        site.services.supervisor.prepare()
        error = InvalidConversion("customer_key", "is empty")
        attribution = site.services.visitors.attribution_of(None)
        site.services.recorder.keep_invalid(error, attribution)
    assert site.run("status").exit_code == 1
    assert "--status invalid" in site.run("status").stdout
    assert site.run("check").exit_code == 1
    (row,) = json.loads(site.run("list", "--status", "invalid", "--json").stdout)
    assert row["customer_key"] is None


def test_status_fails_when_nothing_drains(site: Site) -> None:
    site.sign_up()
    assert site.run("status").exit_code == 0
    site.clock.advance(minutes=3)
    result = site.run("status")
    assert result.exit_code == 1
    assert "Does a worker run?" in result.stdout
    check = site.run("check")
    assert check.exit_code == 1
    assert "nothing drains" in check.stdout


def test_list_filters_and_limits(site: Site) -> None:
    for key in ("a", "b", "c"):
        site.sign_up(key)
    site.drain()
    site.clock.advance(days=2)
    site.sign_up("d")

    def keys(*args: str) -> list[str]:
        rows = json.loads(site.run("list", "--json", *args).stdout)
        return [row["customer_key"] for row in rows]

    assert keys() == ["d", "c", "b", "a"]
    assert keys("--limit", "2") == ["d", "c"]
    assert keys("--status", "delivered") == ["c", "b", "a"]
    assert keys("--status", "open") == ["d"]
    assert keys("--customer", "b") == ["b"]
    assert keys("--customer", "B") == []
    assert keys("--since", "2026-01-02") == ["d"]
    assert site.run("list", "--status", "nonsense").exit_code == 2
    assert site.run("list", "--limit", "0").exit_code == 2


def test_list_says_what_each_is_and_when_it_is_cut(site: Site) -> None:
    for key in ("a", "b"):
        site.sign_up(key)
    whole = site.run("list", "--limit", "2")
    assert [line.split()[2] for line in whole.stdout.splitlines()] == ["what", "signup", "signup"]
    assert whole.stderr == ""
    for flags in ((), ("--json",)):
        cut = site.run("list", "--limit", "1", *flags)
        assert "1 shown, there are more: --limit, or --before 2" in cut.stderr
    assert [row["customer_key"] for row in json.loads(cut.stdout)] == ["b"]


def test_since_takes_a_time_as_it_is_printed(site: Site) -> None:
    site.sign_up("a")
    site.clock.advance(seconds=90)
    site.sign_up("b")
    rows = json.loads(site.run("list", "--json").stdout)
    (printed,) = re.findall(r"(2026-\S+ \S+)$", site.run("list").stdout.splitlines()[1])
    for at in (rows[0]["created_at"], printed, "2026-01-01T00:00:01", "2026-01-01T01:00:01+01:00"):
        found = json.loads(site.run("list", "--json", "--since", at).stdout)
        assert [row["customer_key"] for row in found] == ["b"], at
    for wrong in ("soon", "1 fortnight", "999999d", "0001-01-01T00:00:00+14:00", "2026-13-01"):
        assert site.run("list", "--since", wrong).exit_code == 2


def test_since_counts_back_by_the_clock_of_the_site(site: Site) -> None:
    for key in "abcd":
        site.sign_up(key)
        site.clock.advance(hours=9)

    def keys(*args: str) -> list[str]:
        rows = json.loads(site.run("list", "--json", *args).stdout)
        return [row["customer_key"] for row in rows]

    # It is 12:00 on the second day; they came at 00:00, 09:00, 18:00 and 03:00.
    assert keys("--since", "today") == ["d"]
    assert keys("--since", "yesterday") == ["d", "c", "b", "a"]
    assert keys("--since", "18h") == ["d", "c"]
    assert keys("--until", "today", "--since", "27h") == ["c", "b"]


def test_list_of_nothing(site: Site) -> None:
    assert site.run("list").stdout == "No deliveries.\n"
    assert json.loads(site.run("list", "--json").stdout) == []


def test_columns_stay_in_line_whatever_the_customers_are_called(site: Site) -> None:
    for key in ("ab", "日本語", "e\u0301"):
        site.sign_up(key)
    lines = site.run("list").stdout.splitlines()
    assert len(lines) == 4
    wide = {"日本語": 3, "e\u0301": -1}
    starts = {
        line.index("explicit") + sum(n for k, n in wide.items() if k in line) for line in lines[1:]
    }
    assert len(starts) == 1


def test_show_tells_every_attempt_and_nothing_personal(site: Site) -> None:
    site.network.then(answered(503, "come back"), accepted())
    site.sign_up(email="ada@example.org", name="Ada L.")
    site.drain()
    site.clock.advance(hours=1)
    site.drain()
    result = site.run("show", "1")
    assert result.exit_code == 0
    assert "come back" in result.stdout
    told = site.run("show", "1", "--json").stdout
    assert [one["http_status"] for one in json.loads(told)["tries"]] == [503, 200]
    for text in (result.stdout, told, site.run("list", "--json").stdout):
        assert "ada@example.org" not in text
        assert "Ada L." not in text


def test_show_of_what_is_not_there(site: Site) -> None:
    assert site.run("show", "7").exit_code == 1
    assert site.run("show", "x").exit_code == 2


def test_show_of_a_dry_run_tells_what_would_be_sent(open_site: Opening) -> None:
    site = open_site(S2S_DRY_RUN=True)
    site.sign_up(email="ada@example.org")
    told = json.loads(site.run("show", "1", "--json").stdout)
    assert told["would_send"] == {
        "method": "POST",
        "url": "https://partnerlinks.io/conversion/xid",
        "body": {"xid": "click1", "customer_key": "42", "email": "ada@example.org"},
    }
    shown = site.run("show", "1").stdout
    assert "Would be sent: POST https://partnerlinks.io/conversion/xid" in shown
    assert "tok" not in shown.replace("token", "")


def test_explain_answers_why(site: Site) -> None:
    site.services.supervisor.prepare()
    site.services.track_signup(customer_key="lost")
    site.sign_up("found")
    site.drain()
    assert "no visitor brought a click" in site.run("explain", "lost").stdout
    assert "the network took it" in site.run("explain", "found").stdout
    unknown = site.run("explain", "nobody")
    assert unknown.exit_code == 1
    assert "rolled back" in unknown.stderr
    assert json.loads(site.run("explain", "nobody", "--json").stdout) == []


def test_explain_finds_a_customer_by_the_address_and_tells_what_show_takes(site: Site) -> None:
    site.sign_up("42", email="Ada@Example.org")
    site.drain()
    told = site.run("explain", "ada@example.org")
    assert told.exit_code == 0
    assert "Customer 42:" in told.stdout
    assert "signup  (delivery 1)" in told.stdout
    assert site.run("show", "1").exit_code == 0
    (row,) = json.loads(site.run("explain", "ada@example.org", "--json").stdout)
    assert (row["id"], row["customer_key"]) == (1, "42")
    assert site.run("explain", "bob@example.org").exit_code == 1


def test_money_is_told_wherever_a_payment_is(site: Site) -> None:
    site.sign_up()
    paid = Transaction(
        customer_key="42", amount=-4950, currency="USD", key="INV-7", product_key="pro"
    )
    site.services.track(paid)
    site.services.track(Action(customer_key="42", type="trial", key="t1"))
    for told in (site.run("list").stdout, site.run("explain", "42").stdout):
        assert "-49.50 USD INV-7" in told
        assert "action trial t1" in told
    shown = site.run("show", "2").stdout.splitlines()
    assert {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in shown[3:6]} == {
        "amount": "-49.50 USD",
        "key": "INV-7",
        "product": "pro",
    }
    listed = json.loads(site.run("list", "--key", "INV-7", "--json").stdout)
    explained = [r for r in json.loads(site.run("explain", "42", "--json").stdout) if r["id"] == 2]
    show = json.loads(site.run("show", "2", "--json").stdout)
    for row in (*listed, *explained, show):
        facts = [row[name] for name in ("amount", "currency", "key", "product")]
        assert facts == [-4950, "USD", "INV-7", "pro"]
    assert json.loads(site.run("show", "3", "--json").stdout)["what"] == "trial"


def test_pages_of_a_list_have_each_delivery_once(site: Site) -> None:
    for key in "abcde":
        site.sign_up(key)
    keys: list[str] = []
    page = json.loads(site.run("list", "--json", "--limit", "2").stdout)
    while page:
        keys += [row["customer_key"] for row in page]
        last = str(page[-1]["id"])
        page = json.loads(site.run("list", "--json", "--limit", "2", "--before", last).stdout)
    assert keys == list("edcba")
    assert site.run("list", "--before", "99").exit_code == 2


def test_a_list_in_groups_counts_what_is_alike(site: Site) -> None:
    site.network.then(answered(400, SCHEMA))
    for key in "ab":
        site.sign_up(key)
    site.drain()
    site.services.track_signup(customer_key="c")
    groups = json.loads(site.run("list", "--group", "error", "--json").stdout)
    assert [(one["status"], one["number"], one["customers"]) for one in groups] == [
        ("refused", 2, 2)
    ]
    reasons = json.loads(site.run("list", "--group", "reason", "--json").stdout)
    assert [(one["name"], one["number"]) for one in reasons] == [
        ("explicit", 2),
        ("outside_request", 1),
    ]
    partners = site.run("list", "--group", "partner").stdout
    assert partners.splitlines()[0].split()[:3] == ["partner", "status", "number"]


def test_every_status_has_its_sentence() -> None:
    assert set(STORY) == set(Status)


def test_what_a_network_answers_cannot_steer_the_terminal(site: Site) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\r\n"
    site.network.then(
        answered(400, json.dumps({"message": f"{evil} is not of type", "status": 400}))
    )
    site.sign_up("k\u202ek")
    site.drain()
    for command in (["show", "1"], ["list"], ["explain", "k\u202ek"]):
        shown = site.run(*command, color=True).stdout
        assert not {"\x07", "\u202e", "\r"} & set(shown)
        assert "\x1b]" not in shown
        assert "\x1b[2J" not in shown
