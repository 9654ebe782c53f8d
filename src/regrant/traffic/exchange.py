"""One request of a client and what became of it: the record that logs, metrics and the console share.

A value that the gateway fills while it works. Nothing is stored here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from regrant.messages.model import Usage


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One account that was tried. `status` is Google's, 0 where none came; `fault` a FaultKind, "" for success."""

    account_id: str
    status: int = 0
    fault: str = ""
    ms: float = 0.0


@dataclass(slots=True, kw_only=True)
class Exchange:
    """`at` in unix seconds, `ms` from the first byte of the request to the last byte of the answer."""

    id: str
    at: float
    dialect: str
    model: str = ""
    served_model: str = ""
    status: int = 0
    key: str = ""
    ms: float = 0.0
    usage: Usage | None = None
    attempts: list[Attempt] = field(default_factory=list)
    problem: str = ""
    dropped: tuple[str, ...] = ()
