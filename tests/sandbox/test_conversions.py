"""`POST /conversion/xid`: who may post, what is credited, and every switch about it."""

from typing import Any

import pytest

from tests.sandbox.caller import TEST_KEYS, Caller


def test_conversion_credits_the_partner_of_the_click_with_its_sub_ids(caller: Caller) -> None:
    xid = caller.click("linus", "sid=news&sid1=top&sid2=end")

    answer = caller.convert(xid, "42", email="a@b.example", name="Ann", sub_ids=["post"])

    assert (answer.status_code, answer.data) == (200, b"")
    [customer] = caller.ledger()["customers"]
    assert customer["external_key"] == "42"
    assert customer["partner"] == "linus"
    assert customer["xid"] == xid
    assert customer["sub_ids"] == ["news", "top", "end"]
    assert customer["posted_sub_ids"] == ["post"]
    assert customer["details"] == {"email": "a@b.example", "name": "Ann"}
    assert customer["created_at"] == caller.clock.milliseconds


def test_one_click_can_bring_several_customers(caller: Caller) -> None:
    xid = caller.click()
    caller.convert(xid, "1")
    caller.convert(xid, "2")

    assert [each["xid"] for each in caller.ledger()["customers"]] == [xid, xid]


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer wrong",
        "Bearer sk_sandbox",
        "Basic cGtfc2FuZGJveDpza19zYW5kYm94",
        "sandbox-token",
    ],
)
def test_only_a_live_token_may_post(caller: Caller, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}

    answer = caller.http.post(
        "/conversion/xid", json={"xid": caller.click(), "customer_key": "42"}, headers=headers
    )

    assert answer.status_code == 401
    assert caller.ledger()["customers"] == []


def test_the_token_alone_decides_test_or_production(caller: Caller) -> None:
    caller.convert(caller.click(), "42", token="sandbox-test-token")

    assert caller.read("42", keys=TEST_KEYS)["test"] is True
    assert caller.api("GET", "/customers/42").status_code == 404


@pytest.mark.parametrize("missing", ["xid", "customer_key"])
def test_missing_field_is_named_as_a_schema_validator_would(caller: Caller, missing: str) -> None:
    body = {"xid": caller.click(), "customer_key": "42"}
    del body[missing]

    answer = caller.http.post(
        "/conversion/xid", json=body, headers={"Authorization": "Bearer sandbox-token"}
    )

    assert answer.status_code == 400
    assert answer.get_json() == {"message": f"'{missing}' is a required property", "status": 400}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", ""),
        ("email", None),
        ("name", 7),
        ("sub_ids", "news"),
        ("sub_ids", [1]),
        ("meta", []),
        ("meta", {"plan": {}}),
    ],
)
def test_field_of_the_wrong_form_is_refused(caller: Caller, field: str, value: Any) -> None:
    answer = caller.convert(caller.click(), "42", **{field: value})

    assert answer.status_code == 400
    assert caller.ledger()["customers"] == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"42", b"\xff", b"[" * 100_000])
def test_body_that_is_no_object_is_refused(caller: Caller, body: bytes) -> None:
    answer = caller.http.post(
        "/conversion/xid", data=body, headers={"Authorization": "Bearer sandbox-token"}
    )

    assert answer.status_code == 400


def test_success_can_be_answered_with_json(caller: Caller) -> None:
    caller.switch(success_body="json")

    assert caller.convert(caller.click(), "42").get_json()["status"] == 200


def test_unknown_meta_keys_are_dropped_silently(caller: Caller) -> None:
    caller.convert(caller.click(), "42", meta={"plan": "team", "shoe_size": 44})

    customer = caller.read("42")
    assert customer["meta"] == {}
    assert customer["mdata"] == {"plan": "team"}
    assert customer["fields"] == [{"api_name": "plan", "name": "Plan", "value": "team"}]


@pytest.mark.parametrize(
    ("rule", "status", "partner"),
    [("ignore", 200, "ada"), ("overwrite", 200, "grace"), ("conflict", 409, "ada")],
)
def test_repeated_customer_key(caller: Caller, rule: str, status: int, partner: str) -> None:
    caller.convert(caller.click("ada", "sid=first"), "42")
    caller.switch(repeated_customer=rule)

    answer = caller.convert(caller.click("grace", "sid=second"), "42")

    assert answer.status_code == status
    [customer] = caller.ledger()["customers"]
    assert customer["partner"] == partner
    assert customer["sub_ids"] == (["second"] if partner == "grace" else ["first"])


@pytest.mark.parametrize(("rule", "status"), [("ignore", 200), ("reject", 404)])
def test_unknown_click_id_creates_nothing(caller: Caller, rule: str, status: int) -> None:
    caller.switch(unknown_xid=rule)

    assert caller.convert("Unknown1234567", "42").status_code == status
    assert caller.ledger()["customers"] == []


@pytest.mark.parametrize(
    ("rule", "status", "customers"), [("accept", 200, 1), ("ignore", 200, 0), ("reject", 400, 0)]
)
def test_click_older_than_the_window(
    caller: Caller, rule: str, status: int, customers: int
) -> None:
    xid = caller.click()
    caller.clock.forward(days=90, milliseconds=1)
    caller.switch(expired_click=rule)

    assert caller.convert(xid, "42").status_code == status
    assert len(caller.ledger()["customers"]) == customers


def test_click_at_the_end_of_the_window_still_counts(caller: Caller) -> None:
    xid = caller.click()
    caller.clock.forward(days=90)
    caller.switch(expired_click="reject")

    assert caller.convert(xid, "42").status_code == 200


@pytest.mark.parametrize(("rule", "status"), [("ignore", 404), ("recreate", 200)])
def test_key_of_a_deleted_customer(caller: Caller, rule: str, status: int) -> None:
    xid = caller.click()
    caller.convert(xid, "42")
    caller.api("DELETE", "/customers/42")
    caller.switch(deleted_customer=rule)

    assert caller.convert(xid, "42").status_code == 200
    assert caller.api("GET", "/customers/42").status_code == status


def test_ledger_counts_every_post_and_every_acceptance(caller: Caller) -> None:
    xid = caller.click()
    caller.convert(xid, "42")
    caller.convert(xid, "42")
    caller.convert(xid, "42", token="wrong")
    caller.convert("Unknown1234567", "43")

    ledger = caller.ledger()
    assert ledger["conversion_posts"] == {"42": 3, "43": 1}
    assert ledger["accepted_posts"] == {"42": 2, "43": 1}
    assert ledger["totals"]["conversion_posts"] == 4
    assert ledger["totals"]["customers"] == 1


def test_body_over_the_limit_is_refused(caller: Caller) -> None:
    answer = caller.convert(caller.click(), "42", name="x" * 1_100_000)

    assert answer.status_code == 413
