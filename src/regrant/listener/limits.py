"""How long and how much a client may take. Values only; who looks at them is `connection.py` and `server.py`."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """Times in seconds, checked every `sweep_s`."""

    keep_alive_s: float = 75.0
    """Between two requests, and before the first."""
    head_s: float = 25.0
    """For the head of a request, from its first byte on."""
    stall_s: float = 300.0
    """Without taking a byte of an answer that waits for the client."""
    linger_s: float = 5.0
    """For sending what nobody reads any more, once the last answer is out."""
    sweep_s: float = 1.0
    max_head_bytes: int = 128 * 1024
    max_fields: int = 1000
    max_ahead: int = 100
    """Requests that wait for the answer to the one before them."""
