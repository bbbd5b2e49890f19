"""Nobody but the site can make a click token, and each is good for what it was made for."""

from datetime import datetime, timedelta, timezone

from hypothesis import example, given
from hypothesis import strategies as st

from flask_s2s import Click
from flask_s2s.capture.cookie import RecordSigner
from flask_s2s.capture.token import HAND_OVER_LIFE, LIFE, NONCE, PAGE_LIFE, TokenSigner

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=timezone.utc)
WINDOW = timedelta(days=90)
SIGNER = TokenSigner(["for tests"], WINDOW)
CLICK = Click(click_id="AbCdEf12345678", partner_key="ada0123", sub_ids=("näws", "x"), at=NOW)
CHANCE = bytes(range(NONCE))
TOKEN = SIGNER.dumps(CLICK, NOW, CHANCE)

clicks = st.builds(
    Click,
    click_id=st.from_regex(r"[A-Za-z0-9._~-]{1,512}", fullmatch=True),
    partner_key=st.none() | st.from_regex(r"[A-Za-z0-9._-]{1,128}", fullmatch=True),
    sub_ids=st.lists(st.text("aé€😀 &=", min_size=1, max_size=255), max_size=10).map(tuple),
    at=st.integers(0, 80).map(lambda days: NOW - timedelta(days=days)),
)


@given(clicks, st.binary(min_size=NONCE, max_size=NONCE))
def test_what_is_signed_is_opened(click: Click, chance: bytes) -> None:
    token = SIGNER.dumps(click, NOW, chance)
    carried = SIGNER.loads(token, NOW)
    assert carried is not None
    assert carried.click.click_id == click.click_id
    assert carried.click.partner_key == click.partner_key
    assert carried.click.sub_ids in (click.sub_ids, ())
    assert carried.click.at == click.at
    assert len(token) < 2048
    assert token.replace("-", "").replace("_", "").replace(".", "").isalnum()


def test_two_tokens_of_one_click_serve_two_customers_and_one_token_one() -> None:
    tokens = (TOKEN, SIGNER.dumps(CLICK, NOW, bytes(NONCE)), SIGNER.dumps(CLICK, NOW, CHANCE, "b"))
    first, second, bound = (SIGNER.loads(token, NOW) for token in tokens)
    assert first is not None
    assert second is not None
    assert bound is not None
    assert first.id != second.id
    # Wherever it leads to: what goes on from there serves the same customer.
    assert bound.id == first.id


@given(st.integers(0, len(TOKEN) - 1), st.sampled_from("AZaz09-_=+/. \x00\r\né%"))
@example(len(TOKEN) - 9, "\n")
def test_a_changed_token_opens_nothing_else(at: int, letter: str) -> None:
    """Base64 has a few spellings of one signature: what they open is the same, spent once."""
    for changed in (letter + TOKEN[at + 1 :], 4 * letter + TOKEN[at:]):
        opened = SIGNER.loads(TOKEN[:at] + changed, NOW)
        assert opened in (None, SIGNER.loads(TOKEN, NOW))
        # It goes into a header: what is no base64 is nothing to be passed over.
        assert letter.isalnum() or letter in "-_." or opened is None


@given(st.text(max_size=300) | st.integers(0, len(TOKEN) - 1).map(lambda n: TOKEN[:n]))
def test_nothing_else_is_a_token(text: str) -> None:
    assert SIGNER.loads(text, NOW) is None


def test_it_opens_for_its_time_only() -> None:
    for to in (None, "b.test", "b.test/page"):
        made = SIGNER.dumps(CLICK, NOW, CHANCE, to)
        assert SIGNER.loads(made, NOW + LIFE) is not None
        assert SIGNER.loads(made, NOW + LIFE + timedelta(seconds=1)) is None
        assert SIGNER.loads(made, NOW - timedelta(minutes=11)) is None
    for to, life in (("b.test", HAND_OVER_LIFE), ("b.test/page", PAGE_LIFE)):
        carried = SIGNER.loads(SIGNER.dumps(CLICK, NOW, CHANCE, to), NOW)
        assert carried is not None
        assert carried.is_fresh(NOW + life)
        assert not carried.is_fresh(NOW + life + timedelta(seconds=1))
        assert (carried.is_for("b.test"), carried.is_for("c.test")) == (True, False)


def test_an_older_key_still_opens_and_another_key_does_not() -> None:
    assert TokenSigner(["for tests", "newer"], WINDOW).loads(TOKEN, NOW) is not None
    assert TokenSigner(["newer"], WINDOW).loads(TOKEN, NOW) is None


def test_a_token_is_no_record_a_record_no_token_and_each_purpose_has_its_own() -> None:
    signer = RecordSigner(["for tests"], WINDOW)
    assert not isinstance(signer.loads(TOKEN, NOW), Click)
    assert not isinstance(signer.loads(f"1{TOKEN}", NOW), Click)
    record = signer.dumps(CLICK)
    assert SIGNER.loads(record, NOW) is None
    assert SIGNER.loads(record[1:], NOW) is None
    assert TokenSigner(["for tests"], WINDOW, purpose="state").loads(TOKEN, NOW) is None
