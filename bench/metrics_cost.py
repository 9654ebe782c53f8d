"""What counting costs a request: `python -m bench.metrics_cost` prints microseconds per exchange.

`append` is on the request's path; `drain` is what the event loop does later, in small batches; `scrape` is a thread's.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from regrant.clock import SystemClock
from regrant.gateway.routes import Speech
from regrant.messages.model import Usage
from regrant.traffic.exchange import Attempt, Exchange
from regrant.traffic.exposition import render
from regrant.traffic.recorder import Recorder
from regrant.upstream.faults import FaultKind

COUNT = 20_000
ROUNDS = 7


def exchanges(*, failover: bool) -> list[Exchange]:
    """Streamed answers of a few models; with `failover` each has a refused attempt before."""
    refused = [Attempt(account_id="a", status=429, fault=FaultKind.RATE_LIMITED, ms=80.0)] if failover else []
    return [
        Exchange(
            id=f"req_{number}",
            at=1.0,
            dialect=tuple(Speech)[number % 3],
            served_model=f"gemini-{number % 5}",
            status=200,
            ms=number % 3000,
            first_ms=number % 700 + 1,
            usage=Usage(input_tokens=900, cached_tokens=100, output_tokens=200, reasoning_tokens=90),
            attempts=[*refused, Attempt(account_id="b", status=200, ms=number % 900)],
        )
        for number in range(COUNT)
    ]


def best_us(work: Callable[[], None], count: int) -> float:
    """Microseconds per item in the fastest of some rounds."""
    fastest = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        fastest = min(fastest, time.perf_counter() - started)
    return fastest / count * 1e6


def main() -> None:
    for name, failover in (("plain", False), ("failover", True)):
        recorder, happened = Recorder(SystemClock()), exchanges(failover=failover)
        take = recorder.exchanges.append

        def append(happened: list[Exchange] = happened, take: Callable[[Exchange], None] = take) -> None:
            for one in happened:
                take(one)

        def append_and_drain(append: Callable[[], None] = append, recorder: Recorder = recorder) -> None:
            append()
            recorder.drain()

        on_path = best_us(append, COUNT)
        recorder.drain()
        whole = best_us(append_and_drain, COUNT)
        print(f"{name:9} append {on_path:6.3f} us   drain {whole - on_path:6.3f} us per exchange")

        def scrape(recorder: Recorder = recorder) -> None:
            render(recorder.snapshot(), "")

        print(f"{name:9} scrape {best_us(scrape, 1) / 1000:6.2f} ms")


if __name__ == "__main__":
    main()
