"""The Marionette protocol, as far as a visitor needs it: Firefox's own remote control.

A message is its length, a colon and JSON: `[0, id, command, parameters]` there, `[1, id, error,
value]` back. Version 3 is what every Firefox since 2015 speaks.
"""

from __future__ import annotations

import json
import socket
from typing import Any


class Refused(Exception):
    """Firefox did not do what it was told; the message is its own."""


class Marionette:
    """A connection to one Firefox, and the one session that it can have. Times are seconds."""

    def __init__(self, port: int, timeout: float) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._stream = self._socket.makefile("rb")
        self._number = 0
        greeting = self._receive()
        assert greeting["marionetteProtocol"] == 3

    def close(self) -> None:
        """Hang up."""
        self._stream.close()
        self._socket.close()

    def tell(self, command: str, **parameters: Any) -> Any:
        """Return what Firefox answers. Raises `Refused`."""
        self._number += 1
        text = json.dumps([0, self._number, command, parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(text), text))
        _, number, error, value = self._receive()
        assert number == self._number
        if error is not None:
            raise Refused(f"{command}: {error['error']}: {error['message']}")
        return value

    def _receive(self) -> Any:
        length = b""
        while (byte := self._stream.read(1)) != b":":
            if not byte:
                raise ConnectionResetError("Firefox has hung up")
            length += byte
        return json.loads(self._stream.read(int(length)))
