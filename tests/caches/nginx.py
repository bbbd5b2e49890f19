"""A real nginx with a cache in front of a real site, as processes and ports of this test alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from werkzeug.serving import make_server

from tests.servers.running import free_port
from tests.services import unavailable
from tests.waiting import wait_until

VARIABLE = "S2S_TEST_NGINX"
#: It keeps no Debian package's defaults, and no process beside the one that serves.
CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_cache_path {folder}/cache keys_zone=pages:1m;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_set_header Host $http_host;
            proxy_cache pages;
            add_header X-Cache $upstream_cache_status always;
            {rules}
        }}
    }}
}}
"""


def executable() -> str:
    """The program; Debian keeps it where an ordinary user's PATH does not lead."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    found = shutil.which(os.environ.get(VARIABLE) or "nginx", path=path)
    if found is None:
        unavailable("nginx", VARIABLE, "it is not installed")
    assert found is not None
    return found


class Cache:
    """The address that visitors talk to."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def get(self, address: str, **headers: str) -> requests.Response:
        """Ask as a browser that keeps nothing between two requests."""
        said = {"Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "cross-site"}
        said |= {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.get(self._url + address, headers=said, timeout=30, allow_redirects=False)


@contextlib.contextmanager
def cached(app: Any, folder: Path, rules: str = "") -> Iterator[Cache]:
    """Serve `app` behind nginx, whose cache also does what `rules` say."""
    program = executable()
    site = make_server("127.0.0.1", 0, app, threaded=True)
    serving = threading.Thread(target=site.serve_forever, daemon=True)
    serving.start()
    port = free_port()
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text(
        CONFIG.format(folder=folder, port=port, upstream=site.server_port, rules=rules)
    )
    process = subprocess.Popen(
        [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def listens() -> bool:
        assert process.poll() is None, (folder / "error.log").read_text()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        return False

    try:
        wait_until(listens, 30, what="nginx listens")
        yield Cache(port)
    finally:
        process.terminate()
        process.wait(30)
        site.shutdown()
        serving.join()
        site.server_close()
