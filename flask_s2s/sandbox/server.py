"""The stand-in over real HTTP: threaded, keep-alive, and able to fail below HTTP.

Werkzeug's development server closes every connection after one answer, because it cannot know
what is left unread. Here each request is read whole first (they are small), so connections stay
open as they do at the real network, and answers leave in one packet without Nagle's delay.
"""

import contextlib
import io
import os
import socket
import struct
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, NoReturn

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.wrappers import Response

from flask_s2s.sandbox.line import CONNECTION, MAX_BODY

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

#: How long a connection may stay open without a request, in seconds.
IDLE_SECONDS = 75


class _Server(ThreadedWSGIServer):
    request_queue_size = 256

    def __init__(self, app: "WSGIApplication", listener: socket.socket) -> None:
        self.stopping = threading.Event()
        self._live: dict[socket.socket, threading.Thread] = {}
        self._live_lock = threading.Lock()
        host, port = listener.getsockname()[:2]
        super().__init__(host, port, app, _Handler, fd=listener.fileno())

    def enter(self, connection: socket.socket) -> None:
        """Note a connection that the current thread serves."""
        with self._live_lock:
            self._live[connection] = threading.current_thread()

    def leave(self, connection: socket.socket) -> None:
        """Note that a connection is done."""
        with self._live_lock:
            self._live.pop(connection, None)

    def hang_up_all(self) -> None:
        """End every open connection and wait for the threads that served them."""
        self.stopping.set()
        with self._live_lock:
            live = dict(self._live)
        for connection in live:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the client or a fault was quicker
        for thread in live.values():
            thread.join(timeout=5)


class _Handler(WSGIRequestHandler):
    """One connection. Also the `Connection` that faults are played on."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = IDLE_SECONDS

    def setup(self) -> None:
        super().setup()
        self.server.enter(self.connection)

    def finish(self) -> None:
        self.server.leave(self.connection)
        with contextlib.suppress(OSError):
            # Closing sends what is left of an answer, and the client may have gone before it.
            self.wfile.close()
        super().finish()

    def run_wsgi(self) -> None:
        body = self._read_body()
        if body is None:
            self.close_connection = True
            self._send(Response(status=413))
            return
        environ = self.make_environ()
        environ["wsgi.input"] = io.BytesIO(body)
        environ["wsgi.input_terminated"] = True
        environ[CONNECTION] = self
        try:
            response = Response.from_app(self.server.app, environ, buffered=True)
        except _Ended:
            self.close_connection = True
            return
        self._send(response)

    def handle_expect_100(self) -> bool:
        """Tell a waiting client to go on, now rather than with the answer."""
        told = super().handle_expect_100()
        self.wfile.flush()
        return told

    def _read_body(self) -> bytes | None:
        """Return the whole body; None when it is too long or its length is not told."""
        if self.headers.get("Transfer-Encoding"):
            return None
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return None
        return self.rfile.read(int(length))

    def _send(self, response: Response) -> None:
        self.wfile.write(self._head(response))
        if self.command != "HEAD":
            self.wfile.write(response.get_data())
        self.wfile.flush()

    def _head(self, response: Response) -> bytes:
        phrase = HTTPStatus(response.status_code).phrase
        lines = [f"HTTP/1.1 {response.status_code} {phrase}"]
        lines.append("Server: sandbox")
        response.headers.setdefault("Date", self.date_time_string())
        response.headers.setdefault("Content-Length", str(len(response.get_data())))
        lines += [f"{name}: {value}" for name, value in response.headers]
        if self.close_connection:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def hang_up(self, after_seconds: float) -> NoReturn:
        """Hold the request without a byte of answer, then close the connection."""
        self.server.stopping.wait(after_seconds)
        raise _Ended

    def reset(self) -> NoReturn:
        """Reset the connection: closing with a linger time of zero sends RST instead of FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.server.leave(self.connection)
        os.close(self.connection.detach())
        raise _Ended

    def drip(self, response: Response, seconds: float) -> NoReturn:
        """Send an answer byte by byte over this time, then close the connection."""
        self.close_connection = True
        answer = self._head(response) + response.get_data()
        for position in range(len(answer)):
            if self.server.stopping.wait(seconds / len(answer)):
                break
            try:
                self.wfile.write(answer[position : position + 1])
                self.wfile.flush()
            except OSError:
                break  # the client lost its patience: that is what this is for
        raise _Ended

    def log(self, type: str, message: str, *args: object) -> None:
        """Say nothing: the network keeps a request log of its own."""


class _Ended(BaseException):
    """The connection was dealt with below HTTP; nothing is left to send.

    Not an `Exception`, so that no error handling on the way makes an answer of it.
    """


class SandboxServer:
    """A listening stand-in; usable as a context manager that starts and stops it."""

    def __init__(self, app: "WSGIApplication", host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family, backlog=256) as listener:
            self._server = _Server(app, listener)
        self._thread: threading.Thread | None = None
        self.host = host

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.port

    @property
    def url(self) -> str:
        """The base URL, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        """Serve in a thread of its own. It listens from the moment it was made."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._server.serve_forever,
                kwargs={"poll_interval": 0.05},
                name="sandbox",
                daemon=True,
            )
            self._thread.start()

    def stop(self) -> None:
        """Stop serving and end every connection. A second call does nothing."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.hang_up_all()
        self._server.server_close()

    def __enter__(self) -> "SandboxServer":
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


def serve(app: "WSGIApplication", host: str = "127.0.0.1", port: int = 0) -> SandboxServer:
    """Bind an application to an address; port 0 takes a free one.

    Raises `OSError` when the address cannot be had.
    """
    return SandboxServer(app, host, port)
