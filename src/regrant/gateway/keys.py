"""Client keys as values: which one a request shows, whether it is one of ours, and whether one is needed at all.

The file that holds them is in `key_file`. Nothing here reads a file, the time or randomness.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Literal
from urllib.parse import parse_qsl

import msgspec

from regrant.secret import Secret
from regrant.settings import Server
from regrant.settings.addresses import is_loopback

Mode = Literal["off", "strict", "all_except_health"]

PREFIX = "rg-"
SETTINGS_NAME = "settings"
HEALTH_PATHS = frozenset({"/healthz", "/health", "/readyz"})
ACCEPTED = ("Authorization", "x-api-key", "x-goog-api-key", "api-key", "?key=")

_HEADERS = {
    b"authorization": "Authorization",
    b"x-api-key": "x-api-key",
    b"x-goog-api-key": "x-goog-api-key",
    b"api-key": "api-key",
}


class Key(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A client key as it is stored: `hash` is the SHA-256 of the key in hex, `hint` its last characters. Unix seconds."""

    id: str
    name: str
    hash: str
    hint: str
    created_at: float
    last_used_at: float | None = None


class KeyRing:
    """The keys that are accepted now; replaced as a whole when they change."""

    __slots__ = ("_hashes", "keys")

    def __init__(self, keys: tuple[Key, ...] = ()) -> None:
        self.keys = keys
        self._hashes = [key.hash.encode() for key in keys]

    def __bool__(self) -> bool:
        return bool(self.keys)

    def match(self, candidates: Iterable[str]) -> Key | None:
        """The key that one of `candidates` is. Takes the same time wherever in the ring it is, or if it is not."""
        found: Key | None = None
        for candidate in candidates:
            digest = hash_of(candidate).encode()
            for key, known in zip(self.keys, self._hashes, strict=True):
                if hmac.compare_digest(digest, known):
                    found = key
        return found


def ring_of(keys: Iterable[Key], api_key: Secret) -> KeyRing:
    """The stored keys and `server.api_key`, which counts as one more named `settings`."""
    stored = tuple(keys)
    return (
        KeyRing((*stored, make_key(api_key, id=SETTINGS_NAME, name=SETTINGS_NAME, now=0)))
        if api_key
        else KeyRing(stored)
    )


def secret_from(token: str) -> Secret:
    """A new key around 43 random url-safe characters."""
    return Secret(PREFIX + token)


def make_key(secret: Secret, *, id: str, name: str, now: float) -> Key:  # noqa: A002 - named as the field
    """What is stored of `secret`. The hint is left out where four characters would tell too much."""
    value = secret.reveal()
    return Key(
        id=id, name=name, hash=hash_of(value), hint=value[-4:] if len(value) >= 16 else "", created_at=now
    )


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def client_keys_of(headers: Iterable[tuple[bytes, bytes]], query: bytes) -> list[str]:
    """Everything in a request that may be a client key. Header names in lower case."""
    return [value for _, value in shown_keys(headers, query)]


def shown_keys(headers: Iterable[tuple[bytes, bytes]], query: bytes) -> list[tuple[str, str]]:
    """The place (one of ACCEPTED) and value of each candidate; an error may name the places, never the values."""
    shown: list[tuple[str, str]] = []
    for name, raw in headers:
        if name in _HEADERS:
            text = raw.decode("latin-1").strip()
            value = _without_scheme(text) if name == b"authorization" else text
            if value:
                shown.append((_HEADERS[name], value))
    if b"key=" in query:
        pairs = parse_qsl(query.decode("latin-1"), encoding="utf-8", errors="replace")
        shown.extend(("?key=", value) for name, value in pairs if name == "key" and value)
    return shown


def effective_mode(server: Server) -> Mode:
    """What `auth_mode` amounts to: `auto` asks for keys as soon as anybody but this machine may connect."""
    match server.auth_mode:
        case "off" | "strict" | "all_except_health" as mode:
            return mode
        case _:
            exposed = server.trusted_proxies or server.allowed_hosts or server.public_url
            return "off" if is_loopback(server.host) and not exposed else "all_except_health"


def needs_key(mode: Mode, path: str) -> bool:
    return mode == "strict" or (mode == "all_except_health" and path not in HEALTH_PATHS)


def _without_scheme(text: str) -> str:
    scheme, _, rest = text.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else text
