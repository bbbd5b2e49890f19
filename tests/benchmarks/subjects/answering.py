"""A network that takes every conversion, after as long as it is told to: MILLISECONDS.

One thread serves every connection, so that hundreds in flight cost next to nothing. It prints its
port and ends with its standard input. `GET /arrivals` tells when each customer key came, by the
clock that all processes of a machine share, and forgets them. Whoever's key begins with "poison" is
always answered with a 500.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from time import monotonic


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    arrivals: dict[str, float] = {}  # noqa: RUF012 - what all connections have seen
    seconds = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._unread = b""

    def data_received(self, data: bytes) -> None:
        self._unread += data
        head, blank, rest = self._unread.partition(b"\r\n\r\n")
        if not blank:
            return
        length = _length(head)
        if len(rest) < length:
            return
        self._unread = rest[length:]
        if head.startswith(b"GET"):
            self._answer(json.dumps(self.arrivals).encode())
            self.arrivals.clear()
            return
        body, status = rest[:length], b"200 OK"
        for key in _customers(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body):
            self.arrivals[key] = monotonic()
            status = b"500 No" if str(key).startswith("poison") else b"200 OK"
        if self.seconds:
            asyncio.get_running_loop().call_later(self.seconds, self._answer, b"", status)
        else:
            self._answer(b"", status)

    def _answer(self, body: bytes = b"", status: bytes = b"200 OK") -> None:
        assert isinstance(self._transport, asyncio.Transport)
        head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        if not self._transport.is_closing():
            self._transport.write(head + body)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _customers(body: bytes) -> list[str]:
    """Return who a body is about; the SDKs send many at once, each with its own word for it."""
    told = json.loads(body)
    if "customer_key" in told:
        return [told["customer_key"]]
    return [one.get("distinct_id") or one.get("userId") for one in told.get("batch", ())]


async def serve(milliseconds: float) -> None:
    """Serve until standard input ends."""
    Connection.seconds = milliseconds / 1000
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
