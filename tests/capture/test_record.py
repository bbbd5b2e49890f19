"""A record is ours, whole and within its window, or it is no click."""

from __future__ import annotations

import hashlib
import random
import string
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from itsdangerous import Signer, URLSafeSerializer

from flask_s2s import Click, ConfigError, Settings
from flask_s2s.capture.cookie import RecordSigner
from flask_s2s.click import Unreadable
from tests.capture.sites import MakeSite, Site, cookie_of

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
WINDOW = timedelta(days=90)
SALT = "flask-s2s.click.1"
CLICK = Click(
    click_id="anFVmvcPPYWCsS",
    partner_key="546ab5cc34f8",
    sub_ids=("newsletter", "日本語"),
    link_host="go.shop.com",
    at=NOW,
)
SIGNER = RecordSigner(["key"], WINDOW)


def sign(payload: object, *, key: str = "key", salt: str = SALT, digest: str = "sha256") -> str:
    """Sign as the record does, or with one thing changed."""
    serializer = URLSafeSerializer(
        key,
        salt=salt,
        signer_kwargs={"digest_method": getattr(hashlib, digest), "key_derivation": "hmac"},
    )
    return "1" + serializer.dumps(payload)


def sign_raw(value: bytes) -> str:
    """Sign what is no payload at all."""
    signer = Signer("key", salt=SALT, digest_method=hashlib.sha256, key_derivation="hmac")
    return "1" + signer.sign(value).decode()


def payload(at: float = NOW.timestamp(), click_id: str = "anFVmvcPPYWCsS") -> list[object]:
    return ["partnerstack", click_id, at, None, None, []]


def test_a_record_carries_the_whole_click() -> None:
    record = SIGNER.dumps(CLICK)
    assert SIGNER.loads(record, NOW) == CLICK
    assert record.startswith("1")
    assert set(record) <= set(string.ascii_letters + string.digits + "-_.")


def test_the_format_is_pinned_so_that_cookies_outlive_an_upgrade() -> None:
    assert SIGNER.loads(sign(payload()), NOW) == Click(click_id="anFVmvcPPYWCsS", at=NOW)
    assert SIGNER.dumps(CLICK) == sign(
        [
            "partnerstack",
            "anFVmvcPPYWCsS",
            int(NOW.timestamp()),
            "546ab5cc34f8",
            "go.shop.com",
            ["newsletter", "日本語"],
        ]
    )


@pytest.mark.parametrize(
    "record",
    [
        sign(payload(), key="another"),
        sign(payload(), salt="cookie-session"),
        sign(payload(), salt="flask-s2s.click.2"),
        sign(payload(), digest="sha1"),
        sign(payload(), digest="sha512"),
        "2" + sign(payload())[1:],
        sign(payload())[1:],
        # Signed by us, and still no click: another shape, or outside the rules.
        sign({"a": 1}),
        sign(None),
        sign("text"),
        sign(payload()[:-1]),
        sign(payload(click_id="no spaces")),
        sign(payload(click_id="")),
        sign([*payload()[:5], ["\x00"]]),
        sign([*payload()[:5], [1]]),
        sign([*payload()[:3], 7, None, []]),
        sign(["partnerstack", 7, 0, None, None, []]),
        sign(payload(at=1e300)),
        sign(payload(at=float("nan"))),
        sign(payload(at=float("inf"))),
        sign_raw(b"not base64 JSON !"),
        sign_raw(b".AAAA"),
        "",
        "1",
        "1.",
        "1..",
        "1" + "." * 3000,
        "1\x00.\x00",
        "1é.é",
        "1\ud800.x",
        "1" + "A" * 1_000_000,
    ],
)
def test_what_we_did_not_write_is_no_click(record: str) -> None:
    assert SIGNER.loads(record, NOW) == Unreadable("bad_signature")


def test_the_window_is_measured_from_the_signed_time() -> None:
    record = SIGNER.dumps(CLICK)
    assert SIGNER.loads(record, NOW + WINDOW) == CLICK
    assert SIGNER.loads(record, NOW + WINDOW + timedelta(seconds=1)) == Unreadable("expired", CLICK)
    # Re-signing later, even with a new key, keeps the click's own time.
    later = RecordSigner(["key", "new"], WINDOW)
    read = later.loads(record, NOW + timedelta(days=89))
    assert isinstance(read, Click)
    again = later.dumps(read)
    assert later.loads(again, NOW + timedelta(days=91)) == Unreadable("expired", CLICK)


def test_a_click_from_the_future_counts_from_now() -> None:
    record = SIGNER.dumps(CLICK)
    assert SIGNER.loads(record, NOW - timedelta(hours=23)) == CLICK
    before = NOW - timedelta(hours=25)
    assert SIGNER.loads(record, before) == replace(CLICK, at=before)


def test_a_new_key_signs_and_the_old_ones_still_read() -> None:
    rotated = RecordSigner(["key", "new"], WINDOW)
    assert rotated.loads(SIGNER.dumps(CLICK), NOW) == CLICK
    assert SIGNER.loads(rotated.dumps(CLICK), NOW) == Unreadable("bad_signature")
    assert RecordSigner(["new"], WINDOW).loads(rotated.dumps(CLICK), NOW) == CLICK


@pytest.mark.parametrize(
    ("before", "after", "is_kept"),
    [
        ({"SECRET_KEY": "a"}, {"SECRET_KEY": "a", "SECRET_KEY_FALLBACKS": None}, True),
        ({"SECRET_KEY": "a"}, {"SECRET_KEY": "b", "SECRET_KEY_FALLBACKS": ["a"]}, True),
        ({"SECRET_KEY": "a"}, {"SECRET_KEY": "b", "SECRET_KEY_FALLBACKS": ["x", None, "a"]}, True),
        ({"SECRET_KEY": "a"}, {"SECRET_KEY": "b", "SECRET_KEY_FALLBACKS": ("a",)}, True),
        ({"SECRET_KEY": "a"}, {"SECRET_KEY": b"a"}, True),
        ({"SECRET_KEY": "a"}, {"SECRET_KEY": "b"}, False),
        ({"SECRET_KEY": "a"}, {"SECRET_KEY": "a", "S2S_SECRET_KEY": "own"}, False),
        ({"S2S_SECRET_KEY": "a"}, {"S2S_SECRET_KEY": ["b", "a"]}, True),
        ({"S2S_SECRET_KEY": ["a", "b"]}, {"S2S_SECRET_KEY": "a"}, True),
        ({"S2S_SECRET_KEY": ["b", "a"]}, {"S2S_SECRET_KEY": "a"}, False),
        ({"SECRET_KEY": "a"}, {"S2S_SECRET_KEY": ["b", "a"]}, True),
    ],
)
def test_key_rotation(
    make_site: MakeSite, before: dict[str, object], after: dict[str, object], is_kept: bool
) -> None:
    cookie = cookie_of(make_site(**before).visit("ps_xid=kept"))
    seen = make_site(**after).click_seen(cookie=cookie)
    assert (seen is not None) == is_kept


@pytest.mark.parametrize(
    "config",
    [
        {"SECRET_KEY": None},
        {"SECRET_KEY": ""},
        {"SECRET_KEY": 12345},
        {"SECRET_KEY": "a", "SECRET_KEY_FALLBACKS": "old"},
        {"SECRET_KEY": "a", "SECRET_KEY_FALLBACKS": [12345]},
        {"S2S_SECRET_KEY": []},
        {"S2S_SECRET_KEY": ""},
        {"S2S_SECRET_KEY": ["new", ""]},
        {"S2S_SECRET_KEY": 12345},
    ],
)
def test_keys_that_anybody_could_guess_are_refused_at_start(config: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="SECRET_KEY"):
        Settings.from_mapping(config)


def test_an_empty_fallback_key_signs_nothing() -> None:
    keys = Settings.from_mapping({"SECRET_KEY": "a", "SECRET_KEY_FALLBACKS": ["", None]})
    signer = RecordSigner(keys.secret_keys, WINDOW)
    assert signer.loads(sign(payload(), key=""), NOW) == Unreadable("bad_signature")


def test_a_record_always_fits_into_a_cookie() -> None:
    greedy = Click(
        click_id="x" * 512,
        partner_key="k" * 128,
        link_host="h" * 253,
        sub_ids=tuple("".join(random.Random(n).choices("日本語版表示", k=255)) for n in range(10)),
        at=NOW,
    )
    record = SIGNER.dumps(greedy)
    assert len(record) <= 3500
    read = SIGNER.loads(record, NOW)
    assert isinstance(read, Click)
    assert read.sub_ids == greedy.sub_ids[: len(read.sub_ids)]
    assert (read.click_id, read.partner_key, read.link_host) == ("x" * 512, "k" * 128, "h" * 253)


ALPHABET = string.ascii_letters + string.digits + "-_.=%!~ "


def mutated(rng: random.Random, record: str) -> str:
    """Change, drop, repeat or insert a few characters anywhere."""
    characters = list(record)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(characters))
        characters[at : at + rng.randint(0, 2)] = rng.choices(ALPHABET, k=rng.randint(0, 2))
    return "".join(characters)


def last_letter_changed(rng: random.Random, record: str) -> str:
    """Base64's last letter has bits that mean nothing."""
    return record[:-1] + rng.choice(ALPHABET)


def truncated(rng: random.Random, record: str) -> str:
    return record[: rng.randrange(len(record))]


def lengthened(rng: random.Random, record: str) -> str:
    return record + "".join(rng.choices(ALPHABET, k=rng.randint(1, 5)))


def swapped(rng: random.Random, record: str) -> str:
    """Another click's payload with this one's signature."""
    other = SIGNER.dumps(Click(click_id=f"other{rng.random()}", at=NOW))
    return f"{other.rpartition('.')[0]}.{record.rpartition('.')[2]}"


def signed_elsewhere(rng: random.Random, record: str) -> str:
    return sign(payload(), salt=rng.choice(["cookie-session", "itsdangerous", "", SALT + "x"]))


def signed_by_another_key(rng: random.Random, record: str) -> str:
    return sign(payload(), key=rng.choice(["Key", "key ", "", "keykey", str(rng.random())]))


def expired(rng: random.Random, record: str) -> str:
    ago = timedelta(days=90, seconds=rng.randint(1, 10**8))
    return SIGNER.dumps(Click(click_id="x", at=NOW - ago))


FORGERIES: list[tuple[Callable[[random.Random, str], str], int]] = [
    (mutated, 60_000),
    (last_letter_changed, 10_000),
    (truncated, 10_000),
    (lengthened, 5_000),
    (swapped, 5_000),
    (signed_elsewhere, 3_000),
    (signed_by_another_key, 3_000),
    (expired, 3_000),
]


@pytest.mark.slow
@pytest.mark.parametrize(("forge", "count"), FORGERIES)
def test_no_forged_record_is_a_click(
    forge: Callable[[random.Random, str], str], count: int
) -> None:
    rng = random.Random(forge.__name__)
    genuine = [
        SIGNER.dumps(Click(click_id=f"click{n}", sub_ids=("a",) * (n % 4), at=NOW))
        for n in range(50)
    ]
    known = set(genuine)
    tried = 0
    while tried < count:
        record = forge(rng, rng.choice(genuine))
        if record not in known:
            tried += 1
            assert isinstance(SIGNER.loads(record, NOW), Unreadable), record


def test_a_view_without_a_readable_cookie_has_no_click(site: Site) -> None:
    cookie = cookie_of(site.visit("ps_xid=kept"))
    assert site.click_seen(cookie=cookie)[0] == "kept"
    for bad in (cookie[:-1], cookie + "x", "s2s=", "s2s", "s2s=1.", "s2s=\xff\xfe", "s2s=;s2s"):
        assert site.click_seen(cookie=bad) is None
    site.clock.advance(days=91)
    assert site.click_seen(cookie=cookie) is None
