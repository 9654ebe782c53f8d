"""What a request asks of the pool, and what it gets: a lease, or the reasons why there is none.

Values only; `pool.py` grants and counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from types import TracebackType
from typing import Self

import msgspec

from regrant.pool.cooldown import Probe
from regrant.pool.selector import Candidate


class Absence(StrEnum):
    """Why an account cannot be leased; the contract's order, then the reasons of the moment."""

    DISABLED = "disabled"
    QUOTA = "quota"
    PAUSED = "paused"
    ATTENTION = "attention"
    COOLDOWN = "cooldown"
    CLIENT = "client"
    CORRUPT = "corrupt"
    UNSUITED = "unsuited"
    """It cannot serve this model at all."""
    TRIED = "tried"
    """This request has already asked it."""


class Unavailable(msgspec.Struct, frozen=True, kw_only=True):
    """Why no account could be leased: how many for which reason, and when that changes by itself.

    `retry_after_s` is the soonest end of any cool-down, for the client; `free_in_s` the soonest among accounts that this request has not
    tried, for waiting. None: no end is known. `per_day` and `overloaded` tell what it is that ends then.
    """

    reasons: Mapping[Absence, int]
    retry_after_s: float | None = None
    free_in_s: float | None = None
    per_day: bool = False
    overloaded: bool = False


class Lease:
    """The right to use one account for one attempt. Release it exactly when the attempt is over; again does nothing."""

    __slots__ = ("_counts", "account", "model", "probe", "trial")

    def __init__(
        self,
        account: Candidate,
        model: str,
        counts: dict[str, int],
        probe: Probe | None = None,
        *,
        trial: bool = False,
    ) -> None:
        """`counts` is how many leases are out by account: this one is added now, and taken off when it is released."""
        self.account = account
        self.model = model
        self.probe = probe
        """It tries what is half-open (`breaker.py`)."""
        self.trial = trial
        """The account waits for a person, and this request finds out whether one has acted."""
        self._counts: dict[str, int] | None = counts
        counts[account.id] = counts.get(account.id, 0) + 1

    @property
    def strikes(self) -> int:
        """How often in a row what it tries has failed: for `Call.strikes`."""
        return 0 if self.probe is None else self.probe.strikes

    def release(self) -> None:
        counts = self._counts
        if counts is None:
            return
        self._counts = None
        id_ = self.account.id
        if counts[id_] > 1:
            counts[id_] -= 1
        else:
            del counts[id_]
        if self.probe is not None:
            self.probe.over()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Wish(msgspec.Struct):
    """What a request wants: an account for `model`, none of `exclude`, and only one that `suits` if that is given.

    `key` is its conversation, `client` the name of its client key. Not changed once made; not frozen, for one is made per request.
    """

    model: str
    key: int | None = None
    exclude: Collection[str] = frozenset()
    suits: Callable[[Candidate], bool] | None = None
    client: str = ""
