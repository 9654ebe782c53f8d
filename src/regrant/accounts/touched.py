"""Counts the requests that each incident touched, in this process and, by what the others tell, in all of them.

A request is touched by an incident when an attempt on one of its accounts failed, or when it was refused because no account could serve.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Protocol

from regrant.accounts.incidents import Incidents, Kind

REFUSED = "no_accounts"
MAX_WAITING = 10_000
KEEP_S = 3.0
"""A verdict may come a moment after the request that found out about it has ended, from another process a little later."""


class Attempted(Protocol):
    @property
    def account_id(self) -> str: ...
    @property
    def fault(self) -> str: ...


class Finished(Protocol):
    """A request that has ended: an `Exchange` of the traffic log."""

    @property
    def problem(self) -> str:
        """What kind of refusal the client was told; "" for none."""
        ...

    @property
    def attempts(self) -> Sequence[Attempted]: ...


class _Failure:
    """What of a request that met trouble is not counted yet."""

    __slots__ = ("accounts", "at", "refused")

    def __init__(self, at: float, accounts: set[str], *, refused: bool) -> None:
        self.at = at
        self.accounts = accounts
        self.refused = refused


class Touched:
    def __init__(self) -> None:
        self._failures: deque[_Failure] = deque(maxlen=MAX_WAITING)
        self._here: Counter[str] = Counter()
        self._elsewhere: dict[str, dict[str, int]] = {}
        self._fresh: set[str] = set()

    def note(self, exchange: Finished, monotonic: float) -> None:
        """A request has ended. Costs a look at its attempts when nothing went wrong."""
        if not exchange.problem and len(exchange.attempts) == 1:
            return  # nearly every request
        failed = {attempt.account_id for attempt in exchange.attempts if attempt.fault}
        refused = exchange.problem == REFUSED
        if failed or refused:
            self._failures.append(_Failure(monotonic, failed, refused=refused))

    def count(self, incidents: Incidents, monotonic: float) -> None:
        """Credit the requests noted to the incidents that are open now."""
        while self._failures and monotonic - self._failures[0].at > KEEP_S:
            self._failures.popleft()
        empty = incidents.open_of(Kind.POOL_EMPTY)
        for failure in self._failures:
            if not failure.accounts and not failure.refused:
                continue  # counted in full
            touching = {one.id for account_id in failure.accounts for one in incidents.touching(account_id)}
            failure.accounts = {one for one in failure.accounts if not incidents.touching(one)}
            if failure.refused and empty is not None:
                touching.add(empty.id)
                failure.refused = False
            for incident_id in touching:
                self._here[incident_id] += 1
            self._fresh |= touching

    def take_fresh(self) -> dict[str, int]:
        """This process's counts that have grown since it was last asked."""
        fresh, self._fresh = self._fresh, set()
        return {incident_id: self._here[incident_id] for incident_id in fresh}

    def learn(self, incident_id: str, process: str, count: int) -> None:
        """Another process has counted so many."""
        self._elsewhere.setdefault(incident_id, {})[process] = count

    def forget(self, incident_id: str) -> None:
        self._here.pop(incident_id, None)
        self._elsewhere.pop(incident_id, None)

    def of(self, incident_id: str) -> int:
        return self._here[incident_id] + sum(self._elsewhere.get(incident_id, {}).values())
