"""Opening a connection along a route: TCP, the proxy's tunnel, TLS; every failure becomes a ConnectFailed.

Nothing of a request is sent here, so each of these failures leaves the request unprocessed. Time limits and
counting are the pool's.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from itertools import zip_longest
from typing import cast

from regrant.errors import CertificateRefused, ConnectFailed
from regrant.transport.connection import Connection
from regrant.transport.proxy import Proxy, Route, encode_connect, tunnel_opened
from regrant.transport.url import Origin

ATTEMPT_DELAY_S = (
    0.25  # RFC 8305 section 8: the next address is tried when the last has not answered for so long
)

Address = tuple[int, tuple[object, ...]]
"""An address family and an address of it, as `getaddrinfo` gives them."""


async def dial(route: Route, make: Callable[[], Connection], context: ssl.SSLContext | None) -> Connection:
    """A connection to the origin of `route`, ready for a request. `context` is needed for https.

    Raises ConnectFailed, CertificateRefused. When cancelled, nothing stays open.
    """
    try:
        sock = await _connect(route.host, route.port)
    except (OSError, UnicodeError) as exc:
        raise ConnectFailed(f"cannot connect to {_place(route)}: {_reason(exc)}") from exc
    try:
        return await _dress(sock, route, make, context)
    except ssl.SSLCertVerificationError as exc:
        raise CertificateRefused(
            f"the certificate of {route.origin.host} is not trusted: {exc.verify_message or 'verification failed'}; "
            "if a proxy or server of your own stands in between, name its CA in network.ca_file"
        ) from exc
    except ssl.SSLError as exc:
        raise ConnectFailed(
            f"TLS with {route.origin.host} failed: {exc.reason or 'handshake error'}"
        ) from exc
    except OSError as exc:
        raise ConnectFailed(f"connecting to {_place(route)} failed: {_reason(exc)}") from exc


async def _dress(
    sock: socket.socket, route: Route, make: Callable[[], Connection], context: ssl.SSLContext | None
) -> Connection:
    """Turn a connected socket into a connection; the socket is closed if that fails."""
    loop = asyncio.get_running_loop()
    name = route.origin.host.rstrip(".") if context else None
    if route.tunnel is None:
        try:
            _, connection = await loop.create_connection(make, sock=sock, ssl=context, server_hostname=name)
        except BaseException:
            sock.close()
            raise
        return connection
    try:
        transport, tunnel = await loop.create_connection(_Tunnel, sock=sock)
    except BaseException:
        sock.close()
        raise
    try:
        await tunnel.open(route.origin, route.tunnel)
        connection = make()
        assert context is not None
        secured = await loop.start_tls(transport, connection, context, server_hostname=name)
        assert secured is not None
        connection.adopt(secured)
    except BaseException:
        transport.abort()
        raise
    return connection


class _Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel and waits for its answer; then TLS takes the transport over."""

    def __init__(self) -> None:
        self._received = b""
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.BaseTransport | None = None

    async def open(self, origin: Origin, proxy: Proxy) -> None:
        cast("asyncio.Transport", self._transport).write(encode_connect(origin, proxy))
        await self._answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            opened = tunnel_opened(self._received)
        except ConnectFailed as exc:
            self._end(exc)
        else:
            if opened:
                self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio.Protocol
        self._end(ConnectFailed("the proxy closed the connection instead of opening a tunnel"))

    def _end(self, error: ConnectFailed | None) -> None:
        if self._answered.done():
            return
        if error is None:
            self._answered.set_result(None)
        else:
            self._answered.set_exception(error)


def _place(route: Route) -> str:
    if route.tunnel is not None or route.target_prefix:
        return f"the proxy {route.host}:{route.port}"
    return route.origin.authority


def _reason(exc: Exception) -> str:
    if isinstance(exc, OSError):
        return exc.strerror or type(exc).__name__
    return "the name cannot be looked up"


async def _connect(host: str, port: int) -> socket.socket:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await connect_any(_alternate([(family, address) for family, _, _, _, address in found]))


async def connect_any(found: list[Address]) -> socket.socket:
    """A TCP socket connected to the first of the addresses that answers (RFC 8305). Raises OSError.

    The next address gets its turn when the last one failed or has been silent for a while; the losers are closed.
    """
    if len(found) == 1:
        return await _attempt(*found[0])
    loop = asyncio.get_running_loop()
    addresses = deque(found)
    running: set[asyncio.Task[socket.socket]] = set()
    winner: socket.socket | None = None
    failure: BaseException = OSError("the name has no address")
    try:
        while winner is None and (addresses or running):
            if addresses:
                running.add(loop.create_task(_attempt(*addresses.popleft()), name="regrant-connect"))
            patience = ATTEMPT_DELAY_S if addresses else None
            done, running = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                failure = task.exception() or failure
                if winner is None and task.exception() is None:
                    winner = task.result()
                else:
                    _discard(task)
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_discard)
    if winner is None:
        raise failure
    return winner


async def _attempt(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _discard(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _alternate(found: list[Address]) -> list[Address]:
    """The addresses with the families taking turns, each family in the resolver's order (RFC 8305 section 4)."""
    first = [item for item in found if item[0] == found[0][0]]
    other = [item for item in found if item[0] != found[0][0]]
    pairs = zip_longest(first, other)
    return [item for pair in pairs for item in pair if item is not None]
