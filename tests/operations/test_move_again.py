"""A site moves back, and on, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

from tests.operations.carrying import open_in, sent_by
from tests.operations.site import Site


def test_what_has_moved_comes_back(old: Site, new: Site, database_url: str, tmp_path: Path) -> None:
    here = f"sqlite:///{tmp_path / 'old' / 'flask_s2s.sqlite3'}"
    old.sign_up("42")
    (before,) = old.rows()

    assert old.run("move-to", database_url, "--yes").exit_code == 0
    assert new.run("move-to", here, "--yes").exit_code == 0

    assert old.rows() == [before]
    assert open_in(new) == []
    assert old.drain() == 1


def test_what_was_sent_there_comes_back_as_sent(
    old: Site, new: Site, database_url: str, tmp_path: Path
) -> None:
    here = f"sqlite:///{tmp_path / 'old' / 'flask_s2s.sqlite3'}"
    old.sign_up("42")
    old.run("move-to", database_url, "--yes")
    new.drain()

    assert new.run("move-to", here, "--yes").exit_code == 0

    assert [row["status"] for row in old.rows()] == ["delivered"]
    assert old.count("attempt") == 1


def test_a_second_target_says_where_the_rows_are(
    old: Site, new: Site, database_url: str, tmp_path: Path
) -> None:
    third = Site.make(tmp_path / "third")
    there = f"sqlite:///{tmp_path / 'third' / 'flask_s2s.sqlite3'}"
    old.sign_up("42")
    old.run("move-to", database_url, "--yes")

    wrong = old.run("move-to", there, "--yes")

    assert wrong.exit_code == 1
    assert "1 delivery had moved to another database before" in wrong.output
    assert (third.rows(), open_in(new)) == ([], ["42"])

    assert new.run("move-to", there, "--yes").exit_code == 0
    assert (open_in(third), open_in(new)) == (["42"], [])
    third.close()


def test_a_click_outweighs_that_there_was_none(old: Site, new: Site, database_url: str) -> None:
    old.run("move-to", database_url, "--yes")
    new.sign_up("42", click=None)
    old.sign_up("42")

    old.run("move-to", database_url, "--yes")

    assert [row["status"] for row in new.rows()] == ["pending"]
    assert open_in(old) == []


def test_what_has_moved_is_not_sent_again_by_hand(old: Site, new: Site, database_url: str) -> None:
    old.sign_up("42")
    old.run("move-to", database_url, "--yes")

    assert old.run("retry", "--since", "2026-01-01", "--yes").exit_code == 1
    assert "moved to another database" in old.run("explain", "42").output
    assert (old.drain(), new.drain(), sent_by(new)) == (0, 1, ["42"])


def test_what_has_moved_is_not_taken_up_again_where_it_was(
    old: Site, new: Site, database_url: str
) -> None:
    old.sign_up("42")
    old.run("move-to", database_url, "--yes")
    # An old process of the site, to which the customer comes once more.
    old.sign_up("42", click="clickid2")
    assert old.drain() == 0
    assert (open_in(old), open_in(new)) == ([], ["42"])
