"""Settings: what may be set, what is refused, and with which words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from traceback import TracebackException
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from flask_s2s import S2S, ConfigError, Settings
from flask_s2s.config.settings import keys

NAN = float("nan")
ENDLESS = float("inf")
KEYS = keys()


def _rule(conversion: Any, click: Any, facts: Any) -> str | None:
    return None


async def _later(*arguments: Any) -> str | None:
    return None


class _Later:
    async def __call__(self, *arguments: Any) -> str | None:
        return None


def _one_by_one(*arguments: Any) -> Iterator[str]:
    yield ""


#: Every setting: a value that is good, what it becomes, and values that are refused.
SETTINGS: dict[str, tuple[Any, Any, list[Any]]] = {
    "S2S_TOKEN": (
        " tok ",
        ("tok",),
        ["", " ", 12345, 1e5, True, [], ["a", None], {}, "a b", "é", _later],
    ),
    "S2S_TOKEN_FILE": ("/run/token", "/run/token", ["", " ", 5]),
    "S2S_PARTNERSTACK_URL": (
        "http://127.0.0.1:5001/",
        "http://127.0.0.1:5001",
        ["", "partnerlinks.io", "ftp://x", "http://", "https://u:p@x", "http://x y", "http://[", 5],
    ),
    "S2S_PARTNERSTACK_API_URL": ("https://h/api", "https://h/api", ["h", "https://h/?a=b", True]),
    "S2S_PARTNERSTACK_PUBLIC_KEY": ("pk", "pk", ["", 5, False]),
    "S2S_PARTNERSTACK_SECRET_KEY": ("sk", "sk", ["", 1e5, "a\nb"]),
    "S2S_PROXY": ("http://p:3128/", "http://p:3128", ["p:3128", "http://p", "socks5://p:1", 5]),
    "S2S_CA_BUNDLE": ("/etc/ca.pem", "/etc/ca.pem", ["", 5]),
    "S2S_TRUST_ENV": ("true", True, ["yes", 2]),
    "S2S_DATABASE_URI": ("sqlite:///x", "sqlite:///x", ["", 5]),
    "S2S_SCHEMA": ("crm", "crm", ["", 5]),
    "S2S_DATABASE_OPTIONS": ({"pool_size": 2}, {"pool_size": 2}, ["", "pool_size=2", 5, {1: 2}]),
    "S2S_WINDOW": (
        30,
        timedelta(days=30),
        [0, -1, "30", True, NAN, ENDLESS, 1e300, 5000, {"a": 0}, {"a": "30"}, {1: 30}, {"": 30}],
    ),
    "S2S_ATTRIBUTION": ("first", "first", ["", "First", "linear", True]),
    "S2S_COOKIE_NAME": ("ref", "ref", ["", "a b", "a;b", "a=b", "ä", 5]),
    "S2S_COOKIE_DOMAIN": (".Example.org", "example.org", ["", "a b", "x; Secure", "localhost", 5]),
    "S2S_CARRY": ("auto", "auto", ["", "on", True, "Auto"]),
    "S2S_STRIP_PARAMS": ("true", True, ["", "yes", 2]),
    "S2S_KEEP_LANDING": ("false", False, ["", "no", 2]),
    "S2S_SCRIPT_COOKIES": ("0", False, ["", "no", 2]),
    "S2S_ROBOTS": (len, len, ["listed", True, 1, _later, _one_by_one]),
    "S2S_CONSENT": (len, len, ["granted", True, 1, _later, _Later(), _one_by_one]),
    "S2S_GPC": ("deny", "deny", ["", "honour", True]),
    "S2S_IDENTIFY": ("verified", "verified", ["", "proved", True]),
    "S2S_RULE": (_rule, _rule, ["none", True, 1, repr, len, _later, _one_by_one]),
    "S2S_RULE_ERROR": ("review", "review", ["", "refuse", True]),
    "S2S_CUSTOMERS": (
        "select 1, 2",
        "select 1, 2",
        ["", "users", "DELETE FROM x", 5, True, [], _later],
    ),
    "S2S_REPORT_ZONE": (
        "Europe/Berlin",
        ZoneInfo("Europe/Berlin"),
        ["", "Berlin", "/etc/passwd", "../etc", "Europe", "a\0b", 1, True],
    ),
    "S2S_CLICK_RATE": (0, 0.0, [-1, "5", True, NAN, ENDLESS]),
    "S2S_CLICK_DAY": (0, 0, [-1, "5", True, 1.5]),
    "S2S_WORKER": ("external", "external", ["", "thread", False]),
    "S2S_CONCURRENCY": (1, 1, [0, -1, 1.5, "8", True]),
    "S2S_RATE": (0.5, 0.5, [0, -1, "5", NAN]),
    "S2S_RECORD_WAIT": (0.5, timedelta(seconds=0.5), [0, -1, "2", NAN, 61, timedelta(hours=1)]),
    "S2S_LEASE": (3, timedelta(seconds=3), [2.9, 0, "60", NAN, 10**9, timedelta(days=2)]),
    "S2S_GIVE_UP": (timedelta(hours=1), timedelta(hours=1), [0, -3, "30", NAN, 10**9]),
    "S2S_SEND_PII": ("hash", "hash", ["", "plaintext", True]),
    "S2S_SEND_CLIENT": ("False", False, ["", "yes", "off", 2, 0.5, []]),
    "S2S_DRY_RUN": ("1", True, ["", "on", "no", 2]),
}
PAIR = {"S2S_PARTNERSTACK_PUBLIC_KEY": "pk", "S2S_PARTNERSTACK_SECRET_KEY": "sk"}


def read(**config: Any) -> Settings:
    return Settings.from_mapping({"SECRET_KEY": "for tests", **config})


def context(key: str) -> dict[str, Any]:
    """Return what must be set beside a setting."""
    if key == "S2S_DATABASE_OPTIONS":
        return {"S2S_DATABASE_URI": "postgresql://postgres@127.0.0.1/x"}
    return PAIR if key in PAIR else {}


def from_environment(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Mapping[str, Any]:
    app = Flask(__name__)
    for name, value in {"SECRET_KEY": "for tests", **variables}.items():
        monkeypatch.setenv(f"FLASK_{name}", value)
    app.config.from_prefixed_env()
    return app.config


def test_every_setting_is_listed_here() -> None:
    assert set(KEYS) - set(SETTINGS) == set()


@pytest.mark.parametrize("key", SETTINGS)
def test_a_good_value_is_taken(key: str) -> None:
    good, becomes, _ = SETTINGS[key]
    settings = read(**{**context(key), key: good})
    assert getattr(settings, KEYS[key][0]) == becomes


@pytest.mark.parametrize(
    ("key", "bad"), [(key, bad) for key, (_, _, refused) in SETTINGS.items() for bad in refused]
)
def test_a_bad_value_is_refused_with_its_key_and_a_remedy(key: str, bad: object) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**{**context(key), key: bad})
    assert caught.value.key == key
    assert str(caught.value).startswith(f"{key} ")
    assert caught.value.remedy
    assert str(caught.value).endswith(caught.value.remedy)


@pytest.mark.parametrize("key", [key for key in SETTINGS if key != "S2S_COOKIE_DOMAIN"])
def test_none_means_unset(key: str) -> None:
    assert read(**{key: None}) == read()


@given(key=st.sampled_from(sorted(SETTINGS)), value=st.from_type(object) | st.floats() | st.text())
def test_no_value_of_any_kind_raises_anything_but_a_config_error(key: str, value: object) -> None:
    try:
        read(**{key: value})
    except ConfigError:
        return


def test_a_cookie_domain_of_none_means_host_only_and_is_not_the_default() -> None:
    assert read(S2S_COOKIE_DOMAIN=None).cookie_domain is None
    assert read().cookie_domain == "auto"


# -- from the environment -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"), [("False", False), ("false", False), ("0", False), ("true", True)]
)
def test_a_boolean_in_the_environment_means_what_it_says(
    monkeypatch: pytest.MonkeyPatch, text: str, value: bool
) -> None:
    config = from_environment(monkeypatch, S2S_DRY_RUN=text, S2S_SEND_CLIENT=text)
    settings = Settings.from_mapping(config)
    assert (settings.dry_run, settings.send_client) == (value, value)


@pytest.mark.parametrize("text", ["1e5", "123456", "0", "true", "NaN", "-7.50"])
def test_a_token_that_the_environment_turns_into_a_number_is_refused_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.from_mapping(from_environment(monkeypatch, S2S_TOKEN=text))
    assert "FLASK_S2S_TOKEN='\"...\"'" in caught.value.remedy
    assert "S2S_TOKEN_FILE" in caught.value.remedy
    cured = from_environment(monkeypatch, S2S_TOKEN=f'"{text}"')
    assert Settings.from_mapping(cured).token == (text,)


@pytest.mark.parametrize("key", ["SECRET_KEY", "S2S_SECRET_KEY"])
def test_a_key_that_the_environment_turns_into_a_number_is_refused(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.from_mapping(from_environment(monkeypatch, **{key: "20260101"}))
    assert caught.value.key == key


def test_tokens_in_the_environment_may_be_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    config = from_environment(monkeypatch, S2S_TOKEN='["new", "old"]')
    assert Settings.from_mapping(config).token == ("new", "old")


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("S2S_TOKENS", "S2S_TOKEN"),
        ("S2S_TOKENFILE", "S2S_TOKEN_FILE"),
        ("S2S_PARTNERSTACK_TOKEN", "S2S_TOKEN"),
        ("S2S_COOKIEDOMAIN", "S2S_COOKIE_DOMAIN"),
        ("S2S_DATABASE_URL", "S2S_DATABASE_URI"),
        ("S2S_SECRETKEY", "S2S_SECRET_KEY"),
        ("S2S_dry_run", "S2S_DRY_RUN"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"^{typed} is not a setting. Did you mean {meant}"):
        read(**{typed: "x"})


def test_an_unknown_setting_like_no_other_is_refused_too() -> None:
    with pytest.raises(ConfigError, match=r"docs/settings\.md"):
        read(S2S_Q=1)


def test_settings_of_others_are_none_of_our_business() -> None:
    assert read(SQLALCHEMY_DATABASE_URI="x", MAIL_TOKEN=5) == read()


# -- settings that go together --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "key"),
    [
        pytest.param({"S2S_TOKEN": "a", "S2S_TOKEN_FILE": "b"}, "S2S_TOKEN", id="two sources"),
        pytest.param(
            {"S2S_PARTNERSTACK_PUBLIC_KEY": "pk"}, "S2S_PARTNERSTACK_SECRET_KEY", id="half a pair"
        ),
        pytest.param(
            {"S2S_PARTNERSTACK_SECRET_KEY": "sk"}, "S2S_PARTNERSTACK_PUBLIC_KEY", id="other half"
        ),
        pytest.param({"S2S_COOKIE_NAME": "__Host-s2s"}, "S2S_COOKIE_NAME", id="__Host- for all"),
        pytest.param({"S2S_COOKIE_NAME": "session"}, "S2S_COOKIE_NAME", id="Flask's session"),
        pytest.param({"SESSION_COOKIE_NAME": "s2s"}, "S2S_COOKIE_NAME", id="the session is ours"),
        pytest.param({"REMEMBER_COOKIE_NAME": "s2s"}, "S2S_COOKIE_NAME", id="a log-in's"),
        pytest.param({"SECRET_KEY": None}, "SECRET_KEY", id="no key"),
        pytest.param({"SECRET_KEY_FALLBACKS": "old"}, "SECRET_KEY_FALLBACKS", id="one fallback"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(config: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**config)
    assert caught.value.key == key
    assert caught.value.remedy


@pytest.mark.parametrize("given", [["sandbox-token", "real"], ("real", "sandbox-token")])
def test_the_sandbox_s_token_beside_a_real_one_is_refused(given: object) -> None:
    with pytest.raises(ConfigError, match="sandbox's token beside real ones"):
        read(S2S_TOKEN=given)


@pytest.mark.parametrize(
    "copied",
    [
        *('"tok"', "'tok'", "${S2S_TOKEN}", "$S2S_TOKEN", "{{token}}", "<token>", "%TOKEN%"),
        *("None", "null", "undefined"),
    ],
)
def test_a_token_that_nobody_filled_in_is_refused_at_start(copied: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(S2S_TOKEN=copied)
    assert caught.value.key == "S2S_TOKEN"
    assert copied not in str(caught.value)


def test_the_sandbox_s_token_alone_is_a_token() -> None:
    assert read(S2S_TOKEN="sandbox-token").token == ("sandbox-token",)
    assert read(S2S_TOKEN=["sandbox-token"]).token == ("sandbox-token",)


def test_a_callable_is_not_called_when_settings_are_read() -> None:
    def source() -> str:
        raise AssertionError("called")

    assert read(S2S_TOKEN=source).token is source


def test_the_newest_key_signs_and_the_older_ones_still_read() -> None:
    assert read(SECRET_KEY_FALLBACKS=["old", None]).secret_keys == ("old", "for tests")
    assert read(SECRET_KEY_FALLBACKS=None).secret_keys == ("for tests",)
    new, old = "n" * 16, "o" * 16
    assert read(S2S_SECRET_KEY=[new, old]).secret_keys == (old, new)
    assert read(S2S_SECRET_KEY=b"sixteen bytes...").secret_keys == (b"sixteen bytes...",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("S2S_WINDOW", "x"),
        ("S2S_TOKEN", "sec\nret"),
        ("S2S_DATABASE_URI", "postgresql+nope://u:sec.ret@h/x"),
        ("S2S_PROXY", "u:sec.ret@proxy.example"),
        ("S2S_SECRET_KEY", "sec.ret"),
        ("S2S_UNKNOWN", "sec.ret"),
    ],
)
def test_no_variable_of_a_refused_setting_shows_a_secret(
    tmp_path: Path, name: str, value: str
) -> None:
    """Services that collect errors keep the variables of each frame."""
    app = Flask(__name__, instance_path=str(tmp_path))
    app.config.from_object(_Secrets)
    app.config[name] = value
    with pytest.raises(ConfigError) as raised:
        S2S(app)
    del value
    kept = TracebackException.from_exception(raised.value, capture_locals=True)
    assert name in str(kept)
    told = [line for line in kept.format() if _Secrets.MARK.search(line)]
    assert told == []


class _Secrets:
    MARK = re.compile("sec[^a-z]+ret")
    SECRET_KEY = "sec-ret" * 5
    S2S_TOKEN = "sec-ret"
    S2S_PARTNERSTACK_PUBLIC_KEY = "sec-ret"
    S2S_PARTNERSTACK_SECRET_KEY = "sec-ret"
