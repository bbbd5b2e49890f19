"""A network with a certificate of a company's own CA, and the proxy that is the only way to it."""

from __future__ import annotations

import base64
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

#: A name that no name server knows: whoever reaches it was led there.
HOST = "network.s2s-example.invalid"
_ANSWER = b"HTTP/1.1 204 x\r\nConnection: close\r\n\r\n"


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _signed(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    now = datetime.now(timezone.utc)
    is_ca = name == issuer
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False
        )
        .sign(by, hashes.SHA256())
    )


def certificates(folder: Path) -> tuple[Path, Path]:
    """Write a CA's certificate, and the key and certificate of `HOST` that it signed."""
    ca, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    pem = serialization.Encoding.PEM
    bundle, chain = folder / "ca.pem", folder / "network.pem"
    bundle.write_bytes(_signed("ca.invalid", ca, "ca.invalid", ca).public_bytes(pem))
    secret = own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain.write_bytes(secret + _signed(HOST, own, "ca.invalid", ca).public_bytes(pem))
    return bundle, chain


@contextmanager
def _listening(serve: object) -> Iterator[int]:
    assert callable(serve)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads: list[threading.Thread] = []

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=serve, args=(client,), daemon=True))
                threads[-1].start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    for thread in (accepting, *threads):
        thread.join(10)


@contextmanager
def network(chain: Path, heard: list[bytes]) -> Iterator[int]:
    """Answer 204 over TLS, and note what was asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)

    def serve(client: socket.socket) -> None:
        client.settimeout(10)
        with client, suppress(OSError), context.wrap_socket(client, server_side=True) as secure:
            asked = secure.recv(65536)
            # Closing with something unread would reset the connection.
            while (
                asked.startswith(b"POST")
                and not asked.endswith(b"}")
                and (more := secure.recv(65536))
            ):
                asked += more
            heard.append(asked)
            secure.sendall(_ANSWER)

    with _listening(serve) as port:
        yield port


@dataclass
class Proxy:
    """A proxy's requests, and the credentials that it wants."""

    target: int
    password: str | None = None
    port: int = 0
    heads: list[str] = field(default_factory=list)

    def serve(self, client: socket.socket) -> None:
        client.settimeout(10)
        with client, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                more = client.recv(65536)
                if not more:
                    return
                head += more
            self.heads.append(head.decode())
            if not self._is_known(head.decode()):
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", self.target), 10) as other:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                _join(client, other)

    def _is_known(self, head: str) -> bool:
        if self.password is None:
            return True
        known = base64.b64encode(self.password.encode()).decode()
        return f"proxy-authorization: basic {known.lower()}" in head.lower()


def _join(one: socket.socket, other: socket.socket) -> None:
    while True:
        ready, _, _ = select.select([one, other], [], [], 10)
        if not ready:
            return
        for side in ready:
            data = side.recv(65536)
            if not data:
                return
            (other if side is one else one).sendall(data)


@contextmanager
def proxy(target: int, password: str | None = None) -> Iterator[Proxy]:
    """A proxy that leads everybody to one port of loopback, whatever name they ask for."""
    made = Proxy(target, password)
    with _listening(made.serve) as made.port:
        yield made
