"""An open loop: requests leave by the clock, whether or not the answers before have come, and are timed from when they were due.

So a gateway that stalls is charged for every request that had to wait (no coordinated omission). One thread and `select`, because event
loops count time-outs in whole milliseconds.
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from bench.work import Load, Wrong

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
PATIENCE_S = 20.0


@dataclass(slots=True)
class _Line:
    """A connection and the request that is under way on it."""

    socket: socket.socket
    due: float = 0.0
    received: bytes = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def read(self) -> bytes | None:
        """The body, when all of it is there. Raises Wrong for any status but 200 and for an answer without a length."""
        data = self.socket.recv(65536)
        if not data:
            raise Wrong("the connection was closed before the answer")
        self.received += data
        head_end = self.received.find(b"\r\n\r\n")
        if head_end < 0:
            return None
        length = LENGTH.search(self.received, 0, head_end)
        if not self.received.startswith(b"HTTP/1.1 200") or length is None:
            raise Wrong(self.received[:300].decode("latin-1"))
        body = self.received[head_end + 4 :]
        if len(body) < int(length[1]):
            return None
        self.received = b""
        return body


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds from when each request was due to its complete answer, ascending; and how late the generator itself was at worst."""

    seconds: list[float]
    late_s: float

    def percentile_ms(self, share: float) -> float:
        return self.seconds[min(len(self.seconds) - 1, int(len(self.seconds) * share))] * 1000


@dataclass(slots=True)
class _Schedule:
    load: Load
    free: deque[_Line]
    busy: list[_Line] = field(default_factory=list)
    waiting: deque[float] = field(default_factory=deque)
    seconds: list[float] = field(default_factory=list)
    late_s: float = 0.0

    def send(self) -> None:
        """Put what waits onto free connections."""
        while self.waiting and self.free:
            line, due = self.free.popleft(), self.waiting.popleft()
            line.due = due
            line.socket.sendall(self.load.raw)
            self.busy.append(line)

    def listen(self, timeout_s: float) -> None:
        """Read what has come, waiting at most `timeout_s` for it."""
        readable, _, _ = select.select(self.busy, [], [], timeout_s)
        now = time.perf_counter()
        for line in readable:
            body = line.read()
            if body is None:
                continue
            self.seconds.append(now - line.due)
            self.busy.remove(line)
            self.free.append(line)
            self.load.check(body)


def run(load: Load, *, rate: int, seconds: float, connections: int = 64) -> Latencies:
    """Send `rate` requests a second for `seconds`, evenly spaced. Raises Wrong on a bad answer, or when answers stop coming."""
    with _lines(load.port, connections) as lines:
        schedule = _Schedule(load, deque(lines))
        started, total, sent = time.perf_counter() + 0.01, int(rate * seconds), 0
        while len(schedule.seconds) < total:
            now = time.perf_counter()
            if now > started + seconds + PATIENCE_S:
                raise Wrong(f"{total - len(schedule.seconds)} answers did not come in time")
            while sent < total and started + sent / rate <= now:
                due = started + sent / rate
                schedule.late_s = max(schedule.late_s, now - due)
                schedule.waiting.append(due)
                sent += 1
            schedule.send()
            schedule.listen(max(0.0, started + sent / rate - time.perf_counter()) if sent < total else 1.0)
        return Latencies(sorted(schedule.seconds), schedule.late_s)


@contextmanager
def _lines(port: int, count: int) -> Iterator[list[_Line]]:
    lines: list[_Line] = []
    try:
        for _ in range(count):
            connected = socket.create_connection(("127.0.0.1", port), 10)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            lines.append(_Line(connected))
        yield lines
    finally:
        for line in lines:
            with closing(line.socket):
                pass
