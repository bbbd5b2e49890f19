"""Pages are filled as browsers read them, whatever the pieces in which they come."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_s2s.capture.filling import FIELD, Filler

ASIS = [
    '<a href="https://other.example/">',
    '<a href="//other.example/p">',
    '<a href="/\\other.example">',
    '<a href="javascript:go()">',
    '<a href="mailto:a@b.example">',
    '<a href="#top">',
    '<a href="">',
    "<a>",
    '<a name="x">',
    '<a href="/static/page">',
    '<a href="/logo.svg">',
    '<a href="/p" download>',
    '<a href="http://[">',
    '<a href="/p?s2s_xid=another">',
    '<a data-href="/p">',
    "<a title=\" href='/p'\">",
    '<link href="/p">',
    '<img src="/p">',
    '<script>"<a href=\\"/p\\">"</script>',
    "<SCRIPT><a href='/p'></SCRIPT >",
    "<style><a href='/p'></style>",
    "<textarea><a href='/p'></textarea>",
    "<!-- <a href='/p'> -->",
    "<!DOCTYPE html><a",
    "1 < 2 <> </a> <3",
    '<form method="post" action="https://other.example/">',
    '<form action="https://other.example/">',
    '<form method="dialog">',
    "<abbr href='/p'>",
]
FILLED = [
    ('<a href="/p">', '<a href="/p?s2s_xid=H">'),
    ("<A HREF='/p'>", '<A href="/p?s2s_xid=H">'),
    ("<a class=x href=/p>", '<a class=x href="/p?s2s_xid=H">'),
    ('<a href="p?">', '<a href="p?s2s_xid=H">'),
    ('<a\n href = "/p?a=1&amp;b=2#c">', '<a\n href="/p?a=1&amp;b=2&amp;s2s_xid=H#c">'),
    ('<a href="/p?a=%22&b=é">', '<a href="/p?a=%22&amp;b=é&amp;s2s_xid=H">'),
    ('<a href="http://SHOP.test/p">', '<a href="http://SHOP.test/p?s2s_xid=H">'),
    ('<a href="/index.html">', '<a href="/index.html?s2s_xid=H">'),
    ('<a href="/p?s2s_xid=">', '<a href="/p?s2s_xid=H">'),
    ('<area href="/p">', '<area href="/p?s2s_xid=H">'),
    ('<form method="POST" action="/p">', '<form method="POST" action="/p?s2s_xid=H">'),
    ('<form method="post">', '<form action="?a=1&amp;s2s_xid=H" method="post">'),
    ("<form>", "<form>" + FIELD.replace('""', '"H"')),
    ('<form action="/q">', '<form action="/q">' + FIELD.replace('""', '"H"')),
    ('<button formaction="/p">', '<button formaction="/p?s2s_xid=H">'),
    (FIELD, FIELD.replace('""', '"H"')),
    ("<script>1</script><a href='/p'>", '<script>1</script><a href="/p?s2s_xid=H">'),
    ("<!-- x --><a href='/p'>", '<!-- x --><a href="/p?s2s_xid=H">'),
]
soup = st.lists(
    st.sampled_from(
        [*ASIS, *(before for before, _ in FILLED), "text", "<", ">", '"', "'", "é", "<!"]
    )
).map(" ".join)


def fill(page: bytes, *cuts: int, everywhere: bool = True) -> bytes:
    filler = Filler(
        lambda: "H",
        host="shop.test",
        query="a=1&s2s_xid=old",
        everywhere=everywhere,
        static="/static",
    )
    edges = [0, *sorted(cut % (len(page) + 1) for cut in cuts), len(page)]
    pieces = [page[start:end] for start, end in itertools.pairwise(edges)]
    return b"".join(filler.feed(piece) for piece in pieces) + filler.end()


@pytest.mark.parametrize("page", ASIS)
def test_this_stays_as_it_is(page: str) -> None:
    assert fill(page.encode()).decode() == page


@pytest.mark.parametrize(("page", "filled"), FILLED)
def test_this_is_filled(page: str, filled: str) -> None:
    assert fill(page.encode()).decode() == filled


def test_only_what_a_template_left_room_in_is_filled() -> None:
    for page, filled in FILLED:
        expected = filled if "s2s_xid" in page else page
        assert fill(page.encode(), everywhere=False).decode() == expected


@given(soup, st.lists(st.integers(0, 10_000), max_size=8))
def test_the_pieces_make_no_difference(page: str, cuts: list[int]) -> None:
    assert fill(page.encode(), *cuts) == fill(page.encode())


@given(st.binary(max_size=400) | soup.map(str.encode))
def test_without_the_handle_the_page_is_what_it_was(page: bytes) -> None:
    assert fill(page, everywhere=False).replace(b"s2s_xid=H", b"s2s_xid=").replace(
        b'value="H"', b'value=""'
    ).replace(b"&amp;", b"&").count(b"<") == page.count(b"<")


def test_a_tag_without_an_end_is_passed_on() -> None:
    page = b"<p>one</p><a href='" + b"x" * 200_000
    assert fill(page) == page
    assert fill(page, *range(0, 200_000, 4096)) == page


def test_a_long_page_is_read_in_linear_time() -> None:
    page = b"<a href='/p'>x</a> < " * 20_000
    assert fill(page).count(b"s2s_xid=H") == 20_000
