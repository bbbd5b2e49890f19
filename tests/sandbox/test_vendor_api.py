"""`/api/v2`: key pairs, envelopes, cursors, and what actions and transactions demand."""

from typing import Any

import pytest

from tests.sandbox.caller import TEST_KEYS, Caller

ACTION = {"target_key": "42", "target_type": "customer", "type": "trial", "value": 1}
TRANSACTION = {"customer_external_key": "42", "amount": 4900, "currency": "EUR"}


@pytest.fixture
def customer(caller: Caller) -> dict[str, Any]:
    """Customer 42, credited to ada under the sub ID news."""
    caller.convert(caller.click("ada", "sid=news"), "42", email="ann@mail.example", name="Ann")
    return caller.read("42")


@pytest.mark.parametrize(
    "keys",
    [("pk_sandbox", "wrong"), ("pk_sandbox", ""), ("", ""), ("pk_sandbox", "sk_sandbox_test")],
)
def test_wrong_key_pair_is_unauthorised(caller: Caller, keys: tuple[str, str]) -> None:
    answer = caller.api("GET", "/customers", keys=keys)

    assert answer.status_code == 401
    assert answer.get_json() == {"message": "Unauthorized", "status": 401}


def test_tracking_token_does_not_open_the_api(caller: Caller) -> None:
    answer = caller.http.get("/api/v2/customers", headers={"Authorization": "Bearer sandbox-token"})

    assert answer.status_code == 401


def test_customer_reads_back_in_an_envelope(caller: Caller, customer: dict[str, Any]) -> None:
    answer = caller.api("GET", "/customers/42").get_json()

    assert (answer["status"], answer["message"]) == (200, "Customer retrieved")
    assert answer["data"]["customer_key"] == "42"
    assert answer["data"]["partner_key"] == "ada0c1f7e5b2"
    assert answer["data"]["sub_ids"] == ["news"]
    assert answer["data"]["test"] is False
    assert answer["data"]["created_at"] == caller.clock.milliseconds


def test_networks_own_key_is_not_ours(customer: dict[str, Any]) -> None:
    assert customer["key"].startswith("cus_")
    assert customer["key"] != customer["customer_external_key"] == "42"


def test_absent_customer_is_not_found(caller: Caller) -> None:
    answer = caller.api("GET", "/customers/42")

    assert answer.status_code == 404
    assert answer.get_json() == {"message": "Customer not found", "status": 404}


def test_new_customer_is_readable_only_after_the_lag(caller: Caller) -> None:
    caller.switch(readable_after_seconds=360)
    caller.convert(caller.click(), "42")

    assert caller.api("GET", "/customers/42").status_code == 404
    assert caller.api("GET", "/customers").get_json()["data"]["items"] == []
    caller.clock.forward(seconds=359.999)
    assert caller.api("GET", "/customers/42").status_code == 404
    caller.clock.forward(seconds=0.001)
    assert caller.api("GET", "/customers/42").status_code == 200
    assert len(caller.api("GET", "/customers").get_json()["data"]["items"]) == 1


def test_customer_keys_with_any_characters_read_back(caller: Caller) -> None:
    caller.convert(caller.click(), "a/b c?é")

    assert caller.read("a%2Fb%20c%3F%C3%A9")["customer_key"] == "a/b c?é"


def test_deleted_customer_is_gone(caller: Caller, customer: dict[str, Any]) -> None:
    assert caller.api("DELETE", "/customers/42").status_code == 200
    assert caller.api("GET", "/customers/42").status_code == 404
    assert caller.api("DELETE", "/customers/42").status_code == 404


class TestActions:
    @pytest.mark.parametrize("missing", sorted(ACTION))
    def test_every_field_is_required(
        self, caller: Caller, customer: dict[str, Any], missing: str
    ) -> None:
        body = {name: value for name, value in ACTION.items() if name != missing}

        answer = caller.api("POST", "/actions", json=body)

        assert answer.status_code == 400
        assert answer.get_json()["message"] == f"'{missing}' is a required property"

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("value", 0, "0 is less than the minimum of 1"),
            ("value", "1", "'1' is not of type 'integer'"),
            ("value", True, "True is not of type 'integer'"),
            ("target_type", "user", "'user' is not one of ['customer', 'partnership']"),
        ],
    )
    def test_wrong_value_is_named(
        self, caller: Caller, customer: dict[str, Any], field: str, value: Any, message: str
    ) -> None:
        answer = caller.api("POST", "/actions", json={**ACTION, field: value})

        assert (answer.status_code, answer.get_json()["message"]) == (400, message)

    def test_action_is_recorded_listed_and_archived(
        self, caller: Caller, customer: dict[str, Any]
    ) -> None:
        made = caller.api("POST", "/actions", json={**ACTION, "key": "trial-42"}).get_json()["data"]
        listed = caller.api("GET", "/actions").get_json()["data"]["items"]

        assert listed == [made]
        assert made["external_key"] == "trial-42"
        assert caller.api("DELETE", "/actions/trial-42").status_code == 200
        assert caller.api("GET", "/actions").get_json()["data"]["items"] == []
        assert caller.ledger()["totals"]["actions"] == 0

    @pytest.mark.parametrize(("rule", "status", "stored"), [("reject", 404, 0), ("ignore", 200, 0)])
    def test_unknown_customer(self, caller: Caller, rule: str, status: int, stored: int) -> None:
        caller.switch(unknown_customer=rule)

        assert caller.api("POST", "/actions", json=ACTION).status_code == status
        assert len(caller.ledger()["actions"]) == stored

    @pytest.mark.parametrize(
        ("rule", "status", "stored"), [("ignore", 200, 1), ("conflict", 409, 1), ("second", 200, 2)]
    )
    def test_repeated_key(
        self, caller: Caller, customer: dict[str, Any], rule: str, status: int, stored: int
    ) -> None:
        caller.switch(repeated_reward=rule)
        caller.api("POST", "/actions", json={**ACTION, "key": "trial-42"})

        answer = caller.api("POST", "/actions", json={**ACTION, "key": "trial-42"})

        assert answer.status_code == status
        assert len(caller.ledger()["actions"]) == stored

    def test_actions_without_a_key_never_collide(
        self, caller: Caller, customer: dict[str, Any]
    ) -> None:
        caller.api("POST", "/actions", json=ACTION)
        caller.api("POST", "/actions", json=ACTION)

        assert len(caller.ledger()["actions"]) == 2

    def test_partner_can_be_the_target(self, caller: Caller) -> None:
        body = {**ACTION, "target_type": "partnership", "target_key": "graceh2965"}

        assert caller.api("POST", "/actions", json=body).status_code == 200
        body["target_key"] = "nobody"
        assert caller.api("POST", "/actions", json=body).status_code == 404

    def test_test_events_count_for_test_customers_only(
        self, caller: Caller, customer: dict[str, Any]
    ) -> None:
        answer = caller.api("POST", "/actions", json=ACTION, keys=TEST_KEYS)

        assert answer.status_code == 404


class TestTransactions:
    def test_amount_may_be_negative(self, caller: Caller, customer: dict[str, Any]) -> None:
        answer = caller.api("POST", "/transactions", json={**TRANSACTION, "amount": -4900})

        assert answer.status_code == 200
        assert answer.get_json()["data"]["amount"] == -4900

    def test_internal_key_is_a_trap(self, caller: Caller, customer: dict[str, Any]) -> None:
        body = {"amount": 1, "currency": "EUR"}

        ours = caller.api("POST", "/transactions", json={**body, "customer_key": "42"})
        theirs = caller.api("POST", "/transactions", json={**body, "customer_key": customer["key"]})
        swapped = caller.api(
            "POST", "/transactions", json={**body, "customer_external_key": customer["key"]}
        )

        assert [ours.status_code, theirs.status_code, swapped.status_code] == [404, 200, 404]

    def test_customer_can_be_named_by_email(self, caller: Caller, customer: dict[str, Any]) -> None:
        body = {"amount": 1, "currency": "EUR", "customer_email": "ann@mail.example"}

        data = caller.api("POST", "/transactions", json=body).get_json()["data"]

        assert data["customer"] == {"key": customer["key"], "customer_key": "42"}

    @pytest.mark.parametrize(
        "references", [{}, {"customer_key": "x", "customer_external_key": "42"}]
    )
    def test_exactly_one_reference_is_required(
        self, caller: Caller, customer: dict[str, Any], references: dict[str, str]
    ) -> None:
        body = {"amount": 1, "currency": "EUR", **references}

        assert caller.api("POST", "/transactions", json=body).status_code == 400

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("amount", 49.0),
            ("amount", None),
            ("currency", "EURO"),
            ("key", "abc"),
            ("key", "x" * 256),
            ("metadata", {str(number): "x" for number in range(26)}),
            ("metadata", {"x" * 31: "x"}),
            ("metadata", {"x": "x" * 101}),
        ],
    )
    def test_value_outside_the_bounds_is_refused(
        self, caller: Caller, customer: dict[str, Any], field: str, value: Any
    ) -> None:
        answer = caller.api("POST", "/transactions", json={**TRANSACTION, field: value})

        assert answer.status_code == 400
        assert caller.ledger()["transactions"] == []

    def test_transaction_goes_by_the_callers_key(
        self, caller: Caller, customer: dict[str, Any]
    ) -> None:
        caller.api("POST", "/transactions", json={**TRANSACTION, "key": "inv-1"})

        [listed] = caller.api("GET", "/transactions").get_json()["data"]["items"]
        assert listed["key"] == "inv-1"
        assert caller.api("DELETE", "/transactions/inv-1").status_code == 200
        assert caller.api("DELETE", "/transactions/inv-1").status_code == 404

    def test_creation_time_can_be_given(self, caller: Caller, customer: dict[str, Any]) -> None:
        answer = caller.api("POST", "/transactions", json={**TRANSACTION, "created_at": 1234})

        assert answer.get_json()["data"]["created_at"] == 1234


def test_customer_without_a_click_cannot_be_made_here(caller: Caller) -> None:
    assert caller.api("POST", "/customers", json={"customer_key": "42"}).status_code == 405
