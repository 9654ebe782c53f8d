"""Google's error answers by name, with the texts and details that it sends.

Source: docs/sources.md, sections 2, 3 and 5. When to send which is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from regrant.sandbox.wire import Answer, JsonObject, html_answer, json_answer

CANONICAL = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

_RPC = "type.googleapis.com/google.rpc."
_DEVCONSOLE = "See https://developers.google.com/identity/sign-in/web/devconsole-project."
_EXPECTED = "Expected OAuth 2 access token, login cookie or other valid authentication credential."
_RATE_LIMITS = "https://ai.google.dev/gemini-api/docs/rate-limits"
_QUOTA_MESSAGE = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    f"head to: {_RATE_LIMITS}. To monitor your current usage, head to: https://ai.dev/rate-limit. "
)


@dataclass(frozen=True, slots=True)
class About:
    """What an error body speaks of. `retry_delay` is a protobuf duration such as `3s`; `message` replaces the usual text."""

    model: str = "gemini-3.8-flash"
    project: str = "100000000001"
    service: str = "generativelanguage.googleapis.com"
    method: str = "google.ai.generativelanguage.v1beta.GenerativeService.GenerateContent"
    retry_delay: str = ""
    message: str = ""


def api_error(
    status: int, message: str, details: tuple[JsonObject, ...] = (), *, canonical: str = ""
) -> Answer:
    """The envelope of every Google API error."""
    error: JsonObject = {
        "code": status,
        "message": message,
        "status": canonical or CANONICAL.get(status, "UNKNOWN"),
    }
    if details:
        error["details"] = list(details)
    return json_answer({"error": error}, status=status)


def error_info(reason: str, **metadata: str) -> JsonObject:
    info: JsonObject = {"@type": f"{_RPC}ErrorInfo", "reason": reason, "domain": "googleapis.com"}
    if metadata:
        info["metadata"] = metadata
    return info


def field_violations(violations: list[tuple[str, str]]) -> Answer:
    """400 for a body that does not fit; `violations` are pairs of field path ("" at the top) and sentence."""
    described: list[JsonObject] = [
        {"field": field, "description": text} if field else {"description": text}
        for field, text in violations
    ]
    detail = {"@type": f"{_RPC}BadRequest", "fieldViolations": described}
    return api_error(400, "\n".join(text for _, text in violations), (detail,))


def oauth_error(status: int, error: str, description: str = "", *, subtype: str = "") -> Answer:
    body = {"error": error}
    if description:
        body["error_description"] = description
    if subtype:
        body["error_subtype"] = subtype
    return json_answer(body, status=status)


def unauthenticated(reason: str, about: About) -> Answer:
    start = "Request is missing required" if reason == "CREDENTIALS_MISSING" else "Request had invalid"
    noun = "authentication credential." if reason == "CREDENTIALS_MISSING" else "authentication credentials."
    info = error_info(reason, service=about.service, method=about.method)
    return api_error(401, f"{start} {noun} {_EXPECTED} {_DEVCONSOLE}", (info,))


def api_key_invalid(about: About) -> Answer:
    message = "API key not valid. Please pass a valid API key."
    localized = {"@type": f"{_RPC}LocalizedMessage", "locale": "en-US", "message": message}
    return api_error(400, message, (error_info("API_KEY_INVALID", service=about.service), localized))


def overloaded_credentials(about: About) -> Answer:
    message = "The request contains both an API key and an OAuth access token. Send one of them."
    return api_error(400, message, (error_info("OVERLOADED_CREDENTIALS", service=about.service),))


def user_project_denied(about: About) -> Answer:
    url = f"https://console.developers.google.com/iam-admin/iam/project?project={about.project}"
    message = (
        f"Caller does not have required permission to use project {about.project}. Grant the caller the "
        "roles/serviceusage.serviceUsageConsumer role, or a custom role with the serviceusage.services.use permission, "
        f"by visiting {url} and then retry. Propagation of the new permission may take a few minutes."
    )
    info = error_info(
        "USER_PROJECT_DENIED",
        service=about.service,
        consumer=f"projects/{about.project}",
        containerInfo=about.project,
        consoleUrl=url,
    )
    return api_error(403, message, (info,))


def scope_insufficient(about: About) -> Answer:
    info = error_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT", service=about.service, method=about.method)
    return api_error(403, "Request had insufficient authentication scopes.", (info,))


def service_disabled(about: About) -> Answer:
    title = "Vertex AI API" if about.service.startswith("aiplatform") else "Generative Language API"
    url = f"https://console.developers.google.com/apis/api/{about.service}/overview?project={about.project}"
    message = (
        f"{title} has not been used in project {about.project} before or it is disabled. Enable it by visiting {url} then "
        "retry. If you enabled this API recently, wait a few minutes for the action to propagate to our systems and retry."
    )
    info = error_info(
        "SERVICE_DISABLED",
        serviceTitle=title,
        consumer=f"projects/{about.project}",
        containerInfo=about.project,
        service=about.service,
        activationUrl=url,
    )
    localized = {"@type": f"{_RPC}LocalizedMessage", "locale": "en-US", "message": message}
    link = {"description": "Google developers console API activation", "url": url}
    return api_error(403, message, (info, localized, {"@type": f"{_RPC}Help", "links": [link]}))


def model_not_found(about: About, version: str = "v1beta", method: str = "generateContent") -> Answer:
    if about.service.startswith("aiplatform"):
        return _publisher_model_not_found(about)
    return api_error(
        404,
        f"models/{about.model} is not found for API version {version}, or is not supported for {method}. "
        "Call ListModels to see the list of available models and their supported methods.",
    )


def _publisher_model_not_found(about: About) -> Answer:
    name = f"projects/{about.project}/locations/global/publishers/google/models/{about.model}"
    return api_error(
        404,
        f"Publisher Model `{name}` was not found or your project does not have access to it. Please ensure you are using a "
        "valid model version. For more information, see: "
        "https://cloud.google.com/vertex-ai/generative-ai/docs/learn/model-versions",
    )


def predict_denied(resource: str) -> Answer:
    message = (
        f"Permission 'aiplatform.endpoints.predict' denied on resource '//aiplatform.googleapis.com/{resource}' "
        "(or it may not exist)."
    )
    info = error_info("IAM_PERMISSION_DENIED", permission="aiplatform.endpoints.predict", resource=resource)
    return api_error(403, message, (info,))


def verification_wanted(about: About) -> Answer:
    """`validation_url` is where the owner would go; a name that leads nowhere."""
    url = f"https://accounts.regrant.test/verify?account={about.project}"
    info = error_info("VALIDATION_REQUIRED", service=about.service, validation_url=url)
    return api_error(403, "Verify your account to continue.", (info,))


def _quota(about: About, *, per: str, limit: str, retry_delay: str, suffix: str = "-FreeTier") -> Answer:
    metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
    delay = about.retry_delay or retry_delay
    message = (
        f"{_QUOTA_MESSAGE}\n* Quota exceeded for metric: {metric}, limit: {limit}, model: {about.model}\n"
        f"Please retry in {delay}."
    )
    violation = {
        "quotaMetric": metric,
        "quotaId": f"GenerateRequestsPer{per}PerProjectPerModel{suffix}",
        "quotaDimensions": {"location": "global", "model": about.model},
        "quotaValue": limit,
    }
    link = {"description": "Learn more about Gemini API quotas", "url": _RATE_LIMITS}
    details: tuple[JsonObject, ...] = (
        {"@type": f"{_RPC}Help", "links": [link]},
        {"@type": f"{_RPC}QuotaFailure", "violations": [violation]},
        {"@type": f"{_RPC}RetryInfo", "retryDelay": delay},
    )
    return api_error(429, message, details)


def _plain(status: int, message: str, *, canonical: str = "", reason: str = "") -> Callable[[About], Answer]:
    details = (error_info(reason),) if reason else ()
    return lambda _about: api_error(status, message, details, canonical=canonical)


def _about_project(message: str, reason: str) -> Callable[[About], Answer]:
    def build(about: About) -> Answer:
        info = error_info(reason, consumer=f"projects/{about.project}", service=about.service)
        return api_error(403, message.format(project=about.project), (info,))

    return build


def _oauth(status: int, error: str, description: str = "", subtype: str = "") -> Callable[[About], Answer]:
    return lambda _about: oauth_error(status, error, description, subtype=subtype)


_SORRY = (
    "<html><head><title>Sorry...</title></head><body><h1>We're sorry...</h1><p>... but your computer or network may be "
    "sending automated queries. To protect our users, we can't process your request right now.</p></body></html>"
)
_PORTAL = "<html><head><title>Sign in to the network</title></head><body>invalid_grant? Accept our terms.</body></html>"

_API: dict[str, Callable[[About], Answer]] = {
    "400_invalid_argument": _plain(400, "Request contains an invalid argument."),
    "400_location": _plain(
        400, "User location is not supported for the API use.", canonical="FAILED_PRECONDITION"
    ),
    "400_thought_signature": _plain(400, "Corrupted thought signature."),
    "400_too_long": _plain(
        400, "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576)."
    ),
    "401": lambda about: unauthenticated("ACCESS_TOKEN_EXPIRED", about),
    "401_account_state": lambda about: unauthenticated("ACCOUNT_STATE_INVALID", about),
    "402": _plain(
        402, "Your prepayment credits are depleted. Please go to AI Studio to manage your billing."
    ),
    "403_service_disabled": service_disabled,
    "403_scope": scope_insufficient,
    "403_user_project": user_project_denied,
    "403_consumer_invalid": _about_project(
        "Permission denied on resource project {project}.", "CONSUMER_INVALID"
    ),
    "403_billing_disabled": _about_project(
        "This API method requires billing to be enabled. Please enable billing on project #{project}.",
        "BILLING_DISABLED",
    ),
    "403_consumer_suspended": _about_project(
        "Permission denied: Consumer 'projects/{project}' has been suspended.", "CONSUMER_SUSPENDED"
    ),
    "403_permission": _plain(403, "The caller does not have permission"),
    "403_iam": lambda about: predict_denied(f"projects/{about.project}/locations/global"),
    "403_validation_required": verification_wanted,
    "403_admin": _plain(403, "The administrator blocked this user.", reason="USER_BLOCKED_BY_ADMIN"),
    "403_html": lambda _about: html_answer(_SORRY, status=403),
    "404_model": model_not_found,
    "429_per_minute": lambda about: _quota(about, per="Minute", limit="10", retry_delay="45.578569677s"),
    "429_per_day": lambda about: _quota(about, per="Day", limit="250", retry_delay="25s"),
    "429_limit_zero": lambda about: _quota(about, per="Day", limit="0", retry_delay="30s"),
    "429_spend": _plain(429, "You have exceeded your spend-based rate limit. Please try again later."),
    "429_no_details": _plain(429, "Resource has been exhausted (e.g. check quota)."),
    "429_depleted": _plain(
        429,
        "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your project "
        "and billing.",
    ),
    "429_vertex": _plain(
        429,
        "Resource exhausted. Please try again later. Please refer to "
        "https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more details.",
    ),
    "499": _plain(499, "The operation was cancelled."),
    "500": _plain(
        500,
        "An internal error has occurred. Please retry or report in "
        "https://developers.generativeai.google/guide/troubleshooting",
    ),
    "502": lambda _about: html_answer("<html><title>Error 502 (Server Error)!!1</title></html>", status=502),
    "503_overloaded": _plain(503, "The model is overloaded. Please try again later."),
    "504": _plain(504, "Deadline expired before operation could complete."),
}

_OAUTH: dict[str, Callable[[About], Answer]] = {
    "invalid_grant": _oauth(400, "invalid_grant", "Token has been expired or revoked."),
    "invalid_grant_bad_request": _oauth(400, "invalid_grant", "Bad Request"),
    "invalid_rapt": _oauth(400, "invalid_grant", "reauth related error (invalid_rapt)", "invalid_rapt"),
    "rapt_required": _oauth(400, "invalid_grant", "reauth related error (rapt_required)", "rapt_required"),
    "account_deleted": _oauth(400, "invalid_grant", "Account has been deleted"),
    "invalid_client": _oauth(401, "invalid_client", "The OAuth client was not found."),
    "invalid_client_secret": _oauth(401, "invalid_client", "The provided client secret is invalid."),
    "deleted_client": _oauth(401, "deleted_client", "The OAuth client was deleted."),
    "disabled_client": _oauth(401, "disabled_client", "The OAuth client was disabled."),
    "unauthorized_client": _oauth(401, "unauthorized_client", "Unauthorized"),
    "invalid_scope": _oauth(400, "invalid_scope", "Bad Request"),
    "admin_policy_enforced": _oauth(400, "admin_policy_enforced"),
    "access_denied": _oauth(403, "access_denied", "Account restricted"),
    "rate_limit_exceeded": _oauth(429, "rate_limit_exceeded"),
    "internal_failure": _oauth(500, "internal_failure", "Backend Error"),
    "temporarily_unavailable": _oauth(400, "temporarily_unavailable"),
    "error_object": _plain(501, "Operation is not implemented, or supported, or enabled."),
    "html_sorry": lambda _about: html_answer(_SORRY, status=403),
    "captive_portal": lambda _about: html_answer(_PORTAL),
}

NAMED: dict[str, Callable[[About], Answer]] = {**_API, **_OAUTH}
"""Every error that a script may ask for by name."""


def named_error(name: str, about: About) -> Answer:
    """Raises KeyError for a name that is not in NAMED."""
    answer = NAMED[name](about)
    return _with_message(answer, about.message) if about.message else answer


def _with_message(answer: Answer, message: str) -> Answer:
    """The same error in other words, in whichever of Google's two forms it has."""
    body = msgspec.json.decode(answer.body)
    if isinstance(body.get("error"), dict):
        body["error"]["message"] = message
    else:
        body["error_description"] = message
    return json_answer(body, status=answer.status)
