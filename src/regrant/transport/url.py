"""Where a request goes: the origin and the request target of a URL, checked so that neither can inject anything.

No I/O and no proxy rules: the route through a proxy is `proxy.py`, the request head is `head.py`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

from regrant.errors import UnsendableRequest

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_REMEMBERED_CHARACTERS = 512
_AUTHORITY_ENDS = re.compile(r"[/?#]")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Origin:
    """One scheme, host and port. `host` is in lower case and an IPv6 address is without its brackets."""

    scheme: str
    host: str
    port: int

    @property
    def secure(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Host and port for a CONNECT request, always with the port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_field(self) -> str:
        """The value of the `Host` field: without the port where it is the scheme's own."""
        if self.port != DEFAULT_PORTS[self.scheme]:
            return self.authority
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def loopback(self) -> bool:
        """Whether the host is this machine by name or number; no name is looked up."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_url(url: str) -> tuple[Origin, str]:
    """The origin and the request target (path and query; the fragment is dropped).

    Raises UnsendableRequest, whose text never quotes the path or the query: they may hold a key.
    """
    # The same few addresses are asked all the time; a long one is a stranger's and not worth its memory.
    return _parse_known(url) if len(url) <= MAX_REMEMBERED_CHARACTERS else _parse(url)


def _parse(url: str) -> tuple[Origin, str]:
    scheme, mark, rest = url.partition("://")
    if not mark:
        raise UnsendableRequest("the URL has no scheme; it must begin with http:// or https://")
    end = _AUTHORITY_ENDS.search(rest)
    authority, target = (rest[: end.start()], rest[end.start() :]) if end else (rest, "/")
    target = target.partition("#")[0]
    if not target.startswith("/"):
        target = "/" + target
    if not target.isascii() or not target.isprintable() or " " in target:
        raise UnsendableRequest(
            "the path of the URL holds a blank or a character that must be percent-encoded"
        )
    return parse_origin(scheme, authority), target


_parse_known = lru_cache(maxsize=256)(_parse)


@lru_cache(maxsize=256)
def parse_origin(scheme: str, authority: str) -> Origin:
    """The origin of `scheme://authority`. Raises UnsendableRequest; user info is refused and never quoted."""
    scheme = scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise UnsendableRequest("the URL must begin with http:// or https://")
    if "@" in authority:
        raise UnsendableRequest("the URL holds a user name or password; credentials do not belong in a URL")
    host, port = _split_port(authority.lower())
    if ":" in host:
        host = _checked_ipv6(host)
    elif not _NAME.fullmatch(host):
        raise UnsendableRequest(
            f"the host {host!r} of the URL is not a host name (international names in xn-- form)"
        )
    if not port:
        return Origin(scheme, host, DEFAULT_PORTS[scheme])
    if not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise UnsendableRequest(f"the port of the URL for {host!r} is not a number from 1 to 65535")
    return Origin(scheme, host, int(port))


def _split_port(authority: str) -> tuple[str, str]:
    if not authority.startswith("["):
        host, _, port = authority.partition(":")
        return host, port
    host, closing, after = authority[1:].partition("]")
    if not closing or ":" not in host or (after and not after.startswith(":")):
        raise UnsendableRequest("the IPv6 address of the URL is malformed")
    return host, after[1:]


def _checked_ipv6(host: str) -> str:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError as exc:
        raise UnsendableRequest("the IPv6 address of the URL is malformed") from exc
    if address.scope_id:
        raise UnsendableRequest("an IPv6 address with a zone cannot be used in a URL")
    return address.compressed
