"""Egress through a proxy, and a company's own CA: with a real proxy, and a real handshake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from flask_s2s import S2S, Settings
from flask_s2s.cli import s2s as commands
from flask_s2s.errors import ConfigError, TransportError
from flask_s2s.networks.http import HttpTransport
from flask_s2s.networks.messages import Request
from tests.networks import ways

REQUEST = Request(
    method="POST",
    url=f"https://{ways.HOST}/conversion/xid",
    headers={"Authorization": "Bearer tok-Geheim"},
    body={"xid": "a"},
)
KEY = {"SECRET_KEY": "a-key-for-tests-only-0123456789"}


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return ways.certificates(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def bundle(issued: tuple[Path, Path]) -> str:
    return str(issued[0])


@pytest.fixture
def heard() -> list[bytes]:
    return []


@pytest.fixture
def way(issued: tuple[Path, Path], heard: list[bytes]) -> Iterator[ways.Proxy]:
    with ways.network(issued[1], heard) as port, ways.proxy(port) as proxy:
        yield proxy


def address(proxy: ways.Proxy, who: str = "") -> str:
    return f"http://{who}127.0.0.1:{proxy.port}"


def test_a_request_goes_through_the_proxy_which_sees_nothing_of_it(
    way: ways.Proxy, bundle: str, heard: list[bytes]
) -> None:
    transport = HttpTransport(proxy=address(way), ca_bundle=bundle)
    assert transport.send(REQUEST, seconds=10).status == 204
    assert heard[0].startswith(b"POST /conversion/xid HTTP/1.1\r\n")
    assert b"Bearer tok-Geheim" in heard[0]
    assert way.heads[0].startswith(f"CONNECT {ways.HOST}:443 ")
    assert "Geheim" not in way.heads[0]
    transport.close()


def test_a_proxy_s_password_goes_to_the_proxy_only(
    issued: tuple[Path, Path], bundle: str, heard: list[bytes]
) -> None:
    with ways.network(issued[1], heard) as port, ways.proxy(port, "user:geheim") as proxy:
        transport = HttpTransport(proxy=address(proxy, "user:geheim@"), ca_bundle=bundle)
        assert transport.send(REQUEST, seconds=10).status == 204
        transport.close()
        without = HttpTransport(proxy=address(proxy), ca_bundle=bundle)
        with pytest.raises(TransportError) as caught:
            without.send(REQUEST, seconds=10)
        without.close()
    assert (str(caught.value), caught.value.sent) == ("the proxy opened no way (407)", False)
    assert b"proxy-authorization" not in heard[0].lower()
    assert len(heard) == 1


def test_a_network_whose_ca_nobody_named_is_not_spoken_to(
    way: ways.Proxy, heard: list[bytes]
) -> None:
    transport = HttpTransport(proxy=address(way))
    with pytest.raises(TransportError) as caught:
        transport.send(REQUEST, seconds=10)
    assert (str(caught.value), caught.value.sent) == ("TLS failed", False)
    assert heard == []
    transport.close()


def test_a_proxy_that_is_gone_surely_sent_nothing(bundle: str) -> None:
    with ways.proxy(9) as gone:
        pass
    transport = HttpTransport(proxy=address(gone), ca_bundle=bundle)
    with pytest.raises(TransportError) as caught:
        transport.send(REQUEST, seconds=10)
    assert (str(caught.value), caught.value.sent) == ("could not connect to the proxy", False)


def test_a_network_that_breaks_behind_the_proxy_may_have_it(
    issued: tuple[Path, Path], bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "_ANSWER", b"HTTP/1.1 200 OK\r\nContent-Le")
    with ways.network(issued[1], []) as port, ways.proxy(port) as proxy:
        transport = HttpTransport(proxy=address(proxy), ca_bundle=bundle)
        with pytest.raises(TransportError) as caught:
            transport.send(REQUEST, seconds=10)
    assert caught.value.sent is True


@pytest.mark.parametrize("trusted", [True, False])
def test_the_environment_counts_where_it_is_trusted(
    way: ways.Proxy,
    bundle: str,
    heard: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    trusted: bool,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {ways.HOST} login other password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTPS_PROXY", address(way))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    transport = HttpTransport(trust_env=trusted)
    if trusted:
        assert transport.send(REQUEST, seconds=10).status == 204
        assert b"Bearer tok-Geheim" in heard[0]
        monkeypatch.setenv("NO_PROXY", ways.HOST)
    with pytest.raises(TransportError, match="could not connect"):
        transport.send(REQUEST, seconds=10)
    assert len(way.heads) == trusted
    transport.close()


@pytest.mark.parametrize(
    "wrong",
    ["proxy:3128", "http://proxy", "socks5://proxy:1080", "https://proxy:3128", "http://p:1/x"],
)
def test_what_is_no_proxy_is_refused_at_start(wrong: str) -> None:
    with pytest.raises(ConfigError, match="S2S_PROXY") as caught:
        Settings.from_mapping({**KEY, "S2S_PROXY": wrong})
    assert wrong not in str(caught.value).replace("http://proxy.example.com:3128", "")


def test_what_is_no_ca_bundle_is_refused_at_start(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    for wrong in (str(tmp_path / "missing.pem"), str(empty)):
        app = Flask(__name__, instance_path=str(tmp_path))
        app.config.update(KEY, S2S_CA_BUNDLE=wrong)
        with pytest.raises(ConfigError, match="S2S_CA_BUNDLE"):
            S2S(app)


def test_check_names_the_way_without_its_password(
    way: ways.Proxy, bundle: str, tmp_path: Path
) -> None:
    app = Flask(__name__, instance_path=str(tmp_path))
    app.config.update(
        KEY,
        S2S_TOKEN="tok",
        S2S_WORKER="external",
        S2S_PROXY=address(way, "user:geheim@"),
        S2S_CA_BUNDLE=bundle,
        S2S_PARTNERSTACK_URL=f"https://{ways.HOST}",
    )
    S2S(app)
    said = app.test_cli_runner().invoke(commands, ["check"]).output
    expected = (
        f"{ways.HOST} through the proxy 127.0.0.1:{way.port} with the CAs of {bundle} answers"
    )
    assert expected in said
    assert "geheim" not in said
    assert "geheim" not in repr(app.extensions["s2s"].settings)
