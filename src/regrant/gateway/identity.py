"""Names for requests: unique, unguessable, and cheap, as every request needs one."""

from __future__ import annotations

import secrets

ID_HEX = 24
_FRESH = 1024
"""How many ids one question to the system's randomness is good for."""


class _Mint:
    def __init__(self) -> None:
        self._hex = ""
        self._at = 0

    def draw(self) -> str:
        at = self._at
        if at >= len(self._hex):
            self._hex, at = secrets.token_hex(_FRESH * ID_HEX // 2), 0
        self._at = at + ID_HEX
        return self._hex[at : at + ID_HEX]


_mint = _Mint()


def new_request_id() -> str:
    """`req_` and 24 hexadecimal digits."""
    return "req_" + _mint.draw()
