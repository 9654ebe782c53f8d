"""How a vendor's signature of a tool call travels through the signature of a thinking block, and back.

Clients of this API return thinking blocks untouched, and nothing else that is opaque. A signature that was not written
here is another vendor's: it would only be refused upstream.
"""

from __future__ import annotations

MARK = "regrant:"


def wrap(signature: str | None) -> str:
    """Never empty: there are clients that keep only thinking blocks with a signature."""
    return MARK + (signature or "")


def unwrap(signature: str | None) -> str | None:
    """The signature inside; None when there is none or it is foreign."""
    if signature is None or not signature.startswith(MARK):
        return None
    return signature.removeprefix(MARK) or None
