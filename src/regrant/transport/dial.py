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

from regrant.errors import AddressRefused, CertificateRefused, ConnectFailed
from regrant.transport.connection import Connection
from regrant.transport.proxy import Route
from regrant.transport.tunnel import Tunnel, spoiled

ATTEMPT_DELAY_S = (
    0.25  # RFC 8305 section 8: the next address is tried when the last has not answered for so long
)

Address = tuple[int, tuple[object, ...]]
"""An address family and an address of it, as `getaddrinfo` gives them."""


Admits = Callable[[str], bool]
"""Whether an address, as a number, may be connected to."""


async def dial(
    route: Route,
    make: Callable[[], Connection],
    context: ssl.SSLContext | None,
    *,
    admits: Admits | None = None,
) -> Connection:
    """A connection to the origin of `route`, ready for a request. `context` is needed for https.

    Raises ConnectFailed, CertificateRefused, AddressRefused. When cancelled, nothing stays open.
    """
    if admits is not None and (route.tunnel is not None or route.target_prefix):
        raise AddressRefused(f"the address of {route.origin.host} cannot be checked behind a proxy")
    try:
        sock = await _connect(route.host, route.port, admits)
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
    proxy = route.tunnel
    if proxy is None:
        try:
            _, connection = await loop.create_connection(make, sock=sock, ssl=context, server_hostname=name)
        except BaseException:
            sock.close()
            raise
        return connection
    try:
        transport, tunneling = await loop.create_connection(
            lambda: _Tunneling(proxy.tunnel_to(route.origin)), sock=sock
        )
    except BaseException:
        sock.close()
        raise
    try:
        await tunneling.opened()
        connection = make()
        if context is None:
            transport.set_protocol(connection)
            connection.adopt(transport)
        else:
            secured = await loop.start_tls(transport, connection, context, server_hostname=name)
            assert secured is not None
            connection.adopt(secured)
    except BaseException:
        transport.abort()
        raise
    return connection


class _Tunneling(asyncio.Protocol):
    """Carries a conversation with a proxy; then the connection, or TLS for it, takes the transport over."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._error: ConnectFailed | None = None
        self._transport: asyncio.Transport

    async def opened(self) -> None:
        """Wait for the tunnel. Raises ConnectFailed also for what happened between its opening and this return."""
        await self._ended
        if self._error is not None:
            raise self._error

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._tunnel.opening)

    def data_received(self, data: bytes) -> None:
        if self._ended.done():
            self._end(spoiled())
            return
        try:
            more = self._tunnel.receive(data)
        except ConnectFailed as exc:
            self._end(exc)
            return
        if more:
            self._transport.write(more)
        if self._tunnel.opened:
            self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio.Protocol
        self._end(ConnectFailed("the proxy closed the connection instead of opening a tunnel"))

    def _end(self, error: ConnectFailed | None) -> None:
        self._error = self._error or error
        if not self._ended.done():
            self._ended.set_result(None)


def _place(route: Route) -> str:
    if route.tunnel is not None or route.target_prefix:
        return f"the proxy {route.host}:{route.port}"
    return route.origin.authority


def _reason(exc: Exception) -> str:
    if isinstance(exc, OSError):
        return exc.strerror or type(exc).__name__
    return "the name cannot be looked up"


async def _connect(host: str, port: int, admits: Admits | None) -> socket.socket:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if admits is not None and not all(admits(str(address[0])) for *_, address in found):
        raise AddressRefused(f"{host} is at an address that may not be connected to")
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
