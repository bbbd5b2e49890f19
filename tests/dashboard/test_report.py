"""`flask s2s report` has the numbers of the pages, and its parts add up to their whole."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from flask_s2s import Click
from flask_s2s.cli import s2s
from flask_s2s.operations.period import Period
from flask_s2s.operations.report import overview
from tests.cli.runner import cli_runner
from tests.dashboard.programme import Programme, without_names
from tests.dashboard.test_numbers import fill, sums


def report(programme: Programme, *options: str) -> Result:
    return cli_runner(programme.app).invoke(s2s, ["report", "--since", "7d", *options])


def told(programme: Programme, *options: str) -> dict[str, Any]:
    result = report(programme, "--json", *options)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("by", ["partner", "sub-id", "day"])
def test_a_report_has_the_overviews_numbers_however_it_is_split(
    any_programme: Programme, by: str
) -> None:
    fill(any_programme)
    found = overview(sums(any_programme), Period.named("7d", any_programme.clock.now()))
    said = told(any_programme, "--by", by)
    assert said["clicks"] == found.clicks == 8
    assert said["signups"]["credited"] == found.credited == 8
    assert said["signups"]["not_credited"] == dict(found.reasons)
    whole = said["total"]
    for name in ("clicks", "signups", "confirmed"):
        assert whole[name] == sum(line[name] for line in said["lines"])
    assert (whole["clicks"], whole["signups"], whole["confirmed"]) == (8, 8, found.confirmed)
    money = {one.currency: one for one in found.money}
    for currency, one in money.items():
        parts = [line["money"].get(currency, {"net": 0})["net"] for line in said["lines"]]
        assert sum(parts) == one.net == whole["money"][currency]["net"]


def test_a_report_as_a_file_is_the_pages_file(programme: Programme, tmp_path: Path) -> None:
    fill(programme)
    page = without_names(programme.client().get("/partners/partners.csv?period=7d").text)
    printed = report(programme, "--csv", "-")
    assert printed.stdout.splitlines() == page.splitlines()
    assert printed.stderr.startswith("Payments in EUR as well: --currency EUR")
    assert report(programme, "--csv", str(tmp_path / "report.csv")).exit_code == 0
    assert (tmp_path / "report.csv").read_bytes().decode() == page


def test_a_file_that_breaks_off_is_none(programme: Programme, tmp_path: Path) -> None:
    """Whoever finds it by its name would take a part for the whole."""
    fill(programme)
    place = tmp_path / "all.csv"
    place.write_text("yesterday")
    before = sorted(tmp_path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        run = cli_runner(programme.app).invoke(s2s, ["list", "--csv", str(place)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert run.exit_code == 1
    assert "all.csv cannot be written: File too large." in " ".join(run.stderr.split())
    assert (place.read_text(), sorted(tmp_path.iterdir())) == ("yesterday", before)
    # What is no file is written into.
    run = cli_runner(programme.app).invoke(s2s, ["list", "--csv", "/dev/full"])
    assert "cannot be written: No space left on device." in " ".join(run.stderr.split())
    assert Path("/dev/full").is_char_device()


def test_a_file_stays_whose_it_was(programme: Programme, tmp_path: Path) -> None:
    """It has customers' keys: a new one in its place must be no more open than the old one."""
    fill(programme)
    place, link = tmp_path / "all.csv", tmp_path / "link.csv"
    place.touch(0o600)
    link.symlink_to(place)
    theirs = tmp_path / "all.csv.part"
    theirs.write_text("somebody's own")
    for name in (place, link):
        cli_runner(programme.app).invoke(s2s, ["list", "--csv", str(name)], catch_exceptions=False)
        assert place.read_text().startswith("id,kind,status")
        assert (place.stat().st_mode & 0o777, link.is_symlink()) == (0o600, True)
    assert theirs.read_text() == "somebody's own"
    assert sorted(tmp_path.glob(".*")) == []
    # A new one is as open as any that this user makes.
    new = tmp_path / ("a" * 251 + ".csv")
    cli_runner(programme.app).invoke(s2s, ["list", "--csv", str(new)], catch_exceptions=False)
    assert new.stat().st_mode == theirs.stat().st_mode


def test_a_file_is_written_into_a_pipe(programme: Programme, tmp_path: Path) -> None:
    """`--csv /dev/stdout | ...`, and `--csv >(...)` of a shell: their names are names of /proc."""
    fill(programme)
    printed = cli_runner(programme.app).invoke(s2s, ["list", "--csv", "-"]).stdout
    reading, writing = os.pipe()
    with os.fdopen(reading, newline="") as pipe:
        run = cli_runner(programme.app).invoke(s2s, ["list", "--csv", f"/dev/fd/{writing}"])
        os.close(writing)
        assert (run.stderr, run.exit_code) == ("", 0)
        assert pipe.read().replace("\r\n", "\n") == printed


@pytest.mark.parametrize("name", ["a" * 256, "circle", "nowhere/all.csv", "."])
def test_a_place_that_takes_no_file_is_told(
    programme: Programme, tmp_path: Path, name: str
) -> None:
    (tmp_path / "circle").symlink_to("circle")
    before = sorted(tmp_path.iterdir())
    run = cli_runner(programme.app).invoke(
        s2s, ["list", "--csv", str(tmp_path / name)], catch_exceptions=False
    )
    assert run.exit_code == 1
    assert "cannot be written" in run.stderr
    assert "Name another place, or print it: --csv -" in " ".join(run.stderr.split())
    assert sorted(tmp_path.iterdir()) == before


def test_a_report_in_words_has_the_pages_numbers(programme: Programme) -> None:
    fill(programme)
    said = [" ".join(line.split()) for line in report(programme).stdout.splitlines()]
    assert "sign-ups 10 recorded, 8 credited" in said
    assert "net USD 54.00" in said
    assert "ada 6 6 0 2 148.00 \u221299.00 49.00" in said
    assert "all 8 8 0 3 153.00 \u221299.00 54.00" in said


def test_sub_ids_are_told_with_their_partner(programme: Programme) -> None:
    fill(programme)
    rows = list(
        csv.DictReader(io.StringIO(report(programme, "--by", "sub-id", "--csv", "-").stdout))
    )
    assert {(row["partner_key"], row["sub_id"], row["signups"]) for row in rows} == {
        ("ada", "newsletter", "6"),
        ("fern", "newsletter", "1"),
        ("", "newsletter", "1"),
    }
    only = told(programme, "--by", "sub-id", "--partner", "ada")
    assert only["total"]["signups"] == 6


@pytest.mark.parametrize(
    ("sub_id", "written"),
    [
        ("=cmd()", "'=cmd()"),
        ("\uff1dcmd()", "'\uff1dcmd()"),
        (" -1", "' -1"),
        ("x;=cmd();y", "x;'=cmd();y"),
        ("x; @cmd()", "x;' @cmd()"),
        ('x;"=cmd();y', "x;'\"=cmd();y"),
        ("a-b=c;d", "a-b=c;d"),
    ],
)
def test_a_sub_id_is_no_formula(programme: Programme, sub_id: str, written: str) -> None:
    """Nor is a part of one, where a spreadsheet parts the cells of a line at a semicolon."""
    click = Click(click_id="c1", at=programme.clock.now(), partner_key="ada", sub_ids=(sub_id,))
    programme.services.track_signup(customer_key="1", click=click)
    written_out = report(programme, "--by", "sub-id", "--csv", "-").stdout
    (row,) = csv.DictReader(io.StringIO(written_out))
    assert row["sub_id"] == written
    cells = [cell for line in csv.reader(io.StringIO(written_out), delimiter=";") for cell in line]
    assert [cell for cell in cells if cell.strip()[:1] in tuple("=@")] == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--since", "yesterday"), "a date is written like 2026-11-30"),
        (("--since", "2400-01-01"), "a period ends after it begins"),
        (("--currency", "CHF"), "nobody paid in this period"),
        (("--partner", "ada"), "--partner goes with --by sub-id"),
        (("--by", "moon"), "'moon' is not one of"),
    ],
)
def test_a_report_that_cannot_be_is_a_wrong_command(
    programme: Programme, options: tuple[str, ...], says: str
) -> None:
    programme.services.supervisor.prepare()
    result = report(programme, *options)
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_report_of_nothing_says_so(programme: Programme) -> None:
    assert "No click and no credited customer in these days." in report(programme).stdout


def test_a_place_that_cannot_be_written_is_one_clear_line(programme: Programme) -> None:
    result = report(programme, "--csv", "/no/such/folder/report.csv")
    assert result.exit_code == 1
    assert (
        "/no/such/folder/report.csv cannot be written: No such file or directory." in result.stderr
    )
