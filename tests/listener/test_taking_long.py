"""Clients that take their time: each limit ends what nobody waits for, and memory stays bounded meanwhile."""

from __future__ import annotations

import asyncio
import socket

import pytest
from tests.listener.rig import Rig, get, post, serving, statuses, until

from regrant.listener.limits import Limits

QUICK = 0.02
HEADS = Limits(head_s=0.2, keep_alive_s=30, sweep_s=QUICK)


async def test_half_a_head_is_given_up_with_408() -> None:
    async with serving(limits=HEADS) as rig:
        data = await rig.exchange(b"GET /echo HTTP/1.1\r\nHost: loc")
        assert statuses(data) == [408]
        assert b"connection: close" in data


async def test_a_head_that_trickles_is_given_up_too() -> None:
    async with serving(limits=HEADS) as rig, rig.client() as client:
        reading = asyncio.ensure_future(client.rest())
        await client.send(b"GET /echo HTTP/1.1\r\n")
        while not reading.done():
            await client.send(b"a: b\r\n")
            await asyncio.sleep(QUICK)
        assert statuses(reading.result()) == [408]


async def test_half_a_second_head_is_given_up_after_the_first_answer() -> None:
    async with serving(limits=HEADS) as rig:
        assert statuses(await rig.exchange(get() + b"GET /echo HTTP/1.1\r\n")) == [200, 408]


async def test_the_time_that_an_answer_takes_is_not_the_next_head_s() -> None:
    async with serving(limits=Limits(head_s=1, sweep_s=QUICK)) as rig, rig.client() as client:
        await client.send(get("/gate") + b"GET /echo HT")
        await asyncio.sleep(1.2)
        rig.answerer.gate.set()
        assert (await client.answer()).body == b"at last"
        await asyncio.sleep(5 * QUICK)
        await client.send(b"TP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await client.answer()).status == 200


async def test_a_stray_line_break_begins_no_head() -> None:
    """An old client ends its body with one; a 408 would be taken for the answer to its next request."""
    async with serving(limits=HEADS) as rig, rig.client() as client:
        await client.send(post(b"hi") + b"\r\n")
        assert (await client.answer()).status == 200
        await asyncio.sleep(0.4)
        await client.send(get())
        assert (await client.answer()).status == 200


async def test_a_connection_on_which_nothing_comes_is_closed() -> None:
    async with serving(limits=Limits(keep_alive_s=0.1, sweep_s=QUICK)) as rig:
        assert await rig.exchange() == b""
        assert statuses(await rig.exchange(get())) == [200]


async def test_a_request_is_not_cut_off_by_the_idle_limit() -> None:
    async with (
        serving(limits=Limits(keep_alive_s=0.05, head_s=0.05, sweep_s=QUICK)) as rig,
        rig.client() as client,
    ):
        await client.send(get("/gate"))
        await asyncio.sleep(0.3)
        rig.answerer.gate.set()
        assert (await client.answer()).body == b"at last"


# -- sizes

HUGE = {
    "an address": (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n", 414),
    "an address without an end": (b"GET /" + b"a" * 5000, 414),
    "a field": (get("/echo", "A: " + "b" * 5000), 431),
    "a field without an end": (b"GET /echo HTTP/1.1\r\nHost: localhost\r\nA: " + b"b" * 9000, 431),
    "a name without an end": (b"GET /echo HTTP/1.1\r\nHost: localhost\r\n" + b"a" * 9000, 431),
    "many fields": (get("/echo", *["A: b"] * 60), 431),
    "many small fields": (get("/echo", *["A: " + "b" * 100] * 48), 431),
    "trailers without an end": (
        get("/echo", "Transfer-Encoding: chunked", method="POST") + b"1\r\na\r\n0\r\n" + b"A: " + b"b" * 9000,
        431,
    ),
    "many trailers": (
        get("/echo", "Transfer-Encoding: chunked", method="POST") + b"1\r\na\r\n0\r\n" + b"A: b\r\n" * 2000,
        431,
    ),
    "a chunk's extension without an end": (
        get("/echo", "Transfer-Encoding: chunked", method="POST") + b"1;a=" + b"b" * 9000,
        431,
    ),
}


@pytest.mark.parametrize("name", HUGE)
async def test_what_has_no_end_is_refused(name: str) -> None:
    data, status = HUGE[name]
    async with serving(limits=Limits(max_head_bytes=4096, max_fields=50)) as rig, rig.client() as client:
        reading = asyncio.ensure_future(client.rest())
        for at in range(0, len(data), 1000):
            if not reading.done():
                await client.send(data[at : at + 1000])
                await asyncio.sleep(0.001)
        assert statuses(await reading) == [status]


async def test_a_large_body_before_the_next_head_does_not_count_as_head() -> None:
    limits = Limits(max_head_bytes=4096)
    async with serving(limits=limits) as rig, rig.client() as client:
        await client.send(post(b"x" * 50_000) + b"GET /echo/next HT")
        assert len((await client.answer()).echo[3]) == 50_000
        await client.send(b"TP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await client.answer()).echo[1] == "/echo/next"


async def test_a_body_in_many_small_chunks_does_not_count_as_head() -> None:
    async with serving(limits=Limits(max_head_bytes=4096)) as rig, rig.client() as client:
        await client.send(get("/echo", "Transfer-Encoding: chunked", method="POST"))
        for _ in range(400):
            await client.send(b"1;extension=here\r\na\r\n" * 5)
        await client.send(b"0\r\n\r\n")
        assert len((await client.answer()).echo[3]) == 2000


# -- slow readers

SMALL = 8192


def unsent(rig: Rig) -> int:
    """Bytes of answers that the server holds."""
    return sum(connection._transport.get_write_buffer_size() for connection in rig.server.connections)


async def test_a_stream_waits_for_a_client_that_does_not_read() -> None:
    async with serving(send_buffer=SMALL) as rig, rig.client(receive_buffer=SMALL) as client:
        await client.send(get("/flood"))
        await until(lambda: unsent(rig) > 0)
        most = 0
        for _ in range(30):
            most = max(most, unsent(rig))
            await asyncio.sleep(0.01)
        assert most < 300_000
        assert rig.server.busy == 1


async def test_a_stream_goes_on_when_its_client_reads_again() -> None:
    async with serving(send_buffer=SMALL) as rig, rig.client(receive_buffer=SMALL) as client:
        await client.send(get("/big"))
        await until(lambda: unsent(rig) > 0)
        await client.send(get("/echo/next"))
        assert len((await client.answer()).body) == 4 << 20
        assert (await client.answer()).echo[1] == "/echo/next"


@pytest.mark.parametrize("together", [True, False])
async def test_answers_do_not_pile_up_for_a_client_that_only_asks(together: bool) -> None:
    async with serving(send_buffer=SMALL) as rig, rig.client(receive_buffer=SMALL) as client:
        for _ in range(5):
            await client.send(get("/big") * (4 if together else 1))
            await until(lambda: unsent(rig) > 0)
            await asyncio.sleep(0.02)
        assert rig.answerer.begun == ["/big"]
        assert unsent(rig) < 5 << 20


async def test_a_client_that_takes_nothing_of_its_answer_is_cut_off() -> None:
    limits = Limits(stall_s=0.2, sweep_s=QUICK)
    async with serving(limits=limits, send_buffer=SMALL) as rig, rig.client(receive_buffer=SMALL) as client:
        await client.send(get("/flood"))
        await until(lambda: not rig.server.connections)
        await until(lambda: rig.answerer.ended == ["/flood cancelled"])


async def test_a_last_answer_that_nobody_takes_does_not_hold_its_connection_for_ever() -> None:
    limits = Limits(stall_s=0.2, sweep_s=QUICK)
    async with serving(limits=limits, send_buffer=SMALL) as rig, rig.client(receive_buffer=SMALL) as client:
        await client.send(get("/big", "Connection: close"))
        await until(lambda: unsent(rig) > 0)
        await until(lambda: not rig.server.connections)


async def test_a_client_that_reads_slowly_but_reads_is_not_cut_off() -> None:
    limits = Limits(stall_s=0.4, sweep_s=QUICK)
    async with serving(limits=limits, send_buffer=SMALL) as rig, rig.client(receive_buffer=SMALL) as client:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await client.send(get("/big"))
        await client.until(b"\r\n\r\n")
        while loop.time() < began + 1.2:
            await client.reader.readexactly(8192)
            await asyncio.sleep(0.03)
        assert rig.server.connections


async def test_a_body_that_nobody_takes_yet_is_not_read_without_end() -> None:
    async with serving() as rig, rig.client() as client:
        await client.send(get("/gate", "Content-Length: 100000000", method="POST"))
        client.writer.write(b"x" * 50_000_000)
        await until(lambda: rig.server.busy == 1)
        await asyncio.sleep(0.1)
        held = [connection._current for connection in rig.server.connections]
        assert held[0] is not None
        assert held[0]._buffered < 1_000_000
        client.reset()
        rig.answerer.gate.set()


async def test_small_packets_are_not_held_back() -> None:
    seen: list[int] = []
    async with serving() as rig, rig.client() as client:
        await client.send(get())
        await client.answer()
        for connection in rig.server.connections:
            sock = connection._transport.get_extra_info("socket")
            seen.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    assert seen
    assert all(seen)
