"""SOCKS5: what is said to the proxy byte for byte, names left to it, and proxies that refuse or misbehave."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from tests.transport.hostile import OK, Peer, Script, always, ask, client_of, once, serving, until

from regrant.errors import ConnectFailed, SettingsError
from regrant.secret import Secret
from regrant.transport.model import Request, Timeouts
from regrant.transport.proxy import parse_proxy
from regrant.transport.tunnel import SocksTunnel
from regrant.transport.url import Origin

GRANTED = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"
NAMED = b"\x05\x01\x00\x03\x0borigin.test"


def splicing(port: int, heard: list[bytes], *, user: bytes = b"", password: bytes = b"") -> Script:
    """A SOCKS5 proxy that notes what it is asked and connects whatever it is to `port` of this machine."""

    async def script(peer: Peer) -> None:
        methods = await peer.reader.readexactly(4 if user else 3)
        await peer.say(b"\x05\x02" if user else b"\x05\x00")
        if user:
            heard.append(await peer.reader.readexactly(3 + len(user) + len(password)))
            await peer.say(b"\x01\x00")
        kind = await peer.reader.readexactly(5)
        rest = {1: 5, 3: kind[4] + 2, 4: 17}[kind[3]]
        heard.extend((methods, kind + await peer.reader.readexactly(rest)))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await peer.say(GRANTED)
        await asyncio.gather(copy(peer.reader, writer), copy(reader, peer.writer))

    return script


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    finally:
        target.close()


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_name_is_looked_up_by_the_proxy_with_either_scheme(scheme: str) -> None:
    heard: list[bytes] = []
    async with serving(always(OK)) as origin, serving(splicing(origin.port, heard)) as proxy:
        async with client_of(proxy=f"{scheme}://127.0.0.1:{proxy.port}") as client:
            for _ in range(3):
                assert await ask(client, "http://origin.test/x") == (200, b"ok")
        assert (origin.connections, proxy.connections) == (1, 1)
    assert heard == [b"\x05\x01\x00", NAMED + b"\x00\x50"]


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("192.0.2.7", b"\x01\xc0\x00\x02\x07"),
        ("[2001:db8::7]", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x07"),
    ],
)
async def test_number_is_sent_as_a_number(host: str, said: bytes) -> None:
    heard: list[bytes] = []
    async with serving(always(OK)) as origin, serving(splicing(origin.port, heard)) as proxy:
        async with client_of(proxy=f"socks5://127.0.0.1:{proxy.port}") as client:
            assert await ask(client, f"http://{host}:8080/") == (200, b"ok")
    assert heard[1] == b"\x05\x01\x00" + said + b"\x1f\x90"


async def test_user_name_and_password_are_sent_decoded() -> None:
    heard: list[bytes] = []
    script_of = splicing
    async with serving(always(OK)) as origin:
        async with serving(script_of(origin.port, heard, user=b"ann", password=b"pass:\xe9")) as proxy:
            async with client_of(proxy=f"socks5://ann:pass%3A%E9@127.0.0.1:{proxy.port}") as client:
                assert await ask(client, "http://origin.test/") == (200, b"ok")
    assert heard[:2] == [b"\x01\x03ann\x06pass:\xe9", b"\x05\x02\x02\x00"]


async def test_https_origin_is_verified_through_the_proxy(tmp_path: Path) -> None:
    ca, ca_file = trustme.CA(), tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("origin.test").configure_cert(context)
    heard: list[bytes] = []
    async with serving(always(OK), tls=context) as origin, serving(splicing(origin.port, heard)) as proxy:
        url = f"socks5h://127.0.0.1:{proxy.port}"
        async with client_of(ca_file=str(ca_file), proxy=url) as client:
            assert await ask(client, "https://origin.test/") == (200, b"ok")
            with pytest.raises(ConnectFailed, match="not trusted"):
                await ask(client, "https://other.test/")
    assert heard[1] == NAMED + b"\x01\xbb"


async def test_tunnel_of_a_plain_origin_is_dropped_when_the_proxy_goes_and_frees_its_place() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readexactly(3)
        await peer.say(b"\x05\x00")
        await peer.reader.readexactly(18)
        await peer.say(GRANTED)
        await peer.request()
        await peer.say(OK)

    async with serving(script) as proxy:
        async with client_of(proxy=f"socks5://127.0.0.1:{proxy.port}", limit=1) as client:
            for _ in range(3):
                assert await ask(client, "http://origin.test/") == (200, b"ok")
                pool = next(iter(client._origins.values()))[1]
                await until(lambda: not pool._members)  # noqa: B023 - one pool
        assert proxy.connections == 3


REFUSALS = {
    "no method": ([b"\x05\xff"], "wants a user name and password"),
    "method not offered": ([b"\x05\x02"], "not offered"),
    "another version": ([b"\x04\x00"], "not SOCKS5"),
    "http": ([b"HTTP/1.1 400 Bad\r\n\r\n"], "not SOCKS5"),
    "another version in the reply": ([b"\x05\x00", b"\x04\x00\x00\x01"], "not SOCKS5"),
    "rules": ([b"\x05\x00", b"\x05\x02\x00\x01" + bytes(6)], "not allowed by its rules"),
    "host away, reply cut short": ([b"\x05\x00", b"\x05\x04"], "host cannot be reached"),
    "unknown reply": ([b"\x05\x00", b"\x05\x63"], "code 99"),
    "unknown kind of address": ([b"\x05\x00", b"\x05\x00\x00\x07\x00"], "not SOCKS5"),
    "closed at once": ([b""], "closed the connection"),
    "closed within the reply": ([b"\x05\x00", GRANTED[:9]], "closed the connection"),
    "bytes in the tunnel": ([b"\x05\x00", GRANTED + b"HTTP/1.1 200 OK\r\n"], "before it was used"),
}


@pytest.mark.parametrize(("says", "reason"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_proxy_that_refuses_or_misbehaves_is_a_connect_failure(says: list[bytes], reason: str) -> None:
    async def script(peer: Peer) -> None:
        for expected, said in zip((3, 18), says, strict=False):
            await peer.reader.readexactly(expected)
            await peer.say(said)
        peer.writer.close()
        await peer.writer.wait_closed()

    async with serving(script) as proxy:
        async with client_of(proxy=f"socks5://127.0.0.1:{proxy.port}") as client:
            with pytest.raises(ConnectFailed, match=reason) as caught:
                await ask(client, "http://origin.test/")
    assert not caught.value.processed


async def test_refused_password_is_told_without_quoting_it() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readexactly(4)
        await peer.say(b"\x05\x02")
        await peer.reader.readexactly(12)
        await peer.say(b"\x01\x01")

    async with serving(script) as proxy:
        async with client_of(proxy=f"socks5://ann:pass-1@127.0.0.1:{proxy.port}") as client:
            with pytest.raises(ConnectFailed, match="refused the user name and password") as caught:
                await ask(client, "https://origin.test/")
    assert "pass-1" not in str(caught.value)
    assert "ann" not in str(caught.value)


async def test_proxy_that_wants_no_password_is_not_told_it() -> None:
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        heard.append(await peer.reader.readexactly(4))
        await peer.say(b"\x05\x00")
        heard.append(await peer.reader.readexactly(18))
        await peer.say(GRANTED)
        await peer.request()
        await peer.say(OK)

    async with serving(script) as proxy:
        async with client_of(proxy=f"socks5://ann:pass-1@127.0.0.1:{proxy.port}") as client:
            assert await ask(client, "http://origin.test/") == (200, b"ok")
    assert heard == [b"\x05\x02\x02\x00", NAMED + b"\x00\x50"]


async def test_silent_socks_proxy_is_given_up_after_the_connect_time_and_its_connection_closed() -> None:
    async def script(peer: Peer) -> None:
        assert await peer.gone()
        closed.set()

    closed = asyncio.Event()
    async with serving(script) as proxy:
        async with client_of(proxy=f"socks5://127.0.0.1:{proxy.port}") as client:
            with pytest.raises(ConnectFailed, match=r"0\.1 s"):
                await client.send(Request("GET", "http://origin.test/", timeouts=Timeouts(0.1, 5, 5)))
            await until(closed.is_set)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize("target", ["http", "https"])
async def test_proxy_that_is_down_is_never_passed_by(scheme: str, target: str) -> None:
    """The origin listens under an address that is no loopback one for the rules, and hears nothing."""
    async with serving(once(b"")) as gone:
        pass
    async with serving(always(OK)) as origin:
        async with client_of(proxy=f"{scheme}://127.0.0.1:{gone.port}") as client:
            with pytest.raises(ConnectFailed, match=f"cannot connect to the proxy 127.0.0.1:{gone.port}"):
                await ask(client, f"{target}://0.0.0.0:{origin.port}/")
        assert origin.connections == 0


def test_name_that_socks_cannot_carry_is_refused() -> None:
    tunnel = SocksTunnel(Origin("http", ".".join(["a" * 63] * 5), 80), Secret(), Secret())
    with pytest.raises(ConnectFailed, match="too long"):
        tunnel.receive(b"\x05\x00")


def test_socks_port_is_1080_where_none_is_given() -> None:
    assert [parse_proxy(f"socks5://{host}", source="x").port for host in ("p.test", "[::1]", "p.test:9")] == [
        1080,
        1080,
        9,
    ]


@pytest.mark.parametrize("userinfo", ["a" * 256 + ":b", "a:" + "b" * 256, ":pass-1"])
def test_credentials_that_socks_cannot_carry_are_refused_unquoted(userinfo: str) -> None:
    with pytest.raises(SettingsError, match=r"^network\.proxy: ") as caught:
        parse_proxy(f"socks5://{userinfo}@p.test", source="network.proxy")
    assert "pass-1" not in str(caught.value)


def test_credentials_of_a_socks_proxy_are_hidden_in_its_representation() -> None:
    assert "pass-1" not in repr(parse_proxy("socks5://ann:pass-1@p.test", source="x"))


@given(st.binary(max_size=300), st.integers(1, 40), st.booleans())
def test_no_bytes_of_a_proxy_raise_anything_but_a_connect_failure(
    said: bytes, size: int, with_user: bool
) -> None:
    tunnel = SocksTunnel(Origin("http", "origin.test", 80), Secret("ann" if with_user else ""), Secret())
    try:
        for start in range(0, len(said), size):
            if tunnel.opened:
                return
            tunnel.receive(said[start : start + size])
    except ConnectFailed:
        return


@pytest.mark.parametrize(
    "address", [b"\x01\x7f\x00\x00\x01", b"\x03\x04host", b"\x03\x00", b"\x04" + bytes(16)], ids=repr
)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_reply_with_any_address_opens_the_tunnel_however_it_is_cut(address: bytes, size: int) -> None:
    tunnel = SocksTunnel(Origin("http", "origin.test", 80), Secret(), Secret())
    said = b"\x05\x00\x05\x00\x00" + address + b"\x12\x34"
    written = b""
    for start in range(0, len(said), size):
        assert not tunnel.opened
        written += tunnel.receive(said[start : start + size])
    assert tunnel.opened
    assert written == NAMED + b"\x00\x50"
