"""Strangers' requests: never an error, never a changed page, never a value outside the rules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from flask_s2s import Click
from tests.capture.sites import HOST, Answer, MakeSite, Site, make_app, visit

CLICK_ID = re.compile(r"[A-Za-z0-9._~-]{1,512}\Z")
PARTNER_KEY = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
LINK_HOST = re.compile(r"[a-z0-9.:-]{1,253}\Z")
SET_COOKIE = re.compile(
    r"s2s=1\.?[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}; Expires=[A-Za-z0-9:, ]+GMT; Max-Age=7776000; Path=/; "
    r"HttpOnly; SameSite=Lax(?:; Domain=[a-z0-9_.-]+)?(?:; Secure)?\Z"
)

#: A server hands over bytes as Latin-1 text, and no line breaks in headers.
anything = st.text(st.characters(max_codepoint=255), max_size=60)
header = st.text(st.characters(max_codepoint=255, blacklist_characters="\r\n\0"), max_size=60)
names = st.sampled_from(
    ["ps_xid", "gsxid", "ps_partner_key", "gspk", "pscd", "sid", "sid1", "sid99", "ps%5Fxid", "xid"]
)
values = st.one_of(
    anything,
    st.text("abcXYZ019._~-", min_size=1, max_size=20),
    st.sampled_from(
        [
            "anFVmvcPPYWCsS",
            "%00",
            "%0d%0aSet-Cookie:%20a=b",
            "%ff%fe",
            "%F0%9F%98%80",
            "%",
            "%zz",
            "MTIz",
            "MTIz====",
            "' OR 1=1 --",
            "<script>",
            "a" * 513,
            "A" * 70_000,
            "%C3%A9" * 256,
            "{{7*7}}",
            "\x7f\x80\x9f",
            "go.shop.com:99999",
        ]
    ),
)
parameters = st.lists(st.tuples(names, values), max_size=8).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
queries = st.one_of(parameters, parameters.map(lambda text: f"ps_xid=valid&{text}"), anything)
hosts = st.one_of(
    st.sampled_from(
        [HOST, "shop.com", "localhost", "[::1]:80", "1.2.3.4", "a.github.io", "x.com."]
    ),
    header,
    header.map(lambda text: f"{text}.shop.com"),
)
agents = st.one_of(st.just("Mozilla/5.0"), header)
cookies = st.one_of(
    st.none(),
    header,
    st.lists(st.tuples(st.sampled_from(["s2s", "a", "[", ""]), header), max_size=5).map(
        lambda pairs: "; ".join(f"{name}={value}" for name, value in pairs)
    ),
)


def assert_within_the_rules(click: Click) -> None:
    assert CLICK_ID.match(click.click_id)
    assert click.partner_key is None or PARTNER_KEY.match(click.partner_key)
    assert click.link_host is None or LINK_HOST.match(click.link_host)
    assert len(click.sub_ids) <= 10
    for sub_id in click.sub_ids:
        assert 1 <= len(sub_id) <= 255
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", sub_id)


def assert_page_is_unchanged(answer: Answer, expected: Answer) -> None:
    if answer.cookie is None:
        assert answer == expected
        return
    assert SET_COOKIE.match(answer.cookie)
    assert (answer.status, answer.body) == (expected.status, expected.body)
    ours = ("set-cookie", "cache-control")
    kept = [(name, value) for name, value in answer.headers if name.lower() not in ours]
    assert kept == expected.headers


def assert_stored_is_within_the_rules(site: Site) -> None:
    for row in site.rows():
        stored = {name: row[name] for name in ("partner_key", "link_host", "at", "click_id")}
        assert_within_the_rules(Click(**stored, sub_ids=tuple(row["sub_ids"])))
    with site.services.storage.engine().begin() as connection:
        connection.execute(delete(site.services.storage.tables.click))


def test_hostile_landings(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site(S2S_CLICK_RATE=10_000)
    bare = make_app(tmp_path, {})
    genuine = f"s2s={site.visit('ps_xid=genuine').record}"
    landed = 0

    @settings(max_examples=1000, deadline=None)
    @given(
        query=queries,
        host=hosts,
        agent=agents,
        cookie=cookies,
        has_click=st.booleans(),
        path=st.sampled_from(["/", "/click-less/path"]),
        scheme=st.sampled_from(["http", "https"]),
    )
    @example("ps_xid=" + "a" * 100_000, HOST, "", "s2s=" + "1" * 100_000, False, "/", "http")
    @example("ps_xid=a&" * 20_000, HOST, "x", "s2s=1.x;" * 20_000, True, "/", "https")
    @example("sid=%00&ps_xid=a", "evil;Domain=com", "x", None, False, "/", "https")
    def check(
        query: str,
        host: str,
        agent: str,
        cookie: str | None,
        has_click: bool,
        path: str,
        scheme: str,
    ) -> None:
        nonlocal landed
        if has_click:
            cookie = genuine if cookie is None else f"{cookie}; {genuine}"
        request: dict[str, Any] = {"host": host, "cookie": cookie, "path": path, "scheme": scheme}
        site.clock.advance(seconds=31)
        answer = site.visit(query, HTTP_USER_AGENT=agent, **request)
        assert_page_is_unchanged(answer, visit(bare, query, HTTP_USER_AGENT=agent, **request))
        click = site.load(answer)
        if click is not None:
            landed += 1
            assert_within_the_rules(click)
        assert_stored_is_within_the_rules(site)
        # Whoever asks gets a click or None, never an exception.
        if host == HOST:
            seen = site.click_seen(query, host=host, cookie=cookie, HTTP_USER_AGENT=agent)
            assert seen is None or CLICK_ID.match(seen[0])

    check()
    assert landed > 100
    assert site.services.touches.skipped == {}
