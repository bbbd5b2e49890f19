"""`/go/<partner>`: the landing URL has today's shape, whatever the visitor brought along."""

import base64
import random
import re
import string
from urllib.parse import parse_qs, parse_qsl, quote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_s2s.sandbox import create_sandbox
from flask_s2s.sandbox.books.partners import PARTNERS
from flask_s2s.sandbox.doors.links import OWN_PARAMETERS, landing_url
from tests.sandbox.caller import Caller

SHOP = create_sandbox(target="https://shop.test/welcome?lang=en#plans")
XID = re.compile(r"[A-Za-z0-9]{14}")

names = st.one_of(
    st.sampled_from(["sid", "sid1", "sid2", "gclid", "utm_source", *sorted(OWN_PARAMETERS)]),
    st.text(min_size=1, max_size=20).filter(lambda name: not is_own(name)),
)
pairs = st.lists(st.tuples(names, st.text(max_size=300)), max_size=8)


def is_own(name: str) -> bool:
    return name in OWN_PARAMETERS


def decoded(partner_key: str) -> str:
    return base64.b64decode(partner_key + "=" * (-len(partner_key) % 4)).decode()


@settings(deadline=None)
@given(partner=st.sampled_from(sorted(PARTNERS)), given_pairs=pairs)
def test_every_landing_url_has_todays_shape(
    partner: str, given_pairs: list[tuple[str, str]]
) -> None:
    pairs_text = [
        f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in encodable(given_pairs)
    ]
    answer = SHOP.test_client().get(f"/go/{partner}?{'&'.join(pairs_text)}")

    assert answer.status_code == 302
    landing = urlsplit(answer.headers["Location"])
    assert (landing.scheme, landing.netloc, landing.path) == ("https", "shop.test", "/welcome")
    assert landing.fragment == "plans"
    found = parse_qsl(landing.query, keep_blank_values=True)
    own = {name: value for name, value in found if is_own(name)}
    assert XID.fullmatch(own["ps_xid"])
    assert own["gsxid"] == own["ps_xid"]
    assert own["gspk"] == own["ps_partner_key"]
    assert not own["gspk"].endswith("=")
    assert decoded(own["gspk"]) == PARTNERS[partner].key
    assert len(own) == sum(is_own(name) for name, _ in found) == 4
    theirs = [pair for pair in found if not is_own(pair[0])]
    brought = [pair for pair in encodable(given_pairs) if not is_own(pair[0])]
    assert theirs == [("lang", "en"), *brought]


def encodable(given_pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leave out lone surrogates: no browser can put them into a URL."""
    return [
        tuple(text.encode("utf-8", "ignore").decode() for text in pair)  # type: ignore[misc]
        for pair in given_pairs
        if pair[0].encode("utf-8", "ignore")
    ]


def test_bytes_that_are_no_utf8_travel_on_unchanged(caller: Caller) -> None:
    location = caller.http.get("/go/ada?gclid=a%FF%00b").headers["Location"]

    assert "gclid=a%FF%00b" in location


def test_the_order_of_parameters_is_not_fixed() -> None:
    orders = {
        tuple(
            name
            for name, _ in parse_qsl(
                urlsplit(
                    landing_url(
                        "https://shop.test/",
                        PARTNERS["ada"],
                        "x" * 14,
                        [("sid", "a"), ("sid", "b")],
                        None,
                        random.Random(seed),
                    )
                ).query
            )
        )
        for seed in range(50)
    }

    assert len(orders) > 10


def test_partner_keys_need_every_amount_of_padding() -> None:
    assert {len(partner.encoded_key) % 4 for partner in PARTNERS.values()} == {0, 2, 3}


def test_no_two_clicks_share_an_id(caller: Caller) -> None:
    assert len({caller.click() for _ in range(200)}) == 200


def test_click_ids_use_the_whole_alphabet(caller: Caller) -> None:
    assert set("".join(caller.click() for _ in range(200))) == set(
        string.ascii_letters + string.digits
    )


def test_click_is_recorded_with_its_sub_ids_and_ad_parameters(caller: Caller) -> None:
    xid = caller.click("grace", "sid=news&sid1=top&gclid=Cj0&utm_source=x")

    [click] = caller.ledger()["clicks"]
    assert click["xid"] == xid
    assert click["partner"] == "grace"
    assert click["sub_ids"] == ["news", "top"]
    assert click["params"] == {"gclid": "Cj0", "utm_source": "x"}
    assert click["created_at"] == caller.clock.milliseconds


def test_long_sub_id_is_cut_in_the_record_only(caller: Caller) -> None:
    location = caller.http.get(f"/go/ada?sid={'a' * 300}").headers["Location"]

    assert parse_qs(urlsplit(location).query)["sid"] == ["a" * 300]
    assert caller.ledger()["clicks"][0]["sub_ids"] == ["a" * 255]


def test_link_on_a_custom_domain_names_it(caller: Caller) -> None:
    location = caller.http.get("/go/ada", base_url="http://try.partner.test:5001/").headers[
        "Location"
    ]

    assert parse_qs(urlsplit(location).query)["pscd"] == ["try.partner.test"]


@pytest.mark.parametrize("host", ["localhost:5001", "127.0.0.1:5001", "[::1]:5001"])
def test_link_on_a_shared_domain_names_none(caller: Caller, host: str) -> None:
    location = caller.http.get("/go/ada", base_url=f"http://{host}/").headers["Location"]

    assert "pscd" not in parse_qs(urlsplit(location).query)


def test_looking_where_a_link_leads_is_no_click(caller: Caller) -> None:
    answer = caller.http.head("/go/ada")

    assert answer.headers["Location"] == "https://shop.test/welcome?lang=en#plans"
    assert caller.ledger()["clicks"] == []


def test_redirect_is_never_cached(caller: Caller) -> None:
    assert caller.http.get("/go/ada").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("query", ["target=https://evil.test/", "url=//evil.test", "next=/x"])
def test_redirect_leads_to_the_configured_target_only(caller: Caller, query: str) -> None:
    location = caller.http.get(f"/go/ada?{query}").headers["Location"]

    assert location.startswith("https://shop.test/welcome?")


def test_unknown_partner_is_not_found(caller: Caller) -> None:
    assert caller.http.get("/go/nobody").status_code == 404


@pytest.mark.parametrize("target", ["", "shop.test", "javascript:alert(1)", "https://", "/x"])
def test_target_must_be_a_web_address(target: str) -> None:
    with pytest.raises(ValueError, match="target must be"):
        create_sandbox(target=target)
