"""What is used up, and until when: 402, 429 in all its forms, and 503.

The other statuses are in `classifier.py`, what a 403 means in `refusals.py`. Source: docs/sources.md, sections 3 and 5.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from regrant.transport.model import Headers
from regrant.upstream.error_body import ErrorBody, Violation
from regrant.upstream.faults import (
    UNTIL_A_PERSON_ACTS,
    Attention,
    Call,
    Fault,
    FaultKind,
    Hold,
    Scope,
    Whose,
)
from regrant.upstream.waits import backoff, next_midnight, retry_after

DAY_S = 86_400.0
MONTH_S = 31 * DAY_S
MINUTE_QUOTA_S = 60.0  # a per-minute quota without RetryInfo reopens within its own window
SPEND_S, SPEND_CAP_S = 60.0, 600.0  # money is counted over ten rolling minutes: some is free again before
BACKOFF_S, BACKOFF_CAP_S = 30.0, 600.0  # a 429 that names no time and no quota
SHARED_BACKOFF_S, SHARED_BACKOFF_CAP_S = (
    1.0,
    60.0,
)  # Vertex's dynamic shared quota: no number of ours to wait for
OVERLOAD_S, OVERLOAD_CAP_S = 2.0, 60.0
TOLD_CAP_S = 600.0  # what holds a model back for everybody is looked at again before long, whatever was told

BILLING_URL = "https://ai.studio/projects"

_LIMIT_ZERO = re.compile(r"limit:\s*0(?!\d|\.\d)")
_LIMIT_POSITIVE = re.compile(r"limit:\s*(?:[1-9]|0\.\d)")
_DEPLETED = re.compile(
    r"prepayment credits are depleted|prepay(?:ment)? balance|monthly spend(?:ing)? (?:cap|limit)",
    re.IGNORECASE,
)
_SPEND = re.compile(r"spend(?:ing)?[- ](?:based|rate|limit)|SpendPer|_spend\b", re.IGNORECASE)
_CAPACITY = re.compile(r"MODEL_CAPACITY_EXHAUSTED|capacity exceeded|exhausted your capacity", re.IGNORECASE)
_PER_DAY = re.compile(r"PerDay|Daily|_per_day")
_PER_MINUTE = re.compile(r"PerMinute|_per_minute|_requests_per_base_model")
_NO_CAPACITY = {"MODEL_CAPACITY_EXHAUSTED", "MODEL_CAPACITY_EXCEEDED"}


def phrase(status: int) -> str:
    """What a status means, where the body does not say."""
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else f"HTTP status {status}"


def billing(status: int, error: ErrorBody) -> Fault:
    """The project's money is gone or its billing off."""
    advice = "The project's billing is exhausted or off; top it up, then verify the account."
    url = error.metadata.get("consoleUrl", "") or BILLING_URL
    return Fault(
        kind=FaultKind.BILLING,
        whose=Whose.PROJECT,
        status=status,
        message=error.message or phrase(status),
        hold=Hold(Scope.PROJECT, UNTIL_A_PERSON_ACTS),
        attention=Attention(code="billing", message=advice, url=url),
        advice=advice,
        url=url,
    )


def limited(status: int, error: ErrorBody, headers: Headers, call: Call) -> Fault:
    """A limit is reached: which one, and when it reopens. A day's limit counts before a short RetryInfo beside it."""
    if _DEPLETED.search(error.message) or error.reason == "INSUFFICIENT_G1_CREDITS_BALANCE":
        return billing(status, error)
    if error.reason in _NO_CAPACITY or _CAPACITY.search(error.message):
        return overloaded(status, error, headers, call)
    wait = _told_wait(error, headers, call.now)
    told = call.now + (wait or 0.0)
    quotas = " ".join(f"{item.quota_id} {item.metric}" for item in error.violations)
    if any(_is_zero(item, error.message) for item in error.violations) or _LIMIT_ZERO.search(error.message):
        return _no_quota(status, error, Hold(Scope.PROJECT_MODEL, max(told, call.now + DAY_S)), call)
    if _PER_DAY.search(quotas or error.message) or error.name == "quota_exceeded":
        hold = Hold(Scope.PROJECT_MODEL, max(told, next_midnight(call.now, call.tz)))
        advice = (
            "The daily quota is used up until midnight Pacific time; use another model or project till then."
        )
        return _quota(FaultKind.QUOTA_PER_DAY, status, error, hold, advice)
    if _SPEND.search(quotas) or _SPEND.search(error.message):
        return _spent(status, error, wait, call)
    advice = "The project's rate limit for this model is reached; it reopens by itself."
    return _quota(FaultKind.RATE_LIMITED, status, error, _moment(wait, quotas or error.message, call), advice)


def overloaded(status: int, error: ErrorBody, headers: Headers, call: Call) -> Fault:
    """The model has no capacity left, for nobody; `limit: 0` in such an answer is about the project all the same."""
    if _LIMIT_ZERO.search(error.message):
        return _no_quota(status, error, Hold(Scope.PROJECT_MODEL, call.now + DAY_S), call)
    wait = _told_wait(error, headers, call.now)
    guess = backoff(OVERLOAD_S, OVERLOAD_CAP_S, call.strikes, call.jitter)
    return Fault(
        kind=FaultKind.OVERLOADED,
        whose=Whose.MODEL,
        status=status,
        message=error.message or phrase(status),
        hold=Hold(
            Scope.MODEL, call.now + (guess if wait is None else min(wait, TOLD_CAP_S)), guessed=wait is None
        ),
        advice="The model is overloaded at Google for everyone; it is left alone for a moment.",
    )


def _told_wait(error: ErrorBody, headers: Headers, now: float) -> float | None:
    """Seconds as they were told; a month at most, which is the longest period of Google's. More is somebody's slip, and would last for years."""
    told = error.retry_delay_s if error.retry_delay_s is not None else retry_after(headers, now)
    return None if told is None else min(told, MONTH_S)


def _moment(wait: float | None, quotas: str, call: Call) -> Hold:
    if wait is not None:
        return Hold(Scope.PROJECT_MODEL, call.now + wait)
    if _PER_MINUTE.search(quotas):
        return Hold(Scope.PROJECT_MODEL, call.now + MINUTE_QUOTA_S)
    first, cap = (SHARED_BACKOFF_S, SHARED_BACKOFF_CAP_S) if call.vertex else (BACKOFF_S, BACKOFF_CAP_S)
    return Hold(Scope.PROJECT_MODEL, call.now + backoff(first, cap, call.strikes, call.jitter), guessed=True)


def _spent(status: int, error: ErrorBody, wait: float | None, call: Call) -> Fault:
    """Money is counted for the whole project, so every model of it waits."""
    guess = backoff(SPEND_S, SPEND_CAP_S, call.strikes, call.jitter)
    hold = Hold(Scope.PROJECT, call.now + (guess if wait is None else wait), guessed=wait is None)
    advice = (
        "The project spends too fast for its tier; it reopens within ten minutes. A higher tier spends more."
    )
    return _quota(FaultKind.SPEND_LIMIT, status, error, hold, advice)


def _no_quota(status: int, error: ErrorBody, hold: Hold, call: Call) -> Fault:
    advice = f"{call.model} has no quota in project {call.project}; choose another model or enable billing."
    return _quota(FaultKind.NO_QUOTA, status, error, hold, advice)


def _is_zero(violation: Violation, message: str) -> bool:
    """Whether this quota is 0. protojson leaves out a value of 0, so absence counts unless the message names a limit."""
    if violation.value is not None:
        return violation.value.strip() == "0"
    return bool(violation.quota_id and violation.metric) and not _LIMIT_POSITIVE.search(message)


def _quota(kind: FaultKind, status: int, error: ErrorBody, hold: Hold, advice: str) -> Fault:
    return Fault(
        kind=kind,
        whose=Whose.PROJECT,
        status=status,
        message=error.message or phrase(status),
        hold=hold,
        advice=advice,
        url=next(iter(error.links), ""),
        limits=error.violations,
    )
