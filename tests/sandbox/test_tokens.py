"""Tokens: made with a name, shown once, revoked for good."""

import pytest

from tests.sandbox.caller import Caller

PAGE = {"Accept": "text/html"}


def test_new_token_works_until_it_is_revoked(caller: Caller) -> None:
    made = caller.http.post("/sandbox/tokens", json={"name": "Shop"}).get_json()
    xid = caller.click()
    assert caller.convert(xid, "1", token=made["token"]).status_code == 200

    assert caller.http.delete(f"/sandbox/tokens/{made['id']}").status_code == 200

    assert caller.convert(xid, "2", token=made["token"]).status_code == 401
    assert caller.convert(xid, "3").status_code == 200


def test_list_shows_names_but_no_token(caller: Caller) -> None:
    made = caller.http.post("/sandbox/tokens", json={"name": "Shop", "test": True}).get_json()

    answer = caller.http.get("/sandbox/tokens")

    assert made["token"] not in answer.text
    newest = answer.get_json()["tokens"][0]
    assert (newest["name"], newest["test"], newest["revoked_at"]) == ("Shop", True, None)
    assert newest["hint"] == "••••" + made["token"][-4:]


def test_page_shows_a_new_token_once(caller: Caller) -> None:
    page = caller.http.post("/sandbox/tokens", data={"name": "Shop"}, headers=PAGE).text
    again = caller.http.get("/sandbox/tokens", headers=PAGE).text

    token = page.split('class="secret">')[1].split("<")[0]
    assert caller.convert(caller.click(), "1", token=token).status_code == 200
    assert token not in again


def test_token_is_revoked_from_the_page(caller: Caller) -> None:
    default = caller.http.get("/sandbox/tokens").get_json()["tokens"][-1]

    answer = caller.http.post(f"/sandbox/tokens/{default['id']}/revoke")

    assert answer.status_code == 303
    assert caller.convert(caller.click(), "1").status_code == 401


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": "  "}, {"name": "x" * 81}, {"name": 7}]
)
def test_token_needs_a_name(caller: Caller, body: dict[str, object]) -> None:
    assert caller.http.post("/sandbox/tokens", json=body).status_code == 400


def test_unknown_token_cannot_be_revoked(caller: Caller) -> None:
    assert caller.http.delete("/sandbox/tokens/99").status_code == 404


def test_reset_empties_data_and_keeps_tokens_and_switches(caller: Caller) -> None:
    made = caller.http.post("/sandbox/tokens", json={"name": "Shop"}).get_json()
    caller.switch(success_body="json")
    caller.convert(caller.click(), "1")

    totals = caller.http.post("/sandbox/reset").get_json()

    assert set(totals.values()) == {0}
    assert "conversion" not in caller.http.get("/requests").text
    answer = caller.convert(caller.click(), "1", token=made["token"])
    assert answer.get_json()["status"] == 200
