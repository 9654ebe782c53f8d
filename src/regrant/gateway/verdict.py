"""What to do after a failed attempt: again on the same account, on another, or give up and as what.

Pure. What the failure means is decided in `upstream/classifier.py`; carrying the verdict out is `pipeline.py`; putting an Ending
into words is `telling.py`, writing it in the caller's dialect the dialects' work.
"""

from __future__ import annotations

import math
from datetime import tzinfo
from enum import StrEnum

import msgspec

from regrant.pool.lease import Absence, Unavailable
from regrant.upstream.faults import Fault, FaultKind, Remedy
from regrant.upstream.waits import next_midnight

OVERLOADED_AFTER_S = 5.0  # asked of a client whose request met an outage that names no time


class EndingKind(StrEnum):
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


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a request ends that could not be served. `status` is the HTTP status in the OpenAI and Gemini dialects."""

    kind: EndingKind
    status: int
    retry_after_s: float | None = None
    per_day: bool = False
    advice: str = ""


class RetrySame(msgspec.Struct, frozen=True):
    """Replay on the same account: with a fresh token, or without the signatures that Google refused."""


class RetryOther(msgspec.Struct, frozen=True):
    """Lease another account, leaving out those already tried. `counted` is whether the attempt used up a call."""

    counted: bool = True


class GiveUp(msgspec.Struct, frozen=True):
    ending: Ending


Verdict = RetrySame | RetryOther | GiveUp


class Progress(msgspec.Struct, frozen=True, kw_only=True):
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


_UNCOUNTED = frozenset({FaultKind.ACCOUNT_DIED, FaultKind.TOKEN_UNAVAILABLE, FaultKind.TOKEN_REFUSED})


def is_outage(fault: Fault) -> bool:
    """Whether the fault is no account's: such a request is repeated once in all, whatever kinds they are."""
    return fault.remedy is Remedy.ONCE_MORE


def is_about_the_model(fault: Fault) -> bool:
    """Whether the same request may fare better with another model: not a mistake of the client's, nor Google being away."""
    return fault.kind not in _ABOUT_THE_REST


_ABOUT_THE_REST = frozenset(
    {
        FaultKind.CLIENT_ERROR,
        FaultKind.SIGNATURE_REFUSED,
        FaultKind.ANSWER_TIMEOUT,
        FaultKind.IDLE,
        FaultKind.CUT,
        FaultKind.CONNECT_FAILED,
        FaultKind.RESET,
        FaultKind.BAD_ANSWER,
        FaultKind.BLOCKED,
        FaultKind.TOKEN_UNAVAILABLE,
    }
)


def judge(fault: Fault, progress: Progress, *, now: float) -> Verdict:
    """Decide what follows a fault.

    503 overloaded is retried like another outage, once. Its model-wide cool-down makes the next lease wait out the short back-off,
    if it fits, before one more account is asked; no other account helps sooner, and two calls bound what overload costs.
    """
    if progress.committed:
        return GiveUp(Ending(kind=EndingKind.CUT, status=502, advice=fault.advice))
    if (
        fault.remedy is Remedy.GIVE_UP
        or (fault.remedy is Remedy.MEND and not progress.mended)
        or (fault.kind is FaultKind.CUT and progress.answered)
        or progress.time_left_s <= 0
    ):
        return GiveUp(describe(fault, now=now))
    if fault.kind in _UNCOUNTED:
        return RetryOther(counted=False)
    if progress.calls >= progress.max_attempts or (is_outage(fault) and progress.outages > 0):
        return GiveUp(describe(fault, now=now))
    if progress.mended or (fault.remedy is Remedy.REFRESH and not progress.replayed):
        return RetrySame()
    return RetryOther()


def describe(fault: Fault, *, now: float) -> Ending:
    """What a client is told when this fault is the last word. A 401 of Google's never becomes the client's 401."""
    match fault.kind:
        case (
            FaultKind.CLIENT_ERROR
            | FaultKind.SIGNATURE_REFUSED
            | FaultKind.MODEL_NOT_FOUND
            | FaultKind.UNUSABLE_HERE
            | FaultKind.MODEL_NOT_ALLOWED
        ):
            return Ending(kind=EndingKind.PASS_ON, status=fault.status, advice=fault.advice)
        case FaultKind.RATE_LIMITED | FaultKind.SPEND_LIMIT | FaultKind.QUOTA_PER_DAY | FaultKind.NO_QUOTA:
            per_day = fault.kind in {FaultKind.QUOTA_PER_DAY, FaultKind.NO_QUOTA}
            wait = _seconds_until(fault, now)
            return Ending(
                kind=EndingKind.RATE_LIMITED,
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
            return Ending(kind=EndingKind.NO_ACCOUNTS, status=503, advice=fault.advice)
        case FaultKind.ANSWER_TIMEOUT | FaultKind.IDLE:
            return Ending(kind=EndingKind.UPSTREAM_UNAVAILABLE, status=504, advice=fault.advice)
        case FaultKind.OVERLOADED | FaultKind.TOKEN_UNAVAILABLE:
            wait = _seconds_until(fault, now) or OVERLOADED_AFTER_S
            return Ending(
                kind=EndingKind.UPSTREAM_UNAVAILABLE, status=503, retry_after_s=wait, advice=fault.advice
            )
        case _:
            status = 504 if fault.status == 504 else 502
            return Ending(kind=EndingKind.UPSTREAM_UNAVAILABLE, status=status, advice=fault.advice)


def describe_absence(unavailable: Unavailable, last: Fault | None, *, now: float, tz: tzinfo) -> Ending:
    """What a client is told when no (further) account can be leased.

    An outage or a mistake of the client's that this request met stays the reason; otherwise the state of the pool is it.
    `tz` is where daily quotas are counted: accounts at their reserve come back at its midnight.
    """
    if last is not None and (
        is_outage(last) or last.remedy is Remedy.GIVE_UP or last.kind is FaultKind.TOKEN_UNAVAILABLE
    ):
        return describe(last, now=now)
    if unavailable.overloaded:
        return Ending(
            kind=EndingKind.UPSTREAM_UNAVAILABLE, status=503, retry_after_s=unavailable.retry_after_s
        )
    if unavailable.retry_after_s is not None:
        return Ending(
            kind=EndingKind.RATE_LIMITED,
            status=429,
            retry_after_s=unavailable.retry_after_s,
            per_day=unavailable.per_day,
        )
    if unavailable.reasons.get(Absence.QUOTA):
        wait = next_midnight(now, tz) - now
        return Ending(kind=EndingKind.RATE_LIMITED, status=429, retry_after_s=wait, per_day=True)
    if last is not None and last.kind in {FaultKind.UNUSABLE_HERE, FaultKind.MODEL_NOT_ALLOWED}:
        return describe(last, now=now)
    return Ending(kind=EndingKind.NO_ACCOUNTS, status=503)


def _seconds_until(fault: Fault, now: float) -> float | None:
    if fault.hold is None or math.isinf(fault.hold.until):
        return None
    return max(0.0, fault.hold.until - now)
