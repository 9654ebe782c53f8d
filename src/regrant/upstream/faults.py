"""What went wrong with one call to Google: whose fault it is, how long to leave which scope alone, what mends it.

One table of facts for Gemini and Vertex; nothing is done here. Reading the body is in `error_body.py`, the decision to try
again in `gateway/verdict.py`, keeping the cool-downs in `pool/cooldown.py`. Longer than most files because it is the one fault table.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus

from regrant.errors import (
    AnswerTimeout,
    BadAnswer,
    BodyIdle,
    BodyTooLarge,
    CertificateRefused,
    ConnectFailed,
    ResetBeforeAnswer,
    TransportError,
)
from regrant.transport.model import Headers
from regrant.upstream.error_body import ErrorBody, Violation, parse_error_body
from regrant.upstream.refusals import Refusal, find_refusal

UNTIL_A_PERSON_ACTS = math.inf
"""The end of a cool-down that only a person's act ends. JSON shows it as null."""

DAY_S = 86_400.0
MINUTE_QUOTA_S = 60.0  # a per-minute quota without RetryInfo reopens within its own window
HOLD_S = 3_600.0  # a project lacks the model: asked again every hour, in case someone enabled it
REFUSED_S = 300.0  # a refused account or place, asked again in case it was a passing state
BACKOFF_S, BACKOFF_CAP_S = 30.0, 600.0  # a 429 that names no time and no quota
SHARED_BACKOFF_S, SHARED_BACKOFF_CAP_S = (
    1.0,
    60.0,
)  # Vertex's dynamic shared quota: no number of ours to wait for
OVERLOAD_S, OVERLOAD_CAP_S = 2.0, 60.0

BILLING_URL = "https://ai.studio/projects"


class FaultKind(StrEnum):
    """Stable names: the traffic log, metrics and `x-regrant` diagnostics carry them."""

    TOKEN_REJECTED = "token_rejected"
    RATE_LIMITED = "rate_limited"
    QUOTA_PER_DAY = "quota_per_day"
    NO_QUOTA = "no_quota"
    BILLING = "billing"
    PERMISSION = "permission"
    BLOCKED = "blocked"
    UNUSABLE_HERE = "unusable_here"
    MODEL_NOT_ALLOWED = "model_not_allowed"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    CLIENT_ERROR = "client_error"
    SIGNATURE_REFUSED = "signature_refused"
    MODEL_NOT_FOUND = "model_not_found"
    CONNECT_FAILED = "connect_failed"
    RESET = "reset"
    ANSWER_TIMEOUT = "answer_timeout"
    CUT = "cut"
    IDLE = "idle"
    BAD_ANSWER = "bad_answer"
    ACCOUNT_DIED = "account_died"
    TOKEN_UNAVAILABLE = "token_unavailable"
    TOKEN_REFUSED = "token_refused"


class Whose(StrEnum):
    CLIENT = "client"
    ACCOUNT = "account"
    PROJECT = "project"
    MODEL = "model"
    GOOGLE = "google"
    NETWORK = "network"


class Scope(StrEnum):
    """What a cool-down holds back. MODEL is every account for one model."""

    PROJECT_MODEL = "project_model"
    PROJECT = "project"
    ACCOUNT = "account"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Hold:
    """Leave `scope` alone until `until` (unix seconds; UNTIL_A_PERSON_ACTS has no end)."""

    scope: Scope
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """What a person must solve while the grant is fine; becomes the account's `attention`."""

    code: str
    message: str
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One failed call. `message` is Google's own text: for the owner, never for a client of another dialect."""

    kind: FaultKind
    whose: Whose
    status: int = 0
    """The HTTP status, or the code of an error told inside a 200 stream; 0 when no answer came."""
    message: str = ""
    hold: Hold | None = None
    attention: Attention | None = None
    advice: str = ""
    url: str = ""
    limits: tuple[Violation, ...] = ()
    """The quotas that Google named, each once, for the quota guard to learn from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The circumstances of the call that failed.

    `strikes` is how many 429 or 503 without a known end came in a row for this scope. `attend` is False when the call went
    another way than the account's own upstream (Claude through Vertex on a Gemini account): then a refusal holds back only
    that model, because the account itself is fine. `replayed` says that a fresh token was refused as well.
    """

    model: str
    project: str
    now: float
    tz: tzinfo
    strikes: int = 0
    vertex: bool = False
    attend: bool = True
    replayed: bool = False


_LIMIT_ZERO = re.compile(r"limit:\s*0(?!\d|\.\d)")
_LIMIT_POSITIVE = re.compile(r"limit:\s*(?:[1-9]|0\.\d)")
_DEPLETED = re.compile(r"prepayment credits are depleted|prepay(?:ment)? balance", re.IGNORECASE)
_PER_DAY = re.compile(r"PerDay|Daily|_per_day")
_PER_MINUTE = re.compile(r"PerMinute|_per_minute|_requests_per_base_model")
_LOCATION = re.compile(r"location is not supported|not available in your country", re.IGNORECASE)
_SIGNATURE = re.compile(r"thought[ _-]?signature", re.IGNORECASE)
_NOT_ALLOWED = re.compile(r"is not allowed to use Publisher Model", re.IGNORECASE)
_STATUS_OF_NAME = {
    "invalid_request": 400,
    "invalid_request_error": 400,
    "parameter_unknown": 400,
    "authentication": 401,
    "authentication_error": 401,
    "payment_required": 402,
    "billing_error": 402,
    "permission_denied": 403,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "quota_exceeded": 429,
    "too_many_requests": 429,
    "cancelled": 499,
    "api_error": 500,
    "service_unavailable": 503,
    "overloaded_error": 529,
    "deadline_exceeded": 504,
    "timeout_error": 504,
}


def classify_answer(status: int, headers: Headers, body: bytes, call: Call) -> Fault:
    """Judge an answer that is no success. `status` 200 is for an error told inside a stream: its own code counts then.

    Never raises. Source: docs/sources.md, sections 3 and 5.
    """
    error = parse_error_body(body)
    if status < 300:
        status = error.code or _STATUS_OF_NAME.get(error.name, 0)
        if status < 400:
            advice = "Google answered with something unreadable."
            return _plain(FaultKind.BAD_ANSWER, Whose.GOOGLE, advice, status, error)
    match status:
        case 400:
            return _classify_400(error, call)
        case 401:
            return _classify_401(error, call)
        case 402 if error.parsed:
            return _billing(status, error)
        case 403:
            return _classify_403(error, headers, call)
        case 429:
            return _classify_429(status, error, headers, call)
        case 503 | 529:
            return _classify_503(status, error, headers, call)
        case _:
            return _plain(*_classify_status(status), status, error)


def _classify_status(status: int) -> tuple[FaultKind, Whose, str]:
    """What the status alone says."""
    match status:
        case 404:
            advice = (
                "The model is unknown to this API, version or location; on Vertex try the location `global`."
            )
            return FaultKind.MODEL_NOT_FOUND, Whose.MODEL, advice
        case 407:
            return FaultKind.BLOCKED, Whose.NETWORK, "The proxy of [network] wants other credentials."
        case 408 | 500 | 502 | 504:
            return FaultKind.SERVER_ERROR, Whose.GOOGLE, "Google failed; usually gone in a minute."
        case _ if status < 400:
            return FaultKind.BAD_ANSWER, Whose.NETWORK, "A redirect came: is a portal or proxy in the way?"
        case _ if status >= 505:
            return FaultKind.SERVER_ERROR, Whose.GOOGLE, "Google failed; usually gone in a minute."
        case _:
            return FaultKind.CLIENT_ERROR, Whose.CLIENT, ""


def classify_transport(error: TransportError) -> Fault:
    """Judge a call that brought no complete answer."""
    kind, advice = _transport_kind(error)
    return Fault(kind=kind, whose=Whose.NETWORK, message=str(error), advice=advice)


def account_died(reason: str = "") -> Fault:
    """The account's refresh was answered with `invalid_grant` while this request wanted its token."""
    return Fault(
        kind=FaultKind.ACCOUNT_DIED,
        whose=Whose.ACCOUNT,
        message=reason,
        advice="Sign in to the account again.",
    )


def token_unavailable(reason: str = "") -> Fault:
    """No usable access token could be had for a reason that does not condemn the account."""
    return Fault(
        kind=FaultKind.TOKEN_UNAVAILABLE,
        whose=Whose.GOOGLE,
        message=reason,
        advice="Google's token endpoint gave no token; it is asked again.",
    )


def token_refused(reason: str = "") -> Fault:
    """The account cannot be used until a person acts: Google refuses its OAuth client, or its owner took it out."""
    return Fault(
        kind=FaultKind.TOKEN_REFUSED,
        whose=Whose.ACCOUNT,
        message=reason,
        advice="The account needs its owner; see regrant accounts list.",
    )


def next_midnight(now: float, tz: tzinfo) -> float:
    """Unix seconds of the next midnight in `tz`, right across changes of daylight saving time."""
    day: date = datetime.fromtimestamp(now, tz).date() + timedelta(days=1)
    return datetime(day.year, day.month, day.day, tzinfo=tz).timestamp()


def retry_after(headers: Headers, now: float) -> float | None:
    """Seconds that the Retry-After header asks for, or None; a date in the past gives 0.0. Source: RFC 9110 10.2.3."""
    text = (
        next((value for name, value in headers if name.lower() == b"retry-after"), b"")
        .decode("latin-1")
        .strip()
    )
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]+)?", text, re.ASCII):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)  # noqa: UP017 - an RFC 850 or asctime date is GMT by definition
    return max(0.0, when.timestamp() - now)


def _plain(kind: FaultKind, whose: Whose, advice: str, status: int, error: ErrorBody) -> Fault:
    return Fault(
        kind=kind, whose=whose, status=status, message=error.message or _phrase(status), advice=advice
    )


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else f"HTTP status {status}"


def _transport_kind(error: TransportError) -> tuple[FaultKind, str]:
    match error:
        case CertificateRefused():
            return FaultKind.CONNECT_FAILED, "Google's certificate is not trusted here; see network.ca_file."
        case ConnectFailed():
            return (
                FaultKind.CONNECT_FAILED,
                "Google cannot be reached; check the network, DNS and network.proxy.",
            )
        case ResetBeforeAnswer():
            return FaultKind.RESET, "The connection broke before Google answered."
        case AnswerTimeout():
            return (
                FaultKind.ANSWER_TIMEOUT,
                "Google did not answer in time. Not repeated: the call may be billed.",
            )
        case BodyIdle():
            return FaultKind.IDLE, "Google's answer stalled. Not repeated: the call may be billed."
        case BadAnswer() | BodyTooLarge():
            return (
                FaultKind.BAD_ANSWER,
                "What came back is not an answer of Google's; is something in the way?",
            )
        case _:
            return FaultKind.CUT, "Google's answer broke off."


def _classify_400(error: ErrorBody, call: Call) -> Fault:
    if error.status == "FAILED_PRECONDITION" and _NOT_ALLOWED.search(error.message):
        return Fault(
            kind=FaultKind.MODEL_NOT_ALLOWED,
            whose=Whose.PROJECT,
            status=400,
            message=error.message,
            hold=Hold(Scope.PROJECT_MODEL, call.now + HOLD_S),
            advice=f"Enable {call.model} in the Model Garden of project {call.project}.",
            url=f"https://console.cloud.google.com/vertex-ai/model-garden?project={call.project}",
        )
    if error.status == "FAILED_PRECONDITION" and _LOCATION.search(error.message):
        return Fault(
            kind=FaultKind.UNUSABLE_HERE,
            whose=Whose.PROJECT,
            status=400,
            message=error.message,
            hold=Hold(Scope.PROJECT_MODEL, call.now + REFUSED_S),
            advice="Google does not serve this project from where the gateway runs; enable billing, or use Vertex.",
            url="https://ai.google.dev/gemini-api/docs/available-regions",
        )
    kind = FaultKind.SIGNATURE_REFUSED if _SIGNATURE.search(error.message) else FaultKind.CLIENT_ERROR
    return _plain(kind, Whose.CLIENT, "", 400, error)


def _classify_401(error: ErrorBody, call: Call) -> Fault:
    return Fault(
        kind=FaultKind.TOKEN_REJECTED,
        whose=Whose.ACCOUNT,
        status=401,
        message=error.message or _phrase(401),
        hold=Hold(Scope.ACCOUNT, call.now + REFUSED_S) if call.replayed else None,
        advice="Google refuses even a fresh access token; sign in to the account again."
        if call.replayed
        else "",
    )


def _billing(status: int, error: ErrorBody) -> Fault:
    advice = "The project's billing is exhausted or off; top it up, then verify the account."
    url = error.metadata.get("consoleUrl", "") or BILLING_URL
    return Fault(
        kind=FaultKind.BILLING,
        whose=Whose.PROJECT,
        status=status,
        message=error.message or _phrase(status),
        hold=Hold(Scope.PROJECT, UNTIL_A_PERSON_ACTS),
        attention=Attention(code="billing", message=advice, url=url),
        advice=advice,
        url=url,
    )


def _classify_403(error: ErrorBody, headers: Headers, call: Call) -> Fault:
    if not error.parsed:
        return Fault(
            kind=FaultKind.BLOCKED,
            whose=Whose.NETWORK,
            status=403,
            message=_phrase(403),
            hold=Hold(Scope.ACCOUNT, call.now + BACKOFF_S),
            advice="Something that is not Google's API refused the call: a firewall, a portal, or a block of this address.",
        )
    if error.reason == "BILLING_DISABLED":
        return _billing(403, error)
    if error.reason in {
        "RATE_LIMIT_EXCEEDED",
        "RESOURCE_QUOTA_EXCEEDED",
        "rateLimitExceeded",
        "quotaExceeded",
    }:
        return _classify_429(403, error, headers, call)
    refusal = find_refusal(error)
    if refusal is None:
        return _plain(FaultKind.CLIENT_ERROR, Whose.CLIENT, "", 403, error)
    return _refused(refusal, error, call)


def _refused(refusal: Refusal, error: ErrorBody, call: Call) -> Fault:
    named = (
        error.metadata.get(key, "")
        for key in ("activationUrl", "validation_url", "validationUrl", "consoleUrl")
    )
    url = next(filter(None, named), "") or next(iter(error.links), "") or refusal.url
    if not call.attend:
        hold = Hold(Scope.PROJECT_MODEL, call.now + HOLD_S)
    else:
        hold = Hold(Scope.ACCOUNT, call.now + REFUSED_S)
    return Fault(
        kind=FaultKind.PERMISSION,
        whose=Whose.PROJECT if refusal.project_wide else Whose.ACCOUNT,
        status=403,
        message=error.message,
        hold=hold,
        attention=Attention(code=refusal.code, message=error.message or refusal.advice, url=url)
        if call.attend
        else None,
        advice=refusal.advice,
        url=url,
    )


def _classify_429(status: int, error: ErrorBody, headers: Headers, call: Call) -> Fault:
    if _DEPLETED.search(error.message) or error.reason == "INSUFFICIENT_G1_CREDITS_BALANCE":
        return _billing(status, error)
    wait = error.retry_delay_s if error.retry_delay_s is not None else retry_after(headers, call.now)
    told = call.now + (wait or 0.0)
    quotas = " ".join(f"{item.quota_id} {item.metric}" for item in error.violations)
    if any(_is_zero(item, error.message) for item in error.violations) or _LIMIT_ZERO.search(error.message):
        advice = (
            f"{call.model} has no quota in project {call.project}; choose another model or enable billing."
        )
        return _quota(FaultKind.NO_QUOTA, status, error, max(told, call.now + DAY_S), advice)
    if _PER_DAY.search(quotas or error.message) or error.name == "quota_exceeded":
        until = max(told, next_midnight(call.now, call.tz))
        return _quota(
            FaultKind.QUOTA_PER_DAY,
            status,
            error,
            until,
            "The daily quota is used up until midnight Pacific time.",
        )
    advice = "The project's rate limit for this model is reached; it reopens by itself."
    if wait is not None:
        return _quota(FaultKind.RATE_LIMITED, status, error, told, advice)
    if _PER_MINUTE.search(quotas or error.message):
        return _quota(FaultKind.RATE_LIMITED, status, error, call.now + MINUTE_QUOTA_S, advice)
    first, cap = (SHARED_BACKOFF_S, SHARED_BACKOFF_CAP_S) if call.vertex else (BACKOFF_S, BACKOFF_CAP_S)
    return _quota(
        FaultKind.RATE_LIMITED, status, error, call.now + _backoff(first, cap, call.strikes), advice
    )


def _is_zero(violation: Violation, message: str) -> bool:
    """Whether this quota is 0. protojson leaves out a value of 0, so absence counts unless the message names a limit."""
    if violation.value is not None:
        return violation.value.strip() == "0"
    return bool(violation.quota_id and violation.metric) and not _LIMIT_POSITIVE.search(message)


def _quota(kind: FaultKind, status: int, error: ErrorBody, until: float, advice: str) -> Fault:
    return Fault(
        kind=kind,
        whose=Whose.PROJECT,
        status=status,
        message=error.message or _phrase(status),
        hold=Hold(Scope.PROJECT_MODEL, until),
        advice=advice,
        url=next(iter(error.links), ""),
        limits=error.violations,
    )


def _classify_503(status: int, error: ErrorBody, headers: Headers, call: Call) -> Fault:
    if _LIMIT_ZERO.search(error.message):
        return _classify_429(status, error, headers, call)
    wait = error.retry_delay_s if error.retry_delay_s is not None else retry_after(headers, call.now)
    if wait is None:
        wait = _backoff(OVERLOAD_S, OVERLOAD_CAP_S, call.strikes)
    return Fault(
        kind=FaultKind.OVERLOADED,
        whose=Whose.MODEL,
        status=status,
        message=error.message or _phrase(status),
        hold=Hold(Scope.MODEL, call.now + wait),
        advice="The model is overloaded at Google for everyone; it is left alone for a moment.",
    )


def _backoff(first: float, cap: float, strikes: int) -> float:
    return float(min(cap, first * 2.0 ** min(strikes, 30)))
