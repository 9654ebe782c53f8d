"""Asking how many tokens a request has: `countTokens`, which the Gemini API and Vertex want asked in different words.

Source: docs/sources.md, section 4; google-genai 3.4, `models.py`.
"""

from __future__ import annotations

import msgspec

from regrant.dialects.gemini.request import encode_request, without_signatures
from regrant.messages.model import Request

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_COUNTED_BY_VERTEX = ("contents", "systemInstruction", "tools", "generationConfig")


class _Count(msgspec.Struct, rename="camel"):
    total_tokens: int


_COUNT = msgspec.json.Decoder(_Count)


class CountRequest(msgspec.Struct, frozen=True):
    """The same question for either upstream."""

    gemini: bytes
    vertex: bytes


def encode_count(request: Request, *, model: str) -> CountRequest:
    """Nothing is generated, so that no signature needs to be verified. Raises: DialectError, naming the part."""
    body = encode_request(without_signatures(request), model=model).body
    fields = _FIELDS.decode(body)
    whole = {"model": msgspec.Raw(msgspec.json.encode(f"models/{model}")), **fields}
    counted = {name: fields[name] for name in _COUNTED_BY_VERTEX if name in fields}
    return CountRequest(
        gemini=msgspec.json.encode({"generateContentRequest": whole}), vertex=msgspec.json.encode(counted)
    )


def read_count(body: bytes) -> int | None:
    """The number in the answer; None when there is none."""
    try:
        return _COUNT.decode(body).total_tokens
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
