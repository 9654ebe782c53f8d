"""Clients that leave, and a server that ends: nothing goes on for nobody, nothing that was begun is lost."""

from __future__ import annotations

import asyncio
import gc
import socket

import pytest
from tests.listener.rig import PLAIN, Answerer, get, post, serving, statuses, until

from regrant.listener.connection import Connection
from regrant.listener.conversation import Conversation
from regrant.listener.limits import Limits
from regrant.listener.server import Server


@pytest.mark.parametrize("path", ["/wait", "/stream", "/flood"])
async def test_a_client_that_resets_ends_what_was_done_for_it(path: str) -> None:
    async with serving() as rig:
        async with rig.client() as client:
            await client.send(get(path))
            await until(lambda: rig.answerer.begun == [path])
            client.reset()
        await until(lambda: rig.answerer.ended == [f"{path} cancelled"])


async def test_work_that_asked_not_to_be_cancelled_goes_on_without_its_client() -> None:
    async with serving() as rig:
        async with rig.client() as client:
            await client.send(get("/gate"))
            await until(lambda: rig.answerer.begun == ["/gate"])
        await until(lambda: not rig.server.connections)
        assert rig.answerer.ended == []
        rig.answerer.gate.set()
        await until(lambda: rig.answerer.ended == ["/gate returned"])


async def test_a_client_that_closes_its_side_right_after_a_quick_request_gets_its_answer() -> None:
    async with serving() as rig, rig.client() as client:
        await client.send(get("/early"))
        client.half_close()
        assert statuses(await client.rest()) == [401]


async def test_a_client_that_closes_its_side_while_its_answer_is_made_has_left() -> None:
    async with serving() as rig, rig.client() as client:
        await client.send(get("/wait"))
        await until(lambda: rig.answerer.begun == ["/wait"])
        client.half_close()
        assert await client.rest() == b""
        assert rig.answerer.ended == ["/wait cancelled"]


async def test_a_client_that_leaves_within_its_body_ends_the_request() -> None:
    async with serving() as rig:
        async with rig.client() as client:
            await client.send(get("/echo", "Content-Length: 9", method="POST") + b"half")
            await until(lambda: rig.answerer.begun == ["/echo"])
        await until(lambda: rig.answerer.ended == ["/echo cancelled"])


async def test_a_client_that_leaves_cancels_its_request_once() -> None:
    """Also while its body is coming: a second cancellation would interrupt what the first one cleans up."""
    cancelling: list[int] = []

    async def read(conversation: Conversation) -> None:
        conversation.leaving_cancels = True
        task = asyncio.current_task()
        assert task is not None
        try:
            await asyncio.Event().wait()
        finally:
            cancelling.append(task.cancelling())

    async with serving(read) as rig:
        async with rig.client() as client:
            await client.send(get("/", "Content-Length: 9", method="POST") + b"half")
            await until(lambda: rig.server.busy == 1)
        await until(lambda: cancelling == [1])


async def test_requests_in_line_are_not_begun_for_a_client_that_left() -> None:
    async with serving() as rig:
        async with rig.client() as client:
            await client.send(get("/stream") + get("/echo") * 5)
            await until(lambda: rig.answerer.begun == ["/stream"])
            client.reset()
        rig.answerer.gate.set()
        await until(lambda: bool(rig.answerer.ended))
        assert rig.answerer.begun == ["/stream"]


async def test_who_waits_for_a_client_to_leave_is_woken() -> None:
    woken: list[bool] = []

    async def watch(conversation: Conversation) -> None:
        await conversation.until_gone()
        woken.append(conversation.gone)

    async with serving(watch) as rig:
        async with rig.client() as client:
            await client.send(get())
            await until(lambda: rig.server.busy == 1)
        await until(lambda: woken == [True])


async def test_connections_are_freed_without_the_garbage_collector() -> None:
    """However they end: a cycle would keep their buffers until a collection, which may be long in coming."""
    async with serving() as rig:
        rig.answerer.gate.set()
        endings = [
            get(),
            get("/echo", "Connection: close"),
            get("/echo", "Content-Length: 9", method="POST") + b"half",
            get("/early", "Content-Length: 9", method="POST"),
            get("/leave"),
            get("/raiselate"),
            get("/echo", "Connection: Upgrade", "Upgrade: h2c"),
            get() + b"nonsense\r\n",
            b"GET /ec",
            b"",
        ]
        gc.collect()
        gc.disable()
        try:
            for sent in endings:
                async with rig.client() as client:
                    await client.send(sent)
                    await asyncio.sleep(0.03)
                await until(lambda: not rig.server.connections and not rig.server.busy)
                await asyncio.sleep(0.02)
                left = [thing for thing in gc.get_objects() if isinstance(thing, Connection | Conversation)]
                assert left == [], sent
        finally:
            gc.enable()


@pytest.mark.timeout(110)
async def test_ten_thousand_connections_leave_nothing_behind() -> None:
    async with serving() as rig:
        loop = asyncio.get_running_loop()

        async def visit(count: int) -> None:
            for _ in range(count):
                with socket.socket() as sock:
                    sock.setblocking(False)
                    await loop.sock_connect(sock, rig.address)
                    await loop.sock_sendall(sock, get("/early"))
                    assert await loop.sock_recv(sock, 100)

        await asyncio.gather(*(visit(10) for _ in range(10)))
        await until(lambda: not rig.server.connections)
        gc.collect()
        before = len(gc.get_objects())
        await asyncio.gather(*(visit(1000) for _ in range(10)))
        await until(lambda: not rig.server.connections and not rig.server.busy)
        gc.collect()
        assert len(gc.get_objects()) - before < 500
        rig.answerer.begun.clear()
        rig.answerer.ended.clear()


# -- the end of the server


async def test_at_the_end_idle_connections_are_closed_and_streams_are_finished() -> None:
    unswept = Limits(sweep_s=60)
    async with (
        serving(limits=unswept) as rig,
        rig.client() as idle,
        rig.client() as busy,
        rig.client() as half,
    ):
        await busy.send(get("/stream"))
        await idle.send(get())
        await idle.answer()
        await half.send(b"GET /ec")
        await busy.until(b"one,\r\n")
        await until(lambda: len(rig.server.connections) == 3)
        ending = asyncio.ensure_future(rig.server.stop(drain_s=10))
        assert await idle.rest() == b""
        assert await half.rest() == b""
        assert not ending.done()
        rig.answerer.gate.set()
        assert (await busy.rest()).endswith(b"three\r\n0\r\n\r\n")
        await ending
        with pytest.raises(ConnectionError):
            async with rig.client():
                pass


async def test_at_the_end_an_answer_says_that_the_connection_closes() -> None:
    async with serving() as rig, rig.client() as client:
        await client.send(get("/gate") + get("/echo"))
        await until(lambda: rig.answerer.begun == ["/gate"])
        ending = asyncio.ensure_future(rig.server.stop(drain_s=10))
        await asyncio.sleep(0)
        rig.answerer.gate.set()
        data = await client.rest()
        assert statuses(data) == [200]
        assert b"connection: close\r\n" in data
        await ending


async def test_a_connection_that_comes_in_the_last_moment_does_not_hold_up_the_end() -> None:
    async with serving(limits=Limits(sweep_s=0.02)) as rig, rig.client() as busy, rig.client() as late:
        await busy.send(get("/gate"))
        await until(lambda: len(rig.server.connections) == 2)
        rig.server.draining = True  # as if it had been accepted after `stop` looked
        assert await late.rest() == b""
        rig.answerer.gate.set()
        assert (await busy.answer()).headers["connection"] == "close"


async def test_the_end_waits_for_work_whose_client_has_left() -> None:
    async with serving() as rig:
        async with rig.client() as client:
            await client.send(get("/gate"))
            await until(lambda: rig.answerer.begun == ["/gate"])
        await until(lambda: not rig.server.connections)
        ending = asyncio.ensure_future(rig.server.stop(drain_s=10))
        await asyncio.sleep(0.05)
        assert not ending.done()
        rig.answerer.gate.set()
        await ending
        assert rig.answerer.ended == ["/gate returned"]


async def test_what_does_not_end_in_time_is_cut() -> None:
    async with serving() as rig, rig.client() as client:
        await client.send(get("/stream"))
        await client.until(b"one,\r\n")
        await rig.server.stop(drain_s=0.05)
        assert rig.answerer.ended == ["/stream cancelled"]
        assert b"0\r\n\r\n" not in await client.rest()


async def test_told_twice_the_server_cuts_at_once_and_waits_for_what_it_cut() -> None:
    cleaned: list[str] = []

    async def slow_to_die(conversation: Conversation) -> None:
        conversation.start(200, PLAIN)
        await conversation.write(b"one,")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)
            cleaned.append("up")

    async with serving(slow_to_die) as rig, rig.client() as client:
        await client.send(get())
        await client.until(b"one,\r\n")
        ending = asyncio.ensure_future(rig.server.stop(drain_s=60))
        await asyncio.sleep(0.01)
        rig.server.cut()
        await asyncio.wait_for(ending, 5)
        assert cleaned == ["up"]


async def test_a_request_that_came_while_the_server_ends_is_told_to_close() -> None:
    answerer = Answerer()
    server = Server(answerer)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    await server.start(listener)
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    try:
        writer.write(get("/echo", "Content-Length: 2", method="POST"))
        await until(lambda: server.busy == 1)
        ending = asyncio.ensure_future(server.stop(drain_s=10))
        await asyncio.sleep(0.05)
        writer.write(b"hi" + post(b"too late"))
        data = await asyncio.wait_for(reader.read(-1), 5)
        assert statuses(data) == [200]
        assert b"connection: close" in data
        await ending
    finally:
        writer.transport.abort()
