"""Hostile posts: the stand-in gives an answer of the protocol, and its pages still open."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flask_s2s.sandbox import create_sandbox
from tests.sandbox.caller import Caller, Clock

CALLER = Caller(create_sandbox(now=Clock()), Clock())
XID = CALLER.click()
PAGES = ("/", "/clicks", "/customers", "/sub-ids", "/requests", "/sandbox/ledger")

text = st.one_of(
    st.text(max_size=20), st.sampled_from(["\ud800", "\x00", "a\nb", "x" * 300, "plan"])
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)


def post(path: str, body: Any, **headers: str) -> int:
    answer = CALLER.http.post(path, data=json.dumps(body), headers=headers)
    return answer.status_code


@settings(deadline=None)
@given(
    key=text, field=st.sampled_from(["name", "email", "meta", "sub_ids", "origin"]), value=values
)
def test_no_conversion_breaks_it(key: str, field: str, value: Any) -> None:
    body = {"xid": XID, "customer_key": key, field: value}

    assert post("/conversion/xid", body, Authorization="Bearer sandbox-token") in (200, 400)
    assert {CALLER.http.get(path).status_code for path in PAGES} == {200}


@settings(deadline=None)
@given(
    path=st.sampled_from(["actions", "transactions"]),
    body=st.dictionaries(
        st.sampled_from(
            "target_key target_type type value amount currency key customer_external_key"
            " metadata created_at".split()
        ),
        st.one_of(values, st.sampled_from(["customer", "graceh2965", "partnership", "EUR", 1])),
    ),
)
def test_no_call_of_the_api_breaks_it(path: str, body: dict[str, Any]) -> None:
    answer = CALLER.api("POST", f"/{path}", data=json.dumps(body))

    assert answer.status_code in (200, 400, 404)
    assert answer.get_json()["status"] == answer.status_code
    assert {CALLER.http.get(page).status_code for page in PAGES} == {200}


@settings(deadline=None)
@given(number=st.integers())
def test_no_number_in_an_address_breaks_it(number: int) -> None:
    assert CALLER.http.get(f"/clicks?before={number}").status_code == 200
    assert CALLER.http.get(f"/customers?before={number}").status_code == 200
    assert CALLER.http.delete(f"/sandbox/tokens/{abs(number) + 1000}").status_code == 404
    assert CALLER.api("GET", f"/customers?limit={number}").status_code in (200, 400)
    assert CALLER.api("GET", f"/customers?max_created={number}").status_code in (200, 400)


def test_number_beyond_all_numbers_is_refused() -> None:
    for number in ("1e999", "-1e999", "NaN", "Infinity"):
        body = f'{{"xid": "{XID}", "customer_key": "7", "meta": {{"plan": {number}}}}}'
        headers = {"Authorization": "Bearer sandbox-token"}

        assert CALLER.http.post("/conversion/xid", data=body, headers=headers).status_code == 400
