"""Asking a proxy for a tunnel to an origin: HTTP CONNECT and SOCKS5, as bytes in and bytes out.

No I/O: `dial.py` carries the bytes. Which proxy is asked is `proxy.py` and `proxy_rules.py`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Generator
from typing import Protocol

from regrant.errors import ConnectFailed
from regrant.secret import Secret
from regrant.transport.url import Origin

MAX_PROXY_HEAD_BYTES = 64 * 1024
MAX_SOCKS_NAME_BYTES = 255
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")

_VERSION = b"\x05"
_ANONYMOUS, _PASSWORD, _NO_METHOD = 0, 2, 0xFF
_IPV4, _NAME, _IPV6 = 1, 3, 4
_REFUSALS = {
    1: "a failure of its own",
    2: "not allowed by its rules",
    3: "the network cannot be reached",
    4: "the host cannot be reached",
    5: "the host refused the connection",
    6: "the time to live ran out",
    7: "it does not know the command",
    8: "it does not know this kind of address",
}


class Tunnel(Protocol):
    """One conversation with a proxy. After an error has been raised, or `opened` is true, it is not fed again."""

    @property
    def opening(self) -> bytes:
        """What is written first."""
        ...

    @property
    def opened(self) -> bool: ...

    def receive(self, data: bytes) -> bytes:
        """What to write next, often nothing.

        Raises ConnectFailed when the proxy refuses, breaks its protocol, or sends bytes into the tunnel before
        it is used; no text quotes a credential.
        """
        ...


class HttpTunnel:
    """CONNECT. `credentials` is a whole Proxy-Authorization line or nothing. Source: RFC 9110 section 9.3.6."""

    def __init__(self, origin: Origin, credentials: bytes) -> None:
        line = f"CONNECT {origin.authority} HTTP/1.1\r\nhost: {origin.authority}\r\n".encode("ascii")
        self.opening = line + credentials + b"\r\n"
        self.opened = False
        self._received = b""

    def receive(self, data: bytes) -> bytes:
        self._received += data
        head, end, after = self._received.partition(b"\r\n\r\n")
        if not end:
            if len(self._received) > MAX_PROXY_HEAD_BYTES:
                raise ConnectFailed("the proxy's answer is too large")
            return b""
        line = _STATUS_LINE.match(head + b"\r\n")
        if line is None:
            raise ConnectFailed("the proxy's answer is not HTTP")
        status = int(line[1])
        if status // 100 != 2:
            raise proxy_refusal(status)
        if after:
            raise spoiled()
        self.opened = True
        return b""


class SocksTunnel:
    """SOCKS5, with user name and password where there are any. The proxy looks names up, so no query leaks here."""

    def __init__(self, origin: Origin, user: Secret, password: Secret) -> None:
        self._steps = _socks_steps(origin, user, password)
        self.opening, self._wanted = next(self._steps)
        self.opened = False
        self._received = b""

    def receive(self, data: bytes) -> bytes:
        self._received += data
        out = b""
        while len(self._received) >= self._wanted:
            piece, self._received = self._received[: self._wanted], self._received[self._wanted :]
            try:
                more, self._wanted = self._steps.send(piece)
            except StopIteration:
                break
            out += more
        else:
            return out
        if self._received:
            raise spoiled()
        self.opened = True
        return out


def proxy_refusal(status: int) -> ConnectFailed:
    advice = "; check the user name and password of the proxy" if status == 407 else ""
    return ConnectFailed(f"the proxy refused with status {status}{advice}")


def spoiled() -> ConnectFailed:
    return ConnectFailed("the proxy sent bytes into the tunnel before it was used")


def _socks_steps(origin: Origin, user: Secret, password: Secret) -> Generator[tuple[bytes, int], bytes, None]:
    """Yields what to write and how many bytes to wait for, and is sent just those. Source: RFC 1928, RFC 1929."""
    methods = bytes([_PASSWORD, _ANONYMOUS] if user else [_ANONYMOUS])
    version, method = yield _VERSION + bytes([len(methods)]) + methods, 2
    if version != _VERSION[0]:
        raise ConnectFailed("the proxy's answer is not SOCKS5")
    if method not in methods:
        raise ConnectFailed(_refused_method(method, anonymous=not user))
    if method == _PASSWORD:
        _, status = yield b"\x01" + _counted(user) + _counted(password), 2
        if status != 0:
            raise ConnectFailed(
                "the SOCKS proxy refused the user name and password; check those of the proxy"
            )
    target = _VERSION + b"\x01\x00" + _socks_address(origin.host) + origin.port.to_bytes(2, "big")
    version, reply = yield target, 2
    if version != _VERSION[0]:
        raise ConnectFailed("the proxy's answer is not SOCKS5")
    if reply != 0:
        raise ConnectFailed(f"the SOCKS proxy refused: {_REFUSALS.get(reply, f'code {reply}')}")
    _, kind, first = yield b"", 3
    rest = {_IPV4: 3, _NAME: first, _IPV6: 15}.get(kind)
    if rest is None:
        raise ConnectFailed("the proxy's answer is not SOCKS5")
    yield b"", rest + 2  # the address that the proxy is bound to, which nobody needs, and its port


def _refused_method(method: int, *, anonymous: bool) -> str:
    if method != _NO_METHOD:
        return "the SOCKS proxy chose a way to authenticate that was not offered"
    if anonymous:
        return "the SOCKS proxy wants a user name and password, and none is given with its address"
    return "the SOCKS proxy accepts neither a user name and password nor none"


def _socks_address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        if len(name) > MAX_SOCKS_NAME_BYTES:
            raise ConnectFailed("the host name is too long for a SOCKS proxy") from None
        return bytes([_NAME, len(name)]) + name
    return bytes([_IPV4 if address.version == 4 else _IPV6]) + address.packed


def _counted(secret: Secret) -> bytes:
    value = secret.reveal().encode("latin-1")
    return bytes([len(value)]) + value
