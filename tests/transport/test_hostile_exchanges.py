"""Whole exchanges with servers and proxies that say anything: a known error or an answer, in bounded time, and nothing left open."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.transport.hostile import AGENT, PATIENCE_S, Peer, serving

from regrant.errors import TransportError
from regrant.transport.client import HttpClient
from regrant.transport.model import Request, Response, Timeouts

IMPATIENT = Timeouts(connect_s=0.05, first_byte_s=0.03, idle_s=0.03)
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

HTTP = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\n",
    b"HTTP/1.1 200 Connection established\r\n\r\n",
    b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
    b"content-length: 3\r\n",
    b"content-length: 300000\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n",
    b"connection: close\r\n",
    b"\r\n",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"abc",
    b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
]
SOCKS = [b"\x05\x00", b"\x05\x02", b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50", b"\x01\x00", b"\x05\x05"]
TLS = [b"\x16\x03\x03\x00\x05", b"\x15\x03\x03\x00\x02\x02\x28"]
PIECES = st.one_of(st.sampled_from(HTTP), st.sampled_from(SOCKS + TLS), st.binary(min_size=1, max_size=60))


@dataclass(frozen=True)
class Hostility:
    """What the peer says once it has heard something, how it ends, and how the client goes about it."""

    pieces: list[bytes]
    size: int
    end: str
    way: str
    method: str
    body: int
    reader: str


HOSTILITIES = st.builds(
    Hostility,
    pieces=st.lists(PIECES, max_size=12),
    size=st.sampled_from([1, 3, 50, 100_000]),
    end=st.sampled_from(["close", "reset", "stay"]),
    way=st.sampled_from(["direct", "direct", "direct", "tls", "http proxy", "tunnel", "socks", "socks+tls"]),
    method=st.sampled_from(["GET", "POST", "HEAD"]),
    body=st.sampled_from([0, 10, 600_000]),
    reader=st.sampled_from(["all", "little", "close", "leave"]),
)


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS.keys())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(hostility=HOSTILITIES)
def test_any_peer_is_survived_in_bounded_time_and_leaves_nothing_open(
    loop: Callable[[], asyncio.AbstractEventLoop], hostility: Hostility
) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(meet(hostility))


async def meet(hostility: Hostility) -> None:
    ended: list[bool] = []
    said = b"".join(hostility.pieces)

    async def script(peer: Peer) -> None:
        heard = await peer.reader.read(65536)
        for start in range(0, len(said), hostility.size if heard else 100_000):
            await peer.say(said[start : start + hostility.size])
        if hostility.end == "reset":
            peer.reset()
        elif hostility.end == "close":
            peer.writer.write_eof()
        ended.append(await peer.gone())

    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    async with serving(script) as server:
        client = HttpClient(user_agent=AGENT, proxy=proxy_of(hostility, server.port))
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(2):  # the second one may meet a connection that the first one left
                await exchange(client, hostility, server.port)
            members = [pool._members for _, pool in client._origins.values()]
            await client.close()
            while len(ended) < server.connections:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.001)
        assert not any(members)
        assert all(ended)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert problems == []


def proxy_of(hostility: Hostility, port: int) -> str:
    match hostility.way:
        case "http proxy" | "tunnel":
            return f"http://127.0.0.1:{port}"
        case "socks" | "socks+tls":
            return f"socks5://ann:pass-1@127.0.0.1:{port}"
        case _:
            return "none"


async def exchange(client: HttpClient, hostility: Hostility, port: int) -> None:
    secure = hostility.way in {"tls", "tunnel", "socks+tls"}
    host = f"127.0.0.1:{port}" if hostility.way in {"direct", "tls"} else "origin.test"
    url = f"{'https' if secure else 'http'}://{host}/"
    request = Request(hostility.method, url, body=bytes(hostility.body), timeouts=IMPATIENT)
    with contextlib.suppress(TransportError):
        answer = await client.send(request)
        assert 200 <= answer.status <= 999
        await use(answer, hostility.reader)


async def use(answer: Response, reader: str) -> None:
    match reader:
        case "all":
            await answer.read(1 << 20)
        case "little":
            await answer.read(2)
        case "close":
            await answer.close()
        case "leave":  # given up by a caller that is cancelled in the middle
            reading = asyncio.ensure_future(answer.read(1 << 20))
            await asyncio.sleep(0)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await answer.close()
