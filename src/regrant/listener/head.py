"""The bytes of an answer before its body.

Pure. Nothing that a caller passes can add a line or a second message: values with control characters are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus

Fields = Iterable[tuple[bytes, bytes]]

BODILESS = frozenset({204, 304})
"""Statuses whose answers never have a body. Source: RFC 9110 section 6.4.1."""

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BREAKS = re.compile(rb"[\r\n\0]")


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


STATUS_LINES = {status: _status_line(status) for status in range(200, 600)}


@lru_cache(maxsize=1024)
def _line_start(name: bytes) -> bytes:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a header field")
    return name.lower() + b": "


def encode_fields(fields: Fields) -> bytes:
    """Whole lines. Raises ValueError for what would not be one field."""
    parts: list[bytes] = []
    for name, value in fields:
        if _BREAKS.search(value):
            raise ValueError(f"the value of {name!r} holds a line break or a NUL")
        parts += (_line_start(name), value, b"\r\n")
    return b"".join(parts)
