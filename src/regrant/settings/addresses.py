"""Which addresses, hosts and names settings accept, as pure functions from text to canonical text or None.

The kinds that call them are in `values`; nothing here connects to anything.
"""

from __future__ import annotations

import ipaddress
import re
import zoneinfo
from urllib.parse import SplitResult, urlsplit

from regrant.secret import MASK

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]*://[a-z0-9._-]+(:[0-9]{1,5})?|[a-z][a-z0-9+.-]*://\[[0-9a-f:.]+\](:[0-9]{1,5})?"
)

_NEARBY = (".localhost", ".local", ".lan", ".internal", ".home.arpa", ".test")


def any_text(text: str) -> str | None:
    return text


def filled_text(text: str) -> str | None:
    return text or None


def visible_text(text: str) -> str | None:
    """What can stand in an HTTP header as one word: visible ASCII without spaces, or nothing."""
    return text if all("!" <= letter <= "~" for letter in text) else None


def filled_visible_text(text: str) -> str | None:
    return visible_text(text) or None


def location(text: str) -> str | None:
    return text if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", text) else None


def time_zone(text: str) -> str | None:
    try:
        zoneinfo.ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        return None
    return text


def listen_host(text: str) -> str | None:
    return text if _is_host(text) else None


def host_pattern(text: str) -> str | None:
    """A host name without scheme and port; `*.` in front stands for any name below."""
    return text.lower() if _is_host(text.removeprefix("*.")) else None


def network(text: str) -> str | None:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    return text


def origin(text: str) -> str | None:
    lowered = text.rstrip("/").lower()
    return lowered if _ORIGIN.fullmatch(lowered) else None


def web_address(text: str) -> str | None:
    """An http:// or https:// address without user, query and fragment; a trailing slash is dropped."""
    parts = _split(text)
    if parts is None or parts.scheme not in {"http", "https"} or parts.query or parts.fragment:
        return None
    return None if "@" in parts.netloc else text.rstrip("/")


def optional_web_address(text: str) -> str | None:
    return web_address(text) if text else ""


def google_endpoint(text: str) -> str | None:
    """As `web_address`; http:// to this machine only, because tokens go there."""
    accepted = web_address(text)
    parts = _split(text)
    if accepted is None or parts is None or "{" in text or "}" in text:
        return None
    return accepted if parts.scheme == "https" or is_loopback(parts.hostname or "") else None


def vertex_endpoint(text: str) -> str | None:
    """As `google_endpoint`, where {location} may stand; nothing means Google's own host for the location."""
    if not text:
        return ""
    return text.rstrip("/") if google_endpoint(text.replace("{location}", "global")) else None


def webhook(text: str) -> str | None:
    """An https:// address without a user, or http:// to a host that is surely not across the internet."""
    parts = _split(text)
    if parts is None or "@" in parts.netloc or parts.scheme not in {"http", "https"}:
        return None
    return text if parts.scheme == "https" or is_nearby(parts.hostname or "") else None


def host_of(url: str) -> str:
    """The host of an address that was accepted."""
    return urlsplit(url).hostname or ""


def proxy(text: str) -> str | None:
    """An http://, socks5:// or socks5h:// address, `none` or `direct`, or nothing."""
    if text in {"", "none", "direct"}:
        return text
    parts = _split(text)
    if parts is None or parts.scheme not in {"http", "socks5", "socks5h"} or parts.query or parts.fragment:
        return None
    return text.rstrip("/") if parts.path in {"", "/"} else None


def store(text: str) -> str | None:
    if text == "file:":
        return text
    parts = _split(text)
    return text if parts is not None and parts.scheme in {"postgresql", "postgres"} else None


def show_without_password(text: str) -> str:
    """An address with user, password and query masked."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return text
    head, mark, _ = rest.partition("?")
    before, at, host = head.rpartition("@")
    return f"{scheme}://{MASK if before else ''}{at}{host}{mark}{MASK if mark else ''}"


def is_loopback(host: str) -> bool:
    """Whether `host` surely is this machine: 127.0.0.0/8, ::1 or the name localhost."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return address.is_loopback and getattr(address, "ipv4_mapped", None) is None


def is_nearby(host: str) -> bool:
    """Whether `host` is this machine or in a private network: by number, as a name without dots, or by a name that
    no public DNS has. Source: RFC 6761, 6762, 8375 and ICANN's reservation of `.internal`.
    """
    name = host.lower().rstrip(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(_NEARBY)
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_global and not address.is_multicast and not address.is_unspecified


def _split(text: str) -> SplitResult | None:
    """The parts of an absolute address with a well-formed host, or None.

    Characters that parsers read differently (spaces, controls, backslashes, non-ASCII) are refused beforehand.
    """
    if not all("!" <= letter <= "~" and letter != "\\" for letter in text):
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    return parts if parts.hostname and _is_host(parts.hostname) and port != 0 else None


def _is_host(text: str) -> bool:
    if _HOST.fullmatch(text):
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
