"""A value that must never be seen: hidden in every form but one explicit, greppable call.

Redaction of text that may quote a secret is `redact`; what is written to disk is decided by the stores.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import NoReturn

MASK = "[secret]"


class Secret:
    """A token, key or password. `str`, `repr`, `format` and f-strings show a mask; pickling is refused."""

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself. Every use of a secret is a call of this method."""
        return self._value

    def fingerprint(self) -> str:
        """32 hex digits that identify the value and cannot be turned back into it; "" for an empty secret."""
        return hashlib.sha256(b"regrant:" + self._value.encode()).hexdigest()[:32] if self._value else ""

    def __str__(self) -> str:
        return MASK if self._value else ""

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self.fingerprint())

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never pickled")


def redact(text: str, secrets: Iterable[Secret]) -> str:
    """`text` with every occurrence of a secret of four characters or more replaced by the mask."""
    # The longest first: of two secrets, one may begin with the other.
    for value in sorted((secret.reveal() for secret in secrets), key=len, reverse=True):
        if len(value) >= 4:
            text = text.replace(value, MASK)
    return text
