"""Thought signatures in a body that is relayed: what takes their place once Google has refused one.

Signatures of translated requests are put in `contents.py`. Which account can verify which, is known in `gateway/`.
Source: ai.google.dev/gemini-api/docs/thought-signatures.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

UNSIGNED = "skip_thought_signature_validator"
"""Google's documented signature for calls whose own is not known."""

STAND_INS = frozenset({UNSIGNED, "context_engineering_is_the_way_to_go"})
"""All that Google documents for that: they say nothing, and no other vendor wants them."""

_Fields: TypeAlias = dict[str, msgspec.Raw]
_BODY = msgspec.json.Decoder(_Fields)
_CONTENTS = msgspec.json.Decoder(list[_Fields])
_PARTS = msgspec.json.Decoder(list[_Fields])
_SIGNATURE = ("thoughtSignature", "thought_signature")
_CALL = ("functionCall", "function_call")
_STAND_IN = msgspec.Raw(msgspec.json.encode(UNSIGNED))


def replace_signatures(body: bytes) -> bytes:
    """`body` of `generateContent` with Google's stand-in for every signature, and on the first call of each content.

    All other values stay byte for byte. A body without any, or that cannot be read so far, is returned as it is: Google has judged it.
    """
    replaced = False
    try:
        document = _BODY.decode(body)
        contents = _CONTENTS.decode(document["contents"])
        for content in contents:
            if "parts" in content:
                parts = _PARTS.decode(content["parts"])
                replaced |= _replace(parts)
                content["parts"] = _encode(parts)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return body
    if not replaced:
        return body
    document["contents"] = _encode(contents)
    return msgspec.json.encode(document)


def _replace(parts: list[_Fields]) -> bool:
    """Put the stand-in into the parts of one content; whether any wanted it."""
    replaced, unsigned_call = False, True
    for part in parts:
        is_call = any(name in part for name in _CALL)
        spelled = next((name for name in _SIGNATURE if name in part), "")
        if spelled or (is_call and unsigned_call):
            part[spelled or _SIGNATURE[0]] = _STAND_IN
            replaced = True
        unsigned_call = unsigned_call and not is_call
    return replaced


def _encode(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
