"""Any bytes at all, cut anywhere: answers depend on what was sent, never on how it was cut, and the server lives on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import re

import httptools
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.listener.rig import HOST, Client, Rig, get, post, post_chunked, serving

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

REQUESTS = [
    get("/echo/a?b=c"),
    get("/echo", method="HEAD"),
    get("/early"),
    get("/none/204"),
    post(b"hello"),
    post(b"x" * 3000),
    post_chunked(b"hel", b"lo"),
    b"\r\n" + get("/echo"),
    get("http://elsewhere/echo"),
    post(b"hi", "/echo", "Expect: 100-continue"),
    get("/echo", "Connection: Upgrade", "Upgrade: h2c"),
    post(b"hello", "/echo", "Connection: Upgrade", "Upgrade: h2c"),
]
LAST = [
    get("/echo", "Connection: close"),
    get("/echo", version="1.0"),
    get("/raiselate"),
    get("/short"),
    b"nonsense\r\n\r\n",
    b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /echo HTTP/1.1\r\n\r\n",
]


def sent_bytes(data: bytes) -> bytes:
    """What was answered, without what tells when or whether a body was asked for."""
    data = re.sub(rb"date: [^\r]+\r\n", b"", data)
    return data.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")


async def answers(rig: Rig, stream: bytes, cuts: list[int]) -> bytes:
    async with rig.client() as client:
        reading = asyncio.ensure_future(client.rest())
        edges = [0, *sorted(cut % len(stream) for cut in cuts), len(stream)]
        for begin, end in itertools.pairwise(edges):
            await client.send(stream[begin:end])
            await asyncio.sleep(0.002)
        return sent_bytes(await reading)


@SETTINGS
@given(
    st.lists(st.sampled_from(REQUESTS), max_size=6),
    st.sampled_from(LAST),
    st.lists(st.integers(0, 1 << 16), max_size=8),
)
async def test_however_a_stream_is_cut_its_answers_are_the_same(
    first: list[bytes], last: bytes, cuts: list[int]
) -> None:
    stream = b"".join(first) + last
    async with serving() as rig:
        assert await answers(rig, stream, cuts) == await answers(rig, stream, [])


class Events:
    """How many whole requests llhttp alone finds, in its strict mode."""

    def __init__(self) -> None:
        self.whole = 0

    def on_message_complete(self) -> None:
        self.whole += 1


def whole_requests(data: bytes) -> int:
    events = Events()
    with contextlib.suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
        httptools.HttpRequestParser(events).feed_data(data)
    return events.whole


MUTATIONS = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b"\x80",
    b"\xff",
    b"0",
    b"9",
    b"chunked",
    b"HTTP/1.1",
]


@SETTINGS
@given(st.data())
async def test_no_damage_to_a_request_makes_two_of_it(data: st.DataObject) -> None:
    """Framing is llhttp's, strictly: never is more begun than it finds, at most less."""
    stream = bytearray(b"".join(data.draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=3))))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(stream)))
        cut = data.draw(st.integers(0, 3))
        stream[at : at + cut] = data.draw(st.sampled_from(MUTATIONS))
    async with serving() as rig:
        async with rig.client() as client:
            await client.send(bytes(stream))
            client.half_close()
            await _end(client)
        found = whole_requests(bytes(stream))
        begun_without_end = 1
        upgraded = bytes(stream).lower().count(b"upgrade: h2c") * 2
        assert len(rig.answerer.begun) <= found + begun_without_end + upgraded
        await _is_well(rig)


@SETTINGS
@given(
    st.binary(max_size=2000),
    st.sampled_from([b"", b"GET ", b"POST /echo HTTP/1.1\r\n", get()[:-2], post(b"x" * 9)]),
)
async def test_garbage_neither_hangs_nor_ends_the_server(garbage: bytes, prefix: bytes) -> None:
    async with serving() as rig:
        async with rig.client() as client:
            await client.send(prefix + garbage)
            client.half_close()
            await _end(client)
        await _is_well(rig)


async def test_much_garbage_on_many_connections_neither_hangs_nor_ends_the_server() -> None:
    chance = random.Random(7)

    async def visit(rig: Rig) -> None:
        async with rig.client() as client:
            await client.send(get() + chance.randbytes(200_000))
            await _end(client)

    async with serving() as rig:
        for _ in range(5):
            await asyncio.gather(*(visit(rig) for _ in range(20)))
        await _is_well(rig)


async def _end(client: Client) -> None:
    with contextlib.suppress(ConnectionError):  # closed over what it had not read: an end as well
        await client.rest()


async def _is_well(rig: Rig) -> None:
    async with rig.client() as client:
        await client.send(get("/echo/well"))
        assert (await client.answer()).echo[1] == "/echo/well"
