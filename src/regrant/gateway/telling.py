"""What a client is told when its request cannot be served: counts by cause and the next step, never an e-mail or a token.

Pure. Which problem it is was decided in `verdict.py`; how it is written is the dialects' affair.
"""

from __future__ import annotations

import math
import re

from regrant.gateway import verdict
from regrant.gateway.pipeline import Refusal
from regrant.messages.problem import Problem, ProblemKind
from regrant.pool.reasons import count_reasons

_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")

CUT = Problem(
    ProblemKind.UPSTREAM_UNAVAILABLE, "Google broke the answer off. Try again.", code="upstream_unavailable"
)
"""After the commit point: what the dialect's error event says."""


def tell(refusal: Refusal) -> Problem:
    """The problem in the words that every dialect can write."""
    match refusal.ending.kind:
        case verdict.EndingKind.NO_ACCOUNTS:
            return _no_accounts(refusal)
        case verdict.EndingKind.RATE_LIMITED:
            return _rate_limited(refusal)
        case verdict.EndingKind.PASS_ON:
            return _passed_on(refusal)
        case _:
            return _unavailable(refusal)


def duration(seconds: float) -> str:
    """`12 s`, `3 min` or `11 h 58 min`, never less than the time itself."""
    if seconds <= 120:
        return f"{max(1, math.ceil(seconds))} s"
    minutes = math.ceil(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def _no_accounts(refusal: Refusal) -> Problem:
    counted = count_reasons(refusal.reasons)
    what = f"No account can serve this request: {counted}." if counted else "No account has been added yet."
    step = (
        "The gateway's owner can see why and mend it: regrant accounts list"
        if counted
        else "The gateway's owner adds one: regrant accounts add --oauth"
    )
    return Problem(ProblemKind.NO_ACCOUNTS, f"{what} {step}", status=503, code="no_accounts")


def _rate_limited(refusal: Refusal) -> Problem:
    ending = refusal.ending
    kind = ProblemKind.QUOTA_EXHAUSTED if ending.per_day else ProblemKind.RATE_LIMITED
    counted = count_reasons(refusal.reasons)
    what = (
        f"Every account is out for this model: {counted}."
        if counted
        else "Google's limit for this model is reached."
    )
    wait = ending.retry_after_s
    when = f" Try again in {duration(wait)}." if wait is not None else ""
    return Problem(kind, what + when, status=429, retry_after_s=wait)


def _passed_on(refusal: Refusal) -> Problem:
    status = refusal.ending.status
    google_says = _EMAIL.sub(
        "an account", refusal.google_says
    )  # whose account it was is no client's business
    if status == 404:
        said = google_says or "Google does not know this model."
        return Problem(ProblemKind.MODEL_NOT_FOUND, said, status=404, code="model_not_found")
    said = google_says or f"Google refuses the request with status {status}."
    return Problem(ProblemKind.UPSTREAM_REJECTED, said, status=status)


def _unavailable(refusal: Refusal) -> Problem:
    ending = refusal.ending
    kind = ProblemKind.UPSTREAM_TIMEOUT if ending.status == 504 else ProblemKind.UPSTREAM_UNAVAILABLE
    said = ending.advice or "Google cannot be reached or does not answer."
    return Problem(
        kind,
        f"{said} Try again.",
        status=ending.status,
        retry_after_s=ending.retry_after_s,
        code="upstream_unavailable",
    )


def barred_model(name: str, key: str) -> Problem:
    return Problem(
        ProblemKind.MODEL_NOT_FOUND,
        f"The model {name[:200]!r} is not one that the client key {key!r} may use (models.rules). Ask for one of GET /v1/models.",
        status=404,
        param="model",
        code="model_not_found",
    )


def unknown_model(name: str) -> Problem:
    return Problem(
        ProblemKind.MODEL_NOT_FOUND,
        f"The model {name[:200]!r} is not known here. Ask for one of GET /v1/models, give it an alias in models.aliases,"
        " or set models.default.",
        status=404,
        param="model",
        code="model_not_found",
    )
