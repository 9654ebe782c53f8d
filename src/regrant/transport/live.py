"""The transport of a running process, which changed settings replace without breaking what is under way."""

from __future__ import annotations

from regrant.transport.client import HttpClient
from regrant.transport.model import Request, Response, Transport


class LiveTransport:
    """The transport of the moment: it can be changed for another while requests are under way on the old one."""

    def __init__(self, current: Transport) -> None:
        self._current = current
        self._old: list[Transport] = []

    async def send(self, request: Request) -> Response:
        return await self._current.send(request)

    def swap(self, other: Transport) -> None:
        """Use `other` from now on. What is under way ends on the old one; its idle connections close by themselves."""
        self._old = [*self._old[-3:], self._current]
        self._current = other

    @property
    def connections(self) -> int:
        """How many connections are open, on the old ones too."""
        return sum(connections_of(transport) for transport in (*self._old, self._current))

    async def close(self) -> None:
        for transport in (*self._old, self._current):
            await transport.close()


def connections_of(transport: Transport) -> int:
    """How many connections are open; 0 where the transport does not count them."""
    return transport.connections if isinstance(transport, HttpClient | LiveTransport) else 0
