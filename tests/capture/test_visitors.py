"""Only a person's own navigation makes a click, or takes the place of one."""

from __future__ import annotations

from typing import Any

import pytest
from crawleruseragents import is_crawler

from tests.capture.sites import MakeSite, Site, cookie_of

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36"
)

NOBODY: dict[str, dict[str, Any]] = {
    "head": {"method": "HEAD"},
    "post": {"method": "POST"},
    "options": {"method": "OPTIONS"},
    "chrome-prefetch": {"HTTP_SEC_PURPOSE": "prefetch"},
    "chrome-prefetch-anonymous": {"HTTP_SEC_PURPOSE": "prefetch;anonymous-client-ip"},
    "chrome-prerender": {"HTTP_SEC_PURPOSE": "prefetch;prerender"},
    "prerender": {"HTTP_SEC_PURPOSE": "Prerender"},
    "old-chrome-prefetch": {"HTTP_PURPOSE": "prefetch"},
    "old-safari-preview": {"HTTP_X_PURPOSE": "preview"},
    "old-firefox-prefetch": {"HTTP_X_MOZ": "prefetch"},
    "fetch-that-looks-upgraded": {
        "HTTP_SEC_FETCH_DEST": "empty",
        "HTTP_SEC_FETCH_MODE": "cors",
        "HTTP_SEC_FETCH_SITE": "cross-site",
        "HTTP_UPGRADE_INSECURE_REQUESTS": "1",
    },
    **{
        f"dest-{dest or 'blank'}": {"HTTP_SEC_FETCH_DEST": dest}
        for dest in ("image", "iframe", "empty", "script", "style", "frame", "object", "font", "")
    },
    # What a service worker makes of a picture, of a script's request and of a bare address.
    **{
        f"forwarded-{mode}-{site}": {
            "HTTP_SEC_FETCH_DEST": "empty",
            "HTTP_SEC_FETCH_MODE": mode,
            "HTTP_SEC_FETCH_SITE": site,
            "HTTP_REFERER": "https://www.shop.example/sw.js",
        }
        for mode in ("cors", "no-cors", "same-origin", "websocket")
        for site in ("same-origin", "same-site", "cross-site", "none")
    },
    "other-site-as-a-worker": {
        "HTTP_SEC_FETCH_DEST": "empty",
        "HTTP_SEC_FETCH_MODE": "same-origin",
        "HTTP_SEC_FETCH_SITE": "cross-site",
        "HTTP_UPGRADE_INSECURE_REQUESTS": "1",
    },
    "worker-in-another-sites-frame": {
        "HTTP_SEC_FETCH_DEST": "empty",
        "HTTP_SEC_FETCH_MODE": "navigate",
        "HTTP_SEC_FETCH_SITE": "cross-site",
        "HTTP_SEC_FETCH_STORAGE_ACCESS": "none",
    },
    **{
        name: {"HTTP_USER_AGENT": agent}
        for name, agent in {
            "google": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "google-phone": "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) AppleWebKit/537.36 "
            "(KHTML, like Gecko) Chrome/126.0 Mobile Safari/537.36 (compatible; Googlebot/2.1)",
            "google-ads": "AdsBot-Google (+http://www.google.com/adsbot.html)",
            "bing": "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
            "yahoo": "Mozilla/5.0 (compatible; Yahoo! Slurp)",
            "baidu": "Mozilla/5.0 (compatible; Baiduspider/2.0)",
            "archive": "Mozilla/5.0 (compatible; archive.org_bot +http://archive.org/details)",
            "apple": "Mozilla/5.0 (Macintosh) Safari/605.1.15 (Applebot/0.1)",
            "gpt": "Mozilla/5.0 AppleWebKit/537.36; compatible; GPTBot/1.1; +https://openai.com",
            "semrush": "Mozilla/5.0 (compatible; SemrushBot/7~bl)",
            "mail-ru": "Mozilla/5.0 (compatible; Linux x86_64; Mail.RU_Bot/2.0)",
            "facebook": "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
            "slack": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
            "twitter": "Twitterbot/1.0",
            "linkedin": "LinkedInBot/1.0 (compatible; Mozilla/5.0; Jakarta Commons-HttpClient/3.1)",
            "discord": "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
            "telegram": "TelegramBot (like TwitterBot)",
            "whatsapp": "WhatsApp/2.23.20.0 A",
            "skype": "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
            "snapchat": "Mozilla/5.0 (compatible; Snap URL Preview Service; bot; snapchat)",
            "microsoft": "Mozilla/5.0 (compatible; MicrosoftPreview/2.0; +https://aka.ms)",
            "bluesky": "Mozilla/5.0 (compatible; Bluesky Cardyb/1.1; +mailto:support@bsky.app)",
            "mastodon": "Mastodon/4.3.0 (http.rb/5.2.0; +https://mastodon.example/)",
            "pinterest": "Pinterest/0.2 (+http://www.pinterest.com/)",
            "reddit": "Mozilla/5.0 (compatible; redditbot/1.0; +http://www.reddit.com/feedback)",
            "word": "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
            "office": "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.10730; Pro)",
            "office-looks": "Microsoft Office Existence Discovery",
            "lighthouse": "Mozilla/5.0 Chrome/126.0 Safari/537.36 Chrome-Lighthouse",
            "uptime": "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
        }.items()
    },
}

SOMEBODY: dict[str, dict[str, Any]] = {
    "chrome": {
        "HTTP_USER_AGENT": CHROME,
        "HTTP_SEC_FETCH_DEST": "document",
        "HTTP_SEC_FETCH_MODE": "navigate",
        "HTTP_SEC_FETCH_SITE": "cross-site",
    },
    "worker-forwards": {
        "HTTP_SEC_FETCH_DEST": "empty",
        "HTTP_SEC_FETCH_MODE": "navigate",
        "HTTP_SEC_FETCH_SITE": "cross-site",
    },
    "worker-forwards-with-options": {
        "HTTP_SEC_FETCH_DEST": "empty",
        "HTTP_SEC_FETCH_MODE": "same-origin",
        "HTTP_SEC_FETCH_SITE": "same-origin",
        "HTTP_UPGRADE_INSECURE_REQUESTS": "1",
    },
    "worker-preloads": {
        "HTTP_SEC_FETCH_DEST": "document",
        "HTTP_SEC_FETCH_MODE": "navigate",
        "HTTP_SERVICE_WORKER_NAVIGATION_PRELOAD": "true",
    },
    "no-headers": {},
    "old-page": {"HTTP_ACCEPT": "text/html,image/*;q=0.9,*/*;q=0.8", "HTTP_ORIGIN": "null"},
    "old-window": {"HTTP_ACCEPT": "image/gif, image/jpeg, application/x-ms-xbap, */*"},
    "any-page": {"HTTP_ACCEPT": "*/*", "HTTP_UPGRADE": "h2c"},
    "no-agent": {"HTTP_USER_AGENT": ""},
    **{
        name: {"HTTP_USER_AGENT": agent}
        for name, agent in {
            "firefox": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "safari": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
            "cubot": "Mozilla/5.0 (Linux; Android 10; CUBOT_X30) AppleWebKit/537.36 "
            "(KHTML, like Gecko) Chrome/126.0 Mobile Safari/537.36",
            "cubot-spaced": "Mozilla/5.0 (Linux; Android 9; CUBOT NOTE S Build/PPR1) Chrome/126.0",
            "cubot-alone": "Mozilla/5.0 (Linux; Android 9; Cubot; wv) Chrome/126.0 Mobile",
            "curl": "curl/8.8.0",
            "python": "python-requests/2.32.0",
            "headless": "Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/126.0.0.0 Safari/537.36",
            "facebook-app": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) "
            "Mobile/15E148 [FBAN/FBIOS;FBAV/468.0;FBDV/iPhone14,2]",
            "pinterest-app": "Mozilla/5.0 (Linux; Android 14) Chrome/126.0 [Pinterest/Android]",
            "outlook-phone": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) "
            "AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 Outlook-iOS/709.2226530",
            "outlook-window": "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0; "
            "Microsoft Outlook 16.0.5134; ms-office; MSOffice 16) like Gecko",
            "office-window": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, "
            "like Gecko) Chrome/126.0 Safari/537.36 Microsoft Office/16.0 Edg/126.0",
            "long": "x" * 100_000 + " Googlebot/2.1",
        }.items()
    },
}


def test_nobody_makes_no_click(site: Site) -> None:
    for name, request in NOBODY.items():
        answer = site.visit("ps_xid=new", **request)
        assert answer.status == "200 OK", name
        assert answer.cookie is None, name
    assert site.rows() == []


@pytest.mark.parametrize(
    "request_",
    [
        {"HTTP_ACCEPT": "image/webp,video/*;q=0.8,image/png,image/*;q=0.8,*/*;q=0.5"},
        {"HTTP_ACCEPT": "text/css,*/*;q=0.1"},
        {"HTTP_ACCEPT": "*/*", "HTTP_ORIGIN": "https://other.example"},
        {"HTTP_UPGRADE": "websocket"},
    ],
    ids=["picture", "style", "script", "socket"],
)
def test_where_no_header_says_what_it_is_for_others_tell_what_is_no_page(
    site: Site, request_: dict[str, Any]
) -> None:
    assert site.visit("ps_xid=new", **request_).cookie is None
    assert site.rows() == []


def test_nobody_takes_a_kept_clicks_place(site: Site) -> None:
    cookie = cookie_of(site.visit("ps_xid=kept", **SOMEBODY["chrome"]))
    site.clock.advance(seconds=1)
    for name, request in NOBODY.items():
        assert site.visit("ps_xid=new", cookie=cookie, **request).cookie is None, name
    assert [row["click_id"] for row in site.rows()] == ["kept"]


def test_somebody_makes_a_click(site: Site) -> None:
    for name, request in SOMEBODY.items():
        click = site.load(site.visit(f"ps_xid={name}", **request))
        assert click is not None, name
        assert click.click_id == name
    assert [row["click_id"] for row in site.rows()] == list(SOMEBODY)


def test_nobody_sees_the_click_of_the_url_either(site: Site) -> None:
    assert site.click_seen("ps_xid=new", **NOBODY["chrome-prerender"]) is None
    assert site.click_seen("ps_xid=new", **SOMEBODY["chrome"])[0] == "new"


def test_a_longer_list_of_robots_is_the_sites_own(make_site: MakeSite) -> None:
    headless = SOMEBODY["headless"]["HTTP_USER_AGENT"]
    site = make_site(S2S_ROBOTS=is_crawler)
    for agent in (
        headless,
        "Scrapy/2.11 (+https://scrapy.org)",
        "Mozilla/5.0 (Perplexity-User/1.0)",
    ):
        assert site.visit("ps_xid=new", HTTP_USER_AGENT=agent).cookie is None
    assert site.visit("ps_xid=new", HTTP_USER_AGENT=CHROME).cookie is not None
    assert [row["click_id"] for row in site.rows()] == ["new"]
    assert site.services.visitors.ignored == {"robot": 3}


def test_a_list_that_fails_loses_nobody(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(agent: str) -> bool:
        raise LookupError(agent)

    site = make_site(S2S_ROBOTS=fails)
    assert site.visit("ps_xid=new", HTTP_USER_AGENT=CHROME).cookie is not None
    assert [r.action for r in caplog.records] == ["robots.failed"]  # type: ignore[attr-defined]
