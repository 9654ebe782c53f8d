"""The event stream's hub: what happens is offered to every subscriber; nobody who reads slowly holds anything up.

Of an account only its newest state waits for a subscriber. One that falls too far behind is dropped, with an event that
says so: it reads the lists again and subscribes anew. How a stream is served over HTTP is `events_routes.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

KEEP_ALIVE_S = 15.0
MAX_WAITING = 1000
MAX_SUBSCRIBERS = 100


def encode_event(name: str, data: object) -> bytes:
    """One server-sent event with JSON data."""
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


class Subscriber:
    """One open stream: what waits to be sent to it, by key."""

    def __init__(self, keep_alive_s: float) -> None:
        self._keep_alive_s = keep_alive_s
        self._waiting: dict[str, bytes] = {}
        self._wake = asyncio.Event()
        self._over = False

    def offer(self, key: str, event: bytes) -> bool:
        """Queue an event in place of an older one of the same key; False when the subscriber was dropped."""
        self._waiting.pop(key, None)
        if len(self._waiting) >= MAX_WAITING:
            self.end(
                encode_event("dropped", {"reason": "read too slowly; read the lists again and reconnect"})
            )
            return False
        self._waiting[key] = event
        self._wake.set()
        return True

    def end(self, last: bytes = b"") -> None:
        """No more events; `last` takes the place of those that still wait."""
        self._waiting = {"": last} if last else self._waiting
        self._over = True
        self._wake.set()

    async def stream(self) -> AsyncIterator[bytes]:
        """The events as bytes, and a comment when nothing happened for a while, until the end."""
        yield encode_event("hello", {})
        while True:
            if not self._waiting and not self._over:
                try:
                    async with asyncio.timeout(self._keep_alive_s):
                        await self._wake.wait()
                except TimeoutError:
                    yield b": keep-alive\n\n"
                    continue
            self._wake.clear()
            waiting, self._waiting = self._waiting, {}
            if waiting:
                yield b"".join(waiting.values())
            elif self._over:
                return


class Hub:
    def __init__(self) -> None:
        self._subscribers: set[Subscriber] = set()
        self._closed = False
        self._serial = 0

    @property
    def listened_to(self) -> bool:
        return bool(self._subscribers)

    def subscribe(self, *, keep_alive_s: float = KEEP_ALIVE_S) -> Subscriber | None:
        """A new subscriber; None when there are too many."""
        if len(self._subscribers) >= MAX_SUBSCRIBERS:
            return None
        subscriber = Subscriber(keep_alive_s)
        if self._closed:
            subscriber.end()
        else:
            self._subscribers.add(subscriber)
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        self._subscribers.discard(subscriber)

    def publish(self, name: str, data: object, *, key: str = "") -> None:
        """Offer an event to everyone. With a `key`, a newer event takes the place of one that still waits."""
        if not self._subscribers:
            return
        self._serial += 1
        event = encode_event(name, data)
        for subscriber in list(self._subscribers):
            if not subscriber.offer(f"{name} {key or self._serial}", event):
                self._subscribers.discard(subscriber)

    def close(self) -> None:
        """End every stream; the process is going away."""
        self._closed = True
        for subscriber in self._subscribers:
            subscriber.end()
        self._subscribers.clear()
