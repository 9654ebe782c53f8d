"""Certificates, and ends of connections, over real TLS."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from tests.transport.hostile import AGENT, OK, QUICK, Peer, always, ask, client_of, failure_of, once, serving

from regrant.errors import BodyCut, CertificateRefused, ConnectFailed, SettingsError
from regrant.transport.client import HttpClient
from regrant.transport.model import Request
from regrant.transport.tls import client_context


@dataclass(frozen=True)
class Authority:
    ca: trustme.CA
    ca_file: str

    def server(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names).configure_cert(context)
        return context


def new_authority(folder: Path, name: str) -> Authority:
    ca = trustme.CA()
    path = folder / f"{name}.pem"
    ca.cert_pem.write_to_path(path)
    return Authority(ca, str(path))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("ca"), "good")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("ca"), "stranger")


async def test_server_certified_by_the_ca_file_is_trusted_and_its_connection_reused(
    authority: Authority,
) -> None:
    async with serving(always(OK), tls=authority.server("localhost")) as server:
        async with client_of(ca_file=authority.ca_file) as client:
            for _ in range(3):
                assert await ask(client, server.url(scheme="https", host="localhost")) == (200, b"ok")
            assert server.connections == 1


async def test_server_that_speaks_http_2_too_is_asked_for_http_1_1(authority: Authority) -> None:
    chosen: list[str | None] = []

    async def script(peer: Peer) -> None:
        chosen.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await peer.request()
        await peer.say(OK)

    context = authority.server("localhost")
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with serving(script, tls=context) as server, client_of(ca_file=authority.ca_file) as client:
        assert await ask(client, server.url(scheme="https", host="localhost")) == (200, b"ok")
    assert chosen == ["http/1.1"]


async def test_address_in_the_url_is_checked_against_the_certificate(authority: Authority) -> None:
    async with serving(always(OK), tls=authority.server("127.0.0.1")) as server:
        async with client_of(ca_file=authority.ca_file) as client:
            assert await ask(client, server.url(scheme="https")) == (200, b"ok")


async def test_certificate_of_an_unknown_ca_is_refused(authority: Authority, stranger: Authority) -> None:
    async with serving(always(OK), tls=stranger.server("localhost")) as server:
        async with client_of(ca_file=authority.ca_file) as client:
            with pytest.raises(
                CertificateRefused, match=r"localhost is not trusted: .*network\.ca_file"
            ) as caught:
                await ask(client, server.url(scheme="https", host="localhost"))
            assert not caught.value.processed


async def test_certificate_of_the_system_only_is_not_enough_for_an_own_ca(authority: Authority) -> None:
    async with serving(always(OK), tls=authority.server("localhost")) as server, client_of() as client:
        with pytest.raises(CertificateRefused):
            await ask(client, server.url(scheme="https", host="localhost"))


async def test_certificate_for_another_host_is_refused(authority: Authority) -> None:
    async with serving(always(OK), tls=authority.server("example.com")) as server:
        async with client_of(ca_file=authority.ca_file) as client:
            with pytest.raises(CertificateRefused, match="localhost"):
                await ask(client, server.url(scheme="https", host="localhost"))


async def test_plain_server_behind_https_is_a_connect_failure(authority: Authority) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(10)
        await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(script) as server, client_of(ca_file=authority.ca_file) as client:
        with pytest.raises(ConnectFailed):
            await ask(client, server.url(scheme="https", host="localhost"))


async def test_server_of_tls_1_1_at_most_is_refused(authority: Authority) -> None:
    old = authority.server("localhost")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    async with serving(always(OK), tls=old) as server, client_of(ca_file=authority.ca_file) as client:
        with pytest.raises(ConnectFailed):
            await ask(client, server.url(scheme="https", host="localhost"))


async def test_body_until_close_ends_cleanly_with_close_notify(authority: Authority) -> None:
    async with serving(once(b"HTTP/1.1 200 OK\r\n\r\nwhole"), tls=authority.server("localhost")) as server:
        async with client_of(ca_file=authority.ca_file) as client:
            assert await ask(client, server.url(scheme="https", host="localhost")) == (200, b"whole")


async def test_body_until_close_without_close_notify_is_a_cut(authority: Authority) -> None:
    context = authority.server("localhost")

    async def splice(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
        sink.close()

    async def cutting(peer: Peer) -> None:
        """A middle box: passes TLS on, and ends the connection with a plain FIN within the body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", inner.port)
        forward = asyncio.ensure_future(splice(peer.reader, writer))
        backward = asyncio.ensure_future(splice(reader, peer.writer))
        await received.wait()
        backward.cancel()
        peer.writer.close()
        await peer.writer.wait_closed()
        forward.cancel()
        writer.transport.abort()

    async def speaking(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n\r\npart")
        assert await peer.gone()

    received = asyncio.Event()
    async with serving(speaking, tls=context) as inner, serving(cutting) as outer:
        async with client_of(ca_file=authority.ca_file) as client:
            url = outer.url(scheme="https", host="localhost")
            answer = await client.send(Request("GET", url, timeouts=QUICK))
            chunks = answer.chunks()
            assert await anext(chunks) == b"part"
            received.set()
            _, error = await failure_of(answer)
            assert isinstance(error, BodyCut)


async def test_large_bodies_both_ways_over_tls(authority: Authority) -> None:
    body = bytes(range(256)) * 8000

    async def echo(peer: Peer) -> None:
        while True:
            got = (await peer.request()).partition(b"\r\n\r\n")[2]
            await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(got) + got)

    async with serving(echo, tls=authority.server("localhost")) as server:
        async with client_of(ca_file=authority.ca_file) as client:
            for _ in range(2):
                url = server.url(scheme="https", host="localhost")
                assert await ask(client, url, method="POST", body=body) == (200, body)


def test_ca_file_that_cannot_be_used_is_a_settings_error(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for path in (str(empty), str(tmp_path / "absent.pem")):
        with pytest.raises(SettingsError, match=r"network\.ca_file"):
            HttpClient(user_agent=AGENT, ca_file=path)


def test_context_verifies_names_and_chains_and_asks_for_http_1_1() -> None:
    context = client_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


async def test_tunnel_through_a_proxy_carries_tls_to_the_origin_and_is_reused(authority: Authority) -> None:
    asked: list[bytes] = []

    async def splice(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
        sink.close()

    async def proxying(peer: Peer) -> None:
        asked.append(await peer.request())
        reader, writer = await asyncio.open_connection("127.0.0.1", origin.port)
        await peer.say(b"HTTP/1.1 200 Connection established\r\nx: y\r\n\r\n")
        await asyncio.gather(splice(peer.reader, writer), splice(reader, peer.writer))

    async with serving(always(OK), tls=authority.server("origin.test")) as origin, serving(proxying) as proxy:
        url = f"http://ann:pass%2D1@127.0.0.1:{proxy.port}"
        async with client_of(ca_file=authority.ca_file, proxy=url) as client:
            for _ in range(3):
                assert await ask(client, "https://origin.test/x") == (200, b"ok")
            with pytest.raises(CertificateRefused):
                await ask(client, "https://other.test/x")
        assert origin.requests == []
        assert asked[0] == (
            b"CONNECT origin.test:443 HTTP/1.1\r\nhost: origin.test:443\r\n"
            b"proxy-authorization: Basic YW5uOnBhc3MtMQ==\r\n\r\n"
        )
        assert len(asked) == 2
