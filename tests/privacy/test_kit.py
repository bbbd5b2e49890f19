"""Consent without Flask: the callable has the environ, and the app what it is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ALONE = """
import sys
from http.cookies import SimpleCookie
from flask_s2s import S2SMiddleware, Services, Settings
from flask_s2s.testing import ScriptedTransport

def consent(environ):
    said = SimpleCookie(environ.get("HTTP_COOKIE", "")).get("banner")
    return "pending" if said is None else said.value

config = {"SECRET_KEY": "for-tests-only-0123456789", "S2S_TOKEN": "token", "S2S_WORKER": "external", "TESTING": True}
config |= {"S2S_CONSENT": consent}
transport = ScriptedTransport()
services = Services.build(Settings.from_mapping(config), folder=sys.argv[1], transport=transport)
services.supervisor.prepare()

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/signup":
        services.track_signup(customer_key=environ["HTTP_X_KEY"], environ=environ)
    if path == "/withdraw":
        print(services.withdraw(environ=environ))
    start_response("200 OK", [("Content-Type", "text/html")])
    click = environ["flask_s2s.click"]
    yield (click.click_id if click else "none").encode()

wrapped = S2SMiddleware(app, services)

def visit(path, query="", cookie="", key=""):
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": query}
    environ |= {"HTTP_HOST": "shop.example", "HTTP_COOKIE": cookie, "HTTP_X_KEY": key}
    environ |= {"HTTP_SEC_FETCH_SITE": "same-origin"}
    started = []
    body = b"".join(wrapped(environ, lambda *start: started.append(start)))
    cookies = [value for name, value in started[0][1] if name == "Set-Cookie"]
    print(path, len(cookies), body.decode())
    return cookies

visit("/", "ps_xid=abc")
visit("/", "ps_xid=abc", "banner=denied")
[kept] = visit("/", "ps_xid=abc", "banner=granted")
kept = kept.split(";")[0]
visit("/signup", "", f"{kept}; banner=pending", "1")
visit("/signup", "", f"{kept}; banner=granted", "2")
visit("/withdraw", "", f"{kept}; banner=granted")
rows = services.ledger.find()
print([(row.customer_key, str(row.status), row.reason) for row in rows])
print(services.touches.count(), services.drain(), "flask" in sys.modules)
"""

SAID = """\
/ 0 none
/ 0 none
/ 1 abc
/signup 0 none
/signup 0 abc
Erased(cookie=True, clicks=1, bindings=0, deliveries=1, in_flight=0, late=False)
/withdraw 2 abc
[('2', 'withdrawn', 'consent_denied'), ('1', 'unattributed', 'consent_pending')]
0 0 False
"""


def test_consent_and_withdrawal_load_no_flask(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", ALONE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.stderr == ""
    assert done.stdout == SAID
