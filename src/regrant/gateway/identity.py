"""Names for requests: unique, unguessable, in the order of time, and cheap, as every request needs one."""

from __future__ import annotations

import secrets

RANDOM_HEX = 13
_FRESH = 1024
"""How many names one question to the system's randomness is good for."""


class _Mint:
    def __init__(self) -> None:
        self._hex = ""
        self._at = 0

    def draw(self) -> str:
        at = self._at
        if at >= len(self._hex):
            self._hex, at = secrets.token_hex(_FRESH * RANDOM_HEX), 0
        self._at = at + RANDOM_HEX
        return self._hex[at : at + RANDOM_HEX]


_mint = _Mint()


def new_request_id(now: float) -> str:
    """`req_` and 24 hexadecimal digits: 11 of the unix time in milliseconds, 13 of chance.

    Names that grow with time are put at the end of the traffic log's index, which spares its file most of the writing.
    """
    return f"req_{int(now * 1000):011x}{_mint.draw()}"
