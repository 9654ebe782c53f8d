"""Judges one call that failed: from status, headers, body and circumstances to a `Fault`.

One table of facts for Gemini and Vertex; nothing is done here. The words of the judgement are in `faults.py`, reading the body in
`error_body.py`, limits and money in `exhaustion.py`, the reasons of a 403 in `refusals.py`; what follows is decided in
`gateway/verdict.py`.
"""

from __future__ import annotations

import re

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
from regrant.upstream.error_body import ErrorBody, parse_error_body
from regrant.upstream.exhaustion import BACKOFF_CAP_S, BACKOFF_S, billing, limited, overloaded, phrase
from regrant.upstream.faults import Attention, Call, Fault, FaultKind, Hold, Scope, Whose
from regrant.upstream.refusals import ACCOUNT_STATE, Refusal, find_refusal
from regrant.upstream.waits import backoff

REFUSED_GROWTH = (
    12.0  # what is refused is looked at ever more rarely: after 5 minutes at first, an hour at last
)
LACKING_S = 3_600.0  # a project that lacks the model: looked at every hour, in case someone enabled it

_LOCATION = re.compile(r"location is not supported|not available in your country", re.IGNORECASE)
_SIGNATURE = re.compile(r"thought[ _-]?signature", re.IGNORECASE)
_NOT_ALLOWED = re.compile(r"is not allowed to use Publisher Model", re.IGNORECASE)
_LINKS_OF_403 = ("activationUrl", "validation_url", "validationUrl", "consoleUrl")
_LIMITS_OF_403 = {"RATE_LIMIT_EXCEEDED", "RESOURCE_QUOTA_EXCEEDED", "rateLimitExceeded", "quotaExceeded"}
_GONE_SOON = "Google failed; usually gone in a minute."
_STATUS_OF_WORD = {
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
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""What the string codes of the Interactions API, Anthropic's error types and google.rpc's names are as statuses."""


def classify_answer(status: int, headers: Headers, body: bytes, call: Call) -> Fault:
    """Judge an answer that is no success. `status` 200 is for an error told inside a stream: its own code counts then.

    Never raises. Source: docs/sources.md, sections 3 and 5.
    """
    error = parse_error_body(body)
    if status < 300:
        status = error.code or _STATUS_OF_WORD.get(error.name) or _STATUS_OF_WORD.get(error.status, 0)
        if status < 400:
            advice = "Google answered with something unreadable."
            return _plain(FaultKind.BAD_ANSWER, Whose.GOOGLE, advice, status, error)
    match status:
        case 400:
            return _classify_400(error, call)
        case 401:
            return _classify_401(error, call)
        case 402 if error.parsed:
            return billing(status, error)
        case 403:
            return _classify_403(error, headers, call)
        case 429:
            return limited(status, error, headers, call)
        case 503 | 529:
            return overloaded(status, error, headers, call)
        case _:
            return _plain(*_classify_status(status), status, error)


def classify_transport(error: TransportError) -> Fault:
    """Judge a call that brought no complete answer."""
    kind, advice = _transport_kind(error)
    return Fault(kind=kind, whose=Whose.NETWORK, message=str(error), advice=advice)


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
        case 499:
            # Our own client's leaving ends the call here, so this is Google's doing.
            return FaultKind.SERVER_ERROR, Whose.GOOGLE, "Google cancelled the call."
        case 504:
            advice = "Google ran out of time; a shorter prompt or less output helps if it stays so."
            return FaultKind.SERVER_ERROR, Whose.GOOGLE, advice
        case 408 | 500 | 502:
            return FaultKind.SERVER_ERROR, Whose.GOOGLE, _GONE_SOON
        case _ if status < 400:
            return FaultKind.BAD_ANSWER, Whose.NETWORK, "A redirect came: is a portal or proxy in the way?"
        case _ if status >= 505:
            return FaultKind.SERVER_ERROR, Whose.GOOGLE, _GONE_SOON
        case _:
            return (
                FaultKind.CLIENT_ERROR,
                Whose.CLIENT,
                "The request itself is refused; Google's message says why.",
            )


def _plain(kind: FaultKind, whose: Whose, advice: str, status: int, error: ErrorBody) -> Fault:
    return Fault(
        kind=kind, whose=whose, status=status, message=error.message or phrase(status), advice=advice
    )


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
            hold=_guess(Scope.PROJECT_MODEL, LACKING_S, call),
            advice=f"Enable {call.model} in the Model Garden of project {call.project}.",
            url=f"https://console.cloud.google.com/vertex-ai/model-garden?project={call.project}",
        )
    if error.status == "FAILED_PRECONDITION" and _LOCATION.search(error.message):
        return Fault(
            kind=FaultKind.UNUSABLE_HERE,
            whose=Whose.PROJECT,
            status=400,
            message=error.message,
            hold=_guess(Scope.PROJECT_MODEL, call.refused_s, call),
            advice="Google does not serve this project from where the gateway runs; enable billing, or use Vertex.",
            url="https://ai.google.dev/gemini-api/docs/available-regions",
        )
    if _SIGNATURE.search(error.message):
        advice = "A thought signature in the conversation is not Google's; a new conversation is free of it."
        return _plain(FaultKind.SIGNATURE_REFUSED, Whose.CLIENT, advice, 400, error)
    return _plain(*_classify_status(400), 400, error)


def _classify_401(error: ErrorBody, call: Call) -> Fault:
    if not call.replayed:
        advice = "The access token is renewed and the request repeated; nothing is to be done."
        return _plain(FaultKind.TOKEN_REJECTED, Whose.ACCOUNT, advice, 401, error)
    restricted = error.reason == "ACCOUNT_STATE_INVALID"
    advice = (
        ACCOUNT_STATE.advice
        if restricted
        else "Google refuses even a fresh access token; sign in to the account again."
    )
    return Fault(
        kind=FaultKind.TOKEN_REJECTED,
        whose=Whose.ACCOUNT,
        status=401,
        message=error.message or phrase(401),
        hold=_guess(Scope.ACCOUNT, call.refused_s, call),
        attention=Attention(code=ACCOUNT_STATE.code, message=advice, url=ACCOUNT_STATE.url)
        if restricted and call.attend
        else None,
        advice=advice,
        url=ACCOUNT_STATE.url if restricted else "",
    )


def _classify_403(error: ErrorBody, headers: Headers, call: Call) -> Fault:
    if not error.parsed:
        wait = backoff(BACKOFF_S, BACKOFF_CAP_S, call.strikes, call.jitter)
        return Fault(
            kind=FaultKind.BLOCKED,
            whose=Whose.NETWORK,
            status=403,
            message=phrase(403),
            hold=Hold(Scope.ACCOUNT, call.now + wait, guessed=True),
            advice="Something that is not Google's API refused the call: a firewall, a portal, or a block of this address.",
        )
    if error.reason == "BILLING_DISABLED":
        return billing(403, error)
    if error.reason in _LIMITS_OF_403:
        return limited(403, error, headers, call)
    refusal = find_refusal(error)
    if refusal is None:
        return _plain(*_classify_status(403), 403, error)
    return _refused(refusal, error, call)


def _refused(refusal: Refusal, error: ErrorBody, call: Call) -> Fault:
    named = (error.metadata.get(key, "") for key in _LINKS_OF_403)
    url = next(filter(None, named), "") or next(iter(error.links), "") or refusal.url
    if not call.attend:
        hold = _guess(Scope.PROJECT_MODEL, LACKING_S, call)
    else:
        hold = _guess(Scope.ACCOUNT, call.refused_s, call)
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


def _guess(scope: Scope, first_s: float, call: Call) -> Hold:
    cap_s = max(first_s, call.refused_s * REFUSED_GROWTH)
    return Hold(scope, call.now + backoff(first_s, cap_s, call.strikes, call.jitter), guessed=True)
