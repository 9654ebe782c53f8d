"""What to do after a failed attempt: again on the same account, on another, or give up and as what.

Pure. What the failure means is decided in `upstream/faults.py`; carrying the verdict out is `pipeline.py`; writing a Problem in
the caller's dialect is the dialects' work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import tzinfo
from enum import StrEnum

from regrant.pool.lease import Absence, Unavailable
from regrant.upstream.faults import Fault, FaultKind, next_midnight

OVERLOADED_AFTER_S = 5.0  # asked of a client whose request met an outage that names no time


class ProblemKind(StrEnum):
    NO_ACCOUNTS = "no_accounts"
    """Dead, paused, refused, none added: waiting does not help, a person does. 503."""
    RATE_LIMITED = "rate_limited"
    """All cooling or at reserve: 429; `per_day` tells a used-up day from a moment's limit."""
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    """Google or its token endpoint is away: 502, 503 or 504."""
    PASS_ON = "pass_on"
    """The client's own mistake: the upstream status, and in the same dialect its body, go to the client."""
    CUT = "cut"
    """After the commit point: told by the dialect's error event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What the client is told. `status` is the HTTP status in the OpenAI and Gemini dialects."""

    kind: ProblemKind
    status: int
    retry_after_s: float | None = None
    per_day: bool = False
    advice: str = ""


@dataclass(frozen=True, slots=True)
class RetrySame:
    """Replay on the same account: with a fresh token, or without the signatures that Google refused."""


@dataclass(frozen=True, slots=True)
class RetryOther:
    """Lease another account, leaving out those already tried. `counted` is whether the attempt used up a call."""

    counted: bool = True


@dataclass(frozen=True, slots=True)
class GiveUp:
    problem: Problem


Verdict = RetrySame | RetryOther | GiveUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one request has come, the failed attempt included.

    `calls` counts calls to the model API, without those whose account died; `outages` counts the earlier faults of this
    request that were Google's or the network's (`is_outage`); `replayed` is whether this account already had its replay;
    `mended` whether the body was changed so that this fault cannot come again; `answered` whether any byte of this answer's body had come; `committed` whether the client has had its headers.
    """

    calls: int
    max_attempts: int
    time_left_s: float
    outages: int = 0
    replayed: bool = False
    mended: bool = False
    answered: bool = False
    committed: bool = False


_OUTAGES = frozenset(
    {
        FaultKind.SERVER_ERROR,
        FaultKind.OVERLOADED,
        FaultKind.CONNECT_FAILED,
        FaultKind.RESET,
        FaultKind.CUT,
        FaultKind.BAD_ANSWER,
        FaultKind.BLOCKED,
    }
)
_UNCOUNTED = frozenset({FaultKind.ACCOUNT_DIED, FaultKind.TOKEN_UNAVAILABLE, FaultKind.TOKEN_REFUSED})
_FINAL = frozenset(
    {FaultKind.CLIENT_ERROR, FaultKind.MODEL_NOT_FOUND, FaultKind.ANSWER_TIMEOUT, FaultKind.IDLE}
)


def is_outage(fault: Fault) -> bool:
    """Whether the fault is no account's: such a request is repeated once in all, whatever kinds they are."""
    return fault.kind in _OUTAGES


def is_counted(fault: Fault) -> bool:
    """Whether the attempt counts against `max_attempts`: a failed refresh and a death do not."""
    return fault.kind not in _UNCOUNTED


def judge(fault: Fault, progress: Progress, *, now: float) -> Verdict:
    """Decide what follows a fault.

    503 overloaded is retried like another outage, once. Its model-wide cool-down makes the next lease wait out the short back-off,
    if it fits, before one more account is asked; no other account helps sooner, and two calls bound what overload costs.
    """
    if progress.committed:
        return GiveUp(Problem(kind=ProblemKind.CUT, status=502, advice=fault.advice))
    if (
        fault.kind in _FINAL
        or (fault.kind is FaultKind.SIGNATURE_REFUSED and not progress.mended)
        or (fault.kind is FaultKind.CUT and progress.answered)
        or progress.time_left_s <= 0
    ):
        return GiveUp(describe(fault, now=now))
    if fault.kind in _UNCOUNTED:
        return RetryOther(counted=False)
    if progress.calls >= progress.max_attempts or (is_outage(fault) and progress.outages > 0):
        return GiveUp(describe(fault, now=now))
    if progress.mended or (fault.kind is FaultKind.TOKEN_REJECTED and not progress.replayed):
        return RetrySame()
    return RetryOther()


def describe(fault: Fault, *, now: float) -> Problem:
    """What a client is told when this fault is the last word. A 401 of Google's never becomes the client's 401."""
    match fault.kind:
        case (
            FaultKind.CLIENT_ERROR
            | FaultKind.SIGNATURE_REFUSED
            | FaultKind.MODEL_NOT_FOUND
            | FaultKind.UNUSABLE_HERE
            | FaultKind.MODEL_NOT_ALLOWED
        ):
            return Problem(kind=ProblemKind.PASS_ON, status=fault.status, advice=fault.advice)
        case FaultKind.RATE_LIMITED | FaultKind.QUOTA_PER_DAY | FaultKind.NO_QUOTA:
            per_day = fault.kind is not FaultKind.RATE_LIMITED
            wait = _seconds_until(fault, now)
            return Problem(
                kind=ProblemKind.RATE_LIMITED,
                status=429,
                retry_after_s=wait,
                per_day=per_day,
                advice=fault.advice,
            )
        case (
            FaultKind.BILLING
            | FaultKind.PERMISSION
            | FaultKind.ACCOUNT_DIED
            | FaultKind.TOKEN_REFUSED
            | FaultKind.TOKEN_REJECTED
        ):
            return Problem(kind=ProblemKind.NO_ACCOUNTS, status=503, advice=fault.advice)
        case FaultKind.ANSWER_TIMEOUT | FaultKind.IDLE:
            return Problem(kind=ProblemKind.UPSTREAM_UNAVAILABLE, status=504, advice=fault.advice)
        case FaultKind.OVERLOADED | FaultKind.TOKEN_UNAVAILABLE:
            wait = _seconds_until(fault, now) or OVERLOADED_AFTER_S
            return Problem(
                kind=ProblemKind.UPSTREAM_UNAVAILABLE, status=503, retry_after_s=wait, advice=fault.advice
            )
        case _:
            status = 504 if fault.status == 504 else 502
            return Problem(kind=ProblemKind.UPSTREAM_UNAVAILABLE, status=status, advice=fault.advice)


def describe_absence(unavailable: Unavailable, last: Fault | None, *, now: float, tz: tzinfo) -> Problem:
    """What a client is told when no (further) account can be leased.

    An outage or a mistake of the client's that this request met stays the reason; otherwise the state of the pool is it.
    `tz` is where daily quotas are counted: accounts at their reserve come back at its midnight.
    """
    if last is not None and (is_outage(last) or last.kind in _FINAL | {FaultKind.TOKEN_UNAVAILABLE}):
        return describe(last, now=now)
    if unavailable.overloaded:
        return Problem(
            kind=ProblemKind.UPSTREAM_UNAVAILABLE, status=503, retry_after_s=unavailable.retry_after_s
        )
    if unavailable.retry_after_s is not None:
        return Problem(
            kind=ProblemKind.RATE_LIMITED,
            status=429,
            retry_after_s=unavailable.retry_after_s,
            per_day=unavailable.per_day,
        )
    if unavailable.reasons.get(Absence.QUOTA):
        wait = next_midnight(now, tz) - now
        return Problem(kind=ProblemKind.RATE_LIMITED, status=429, retry_after_s=wait, per_day=True)
    if last is not None and last.kind in {FaultKind.UNUSABLE_HERE, FaultKind.MODEL_NOT_ALLOWED}:
        return describe(last, now=now)
    return Problem(kind=ProblemKind.NO_ACCOUNTS, status=503)


def _seconds_until(fault: Fault, now: float) -> float | None:
    if fault.hold is None or math.isinf(fault.hold.until):
        return None
    return max(0.0, fault.hold.until - now)
