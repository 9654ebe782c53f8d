"""What the keeper needs from a place that keeps accounts: the protocol of `file_store` and, later, of PostgreSQL.

Every method but `changes` and `watch` may block on a disk and is called from a thread. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from regrant.accounts.model import Account
from regrant.errors import RegrantError


class StoreError(RegrantError):
    """The store cannot be read or written now (disk full, no permission, busy); says which path and why."""


class Corrupt(msgspec.Struct, frozen=True):
    """A record that exists and cannot be understood. It is never changed and never deleted by Regrant."""

    id: str
    path: str
    problem: str


class Records(msgspec.Struct, frozen=True):
    """Everything that was found in the store at one moment."""

    accounts: dict[str, Account] = msgspec.field(default_factory=dict)
    corrupt: dict[str, Corrupt] = msgspec.field(default_factory=dict)


Decide = Callable[[Account | None], Account | None]
"""Given the stored account (None: there is none), the one that shall be stored; None or the same one: no change."""


class RefreshLock(Protocol):
    """The right to ask Google for a new token of one account, among all processes on this store."""

    def try_acquire(self) -> bool:
        """Take the lock if it is free; never waits. Raises StoreError where locks cannot be had at all."""
        ...

    def release(self) -> None: ...


class AccountStore(Protocol):
    def load_all(self) -> Records: ...

    def load(self, account_id: str) -> Account | Corrupt | None: ...

    def transact(self, account_id: str, decide: Decide) -> Account | None:
        """Under the account's write lock: read, let `decide` decide, write durably what it returns.

        Returns what is stored now, with `revision` and `updated_at` moved on if it was written; None if there is no
        such account. Never creates a record unless `decide` returned an account for None. Raises StoreError (also
        for a corrupt record), in which case the stored record is what it was.
        """
        ...

    def delete(self, account_id: str) -> bool:
        """Remove the record; False if there was none. Raises StoreError."""
        ...

    def adding(self) -> AbstractContextManager[None]:
        """The lock under which accounts are matched and created, so that two additions make one record."""
        ...

    def refresh_lock(self, account_id: str) -> RefreshLock: ...

    def changes(self) -> AsyncIterator[frozenset[str]]:
        """Ids whose record was changed, added or removed by anybody, this process included; at most once a second late.

        The first item is an empty set: from then on no change is missed.
        """
        ...
