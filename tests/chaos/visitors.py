"""Visitors who come by a partner's link and sign up, many at once.

A visitor who cannot connect has sent nothing and knocks at the next door. One whose request broke
off does not try again: whether she is a customer, the site's own table says.

They come as fast as the site delivers: while more than `_BACKLOG` deliveries are due they only read
a page now and then (a site that nobody visits at all does not wake its embedded workers). An orphan
takes its turn behind what was due before it, and a queue that only grows would be measured instead
of the recovery.
"""

from __future__ import annotations

import http.client
import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlencode, urlsplit

from tests.chaos.plan import Plan
from tests.chaos.site import DOORS
from tests.waiting import wait_until

_PARTNERS = ("ada", "grace", "linus")
_SECONDS = 60.0
#: How many clicks the visitors of a run share.
_CLICKS = 24
_BACKLOG = 24
_LOOK_SECONDS = 0.1
_READ_EVERY = 5

Click = tuple[str, str]


def request(
    port: int, method: str, path: str, body: str | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Ask a server on this machine once. Raises what the connection does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def follow_links(plan: Plan) -> list[Click]:
    """Follow partners' links to the site; return each click's ID and cookie."""
    clicks = []
    for number in range(_CLICKS):
        link = f"/go/{_PARTNERS[number % 3]}?sid=chaos{number}"
        _, headers, _ = request(plan.network_port, "GET", link)
        page = urlsplit(headers["Location"])
        xid = page.query.partition("ps_xid=")[2].partition("&")[0]
        _, headers, _ = request(plan.web_ports[number % 2], "GET", f"/?{page.query}")
        clicks.append((xid, headers["Set-Cookie"].partition(";")[0]))
    return clicks


class Visitors:
    """Signs up customers `numbers`, in the order of their numbers."""

    def __init__(
        self, plan: Plan, clicks: list[Click], numbers: range, backlog: Callable[[], int]
    ) -> None:
        """`backlog` counts the deliveries that are due."""
        self._plan = plan
        self._clicks = clicks
        self._numbers = iter(numbers)
        self._total = len(numbers)
        self._lock = threading.Lock()
        self._backlog = backlog
        self._welcome = threading.Event()
        self._all_done = threading.Event()
        #: How the requests ended: a status, or "broken off".
        self.endings: Counter[str] = Counter()
        self._threads = [
            threading.Thread(target=self._come, name=f"visitors{n}", daemon=True)
            for n in range(plan.visitors)
        ]

    @property
    def share_done(self) -> float:
        return self.endings.total() / self._total

    def start(self) -> None:
        threading.Thread(target=self._throttle, name="throttle", daemon=True).start()
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
        self._all_done.set()

    def _throttle(self) -> None:
        looks = 0
        while not self._all_done.wait(_LOOK_SECONDS):
            looks += 1
            if self._backlog() <= _BACKLOG:
                self._welcome.set()
                continue
            self._welcome.clear()
            if looks % _READ_EVERY == 0:
                for port in self._plan.web_ports:
                    self._read_a_page(port)

    def _read_a_page(self, port: int) -> None:
        with suppress(OSError, http.client.HTTPException):
            request(port, "GET", "/")

    def _come(self) -> None:
        while True:
            self._welcome.wait()
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                return
            ending = self._sign_up(number)
            with self._lock:
                self.endings[ending] += 1

    def _sign_up(self, number: int) -> str:
        chance = random.Random(self._plan.seed * 1_000_003 + number)
        xid, cookie = chance.choice(self._clicks)
        form = {"key": f"c{self._plan.seed}-{number}", "xid": xid}
        form |= {"pays": "1"} if number % 8 == 0 else {}
        form |= {"acts": "1"} if number % 16 == 1 else {}
        path = f"/signup/{chance.choice(DOORS)}"
        ports = list(self._plan.web_ports)
        chance.shuffle(ports)
        knocks = iter(range(10**6))

        def knock() -> str:
            port = ports[next(knocks) % len(ports)]
            try:
                return str(self._post(port, path, form, cookie))
            except ConnectionRefusedError:
                return ""
            except (OSError, http.client.HTTPException):
                return "broken off"

        try:
            return wait_until(knock, _SECONDS, what="a web process")
        except AssertionError:
            return "no door opened"

    def _post(self, port: int, path: str, form: dict[str, str], cookie: str) -> int:
        kind = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie}
        return request(port, "POST", path, urlencode(form), **kind)[0]
