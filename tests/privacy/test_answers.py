"""Answers of the site's callable and of the browser, and their meaning."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests.privacy.sites import Shop, cookies_of

Opening = Callable[..., Shop]


def answering(answer: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda environ: answer


@pytest.mark.parametrize(
    ("answer", "cookies"),
    [("granted", 1), (True, 1), ("pending", 0), (None, 0), ("denied", 0), (False, 0)],
)
def test_a_callable_may_answer_in_words_or_in_truth(
    open_shop: Opening, answer: Any, cookies: int
) -> None:
    landed = open_shop(S2S_CONSENT=answering(answer)).browser().land()
    assert len(cookies_of(landed)) == cookies


@pytest.mark.parametrize("answer", ["yes", "", 1, 0, object()])
def test_any_other_answer_is_told_and_grants_nothing(
    open_shop: Opening, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    shop = open_shop(S2S_CONSENT=answering(answer))
    landed = shop.browser().land()
    assert (landed.status_code, cookies_of(landed)) == (200, [])
    assert shop.rows("click") == []
    assert [record.action for record in caplog.records] == ["consent.failed"]  # type: ignore[attr-defined]


def test_a_callable_that_fails_fails_no_page_and_grants_nothing(
    open_shop: Opening, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(environ: dict[str, Any]) -> str:
        raise LookupError("the banner's table is gone")

    shop = open_shop(S2S_CONSENT=broken)
    browser = shop.browser()
    landed = browser.land()
    browser.post("/signup")
    assert (landed.status_code, cookies_of(landed)) == (200, [])
    assert (shop.rows("click"), shop.delivery()["reason"]) == ([], "consent_pending")
    assert {r.action for r in caplog.records} == {"consent.failed"}  # type: ignore[attr-defined]
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


# -- Global Privacy Control -----------------------------------------------------------------------


def test_global_privacy_control_denies_where_the_setting_says_so(open_shop: Opening) -> None:
    shop = open_shop(S2S_CONSENT=None, S2S_GPC="deny")
    browser = shop.browser(Sec_GPC="1")
    landed = browser.land()
    browser.post("/signup")
    assert (cookies_of(landed), shop.rows("click")) == ([], [])
    assert shop.delivery()["reason"] == "consent_denied"
    assert len(cookies_of(shop.browser().land())) == 1


def test_global_privacy_control_outranks_the_banner(open_shop: Opening) -> None:
    shop = open_shop(S2S_CONSENT=answering("granted"), S2S_GPC="deny")
    assert cookies_of(shop.browser(Sec_GPC="1").land()) == []
    assert len(cookies_of(shop.browser().land())) == 1


def test_global_privacy_control_is_ignored_by_default(open_shop: Opening) -> None:
    shop = open_shop(S2S_CONSENT=None)
    assert len(cookies_of(shop.browser(Sec_GPC="1").land())) == 1
