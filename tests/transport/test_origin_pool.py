"""Many requests at once: reuse, the limit per origin, the line that forms, and leaving it."""

from __future__ import annotations

import asyncio

import pytest
from tests.transport.hostile import OK, QUICK, Peer, always, ask, client_of, serving, until

from regrant.errors import ConnectFailed
from regrant.transport.client import HttpClient
from regrant.transport.connection import Connection
from regrant.transport.model import Request, Timeouts
from regrant.transport.pool import Pool


async def test_200_parallel_requests_share_the_connections_of_the_limit() -> None:
    async def echo(peer: Peer) -> None:
        while True:
            target = (await peer.request()).split(b" ")[1]
            await asyncio.sleep(0)
            await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(target) + target)

    async with serving(echo) as server, client_of(limit=20) as client:
        answers = await asyncio.gather(*(ask(client, server.url(f"/{number}")) for number in range(200)))
        assert answers == [(200, b"/%d" % number) for number in range(200)]
        assert 1 <= server.connections <= 20


async def test_unlimited_parallel_requests_each_get_a_connection_that_is_reused_later() -> None:
    async with serving(always(OK)) as server, client_of(limit=500) as client:
        for _ in range(2):
            assert set(await asyncio.gather(*(ask(client, server.url()) for _ in range(200)))) == {
                (200, b"ok")
            }
        assert server.connections <= 200


class Gate:
    """A server that answers one request each time it is told to, and notes who was served."""

    def __init__(self, answer: bytes = OK) -> None:
        self.served: list[bytes] = []
        self._answer = answer
        self._turns = asyncio.Semaphore(0)

    def serve_one(self) -> None:
        self._turns.release()

    async def __call__(self, peer: Peer) -> None:
        while True:
            target = (await peer.request()).split(b" ")[1]
            self.served.append(target)
            await self._turns.acquire()
            await peer.say(self._answer)


CLOSING = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"


@pytest.mark.parametrize("answer", [OK, CLOSING], ids=["handed over", "replaced"])
async def test_line_for_a_connection_is_first_come_first_served_and_skips_those_who_left(
    answer: bytes,
) -> None:
    gate = Gate(answer)
    async with serving(gate) as server, client_of(limit=1) as client:
        tasks = []
        for number in range(6):
            tasks.append(asyncio.ensure_future(ask(client, server.url(f"/{number}"))))
            await asyncio.sleep(0)
        await until(lambda: gate.served == [b"/0"])
        tasks[1].cancel()
        tasks[3].cancel()
        for _ in range(4):
            gate.serve_one()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert gate.served == [b"/0", b"/2", b"/4", b"/5"]
        assert [isinstance(item, asyncio.CancelledError) for item in done] == [
            False,
            True,
            False,
            True,
            False,
            False,
        ]
        assert server.connections == (1 if answer is OK else 4)


async def test_caller_cancelled_at_the_moment_of_being_handed_a_connection_passes_it_on() -> None:
    async with serving(always(OK)) as server, client_of(limit=1) as client:
        assert await ask(client, server.url()) == (200, b"ok")
        pool = next(iter(client._origins.values()))[1]
        connection = await pool.acquire(5)
        second, third = await in_line(pool)
        connection.release()
        second.cancel()
        assert await third is connection
        with pytest.raises(asyncio.CancelledError):
            await second
        connection.drop()


async def test_caller_cancelled_at_the_moment_of_being_granted_a_slot_passes_it_on() -> None:
    asked: list[asyncio.Future[Connection]] = []

    async def open_connection(pool: Pool) -> Connection:
        asked.append(asyncio.get_running_loop().create_future())
        return await asked[-1]

    pool = Pool(open_connection, limit=1, keepalive_s=5)
    first = asyncio.ensure_future(pool.acquire(5))
    await until(lambda: len(asked) == 1)
    second, third = await in_line(pool)
    asked[0].set_exception(ConnectFailed("as told"))
    asyncio.get_running_loop().call_soon(second.cancel)  # runs between the grant and the waking of the second
    await until(lambda: len(asked) == 2)
    asked[1].set_exception(ConnectFailed("as told"))
    ends = await asyncio.gather(first, second, third, return_exceptions=True)
    assert [type(end) for end in ends] == [ConnectFailed, asyncio.CancelledError, ConnectFailed]
    assert pool._opening == 0


async def in_line(pool: Pool) -> list[asyncio.Task[Connection]]:
    tasks = [asyncio.ensure_future(pool.acquire(5)) for _ in range(2)]
    await until(lambda: len(pool._waiters) == 2)
    return tasks


async def client_task(client: HttpClient, url: str) -> asyncio.Task[tuple[int, bytes]]:
    task = asyncio.get_running_loop().create_task(ask(client, url))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def test_waiting_for_a_connection_ends_with_the_connect_time() -> None:
    gate = Gate()
    async with serving(gate) as server, client_of(limit=1) as client:
        first = await client_task(client, server.url("/0"))
        await until(lambda: gate.served == [b"/0"])
        with pytest.raises(ConnectFailed, match=r"no connection within 0\.05 s") as caught:
            await client.send(Request("GET", server.url("/1"), timeouts=Timeouts(0.05, 5, 5)))
        assert not caught.value.processed
        gate.serve_one()
        assert await first == (200, b"ok")
        gate.serve_one()
        assert await ask(client, server.url("/2")) == (200, b"ok")
        assert server.connections == 1


async def test_failed_connection_gives_its_slot_to_the_next_in_line() -> None:
    async with serving(always(OK)) as server:
        pass
    async with client_of(limit=1) as client:
        failures = await asyncio.gather(
            *(ask(client, server.url()) for _ in range(5)), return_exceptions=True
        )
        assert [type(failure) for failure in failures] == [ConnectFailed] * 5


async def test_idle_connection_is_closed_after_the_keep_alive_time() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        assert await peer.gone()
        closed.set()

    closed = asyncio.Event()
    async with serving(script) as server, client_of(keepalive_s=0.05) as client:
        assert await ask(client, server.url()) == (200, b"ok")
        await until(closed.is_set)


async def test_idle_connection_that_is_closing_is_not_lent() -> None:
    async with serving(always(OK)) as server, client_of() as client:
        assert await ask(client, server.url()) == (200, b"ok")
        pool = next(iter(client._origins.values()))[1]
        pool._idle[0].drop()  # its loss is announced on a later turn of the loop
        assert await ask(client, server.url()) == (200, b"ok")
        assert server.connections == 2


async def test_most_recently_used_connection_is_lent_first() -> None:
    used: list[int] = []

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            used.append(peer.number)
            if len(used) < 3:
                await until(lambda: len(used) >= 2)
            await peer.say(OK)

    async with serving(script) as server, client_of() as client:
        await asyncio.gather(ask(client, server.url()), ask(client, server.url()))
        for _ in range(3):
            await ask(client, server.url())
        assert len(set(used[2:])) == 1


async def test_unread_answer_does_not_hold_its_connection_once_it_is_complete() -> None:
    async with serving(always(OK)) as server, client_of(limit=1) as client:
        unread = await client.send(Request("GET", server.url(), timeouts=QUICK))
        assert await ask(client, server.url()) == (200, b"ok")
        assert await unread.read(10) == b"ok"
        assert server.connections == 1
