"""A closed loop on raw sockets: kept connections, one request after the other on each, every answer read whole and checked.

It measures what requests cost, not how long they take under a given load: that wants a schedule (`pace.py`).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from bench.work import Load, Wrong


@dataclass(frozen=True, slots=True)
class Measured:
    """Requests per second, and milliseconds to the first byte of the body."""

    rate: float
    first_p50_ms: float


async def read_answer(reader: asyncio.StreamReader) -> tuple[bytes, float]:
    """The body, and when its first byte had come (perf_counter seconds). Raises Wrong for any status but 200."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200"):
        raise Wrong(head[:200].decode("latin-1"))
    if b"content-length:" in head:
        size = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        return await reader.readexactly(size), time.perf_counter()
    parts: list[bytes] = []
    first = 0.0
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        parts.append(await reader.readexactly(size))
        first = first or time.perf_counter()
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts), first


async def run(load: Load, *, requests: int, connections: int) -> Measured:
    """Send `requests` over `connections`. Raises Wrong on the first bad answer."""
    raw, check = load.raw, load.check
    firsts: list[float] = []

    async def one(count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", load.port)
        try:
            for _ in range(count):
                started = time.perf_counter()
                writer.write(raw)
                body, first = await read_answer(reader)
                firsts.append(first - started)
                check(body)
        finally:
            writer.close()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one(max(1, requests // connections)))
    seconds = time.perf_counter() - started
    firsts.sort()
    return Measured(len(firsts) / seconds, firsts[len(firsts) // 2] * 1000)
