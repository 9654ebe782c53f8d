"""A proxy and the way to an origin: directly, through a tunnel, or by absolute-form requests to an HTTP proxy.

Pure rules; `tunnel.py` speaks to proxies, `dial.py` performs it, and which proxy serves which origin is `proxy_rules.py`.
"""

from __future__ import annotations

import base64
from urllib.parse import unquote_to_bytes

import msgspec

from regrant.errors import SettingsError, UnsendableRequest
from regrant.secret import Secret
from regrant.transport.tunnel import HttpTunnel, SocksTunnel, Tunnel
from regrant.transport.url import Origin, parse_origin

SOCKS_PORT = 1080
MAX_SOCKS_CREDENTIAL_BYTES = 255


class HttpProxy(msgspec.Struct, frozen=True):
    """An HTTP proxy. `authorization` is the value of Proxy-Authorization, empty without credentials."""

    host: str
    port: int
    authorization: Secret
    source: str
    """The setting or variable that names it."""

    @property
    def address(self) -> str:
        return f"http://{_authority(self.host, self.port)}"

    def authorization_line(self) -> bytes:
        value = self.authorization.reveal()
        return f"proxy-authorization: {value}\r\n".encode("ascii") if value else b""

    def tunnel_to(self, origin: Origin) -> Tunnel:
        return HttpTunnel(origin, self.authorization_line())


class SocksProxy(msgspec.Struct, frozen=True):
    """A SOCKS5 proxy. `user` and `password` hold bytes as Latin-1 and are empty without credentials."""

    host: str
    port: int
    user: Secret
    password: Secret
    source: str

    @property
    def address(self) -> str:
        return f"socks5h://{_authority(self.host, self.port)}"

    def tunnel_to(self, origin: Origin) -> Tunnel:
        return SocksTunnel(origin, self.user, self.password)


Proxy = HttpProxy | SocksProxy


class Route(msgspec.Struct, frozen=True):
    """How to reach `origin`: what to connect to, whether to ask `proxy` for a tunnel, what every request carries."""

    origin: Origin
    host: str
    port: int
    tunnel: Proxy | None
    target_prefix: str
    """Put before the request target: nothing, or scheme and authority for a proxy."""
    fixed: bytes
    """Header lines of every request on this route."""


def parse_proxy(url: str, *, source: str) -> Proxy:
    """The proxy of `http://[user:password@]host[:port]`, `socks5://…` or `socks5h://…`.

    With both SOCKS schemes the proxy looks the names up: a name looked up here would tell the local resolver
    what the proxy is meant to hide. Raises SettingsError, which names `source` and never quotes the URL.
    """
    scheme, _, rest = url.partition("://")
    userinfo, _, authority = rest.rstrip("/").rpartition("@")
    user, _, password = (unquote_to_bytes(part) for part in userinfo.partition(":"))
    try:
        match scheme.lower():
            case "http":
                place = parse_origin("http", authority)
                value = base64.b64encode(user + b":" + password).decode("ascii")
                return HttpProxy(place.host, place.port, Secret(f"Basic {value}" if userinfo else ""), source)
            case "socks5" | "socks5h":
                named = ":" in authority.rpartition("]")[2]
                place = parse_origin("http", authority if named else f"{authority}:{SOCKS_PORT}")
                if max(len(user), len(password)) > MAX_SOCKS_CREDENTIAL_BYTES or (password and not user):
                    raise UnsendableRequest("the user name or password is not one that SOCKS5 can carry")
                user_name, secret_word = Secret(user.decode("latin-1")), Secret(password.decode("latin-1"))
                return SocksProxy(place.host, place.port, user_name, secret_word, source)
            case _:
                raise UnsendableRequest("it must begin with http://, socks5:// or socks5h://")
    except UnsendableRequest as exc:
        raise SettingsError([f"{source}: {exc}"]) from exc


def find_route(origin: Origin, proxy: Proxy | None) -> Route:
    """The way to `origin`. This machine is never asked for through a proxy."""
    host_line = f"host: {origin.host_field}\r\n".encode("ascii")
    if proxy is None or origin.loopback:
        return Route(origin, origin.host, origin.port, None, "", host_line)
    if origin.secure or isinstance(proxy, SocksProxy):
        return Route(origin, proxy.host, proxy.port, proxy, "", host_line)
    fixed = host_line + proxy.authorization_line()
    return Route(origin, proxy.host, proxy.port, None, f"http://{origin.host_field}", fixed)


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
