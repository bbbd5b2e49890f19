"""A handle shows nothing, and nobody but the site can make one."""

import base64
from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from flask_s2s import Click
from flask_s2s.capture.handle import HAND_OVER_LIFE, LIFE, NONCE, PAGE_LIFE, HandleSealer
from flask_s2s.capture.record import RecordSigner

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=timezone.utc)
WINDOW = timedelta(days=90)
SEALER = HandleSealer(["for tests"], WINDOW)
CLICK = Click(click_id="AbCdEf12345678", partner_key="ada0123", sub_ids=("näws", "x"), at=NOW)
CHANCE = bytes(range(NONCE))
HANDLE = SEALER.seal(CLICK, NOW, CHANCE)

clicks = st.builds(
    Click,
    click_id=st.from_regex(r"[A-Za-z0-9._~-]{1,512}", fullmatch=True),
    partner_key=st.none() | st.from_regex(r"[A-Za-z0-9._-]{1,128}", fullmatch=True),
    sub_ids=st.lists(st.text("aé€😀 &=", min_size=1, max_size=255), max_size=10).map(tuple),
    at=st.integers(0, 80).map(lambda days: NOW - timedelta(days=days)),
)


@given(clicks, st.binary(min_size=NONCE, max_size=NONCE))
def test_what_is_sealed_is_opened(click: Click, chance: bytes) -> None:
    handle = SEALER.seal(click, NOW, chance)
    carried = SEALER.open(handle, NOW)
    assert carried is not None
    assert carried.click.click_id == click.click_id
    assert carried.click.partner_key == click.partner_key
    assert carried.click.sub_ids in (click.sub_ids, ())
    assert carried.click.at == click.at
    assert len(handle) < 2048
    assert handle.replace("-", "").replace("_", "").isalnum()


def test_it_shows_nothing_of_the_click() -> None:
    sealed = base64.urlsafe_b64decode(HANDLE[1:] + "=" * (-len(HANDLE[1:]) % 4))
    for part in ("AbCdEf12345678", "ada0123", "partnerstack"):
        assert part.encode() not in sealed
        assert part not in HANDLE


def test_two_handles_of_one_click_share_nothing() -> None:
    other = SEALER.seal(CLICK, NOW, bytes(NONCE))
    assert other[1:20] != HANDLE[1:20]
    first, second = SEALER.open(HANDLE, NOW), SEALER.open(other, NOW)
    assert first is not None
    assert second is not None
    assert first.token != second.token


@given(st.integers(0, len(HANDLE) - 1), st.sampled_from("AZaz09-_=+/. \x00é"))
def test_a_changed_handle_opens_nothing(at: int, letter: str) -> None:
    changed = HANDLE[:at] + letter + HANDLE[at + 1 :]
    assert (SEALER.open(changed, NOW) is None) == (changed != HANDLE)


@given(st.text(max_size=300) | st.integers(0, len(HANDLE)).map(lambda n: HANDLE[:n]))
def test_nothing_else_is_a_handle(text: str) -> None:
    assert text == HANDLE or SEALER.open(text, NOW) is None


def test_it_opens_for_its_time_only() -> None:
    lives = {None: LIFE, "b.test": HAND_OVER_LIFE, "b.test/page": PAGE_LIFE}
    for to, life in lives.items():
        made = SEALER.seal(CLICK, NOW, CHANCE, to)
        assert SEALER.open(made, NOW + life) is not None
        assert SEALER.open(made, NOW + life + timedelta(seconds=1)) is None
        assert SEALER.open(made, NOW - timedelta(minutes=11)) is None


def test_an_older_key_still_opens_and_another_key_does_not() -> None:
    assert HandleSealer(["for tests", "newer"], WINDOW).open(HANDLE, NOW) is not None
    assert HandleSealer(["newer"], WINDOW).open(HANDLE, NOW) is None


def test_a_handle_is_no_record_and_a_record_no_handle() -> None:
    signer = RecordSigner(["for tests"], WINDOW)
    assert not isinstance(signer.loads(HANDLE, NOW), Click)
    assert SEALER.open(signer.dumps(CLICK), NOW) is None
