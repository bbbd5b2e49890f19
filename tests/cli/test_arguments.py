"""Arguments that cannot be meant end as a wrong command, not in a traceback."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Site

#: What Python makes of an argument that is not UTF-8.
BROKEN = "\udcff"
HUGE = "99999999999999999999"


@pytest.mark.parametrize(
    "command",
    [
        ("show", HUGE),
        ("show", "0"),
        ("retry", "--id", HUGE, "--yes"),
        ("prune", "--older-than", "800000", "--yes"),
        ("explain", BROKEN),
        ("list", "--customer", BROKEN),
        ("forget", BROKEN, "--yes"),
        ("export", BROKEN),
        ("verify", "--customer", BROKEN),
        ("credit", BROKEN, "--click", "click1"),
        ("credit", "42", "--click", BROKEN),
        ("retry", "--network", BROKEN, "--yes"),
        ("check", "--site", BROKEN),
    ],
    ids=ascii,
)
def test_is_a_usage_error(site: Site, command: tuple[str, ...]) -> None:
    site.sign_up()
    result = site.run(*command)
    assert result.exit_code == 2, result.exception
    assert "Usage:" in result.stderr


def test_the_largest_number_is_only_not_there(site: Site) -> None:
    result = site.run("show", str(2**63 - 1))
    assert (result.exit_code, "There is no delivery" in result.stderr) == (1, True)
