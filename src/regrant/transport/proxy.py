"""The way to an origin: directly, through a tunnel, or by absolute-form requests to an HTTP proxy.

Pure rules and bytes; `dial.py` performs them. Another kind of proxy is another branch of `find_route`.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from regrant.errors import ConnectFailed, SettingsError, UnsendableRequest
from regrant.secret import Secret
from regrant.transport.url import Origin, parse_origin

MAX_PROXY_HEAD_BYTES = 64 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. `authorization` is the value of Proxy-Authorization, empty without credentials."""

    host: str
    port: int
    authorization: Secret

    def authorization_line(self) -> bytes:
        value = self.authorization.reveal()
        return f"proxy-authorization: {value}\r\n".encode("ascii") if value else b""


@dataclass(frozen=True, slots=True)
class Route:
    """How to reach `origin`: what to connect to, whether to ask `proxy` for a tunnel, what every request carries."""

    origin: Origin
    host: str
    port: int
    tunnel: Proxy | None
    target_prefix: str
    """Put before the request target: nothing, or scheme and authority for a proxy."""
    fixed: bytes
    """Header lines of every request on this route."""


def parse_proxy(url: str) -> Proxy | None:
    """The proxy of `http://[user:password@]host:port`, or None for an empty text.

    Raises SettingsError, which never quotes the URL.
    """
    if not url:
        return None
    scheme, _, rest = url.partition("://")
    userinfo, _, authority = rest.rstrip("/").rpartition("@")
    try:
        if scheme.lower() != "http":
            raise UnsendableRequest("it must begin with http://")
        origin = parse_origin("http", authority)
    except UnsendableRequest as exc:
        raise SettingsError([f"network.proxy: {exc}"]) from exc
    user, _, password = userinfo.partition(":")
    credentials = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    basic = "Basic " + base64.b64encode(credentials).decode("ascii") if userinfo else ""
    return Proxy(origin.host, origin.port, Secret(basic))


def find_route(origin: Origin, proxy: Proxy | None) -> Route:
    """The way to `origin`. This machine is never asked for through a proxy."""
    host_line = f"host: {origin.host_field}\r\n".encode("ascii")
    if proxy is None or origin.loopback:
        return Route(origin, origin.host, origin.port, None, "", host_line)
    if origin.secure:
        return Route(origin, proxy.host, proxy.port, proxy, "", host_line)
    fixed = host_line + proxy.authorization_line()
    return Route(origin, proxy.host, proxy.port, None, f"http://{origin.host_field}", fixed)


def encode_connect(origin: Origin, proxy: Proxy) -> bytes:
    """The request for a tunnel. Source: RFC 9110 section 9.3.6."""
    line = f"CONNECT {origin.authority} HTTP/1.1\r\nhost: {origin.authority}\r\n".encode("ascii")
    return line + proxy.authorization_line() + b"\r\n"


def tunnel_opened(received: bytes) -> bool:
    """Whether the proxy's whole answer has come and grants the tunnel; False means that more must come.

    Raises ConnectFailed naming the proxy's status for a refusal, and for anything that is not such an answer.
    """
    head, end, after = received.partition(b"\r\n\r\n")
    if not end:
        if len(received) > MAX_PROXY_HEAD_BYTES:
            raise ConnectFailed("the proxy's answer is too large")
        return False
    line = _STATUS_LINE.match(head + b"\r\n")
    if line is None:
        raise ConnectFailed("the proxy's answer is not HTTP")
    status = int(line[1])
    if status // 100 != 2:
        raise proxy_refusal(status)
    if after:
        raise ConnectFailed("the proxy sent bytes into the tunnel before it was used")
    return True


def proxy_refusal(status: int) -> ConnectFailed:
    advice = "; check the user name and password in network.proxy" if status == 407 else ""
    return ConnectFailed(f"the proxy refused with status {status}{advice}")
