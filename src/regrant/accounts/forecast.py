"""When a living grant will die, where that is known, and when to say so: 48 hours and 6 hours before.

Pure. That it is told once is `incidents.py`; what became of a grant that has died is `diagnosis.py`.
"""

from __future__ import annotations

import math

import msgspec

from regrant.accounts.diagnosis import DAY_S, TESTING_LIFETIME_S, UNUSED_LIMIT_S
from regrant.accounts.model import Account, Cause

HOUR_S = 3_600
STAGES_H = (48, 6)
"""How many hours before the known date it is told, in the order of telling."""
UNUSED_NOTICE_S = 14 * DAY_S
"""The idle keeper uses every grant each week; one that comes so close to six months is not being reached."""


class Forecast(msgspec.Struct, frozen=True):
    """`at`: the unix second at which the grant ends; `cause`: the cause of death that it will have."""

    at: int
    cause: Cause


def foresee(account: Account, now: float) -> Forecast | None:
    """The known end of a living grant; None for a dead one, and where no end is known."""
    if account.disabled is not None:
        return None
    known = [found for found in (_limited(account), _unused(account, now)) if found is not None]
    return min(known, key=lambda found: found.at, default=None)


def expires_hint(account: Account, now: float) -> int | None:
    """The unix second at which a living grant will die, where that is known."""
    found = foresee(account, now)
    return None if found is None else found.at


def stage_at(dies_at: float, now: float) -> int | None:
    """The hours of the notice that is due: 48 or 6 when so little is left, else None."""
    left_s = dies_at - now
    return min((hours for hours in STAGES_H if left_s <= hours * HOUR_S), default=None)


def next_notice_at(dies_at: float, now: float) -> float:
    """The unix second of the next notice; infinite when all of them are due."""
    return min((at for hours in STAGES_H if (at := dies_at - hours * HOUR_S) > now), default=math.inf)


def _limited(account: Account) -> Forecast | None:
    token = account.token
    if token.refresh_token_expires_at is None:
        return None
    consented_at = token.consented_at
    lifetime_s = token.refresh_token_expires_at - consented_at if consented_at is not None else None
    testing = lifetime_s is not None and abs(lifetime_s - TESTING_LIFETIME_S) <= 60
    return Forecast(token.refresh_token_expires_at, Cause.TESTING_EXPIRED if testing else Cause.TIME_LIMITED)


def _unused(account: Account, now: float) -> Forecast | None:
    if not account.last_refresh_at:
        return None
    ends_at = account.last_refresh_at + UNUSED_LIMIT_S
    return Forecast(ends_at, Cause.UNUSED) if ends_at - now <= UNUSED_NOTICE_S else None


class Countdown:
    """Which accounts' next notice has come. Looked at by the time of day, so that a sleeping machine is late but misses none."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        self._soonest = math.inf

    def put(self, account_id: str, dies_at: float | None, now: float) -> None:
        """The account's grant ends then; None: no end is known."""
        at = math.inf if dies_at is None else next_notice_at(dies_at, now)
        if math.isinf(at):
            self._next.pop(account_id, None)
        else:
            self._next[account_id] = at
            self._soonest = min(self._soonest, at)

    def due(self, now: float) -> list[str]:
        """The accounts to look at now, each once. Costs a comparison when there is none."""
        if now < self._soonest:
            return []
        due = [account_id for account_id, at in self._next.items() if at <= now]
        for account_id in due:
            del self._next[account_id]
        self._soonest = min(self._next.values(), default=math.inf)
        return due
