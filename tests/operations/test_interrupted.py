"""A move that was interrupted is told of until it is finished."""

from __future__ import annotations

import json

from tests.operations.carrying import moving, open_in
from tests.operations.site import Site

_SAYS = "a move to another database was interrupted: run `flask s2s move-to` again"


def test_status_and_check_say_it_until_the_move_is_finished(
    old: Site, new: Site, database_url: str
) -> None:
    old.app.test_client().get("/?ps_xid=clickid1")
    old.sign_up("42")
    with moving(old, database_url) as batches:
        next(batches)
    old.drain()

    for command in ("status", "check"):
        told = old.run(command)
        assert told.exit_code == 1
        assert _SAYS in told.output
    assert "3025" not in old.run("status").output
    assert _SAYS in json.loads(old.run("status", "--json").output)["problems"][0]

    old.run("move-to", database_url, "--yes")

    for command in ("status", "check"):
        assert "interrupted" not in old.run(command).output
    assert old.run("status").exit_code == 0
    assert open_in(new) == ["42"]
