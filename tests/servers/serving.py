"""The site under servers that have no command line, or none that calls a factory.

python -m tests.servers.serving cheroot 8000
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from typing import Any

from tests.servers.site import create_app


def create_asgi() -> Any:
    """Return the site for an ASGI server (uvicorn)."""
    return import_module("a2wsgi").WSGIMiddleware(create_app())


def cheroot(port: int) -> None:
    server = import_module("cheroot.wsgi").Server(("127.0.0.1", port), create_app())
    try:
        server.start()
    except KeyboardInterrupt:
        server.stop()


def bjoern(port: int) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        import_module("bjoern").run(create_app(), "127.0.0.1", port)


#: Where Debian has Apache's modules; `mod_wsgi` is of one Python alone.
MODULES = pathlib.Path("/usr/lib/apache2/modules")
MOD_WSGI = MODULES / f"mod_wsgi.so-{sys.version_info[0]}.{sys.version_info[1]}"
_APACHE = """
ServerRoot {folder}
ServerName localhost
PidFile {folder}/pid
Mutex file:{folder}
ErrorLog /proc/self/fd/2
Listen 127.0.0.1:{port}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule wsgi_module {mod_wsgi}
WSGISocketPrefix {folder}/wsgi
WSGIDaemonProcess shop processes=2 threads=4 home={folder} python-path={path}
WSGIProcessGroup shop
WSGIApplicationGroup %{{GLOBAL}}
WSGIScriptAlias / {folder}/site.wsgi
<Directory {folder}>
Require all granted
</Directory>
"""


#: Apache and mod_wsgi refuse to be root's; nobody may be let read the folders that root tests in.
_AS_NOBODY = (
    *("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"),
    *("--inh-caps=+dac_override", "--ambient-caps=+dac_override"),
)


def mod_wsgi(port: int) -> None:
    """Become Apache."""
    folder = pathlib.Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    (folder / "site.wsgi").write_text(
        "from tests.servers.site import create_app\n\napplication = create_app()\n"
    )
    names = {"folder": folder, "port": port, "modules": MODULES, "mod_wsgi": MOD_WSGI}
    # Without the standard library: it has one of its own, of another build perhaps.
    ours = [one for one in sys.path[1:] if not pathlib.Path(one).is_relative_to(sys.base_prefix)]
    path = ":".join(filter(None, [*ours, os.environ.get("PYTHONPATH", "")]))
    settings = folder / "apache.conf"
    settings.write_text(_APACHE.format(**names, path=path))
    apache = str(shutil.which("apache2", path=f"{os.environ['PATH']}:/usr/sbin"))
    as_somebody = [] if os.geteuid() else _AS_NOBODY
    command = [*as_somebody, apache, "-f", str(settings), "-D", "FOREGROUND"]
    # Its Python looks for its own home along the path, where an activated environment's may be first.
    os.execvpe(command[0], command, {**os.environ, "PATH": os.defpath})


SERVERS: dict[str, Callable[[int], None]] = {
    "bjoern": bjoern,
    "cheroot": cheroot,
    "mod_wsgi": mod_wsgi,
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](int(sys.argv[2]))
