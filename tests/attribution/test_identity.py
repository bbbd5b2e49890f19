"""A click that was bound to an e-mail address or a user's ID is found where the browser lost it."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from werkzeug.test import create_environ

from flask_s2s import S2S, UsageError
from flask_s2s.cli import s2s as commands
from flask_s2s.rules.identity import email_of, identities, user_of
from flask_s2s.store.privacy.keyring import Key, unwrap, wrap
from tests.attribution.conftest import MakeSite
from tests.attribution.site import Browser, Site


def test_cookies_are_lost_after_a_lead_form_and_the_sign_up_is_credited(
    site: Site, browser: Browser
) -> None:
    browser.land("ps_xid=abc&gspk=MTIz")
    assert browser.lead(email="Ada@Shop.Example ") is True
    browser.cookies.clear()
    site.clock.advance(days=60)

    assert browser.sign_up("42", "ada@shop.example")[1:] == ("identity", "abc")
    (row,) = site.rows()
    assert row["click"]["partner_key"] == "123"


def test_another_device_is_credited(site: Site, browser: Browser) -> None:
    browser.land("ps_xid=abc")
    browser.lead(email="ada@shop.example")

    telephone = Browser(site)
    assert telephone.sign_up("42", "ada@shop.example")[1:] == ("identity", "abc")


def test_a_confirmation_that_is_opened_on_another_device_is_credited_by_the_users_id(
    site: Site, browser: Browser
) -> None:
    """The visitor registers here; the link in the e-mail is opened there, and makes the customer."""
    browser.land("ps_xid=abc")
    browser.lead(user_id="42")

    assert Browser(site).sign_up("42")[1:] == ("identity", "abc")


def test_a_browser_without_cookies_binds_the_click_that_its_page_carries(site: Site) -> None:
    browser = Browser(site, keeps_cookies=False)
    page = browser.browse(browser.land("ps_xid=abc"))
    assert browser.lead(page, email="ada@shop.example") is True
    site.clock.advance(days=1)

    assert browser.sign_up("42", "ada@shop.example")[1:] == ("identity", "abc")


def test_a_click_survives_a_session_that_rotates(site: Site, browser: Browser) -> None:
    browser.land("ps_xid=abc")
    browser.log_in("ada")
    browser.log_in("grace")

    assert browser.sign_up("42")[1:] == ("cookie", "abc")


def test_a_webhook_is_credited_by_what_was_bound(site: Site, browser: Browser) -> None:
    browser.land("ps_xid=abc")
    browser.lead(email="ada@shop.example")

    delivery = site.services.track_signup(customer_key="42", email="ada@shop.example")
    assert delivery
    assert delivery.reason == "identity"
    unknown = site.services.track_signup(customer_key="43", email="grace@shop.example")
    assert unknown
    assert unknown.reason == "outside_request"


def test_an_address_that_a_stranger_typed_never_outranks_a_click_of_the_browser(
    site: Site, browser: Browser
) -> None:
    stranger, without_cookies = Browser(site), Browser(site, keeps_cookies=False)
    browser.land("ps_xid=mine")
    page = without_cookies.browse(without_cookies.land("ps_xid=carried"))
    site.clock.advance(hours=1)
    stranger.land("ps_xid=theirs")
    assert stranger.lead(email="ada@shop.example")

    assert browser.sign_up("1", "ada@shop.example")[1:] == ("cookie", "mine")
    assert without_cookies.sign_up("2", "ada@shop.example", page)[1:] == ("carried", "carried")
    assert Browser(site).sign_up("3", "ada@shop.example")[1:] == ("identity", "theirs")


def test_the_networks_own_script_ranks_below_a_binding(site: Site, browser: Browser) -> None:
    browser.land("ps_xid=bound")
    browser.lead(email="ada@shop.example")

    other = Browser(site)
    other.cookies["ps_xid", ""] = "script"
    assert other.sign_up("1", "ada@shop.example")[1:] == ("identity", "bound")
    assert other.sign_up("2", "grace@shop.example")[1:] == ("script_cookie", "script")


def test_a_binding_past_its_window_says_so(site: Site, browser: Browser) -> None:
    browser.land("ps_xid=abc")
    site.clock.advance(days=30)
    browser.lead(email="ada@shop.example")
    site.clock.advance(days=60)
    assert Browser(site).sign_up("1", "ada@shop.example")[1:] == ("identity", "abc")
    site.clock.advance(seconds=1)
    assert Browser(site).sign_up("2", "ada@shop.example")[1:] == ("expired", None)
    assert Browser(site).sign_up("3", "grace@shop.example")[1:] == ("no_click", None)


@pytest.mark.parametrize(("policy", "expected"), [("last", "b"), ("first", "a")])
def test_the_policy_decides_between_two_bindings(
    make_site: MakeSite, policy: str, expected: str
) -> None:
    site = make_site(S2S_ATTRIBUTION=policy)
    early, late = Browser(site), Browser(site)
    early.land("ps_xid=a")
    site.clock.advance(days=1)
    late.land("ps_xid=b")
    # Told in the other order: what counts is when the visitor came.
    for browser in (late, early, late, early):
        assert browser.lead(email="ada@shop.example") is True

    assert Browser(site).sign_up("1", "ada@shop.example")[2] == expected
    (lost,) = site.row_of("1")["touches"]
    assert {lost["click_id"], expected} == {"a", "b"}


def test_an_old_first_click_gives_way_to_one_that_counts(make_site: MakeSite) -> None:
    site = make_site(S2S_ATTRIBUTION="first")
    early, late = Browser(site), Browser(site)
    early.land("ps_xid=a")
    early.lead(email="ada@shop.example")
    site.clock.advance(days=91)
    late.land("ps_xid=b")
    late.lead(email="ada@shop.example")

    assert Browser(site).sign_up("1", "ada@shop.example")[1:] == ("identity", "b")


def test_without_a_click_or_an_identity_nothing_is_written(site: Site, browser: Browser) -> None:
    assert browser.lead(email="ada@shop.example") is False
    browser.land("ps_xid=abc")
    for fields in (
        {},
        {"email": ""},
        {"email": "no address"},
        {"user_id": ""},
        {"user_id": "None"},
    ):
        assert browser.lead(**fields) is False
    with site.app.app_context():
        assert site.s2s.identify(email="ada@shop.example") is False
    assert site.rows("binding") == []


def test_what_is_stored_names_nobody(site: Site, browser: Browser) -> None:
    # In letters that no hash has.
    browser.land("ps_xid=abc")
    browser.lead(email="zoe@shop.example", user_id="customer-number")
    stored = repr(site.rows("binding"))
    assert len(site.rows("binding")) == 2
    assert "zoe" not in stored
    assert "customer-n" not in stored
    named = identities("zoe@shop.example", "customer-number")
    assert "zoe" not in repr(named)
    assert "customer-n" not in repr(named)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (" Ada@Shop.Example\n", "ada@shop.example"),
        ("ada+news@shop.example", "ada+news@shop.example"),
        ("a.da@gmail.com", "a.da@gmail.com"),
        ("ada@BÜCHER.example.", "ada@xn--bcher-kva.example"),
        ("ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
        ("ada@xn--strae-oqa.example", "ada@strasse.example"),
        ("ada@STRA\u1e9eE.example", "ada@strasse.example"),
        ("ada@x\u3002xn--strae-oqa", "ada@x.strasse"),
        ("ada@xn--\u2603.xn--a-.example", "ada@xn--\u2603.xn--a-.example"),
        ("ju\u0308rgen@shop.example", "jürgen@shop.example"),
        ('"a@b"@shop.example', '"a@b"@shop.example'),
        ("Ada L. <ada@shop.example>", "ada@shop.example"),
        ("MailTo:ada@shop.example", "ada@shop.example"),
        ("Ada <mailto:ada@shop.example>", "ada@shop.example"),
        ("\ufeffada@shop\u200b.example\u00a0", "ada@shop.example"),
        ("ada\uff20shop.example", "ada@shop.example"),
        ("\uff41da@\uff33hop.example", "ada@shop.example"),
        ("mailto:ada@shop.example?subject=Hello", "ada@shop.example"),
        ("ada@shop.example, ", "ada@shop.example"),
        ("ada@shop.example>", "ada@shop.example"),
        ("'ada@shop.example';", "ada@shop.example"),
        ("<>", None),
        ("mailto:", None),
        ("ada@" + "x" * 70 + ".example", "ada@" + "x" * 70 + ".example"),
        ("", None),
        ("ada", None),
        ("@shop.example", None),
        ("ada@", None),
        ("ada@.", None),
        ("a\x00da@shop.example", None),
        ("\ud800@shop.example", None),
        ("x" * 320 + "@shop.example", None),
        (None, None),
        (42, None),
    ],
)
def test_one_address_has_one_spelling(given: object, expected: str | None) -> None:
    assert email_of(given) == expected


@given(st.one_of(st.text(), st.tuples(st.text(), st.text()).map("@".join)))
@example("\u212aate@\u212a.example")
@example("a@\u3002")
@example("a@xn--xn--strae-oqa-.example")
@example("a@x\u3002xn--strae-oqa")
def test_the_one_spelling_is_its_own(text: str) -> None:
    """Normalising twice is normalising once; else an address, stored and given back, would be another."""
    address = email_of(text)
    assert address is None or email_of(address) == address
    Key(b"key").hash("email", address or "")


def test_one_users_id_has_one_spelling() -> None:
    assert user_of(42) == user_of("42") == user_of(" 42 ") == "42"
    assert [user_of(none) for none in (None, "", "None", True, 4.2, object())] == [None] * 6


def test_an_id_is_no_address(site: Site, browser: Browser) -> None:
    """Else whoever may choose an ID could choose somebody's address."""
    browser.land("ps_xid=abc")
    browser.lead(user_id="ada@shop.example")
    assert Browser(site).sign_up("1", "ada@shop.example")[1:] == ("no_click", None)


# -- keys -----------------------------------------------------------------------------------------


OLD = "the old one, of thirty-two letters"
NEW = "the new one, of thirty-two letters"


def beginning_anew() -> str:
    """Return the statement of docs/privacy.md for a secret that is lost."""
    page = (Path(__file__).parents[2] / "docs" / "privacy.md").read_text("utf-8")
    (statement,) = re.findall(r"^```sql\n(DELETE .*?;)\n```$", page, re.MULTILINE)
    return str(statement)


def test_rotating_secret_key_loses_nothing_while_the_old_one_is_listed(
    make_site: MakeSite,
) -> None:
    browser = Browser(make_site(SECRET_KEY=OLD))
    browser.land("ps_xid=abc")
    browser.lead(email="ada@shop.example")
    before = {row["name"]: row["value"] for row in browser.site.rows("meta")}

    browser.site = make_site(SECRET_KEY=NEW, SECRET_KEY_FALLBACKS=[OLD])
    browser.cookies.clear()
    assert browser.sign_up("1", "ada@shop.example")[1:] == ("identity", "abc")
    after = {row["name"]: row["value"] for row in browser.site.rows("meta")}
    assert before.keys() == after.keys()
    assert {name for name in after if after[name] != before[name]} == {"identity_key", "person_key"}

    # Wrapped anew, the old one is not needed any more.
    browser.site = make_site(SECRET_KEY=NEW)
    assert browser.sign_up("2", "ada@shop.example")[1:] == ("identity", "abc")


def test_keys_that_nothing_opens_find_nobody_and_fail_nothing(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    browser = Browser(make_site(SECRET_KEY=OLD))
    browser.land("ps_xid=abc")
    browser.lead(email="ada@shop.example")

    site = make_site(SECRET_KEY=NEW)
    newcomer = Browser(site)
    assert newcomer.sign_up("1", "ada@shop.example")[1:] == ("no_click", None)
    newcomer.land("ps_xid=def")
    assert newcomer.lead(email="grace@shop.example") is False
    assert "s2s.identity.no_key" in caplog.text
    assert newcomer.sign_up("2", "grace@shop.example")[1:] == ("cookie", "def")
    result = site.app.test_cli_runner().invoke(commands, ["check"])
    assert result.exit_code == 1
    assert "identity keys" in result.output
    assert "SECRET_KEY_FALLBACKS" in result.output

    with site.services.storage.engine().begin() as connection:
        connection.exec_driver_sql(beginning_anew())
    site = newcomer.site = make_site(SECRET_KEY=NEW)
    assert newcomer.lead(email="grace@shop.example") is True
    assert Browser(site).sign_up("3", "grace@shop.example")[1:] == ("identity", "def")


def test_a_dump_of_the_database_opens_no_key(site: Site, browser: Browser) -> None:
    browser.land("ps_xid=abc")
    browser.lead(email="ada@shop.example")
    stored = [row["identity"] for row in site.rows("binding")]
    dumped = " ".join(row["value"] for row in site.rows("meta"))
    for guess in re.findall(r"[0-9a-f]{32,}", dumped):
        for secret in (bytes.fromhex(guess), guess.encode()):
            assert Key(secret).hash("email", "ada@shop.example") not in stored


def test_a_wrapped_key_opens_under_its_secret_and_its_name_only() -> None:
    key, salt = bytes(range(32)), bytes(16)
    wrapped = wrap(key, b"secret", "person_key", salt)
    assert unwrap(wrapped, b"secret", "person_key") == key
    assert unwrap(wrapped, b"secret", "identity_key") is None
    assert unwrap(wrapped, b"Secret", "person_key") is None
    assert key.hex() not in wrapped
    for place in range(3, len(wrapped)):
        changed = wrapped[:place] + ("A" if wrapped[place] != "A" else "B") + wrapped[place + 1 :]
        assert unwrap(changed, b"secret", "person_key") is None, place
    for odd in ("", "w1.", "w1.!", wrapped[:-4], "w2" + wrapped[2:], "w1.é"):
        assert unwrap(odd, b"secret", "person_key") is None


# -- transactions ---------------------------------------------------------------------------------


def _landed(site: Site) -> dict[str, str]:
    browser = Browser(site)
    browser.land("ps_xid=abc")
    return {"Cookie": "; ".join(f"{name}={value}" for (name, _), value in browser.cookies.items())}


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_with_a_session_it_is_one_with_its_transaction(
    make_site: MakeSite, database_url: str, ends: str
) -> None:
    site = make_site(database_url)
    engine = create_engine(database_url)
    with site.app.test_request_context(headers=_landed(site)), Session(engine) as session:
        assert site.s2s.identify(email="ada@shop.example", session=session) is True
        getattr(session, ends)()
    engine.dispose()

    assert len(site.rows("binding")) == (1 if ends == "commit" else 0)


def test_an_asynchronous_view_binds(site: Site) -> None:
    async def lead() -> str:
        return str(site.s2s.identify(email="ada@shop.example"))

    site.app.add_url_rule("/async", view_func=lead, methods=["POST"])
    answer = site.app.test_client(use_cookies=False).post("/async", headers=_landed(site))
    assert answer.text == "True"
    assert len(site.rows("binding")) == 1


def test_without_flask_the_services_bind(site: Site) -> None:
    environ = create_environ("/lead", headers=_landed(site))
    assert site.services.identify(email="ada@shop.example", environ=environ) is True
    assert site.services.identify(email="ada@shop.example") is False


def test_a_session_that_cannot_be_joined_is_refused(site: Site) -> None:
    wrong: Any = object()
    with site.app.test_request_context(headers=_landed(site)), pytest.raises(UsageError):
        site.s2s.identify(email="ada@shop.example", session=wrong)


def test_a_database_that_fails_fails_no_page(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site(TESTING=False, S2S_WORKER="external")
    browser = Browser(site)
    browser.land("ps_xid=abc")
    site.services.storage.tables.binding.drop(site.services.storage.engine())
    site.services.storage.ours = False

    with caplog.at_level(logging.WARNING):
        assert browser.lead(email="ada@shop.example") is False
    assert "s2s.identity.late" in caplog.text
    assert "ada" not in caplog.text


def test_a_job_may_come_before_the_tables_of_our_own_file(tmp_path: object) -> None:
    app = Flask("job", instance_path=str(tmp_path))
    app.config.update(SECRET_KEY="for tests", TESTING=True)
    s2s = S2S(app)
    cookie = app.test_client(use_cookies=False).get("/?ps_xid=abc").headers["Set-Cookie"]
    services = app.extensions["s2s"]
    services.storage.metadata.drop_all(services.storage.engine())
    with app.test_request_context(headers={"Cookie": cookie.partition(";")[0]}):
        assert s2s.identify(email="ada@shop.example") is True
    services.close()
