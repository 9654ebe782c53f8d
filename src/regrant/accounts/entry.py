"""One account in this process, and how a refresh of it ended. Values only; the keeper changes them."""

from __future__ import annotations

import asyncio

import msgspec

from regrant.accounts.events import Event
from regrant.accounts.lifecycle import Kept
from regrant.accounts.model import Account
from regrant.accounts.store import Corrupt
from regrant.oauth.google import Granted, RefusalKind, Refused, Unavailable
from regrant.secret import Secret


class Landing(msgspec.Struct, frozen=True):
    """How a flight ended. `answer` is None when Google was not asked: the store knew better."""

    answer: Granted | Refused | Unavailable | None

    @property
    def dead(self) -> bool:
        return isinstance(self.answer, Refused) and self.answer.kind is RefusalKind.invalid_grant


class Ready(msgspec.Struct, frozen=True):
    """What every request asks of an account, decided once for each state of it: it is in the pool and has a fresh token."""

    kept: Kept
    """The state that this was decided for."""
    token: Secret
    until: float
    """Unix seconds."""


class Entry(msgspec.Struct):
    """`stored` is the record as last read or written; `pending` has happened and is not stored yet."""

    kept: Kept
    stored: Account
    lock: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    pending: list[tuple[Event, float]] = msgspec.field(default_factory=list)
    """With the unix second of each: a token that is stored late does not end late."""
    problem: str = ""
    """Why the last write failed; "" when all is stored."""
    corrupt: Corrupt | None = None
    """The record became unreadable; the last good state stays in service."""
    landing: asyncio.Future[Landing] | None = None
    """Done when the flight's waiters may go on."""
    ready: Ready | None = None

    @property
    def account(self) -> Account:
        return self.kept.account

    @property
    def persisted(self) -> bool:
        return not self.problem
