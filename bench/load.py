"""A load generator on raw sockets: keep-alive connections, one request after the other on each, every answer checked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent, and what every answer must hold."""

    port: int
    path: str
    body: bytes
    expect: bytes
    headers: Sequence[str] = ()

    @property
    def raw(self) -> bytes:
        lines = [
            f"POST {self.path} HTTP/1.1",
            "host: 127.0.0.1",
            "content-type: application/json",
            f"content-length: {len(self.body)}",
            *self.headers,
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + self.body


@dataclass(frozen=True, slots=True)
class Measured:
    """Requests per second, and latencies in milliseconds."""

    rate: float
    p50_ms: float
    p99_ms: float


class Wrong(Exception):  # ends the run
    """An answer was not what it must be."""


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise Wrong(head[:200].decode("latin-1"))
    lower = head.lower()
    if b"content-length:" in lower:
        return await reader.readexactly(int(lower.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
    parts = []
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts)


async def run(load: Load, *, requests: int, connections: int) -> Measured:
    """Send `requests` over `connections`. Raises Wrong on the first bad answer."""
    raw = load.raw
    times: list[float] = []

    async def one(count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", load.port)
        for _ in range(count):
            started = time.perf_counter()
            writer.write(raw)
            body = await read_answer(reader)
            times.append(time.perf_counter() - started)
            if load.expect not in body:
                raise Wrong(body[:300].decode("utf-8", "replace"))
        writer.close()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one(requests // connections))
    seconds = time.perf_counter() - started
    times.sort()
    return Measured(len(times) / seconds, times[len(times) // 2] * 1000, times[int(len(times) * 0.99)] * 1000)
