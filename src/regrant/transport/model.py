"""Requests, responses and time limits of the HTTP client, and the protocol that callers depend on.

No I/O here; the implementation is `client.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

Headers = Sequence[tuple[bytes, bytes]]
"""Header fields in order; names in lower case on responses."""


class Timeouts(msgspec.Struct, frozen=True):
    """Limits in seconds.

    `connect_s` covers all that comes before the request: waiting for a free connection, DNS, TCP, proxy and TLS.
    `first_byte_s` runs from the last byte sent to the end of the final head; 1xx answers do not extend it.
    `idle_s` runs while somebody waits for the next body bytes, in either direction.
    """

    connect_s: float = 10.0
    first_byte_s: float = 120.0
    idle_s: float = 120.0


class Request(msgspec.Struct, frozen=True):
    """One request. Fields in a tuple are expected to come again, and their lines are remembered.

    `Host` and all that concerns framing or the connection is set by the client; a caller's own are ignored.
    A `User-Agent` of the caller replaces the client's. Fields and body may hold credentials and are not shown.
    """

    method: str
    url: str
    headers: Headers = ()
    body: bytes = b""
    timeouts: Timeouts = Timeouts()

    def __repr__(self) -> str:
        return f"Request(method={self.method!r}, url={self.url!r}, timeouts={self.timeouts!r})"


class Response(Protocol):
    """A response whose head has arrived. The caller must read it to the end or close it."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Headers: ...

    def header(self, name: bytes) -> bytes | None:
        """The first field of that lower-case name, or None."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, unframed, for one reader. Raises BodyCut or BodyIdle; a short body never ends cleanly.

        When the reader is cancelled the connection is closed at once.
        """
        ...

    def arrived(self) -> bytes:
        """What of the body is here already and was not read yet: for a reader who need not wait."""
        ...

    @property
    def complete(self) -> bool:
        """The whole body is here."""
        ...

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises BodyTooLarge (and closes the connection) beyond `limit` bytes."""
        ...

    async def close(self) -> None:
        """Give the response up; the connection is dropped unless its body was read to the end. Idempotent."""
        ...


class Transport(Protocol):
    async def send(self, request: Request) -> Response:
        """Write the request and return once the final response head has arrived.

        Redirects are not followed and bodies are not decompressed.

        Raises a TransportError, or UnsendableRequest for a malformed request; when the caller is cancelled the connection is closed at once.
        """
        ...

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        ...
