"""Routes through a proxy, and proxies that refuse."""

from __future__ import annotations

import pytest
from tests.transport.hostile import OK, Peer, always, ask, client_of, once, serving, until

from regrant.errors import ConnectFailed, SettingsError
from regrant.transport.model import Request, Timeouts
from regrant.transport.proxy import find_route, parse_proxy
from regrant.transport.url import Origin


async def test_plain_request_goes_to_the_proxy_in_absolute_form_with_its_credentials() -> None:
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.say(OK)

    async with serving(script) as server:
        async with client_of(proxy=f"http://ann:pass-1@127.0.0.1:{server.port}/") as client:
            assert await ask(client, "http://origin.test:8080/x?y=1") == (200, b"ok")
    assert seen == [
        (
            b"GET http://origin.test:8080/x?y=1 HTTP/1.1\r\nhost: origin.test:8080\r\n"
            b"proxy-authorization: Basic YW5uOnBhc3MtMQ==\r\nuser-agent: regrant-test/1\r\n\r\n"
        )
    ]


async def test_this_machine_is_reached_without_the_proxy() -> None:
    async with serving(always(OK)) as origin, serving(once(b"")) as proxy:
        async with client_of(proxy=f"http://127.0.0.1:{proxy.port}") as client:
            for host in ("127.0.0.1", "localhost"):
                assert await ask(client, origin.url(host=host)) == (200, b"ok")
        assert proxy.connections == 0


@pytest.mark.parametrize("status", [407, 403, 502, 503])
async def test_refusal_of_a_tunnel_names_the_status_and_no_credentials(status: int) -> None:
    async with serving(once(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\n\r\n" % status)) as server:
        async with client_of(proxy=f"http://ann:pass-1@127.0.0.1:{server.port}") as client:
            with pytest.raises(ConnectFailed, match=str(status)) as caught:
                await ask(client, "https://origin.test/")
    assert not caught.value.processed
    assert "pass-1" not in str(caught.value)
    assert "ann" not in str(caught.value)


async def test_407_for_a_plain_request_is_the_proxys_refusal_and_ends_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 407 No\r\ncontent-length: 2\r\n\r\n")
        closed.append(await peer.gone())

    closed: list[bool] = []
    async with serving(script) as server:
        async with client_of(proxy=f"http://127.0.0.1:{server.port}") as client:
            with pytest.raises(ConnectFailed, match="407"):
                await ask(client, "http://origin.test/")
            await until(lambda: closed == [True])


async def test_407_of_an_origin_that_is_asked_directly_is_its_answer() -> None:
    async with serving(always(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n")) as server:
        async with client_of() as client:
            assert await ask(client, server.url()) == (407, b"")


BAD_TUNNELS = {
    "closed": b"",
    "garbage": b"hello there\r\n\r\n",
    "endless head": b"HTTP/1.1 200 OK\r\nx: " + b"a" * 200_000,
    "bytes in the tunnel": b"HTTP/1.1 200 OK\r\n\r\nevil",
}


@pytest.mark.parametrize("answer", BAD_TUNNELS.values(), ids=BAD_TUNNELS.keys())
async def test_broken_proxy_is_a_connect_failure(answer: bytes) -> None:
    async with serving(once(answer)) as server:
        async with client_of(proxy=f"http://127.0.0.1:{server.port}") as client:
            with pytest.raises(ConnectFailed):
                await ask(client, "https://origin.test/")


async def test_silent_proxy_is_given_up_after_the_connect_time_and_its_connection_closed() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        assert await peer.gone()

    async with serving(script) as server:
        async with client_of(proxy=f"http://127.0.0.1:{server.port}") as client:
            with pytest.raises(ConnectFailed, match=r"0\.1 s"):
                await client.send(Request("GET", "https://origin.test/", timeouts=Timeouts(0.1, 5, 5)))


@pytest.mark.parametrize(
    "url",
    ["socks4://127.0.0.1:1", "https://127.0.0.1:1", "127.0.0.1:1", "http://ann:pass-1@", "http://a b:1"],
)
def test_proxy_setting_that_cannot_be_used_is_an_error_that_quotes_no_credentials(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^network\.proxy: ") as caught:
        parse_proxy(url, source="network.proxy")
    assert "pass-1" not in str(caught.value)


def test_credentials_of_a_proxy_are_hidden_in_its_representation() -> None:
    proxy = parse_proxy("http://ann:pass-1@proxy.test:3128", source="x")
    assert "YW5u" not in repr(proxy)


def test_tunnel_requests_to_the_origin_carry_no_proxy_credentials() -> None:
    proxy = parse_proxy("http://ann:pass-1@proxy.test:3128", source="x")
    route = find_route(Origin("https", "origin.test", 443), proxy)
    assert (route.host, route.port, route.fixed) == ("proxy.test", 3128, b"host: origin.test\r\n")
