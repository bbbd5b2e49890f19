"""Lists of the vendor API: cursors, order, bounds."""

import pytest

from tests.sandbox.caller import Caller


class TestLists:
    @pytest.fixture(autouse=True)
    def customers(self, caller: Caller) -> None:
        xid = caller.click()
        for number in range(25):
            caller.convert(xid, str(number))
            caller.clock.forward(seconds=1)

    def names(self, caller: Caller, query: str) -> list[str]:
        data = caller.api("GET", f"/customers?{query}").get_json()["data"]
        return [item["customer_key"] for item in data["items"]]

    def test_ten_newest_come_first(self, caller: Caller) -> None:
        data = caller.api("GET", "/customers").get_json()["data"]

        assert [item["customer_key"] for item in data["items"]] == [
            str(number) for number in range(24, 14, -1)
        ]
        assert data["has_more"] is True

    @pytest.mark.parametrize("order", ["created_at", "-created_at"])
    @pytest.mark.parametrize("limit", [1, 7, 25, 250])
    def test_cursors_visit_everyone_once(self, caller: Caller, order: str, limit: int) -> None:
        seen: list[str] = []
        query = f"limit={limit}&order_by={order}"
        data = caller.api("GET", f"/customers?{query}").get_json()["data"]
        while True:
            seen += [item["customer_key"] for item in data["items"]]
            if not data["has_more"]:
                break
            last = data["items"][-1]["key"]
            data = caller.api("GET", f"/customers?{query}&starting_after={last}").get_json()["data"]

        ascending = [str(number) for number in range(25)]
        assert seen == (ascending if order == "created_at" else ascending[::-1])

    def test_cursor_backwards_gives_the_page_before(self, caller: Caller) -> None:
        key = caller.read("10")["key"]

        assert self.names(caller, f"limit=3&ending_before={key}") == ["13", "12", "11"]
        assert self.names(caller, f"limit=3&order_by=created_at&ending_before={key}") == [
            "7",
            "8",
            "9",
        ]

    def test_times_bound_the_list(self, caller: Caller) -> None:
        start = caller.clock.milliseconds - 25_000
        query = f"limit=250&min_created={start + 3000}&max_created={start + 5000}"

        assert self.names(caller, query) == ["5", "4", "3"]

    @pytest.mark.parametrize(
        "query",
        [
            "limit=0",
            "limit=251",
            "limit=x",
            "limit=",
            "min_created=-1",
            "order_by=name",
            "starting_after=nobody",
            "starting_after=1&ending_before=2",
        ],
    )
    def test_bad_bound_is_refused(self, caller: Caller, query: str) -> None:
        assert caller.api("GET", f"/customers?{query}").status_code == 400
