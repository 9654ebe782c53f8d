"""The server on a real socket in this event loop, a handler that answers by path, and raw clients."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from regrant.cli.serve import bind
from regrant.listener.conversation import Conversation
from regrant.listener.limits import Limits
from regrant.listener.server import Handler, Server

PATIENCE_S = 10.0
DEFAULT = Limits()
HOST = b"Host: localhost\r\n"
PLAIN = b"content-type: text/plain\r\n"


def get(path: str = "/echo", *fields: str, version: str = "1.1", method: str = "GET") -> bytes:
    lines = "".join(f"{line}\r\n" for line in fields)
    return f"{method} {path} HTTP/{version}\r\nHost: localhost\r\n{lines}\r\n".encode()


def post(body: bytes, path: str = "/echo", *fields: str) -> bytes:
    return get(path, f"Content-Length: {len(body)}", *fields, method="POST") + body


def post_chunked(*chunks: bytes, path: str = "/echo") -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return get(path, "Transfer-Encoding: chunked", method="POST") + framed


@dataclass
class Answerer:
    """What the paths do. `begun` and `ended` tell, by path, what went on."""

    begun: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, conversation: Conversation) -> None:
        self.begun.append(conversation.path)
        outcome = "cancelled"
        try:
            await getattr(self, "_" + conversation.path.strip("/*").partition("/")[0], self._echo)(
                conversation
            )
            outcome = "returned"
        finally:
            self.ended.append(f"{conversation.path} {outcome}")

    async def _echo(self, conversation: Conversation) -> None:
        """Method, target and body, once the whole of it is here."""
        parts = []
        while part := await conversation.read():
            parts.append(part)
        told = [
            conversation.method,
            conversation.path,
            conversation.query.decode(),
            b"".join(parts).decode("latin-1"),
        ]
        conversation.reply(200, PLAIN, json.dumps(told).encode())

    async def _early(self, conversation: Conversation) -> None:
        conversation.reply(401, PLAIN, b"no")

    async def _gate(self, conversation: Conversation) -> None:
        await self.gate.wait()
        conversation.reply(200, PLAIN, b"at last")

    async def _wait(self, conversation: Conversation) -> None:
        """As the gateway waits for a model: cancelled when the client leaves."""
        conversation.leaving_cancels = True
        await self.gate.wait()
        conversation.reply(200, PLAIN, b"at last")

    async def _stream(self, conversation: Conversation) -> None:
        """Three pieces, the last ones only when the gate is open."""
        conversation.leaving_cancels = True
        conversation.start(200, PLAIN)
        await conversation.write(b"one,")
        await self.gate.wait()
        await conversation.write(b"two,")
        conversation.end(b"three")

    async def _flood(self, conversation: Conversation) -> None:
        conversation.leaving_cancels = True
        conversation.start(200, PLAIN)
        for _ in range(4000):
            await conversation.write(b"x" * 65536)
        conversation.end()

    async def _big(self, conversation: Conversation) -> None:
        conversation.reply(200, PLAIN, b"x" * (4 << 20))

    async def _none(self, conversation: Conversation) -> None:
        conversation.reply(int(conversation.path[-3:]), PLAIN, b"not to be sent")

    async def _startnone(self, conversation: Conversation) -> None:
        conversation.start(int(conversation.path[-3:]), PLAIN, length=14)
        await conversation.write(b"not to ")
        conversation.end(b"be sent")

    async def _short(self, conversation: Conversation) -> None:
        conversation.start(200, PLAIN, length=10)
        await conversation.write(b"four")
        conversation.end()

    async def _long(self, conversation: Conversation) -> None:
        conversation.start(200, PLAIN, length=4)
        await conversation.write(b"four")
        conversation.end(b"HTTP/1.1 200 OK\r\n\r\n")

    async def _fit(self, conversation: Conversation) -> None:
        conversation.start(200, PLAIN, length=10)
        await conversation.write(b"four")
        conversation.end(b"andsix")

    async def _raise(self, conversation: Conversation) -> None:
        raise RuntimeError("nobody foresaw this")

    async def _raiselate(self, conversation: Conversation) -> None:
        conversation.start(200, PLAIN)
        await conversation.write(b"one,")
        raise RuntimeError("nobody foresaw this")

    async def _leave(self, conversation: Conversation) -> None:
        """Returns without an answer."""


class Client:
    """Raw bytes out and in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await asyncio.wait_for(self.writer.drain(), PATIENCE_S)

    async def until(self, mark: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(mark), PATIENCE_S)

    async def rest(self) -> bytes:
        """Everything up to the end. Raises ConnectionResetError."""
        return await asyncio.wait_for(self.reader.read(-1), PATIENCE_S)

    async def answer(self, *, bodiless: bool = False) -> Answer:
        head = await self.until(b"\r\n\r\n")
        headers = _headers(head)
        if bodiless:
            return Answer(_status(head), headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await self.until(b"\r\n"), 16):
                body += await asyncio.wait_for(self.reader.readexactly(size), PATIENCE_S)
                await self.until(b"\r\n")
            await self.until(b"\r\n")
            return Answer(_status(head), headers, body)
        body = await asyncio.wait_for(self.reader.readexactly(int(headers["content-length"])), PATIENCE_S)
        return Answer(_status(head), headers, body)

    def half_close(self) -> None:
        self.writer.write_eof()

    def reset(self) -> None:
        self.writer.transport.abort()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def echo(self) -> list[str]:
        told: list[str] = json.loads(self.body)
        return told


def _status(head: bytes) -> int:
    return int(head.split(b" ")[1])


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


def statuses(data: bytes) -> list[int]:
    """Of every answer in `data`."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)]


@dataclass
class Rig:
    server: Server
    address: tuple[str, int]
    answerer: Answerer
    family: int = socket.AF_INET

    @asynccontextmanager
    async def client(self, *, receive_buffer: int = 0) -> AsyncIterator[Client]:
        sock = socket.socket(self.family)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, self.address)
        except OSError:
            sock.close()
            raise
        reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 16)
        try:
            yield Client(reader, writer)
        finally:
            writer.transport.abort()

    async def exchange(self, *parts: bytes) -> bytes:
        """What a client that sends `parts` and keeps its side open reads until the server closes."""
        async with self.client() as client:
            await client.send(*parts)
            return await client.rest()


@asynccontextmanager
async def serving(
    handle: Handler | None = None, *, limits: Limits = DEFAULT, host: str = "127.0.0.1", send_buffer: int = 0
) -> AsyncIterator[Rig]:
    """Run the server. At the end it must have let go of every connection and task, and the loop have met no error."""
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    answerer = Answerer()
    server = Server(handle or answerer, limits=limits)
    listener = bind(host, 0)
    if send_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    await server.start(listener)
    try:
        yield Rig(server, listener.getsockname()[:2], answerer, listener.family)
        await until(lambda: not server.connections and not server.busy)
    finally:
        await server.stop(drain_s=0)
    assert errors == []


async def until(condition: Callable[[], bool]) -> None:
    """Poll until `condition` holds; fails after a while."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(0.005)
