"""A scripted peer on a real socket: each test says byte for byte what the server does to the client."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from regrant.errors import TransportError
from regrant.transport.client import HttpClient
from regrant.transport.model import Request, Response, Timeouts

AGENT = "regrant-test/1"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
PATIENCE_S = 5.0  # how long a test waits for what must happen
QUICK = Timeouts(connect_s=5, first_byte_s=5, idle_s=5)


class Peer:
    """The server's end of one connection. `number` counts connections from 1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number

    async def request(self) -> bytes:
        """One whole request as it came, head and body. Raises IncompleteReadError at the end."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name == b"content-length":
                return head + await self.reader.readexactly(int(value))
        return head

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Close with RST or at least at once, whatever is unsent."""
        self.writer.transport.abort()

    async def gone(self) -> bool:
        """Wait until the client has closed; False if it has not in time."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while await self.reader.read(65536):
                    pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True


Script = Callable[[Peer], Awaitable[None]]


class Server:
    """Where the scripted peer listens, and what went on there."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.connections = 0
        self.requests: list[bytes] = []
        self.port = 0
        self.failures: list[BaseException] = []

    def url(self, path: str = "/", *, scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._script(Peer(reader, writer, self.connections))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except AssertionError as exc:
            self.failures.append(exc)
        finally:
            writer.transport.abort()


@asynccontextmanager
async def serving(script: Script, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Run `script` for every connection; an assertion that fails in it fails the test."""
    server = Server(script)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(server.serve_one(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
    assert not server.failures, server.failures


@asynccontextmanager
async def client_of(
    *, ca_file: str = "", proxy: str = "", limit: int = 64, keepalive_s: float = 30.0
) -> AsyncIterator[HttpClient]:
    client = HttpClient(
        user_agent=AGENT,
        ca_file=ca_file,
        proxy=proxy,
        max_connections_per_origin=limit,
        keepalive_s=keepalive_s,
    )
    try:
        yield client
    finally:
        async with asyncio.timeout(PATIENCE_S):
            await client.close()


def always(answer: bytes) -> Script:
    """Answer every request with the same bytes and keep the connection."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.say(answer)

    return script


def once(answer: bytes) -> Script:
    """Answer one request, then close properly."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(answer)
        peer.writer.close()
        await peer.writer.wait_closed()

    return script


async def ask(client: HttpClient, url: str, *, method: str = "GET", body: bytes = b"") -> tuple[int, bytes]:
    answer = await client.send(Request(method, url, body=body, timeouts=QUICK))
    return answer.status, await answer.read(1 << 26)


async def failure_of(answer: Response) -> tuple[bytes, TransportError]:
    """What came of a body that must fail, and how it failed."""
    came = b""
    try:
        async for chunk in answer.chunks():
            came += chunk
    except TransportError as exc:
        return came, exc
    raise AssertionError("the body ended cleanly")


async def until(condition: Callable[[], bool]) -> None:
    """Poll until `condition` holds; fails after a while."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
