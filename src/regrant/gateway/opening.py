"""The little that the gateway reads of a Gemini request that it relays: how the conversation opens.

A malformed body is refused here, before an account is asked; all else is Google's to judge.
"""

from __future__ import annotations

from typing import Any

import msgspec

from regrant.errors import DialectError


class _Body(msgspec.Struct):
    contents: msgspec.Raw = msgspec.Raw(b"null")
    system: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"null"), name="systemInstruction")
    system_snake: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"null"), name="system_instruction")
    cached: Any = msgspec.field(default=None, name="cachedContent")


_BODY = msgspec.json.Decoder(_Body)
_CONTENTS = msgspec.json.Decoder(list[msgspec.Raw])
_ANYTHING: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class Opening(msgspec.Struct, frozen=True):
    """Texts that stay the same through a conversation, and the name of the cached content in use."""

    texts: tuple[str, ...] = ()
    cached_content: str = ""


def read_opening(body: bytes) -> Opening:
    """Raises DialectError for a body that is no JSON object."""
    try:
        found = _BODY.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DialectError(f"The request body is not a JSON object: {error}") from error
    system = found.system if bytes(found.system) != b"null" else found.system_snake
    texts = (*_texts(system), *_texts(found.contents))
    return Opening(texts, found.cached if isinstance(found.cached, str) else "")


def _texts(raw: msgspec.Raw) -> list[str]:
    """The texts of a content, or of the first of several."""
    try:
        if bytes(memoryview(raw)[:1]) == b"[":  # the whole conversation, of which the first content is enough
            raw = next(iter(_CONTENTS.decode(raw)), raw)
        content = _ANYTHING.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    parts = content.get("parts") if isinstance(content, dict) else None
    parts = parts if isinstance(parts, list) else [parts]
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]


def rename_models(body: bytes, model: str) -> bytes:
    """The body with the model's name replaced where Google wants it repeated; otherwise untouched, byte for byte.

    `batchEmbedContents` and `countTokens` name the model inside, and it must be that of the address.
    Raises DialectError where such a part has the wrong type.
    """
    if b'"model"' not in body:
        return body
    try:
        return _rename(body, model)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DialectError(f"The model cannot be named inside the request body: {error}") from error


def _rename(body: bytes, model: str) -> bytes:
    document = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    changed = False
    if "model" in document:
        document["model"] = _name(model)
        changed = True
    for key in ("generateContentRequest", "generate_content_request"):
        if key in document:
            inner = msgspec.json.decode(document[key], type=dict[str, msgspec.Raw])
            document[key] = msgspec.Raw(msgspec.json.encode(inner | {"model": _name(model)}))
            changed = True
    if "requests" in document:
        inners = msgspec.json.decode(document["requests"], type=list[dict[str, msgspec.Raw]])
        document["requests"] = msgspec.Raw(
            msgspec.json.encode([inner | {"model": _name(model)} for inner in inners])
        )
        changed = True
    return msgspec.json.encode(document) if changed else body


def _name(model: str) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(f"models/{model}"))
