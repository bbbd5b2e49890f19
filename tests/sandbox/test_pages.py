"""The pages: what a partner manager finds on them, and that nothing of it is markup or a secret."""

import html

import pytest

from tests.sandbox.caller import Caller

PAGE = {"Accept": "text/html,application/xhtml+xml"}
PATHS = (
    "/",
    "/links",
    "/clicks",
    "/customers",
    "/sub-ids",
    "/requests",
    "/requests?live=1",
    "/sandbox/tokens",
    "/sandbox/faults",
)


def rows(page: str) -> list[list[str]]:
    """Return the cells of all table rows in a page, as text."""
    found = []
    for row in page.split("<tbody>")[1].split("</tbody>")[0].split("<tr>")[1:]:
        cells = row.replace("<td", "<th").split("<th")[1:]
        found.append([text_of(cell.partition(">")[2]) for cell in cells])
    return found


def text_of(markup: str) -> str:
    text = "".join(part.partition(">")[2] for part in ("x>" + markup).split("<"))
    return " ".join(html.unescape(text).split())


@pytest.mark.parametrize("path", PATHS)
def test_page_is_whole_when_empty_and_when_full(caller: Caller, path: str) -> None:
    for _ in range(2):
        page = caller.http.get(path, headers=PAGE)
        assert page.status_code == 200
        assert page.mimetype == "text/html"
        for part in ('lang="en"', "<main", "<nav", "<h1>", 'href="#content"', "</html>"):
            assert part in page.text
        assert "<script" not in page.text
        assert "//cdn" not in page.text
        caller.convert(caller.click("ada", "sid=news"), "42", name="Ann")


def test_menu_says_where_one_is(caller: Caller) -> None:
    page = caller.http.get("/sub-ids").text

    assert page.count('aria-current="page"') == 1
    assert 'href="/sub-ids" aria-current="page"' in page


def test_sub_id_report_counts_clicks_and_signups_by_partner(caller: Caller) -> None:
    first = caller.click("ada", "sid=news&sid1=top")
    caller.click("ada", "sid=news")
    caller.click("grace", "sid=news")
    other = caller.click("grace")
    caller.convert(first, "1", sub_ids=["news"])
    caller.convert(first, "2")
    caller.convert(other, "3")

    report = rows(caller.http.get("/sub-ids").text)

    assert report == [
        ["news", "Ada Byron Media", "2", "2", "100.0%"],
        ["top", "Ada Byron Media", "1", "2", "200.0%"],
        ["No sub ID", "Grace Reviews", "1", "1", "100.0%"],
        ["news", "Grace Reviews", "1", "0", "0.0%"],
    ]


def test_sub_id_of_the_post_alone_counts_as_well(caller: Caller) -> None:
    caller.convert(caller.click("linus"), "1", sub_ids=["app"])

    assert ["app", "Linus Weekly", "0", "1", "–"] in rows(caller.http.get("/sub-ids").text)


def test_deleted_customer_leaves_the_report(caller: Caller) -> None:
    caller.convert(caller.click("ada", "sid=news"), "42")
    caller.api("DELETE", "/customers/42")

    assert rows(caller.http.get("/sub-ids").text) == [["news", "Ada Byron Media", "1", "0", "0.0%"]]


def test_customer_page_tells_the_whole_story(caller: Caller) -> None:
    xid = caller.click("linus", "sid=news&gclid=Cj0")
    caller.convert(xid, "42", name="Ann", provider_key="cus_stripe", meta={"plan": "team"})
    transaction = {"customer_external_key": "42", "amount": 4950, "currency": "EUR", "key": "inv-1"}
    caller.api("POST", "/transactions", json=transaction)

    page = text_of(caller.http.get(f"/customers/{caller.read('42')['key']}").text)

    for fact in ("Linus Weekly", "news", xid, "Cj0", "cus_stripe", "team", "inv-1", "49.50 EUR"):
        assert fact in page


def test_long_lists_are_paged(caller: Caller) -> None:
    xids = [caller.click() for _ in range(60)]

    first = caller.http.get("/clicks").text
    older = first.split('rel="next"')[0].rpartition('href="')[2].partition('"')[0]
    second = caller.http.get(older).text

    shown = [row[0] for row in rows(first)] + [row[0] for row in rows(second)]
    assert shown == xids[::-1]
    assert 'rel="next"' not in second


@pytest.mark.parametrize("path", ["/", "/clicks", "/customers", "/sub-ids", "/requests", "/links"])
def test_hostile_values_are_text(caller: Caller, path: str) -> None:
    attack = "<img src=x onerror=alert(1)>\"'"
    caller.http.get("/go/ada", query_string={"sid": attack, "gclid": attack})
    xid = caller.ledger()["clicks"][0]["xid"]
    caller.convert(xid, attack, name=attack, email=attack, sub_ids=[attack])

    page = caller.http.get(path, query_string={"sid": attack}).text

    assert "<img" not in page


def test_log_masks_tokens_and_keys(caller: Caller) -> None:
    secret = "a-long-secret-token-value"
    caller.convert(caller.click(), "42", token=secret)
    caller.api("GET", "/customers")

    page = caller.http.get("/requests").text

    assert secret not in page
    assert "cGtfc2FuZGJveDpza19zYW5kYm94" not in page
    assert "Bearer ••••alue" in page


def test_log_shows_the_newest_first_with_its_answer(caller: Caller) -> None:
    caller.http.get("/go/ada")
    caller.api("POST", "/actions", json={})

    page = text_of(caller.http.get("/requests").text)

    assert page.index("POST /api/v2/actions 400") < page.index("GET /go/ada 302")
    assert "'target_key' is a required property" in page


def test_live_log_renews_itself(caller: Caller) -> None:
    assert 'http-equiv="refresh"' in caller.http.get("/requests?live=1").text
    assert 'http-equiv="refresh"' not in caller.http.get("/requests").text


def test_switches_are_set_by_form(caller: Caller) -> None:
    form = {"repeated_customer": "conflict", "too_many": "0.25", "error_status": "500"}

    answer = caller.http.post("/sandbox/faults", data=form, headers=PAGE)

    assert answer.status_code == 303
    switches = caller.http.get("/sandbox/faults").get_json()
    assert (switches["repeated_customer"], switches["too_many"]) == ("conflict", 0.25)
    assert switches["error_status"] == 500
    assert "Faults are on" in caller.http.get("/").text
    caller.http.post("/sandbox/faults", data={**form, "defaults": "1"})
    assert "Faults are on" not in caller.http.get("/").text


def test_form_shows_every_switch(caller: Caller) -> None:
    page = caller.http.get("/sandbox/faults", headers=PAGE).text

    for name in caller.http.get("/sandbox/faults").get_json():
        assert f'<label for="{name}">' in page
        assert f'name="{name}"' in page


@pytest.mark.parametrize("value", ["2", "much", "", "nan"])
def test_bad_form_changes_nothing_and_says_what_is_wrong(caller: Caller, value: str) -> None:
    answer = caller.http.post("/sandbox/faults", data={"too_many": value}, headers=PAGE)

    assert answer.status_code == 400
    assert "Nothing was changed." in answer.text
    assert "429 without Retry-After: expected a number" in text_of(answer.text)
    assert caller.http.get("/sandbox/faults").get_json()["too_many"] == 0


def test_data_is_emptied_from_the_overview(caller: Caller) -> None:
    caller.click()

    assert caller.http.post("/sandbox/empty").headers["Location"] == "/"
    assert caller.ledger()["clicks"] == []


def test_person_gets_a_page_and_program_gets_json_for_an_error(caller: Caller) -> None:
    page = caller.http.get("/nowhere", headers=PAGE)
    answer = caller.http.get("/nowhere")

    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert (answer.status_code, answer.get_json()["status"]) == (404, 404)


def test_ledger_stays_quick_to_read_when_it_is_long(caller: Caller) -> None:
    xid = caller.click()
    for number in range(300):
        caller.convert(xid, str(number))

    totals = caller.http.get("/sandbox/ledger?totals=1").get_json()
    assert totals == {
        "totals": {
            "clicks": 1,
            "customers": 300,
            "conversion_posts": 300,
            "actions": 0,
            "transactions": 0,
        }
    }
