"""Thought signatures of the pretend models: made here, and known again when a client sends them back.

When one is required is `turns.py`. Source: docs/sources.md, section 4.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

DUMMIES = {"skip_thought_signature_validator", "context_engineering_is_the_way_to_go"}
_MARK = "sandbox-signature"


def sign(model: str, signed_for: str, content: str) -> str:
    """Base64, as on the wire. `signed_for` binds it further than the model: a surface, or an account."""
    digest = hashlib.sha256(f"{model}|{signed_for}|{content}".encode()).hexdigest()[:16]
    return base64.b64encode(f"{_MARK}|{model}|{signed_for}|{content}|{digest}".encode()).decode()


def genuine(signature: str, model: str, signed_for: str) -> bool:
    """Whether `sign` made it for this model and holder, or it is one of Google's documented dummies."""
    if signature in DUMMIES:
        return True
    try:
        text = base64.b64decode(signature.replace("-", "+").replace("_", "/")).decode()
        mark, made_for, holder, content, _digest = text.split("|")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return False
    known = mark == _MARK and made_for == model and holder == signed_for
    return known and sign(made_for, holder, content) == signature
