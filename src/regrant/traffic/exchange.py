"""One request of a client and what became of it: the record that logs, metrics and the console share.

A value that the gateway fills while it works. Nothing is stored here: that is `log.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from regrant.messages.model import Usage

MAX_BODY_BYTES = 262_144  # of each direction; what goes beyond is counted and not kept


class Attempt(msgspec.Struct, kw_only=True):
    """One account that was tried. `status` is Google's, 0 where none came; `fault` a FaultKind, "" for success."""

    account_id: str
    status: int = 0
    fault: str = ""
    ms: float = 0.0
    said: str = ""
    """Google's own words about a fault, as they came: for the owner, and only after redaction."""
    model: str = ""
    """The one that was asked for, where several were to be tried."""


class Bodies:
    """What was asked and answered, as far as it is kept: only where the owner wants it (`traffic.record_bodies`)."""

    __slots__ = ("_parts", "answer_bytes", "request", "request_bytes")

    def __init__(self) -> None:
        self.request = b""
        self.request_bytes = 0
        self.answer_bytes = 0
        self._parts: list[bytes] = []

    @property
    def kept_bytes(self) -> int:
        return len(self.request) + min(self.answer_bytes, 2 * MAX_BODY_BYTES)

    @property
    def answer(self) -> bytes:
        return b"".join(self._parts)[:MAX_BODY_BYTES]

    def take_request(self, body: bytes) -> None:
        self.request, self.request_bytes = body[:MAX_BODY_BYTES], len(body)

    def take_answer(self, part: bytes) -> None:
        if self.answer_bytes < MAX_BODY_BYTES:
            self._parts.append(part[:MAX_BODY_BYTES])
        self.answer_bytes += len(part)


class Exchange(msgspec.Struct, kw_only=True):
    """`at` in unix seconds, `ms` from the first byte of the request to the last byte of the answer."""

    id: str
    at: float
    dialect: str
    started: float = 0.0
    """When it began, on the clock of `time.perf_counter`."""
    patience_s: float | None = None
    """How long the client says that it waits for the beginning of its answer; None: it does not say."""
    model: str = ""
    served_model: str = ""
    status: int = 0
    key: str = ""
    ms: float = 0.0
    first_ms: float = 0.0
    """Until the head of a streamed answer, which goes out with its first event; 0 for an answer in one piece."""
    usage: Usage | None = None
    attempts: list[Attempt] = msgspec.field(default_factory=list)
    spent: int = 0
    """How many of its calls to the model API count against the bound, when it goes on with another model."""
    problem: str = ""
    reasons: Mapping[str, int] | None = None
    """How many accounts were out for which reason, where none was left to ask."""
    dropped: tuple[str, ...] = ()
    """Fields of the request that had no meaning for Google, as paths."""
    bodies: Bodies | None = None
