"""Many streams held open at once: how late each chunk arrives, by the time that the upstream wrote into it.

The process that holds the streams is one of its own, so that it can be pinned beside the gateway: `python bench/streams.py` reads a request
(JSON, `Order`) from stdin and prints the delays as JSON.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench.stage import ROOT, cores
from bench.work import Load, Wrong

SENT = re.compile(rb"at=(\d+\.\d+);")
OPEN_PER_S = 250
"""How many streams are opened a second: a crowd, not a stampede."""
CUT_TAIL = 24
"""Bytes kept of a piece of the stream, for a stamp that is cut in two."""


@dataclass(slots=True)
class Holder(asyncio.Protocol):
    """One stream; `done` is set when the server has ended it."""

    raw: bytes
    delays: list[float]
    done: asyncio.Future[None]
    received: int = 0
    _head: bytes = b""
    _tail: bytes = b""
    _transport: asyncio.Transport | None = field(default=None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass
        transport.write(self.raw)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if len(self._head) < 12:
            self._head += data[:12]
            if len(self._head) >= 12 and not self._head.startswith(b"HTTP/1.1 200"):
                self._fail(data[:300].decode("latin-1"))
        text = self._tail + data
        end = 0
        for found in SENT.finditer(text):
            self.delays.append(now - float(found[1]))
            self.received += 1
            end = found.end()
        self._tail = text[max(end, len(text) - CUT_TAIL) :]
        if text.endswith(b"0\r\n\r\n") and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"the stream was cut: {error}")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(Wrong(why))


async def hold(port: int, raw: bytes, streams: int, ticks: int) -> list[float]:
    """Delays in seconds of all chunks that came while all streams were open. Raises Wrong when a stream misses a chunk."""
    loop = asyncio.get_running_loop()
    delays: list[float] = []
    holders: list[Holder] = []
    started = loop.time()
    for number in range(streams):
        await asyncio.sleep(started + number / OPEN_PER_S - loop.time())
        holder = Holder(raw, delays, loop.create_future())
        await loop.create_connection(lambda holder=holder: holder, "127.0.0.1", port)  # type: ignore[misc]
        holders.append(holder)
    opening = len(delays)
    async with asyncio.timeout(ticks + 30):
        await asyncio.gather(*(holder.done for holder in holders))
    if short := [holder for holder in holders if holder.received != ticks]:
        raise Wrong(f"{len(short)} streams had not {ticks} chunks, one had {short[0].received}")
    for holder in holders:
        holder.close()
    return delays[opening:]


def measure(load: Load, *, streams: int, ticks: int) -> list[float]:
    """Run `hold` in a process of its own, away from the gateway's core. Delays in ms, ascending. Raises Wrong."""
    order = {
        "port": load.port,
        "raw": base64.b64encode(load.raw).decode(),
        "streams": streams,
        "ticks": ticks,
    }
    command = [*cores(gateway=False), sys.executable, str(ROOT / "bench" / "streams.py")]
    done = subprocess.run(
        command,
        input=json.dumps(order).encode(),
        capture_output=True,
        timeout=ticks + 90,
        check=False,
    )
    if done.returncode:
        raise Wrong(done.stderr.decode()[-500:])
    found: list[float] = json.loads(done.stdout)
    return found


def main() -> None:
    order = json.load(sys.stdin)
    raw = base64.b64decode(order["raw"])
    delays = uvloop.run(hold(order["port"], raw, order["streams"], order["ticks"]))
    json.dump(sorted(delay * 1000 for delay in delays), sys.stdout)


if __name__ == "__main__":
    main()
