"""Bytes from outside as plain values: strict JSON objects, durations, tokens and bounded lines of text.

Nothing here knows what an answer means; that is `google.py`. The sign-in files of other tools are read with it too
(`imports.py`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from regrant.secret import Secret, redact

MAX_LIFETIME_S = 10 * 365 * 86400.0  # beyond it a number is a mistake, and dates made from it would overflow

_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")


def decode_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object that `body` is, strictly: UTF-8, no repeated keys, no NaN. None for everything else."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a repeated key says two things at once")
    return result


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def seconds(value: object) -> float | None:
    """A duration that is a positive finite number (or its decimal spelling), else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return min(number, MAX_LIFETIME_S) if math.isfinite(number) and number > 0 else None


def usable_token(value: object) -> Secret | None:
    """A token that may be put into a header field, else None."""
    return Secret(value) if isinstance(value, str) and _HEADER_SAFE.fullmatch(value) else None


def one_line(value: object, limit: int, secrets: Sequence[Secret] = ()) -> str:
    """A text from outside as one printable line of at most `limit` characters, secrets masked; "" unless a string."""
    if not isinstance(value, str):
        return ""
    forms = [form for secret in secrets for form in (secret, Secret(quote(secret.reveal(), safe="")))]
    masked = redact(value, forms)
    line = " ".join("".join(c if c.isprintable() else " " for c in masked).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def appearance(body: bytes) -> str:
    """What an unreadable body looks like, in words: it is never quoted."""
    start = body[:512].lstrip().lower()
    if not start:
        return "an empty body"
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")):
        return "a web page (a captive portal, a firewall or a proxy?)"
    return "something that is not a JSON object"
