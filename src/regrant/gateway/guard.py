"""Who may come in: client keys, and pages of other sites that make a browser call us.

Pure. Which keys there are is `keys.py` and `key_file.py`; the admin API has its own doors (`admin/`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from regrant.gateway.keys import ACCEPTED, Key, KeyRing, Mode, needs_key, shown_keys
from regrant.messages.problem import Problem, ProblemKind
from regrant.settings import Server


class Admitted(msgspec.Struct, frozen=True):
    """Come in; `key` is the client key that was shown, if any."""

    key: Key | None


def check(
    path: str,
    headers: Sequence[tuple[bytes, bytes]],
    query: bytes,
    *,
    server: Server,
    mode: Mode,
    ring: KeyRing,
) -> Admitted | Problem:
    """Judge one request on a gateway route. A valid key is enough; without one, other sites and hosts stay outside."""
    shown = shown_keys(headers, query)
    if shown:
        key = ring.match([value for _, value in shown])
        if key is not None:
            return Admitted(key)
    foreign = foreign_origin(dict(headers), server)
    if foreign:
        text = f"origin_not_allowed: {foreign}"  # the word for programs, also where a dialect has no place for codes
        return Problem(ProblemKind.ORIGIN_NOT_ALLOWED, text, code="origin_not_allowed")
    if not needs_key(mode, path):
        return Admitted(None)
    return Problem(
        ProblemKind.UNAUTHORIZED, _refusal(mode, [place for place, _ in shown]), code="invalid_api_key"
    )


def _refusal(mode: Mode, places: list[str]) -> str:
    seen = f"the key in {', '.join(sorted(set(places)))} is not a valid one" if places else "no key was sent"
    accepted = ", ".join(ACCEPTED)
    return (
        f"This gateway needs a client key (auth_mode {mode}); {seen}. Send one as {accepted}."
        " `regrant keys create NAME` makes one; `regrant doctor --key KEY` tests one."
    )


def foreign_origin(headers: Mapping[bytes, bytes], server: Server) -> str:
    """Why the request looks as if another site's page had made it (drive-by, DNS rebinding); "" when it does not."""
    host = headers.get(b"host", b"").decode("latin-1").lower()
    if not host_is_ours(host, server):
        return f"The Host {host!r} is not one of this gateway's. Add it to server.allowed_hosts if it is."
    origin = headers.get(b"origin")
    if origin is not None:
        text = origin.decode("latin-1").lower()
        if text in allowed_origins(server) or (urlsplit(text).netloc == host and text != "null"):
            return ""
        return f"Pages of {text!r} may not call this gateway. Add the origin to server.allowed_origins if they shall."
    if headers.get(b"sec-fetch-site", b"none") in {b"cross-site", b"same-site"}:
        return "Pages of other sites may not call this gateway without a key."
    return ""


def allowed_origins(server: Server) -> frozenset[str]:
    return frozenset(origin.lower().rstrip("/") for origin in server.allowed_origins)


def host_is_ours(host: str, server: Server) -> bool:
    """Whether a Host header names this gateway. An address cannot be a rebound name, so any address will do."""
    name = _name(host)
    if not name or name == "localhost" or name.endswith(".localhost") or _is_address(name):
        return True
    ours = {_name(allowed.lower()) for allowed in server.allowed_hosts} | {server.host.lower()}
    if server.public_url:
        ours.add((urlsplit(server.public_url).hostname or "").lower())
    return name in ours or any(
        allowed.startswith("*.") and name.endswith(allowed[1:]) for allowed in server.allowed_hosts
    )


def _name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") <= 1 else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
