"""`s2s_field()`, `s2s_url_for()` and `"helpers"` say what they are, once, and do no harm."""

from collections.abc import Callable

import pytest
from flask import render_template_string

from flask_s2s.blueprint import _tell
from tests.carrying.site import Browser, Site

TEMPLATE = "{{ s2s_field() }}|{{ s2s_url_for('page', name='pricing') }}|{{ s2s_field() }}"


def test_templates_of_before_work_and_are_told_of(
    make_site: Callable[..., Site], caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site(S2S_CARRY="helpers")
    site.app.add_url_rule("/old", view_func=lambda: render_template_string(TEMPLATE))
    _tell.cache_clear()
    browser = Browser(site.start().app)
    assert [browser.type("/old").page for _ in range(2)] == ["|/pricing|"] * 2
    told = [record.getMessage().partition(":")[0] for record in caplog.records]
    assert told == ["s2s.config.deprecated"] + ["s2s.template.deprecated"] * 2
    browser.type("/?ps_xid=Click1", "cross-site").open("/signup").submit("here", customer="42")
    assert site.reason("42") == "carried"
