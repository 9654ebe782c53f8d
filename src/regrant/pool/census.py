"""How many accounts are out for which reason, when no account is free for a request.

Pure. Answers that no account is free, and why; which account is free is `field.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from regrant.pool.cooldown import Blocked, Cooldown
from regrant.pool.lease import Absence, Unavailable, Wish
from regrant.pool.selector import Candidate
from regrant.upstream.faults import FaultKind


class Census(msgspec.Struct, frozen=True):
    """That no account is free for a model, and why: true until `ends`, unless the pool changes before."""

    reasons: Mapping[Absence, int]
    soonest: Cooldown | None
    free_until: float

    @property
    def ends(self) -> float:
        return math.inf if self.soonest is None else self.soonest.until

    def describe(self, now: float) -> Unavailable:
        if self.soonest is None:
            return Unavailable(reasons=self.reasons)
        return Unavailable(
            reasons=self.reasons,
            retry_after_s=max(0.0, self.soonest.until - now),
            free_in_s=None if math.isinf(self.free_until) else max(0.0, self.free_until - now),
            per_day=self.soonest.why in {FaultKind.QUOTA_PER_DAY, FaultKind.NO_QUOTA},
            overloaded=self.soonest.why is FaultKind.OVERLOADED,
        )


def take_census(
    wish: Wish,
    candidates: Iterable[Candidate],
    absences: Counter[Absence],
    blocked: Blocked,
    *,
    group: str,
    reserved: Mapping[str, Cooldown],
) -> Census:
    """`absences` are those of the accounts that are out of the pool; `group`, if any, is all that the request may use.

    `reserved` are the projects whose rest of the quota for this model is held back.
    """
    reasons = +absences
    soonest: Cooldown | None = None
    free_until = math.inf
    for candidate in candidates:
        held = blocked.of(candidate.project, candidate.id)
        reserve = reserved.get(candidate.project)
        why = _absence(candidate, wish, held, group, at_reserve=reserve is not None)
        reasons[why] += 1
        if why is Absence.QUOTA and reserve is not None:
            held = reserve if held is None or held.until < reserve.until else held
        elif why is not Absence.COOLDOWN:
            continue
        if held is None or math.isinf(held.until):
            continue
        if soonest is None or held.until < soonest.until:
            soonest = held
        if held.until < free_until and candidate.id not in wish.exclude:
            free_until = held.until
    return Census(reasons, soonest, free_until)


def _absence(
    candidate: Candidate, wish: Wish, held: Cooldown | None, group: str, *, at_reserve: bool
) -> Absence:
    if (wish.suits is not None and not wish.suits(candidate)) or (group and group not in candidate.groups):
        return Absence.UNSUITED
    if at_reserve or wish.model in candidate.protected:
        return Absence.QUOTA
    if held is not None:
        # Google refuses even fresh tokens of this account: a person must look, waiting is no advice.
        persons = math.isinf(held.until) or held.why is FaultKind.TOKEN_REJECTED
        return Absence.ATTENTION if persons else Absence.COOLDOWN
    return Absence.TRIED
