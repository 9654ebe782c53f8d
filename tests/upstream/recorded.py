"""Answers of Google in their recorded shapes, one case a row, and what each must be taken for.

`test_faults.py` judges them, `faults_page.py` makes docs/faults.md of them. Source: docs/sources.md, sections 3 and 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from regrant.upstream.faults import Call, FaultKind, Remedy, Scope, Whose

PACIFIC = ZoneInfo("America/Los_Angeles")
NOW = datetime(2026, 7, 1, 12, 0, tzinfo=PACIFIC).timestamp()
UNTIL_MIDNIGHT = 12 * 3600.0
DAY = 86_400.0
CALL = Call(model="gemini-3-flash", project="1234", now=NOW, tz=PACIFIC)
REPLAYED = Call(model="gemini-3-flash", project="1234", now=NOW, tz=PACIFIC, replayed=True)
VERTEX = Call(model="gemini-3-flash", project="1234", now=NOW, tz=PACIFIC, vertex=True)

TYPE = "type.googleapis.com/google.rpc."
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
TOKENS_PER_MINUTE = "GenerateContentInputTokensPerModelPerMinute-FreeTier"
TOKENS_PER_DAY = "GenerateContentInputTokensPerModelPerDay-FreeTier"
EXHAUSTED = "RESOURCE_EXHAUSTED"
DENIED = "PERMISSION_DENIED"
ACTIVATION = (
    "https://console.developers.google.com/apis/api/generativelanguage.googleapis.com/overview?project=1234"
)


def error(code: int, message: str, status: str, *details: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"code": code, "message": message, "status": status}
    return {"error": body | ({"details": list(details)} if details else {})}


def info(reason: str, **metadata: str) -> dict[str, Any]:
    return {"@type": TYPE + "ErrorInfo", "reason": reason, "domain": "googleapis.com", "metadata": metadata}


def quota(*violations: dict[str, Any]) -> dict[str, Any]:
    return {"@type": TYPE + "QuotaFailure", "violations": list(violations)}


def violation(quota_id: str, value: str | None = "250") -> dict[str, Any]:
    shape = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": quota_id,
        "quotaDimensions": {"location": "global", "model": "gemini-3-flash"},
    }
    return shape if value is None else shape | {"quotaValue": value}


def retry(delay: str) -> dict[str, Any]:
    return {"@type": TYPE + "RetryInfo", "retryDelay": delay}


SERVICE_DISABLED = error(
    403,
    f"Generative Language API has not been used in project 1234 before or it is disabled. Enable it by visiting {ACTIVATION}",
    DENIED,
    info("SERVICE_DISABLED", service="generativelanguage.googleapis.com", activationUrl=ACTIVATION),
    {"@type": TYPE + "LocalizedMessage", "locale": "en-US", "message": "…"},
    {"@type": TYPE + "Help", "links": [{"description": "activation", "url": ACTIVATION}]},
)


@dataclass(frozen=True)
class Case:
    """`lasts` is the length of the cool-down of `scope` in seconds; `advice` and `url` are parts of what the owner is told."""

    says: str
    status: int
    body: Any
    kind: FaultKind
    whose: Whose
    remedy: Remedy
    scope: Scope | None = None
    lasts: float = 0.0
    guessed: bool = False
    attention: str | None = None
    advice: str = ""
    url: str = ""
    call: Call = CALL
    headers: tuple[tuple[bytes, bytes], ...] = ()
    listed: bool = True
    """Whether docs/faults.md has a row for it; variations of another row have none."""


def mistake(says: str, body: Any, status: int = 400, *, listed: bool = True) -> Case:
    return Case(
        says, status, body, FaultKind.CLIENT_ERROR, Whose.CLIENT, Remedy.GIVE_UP, advice="request itself", listed=listed
    )  # fmt: skip


def denied(
    says: str, body: Any, code: str, advice: str, url: str = "", *, project: bool = False, listed: bool = True
) -> Case:
    whose, remedy = (
        (Whose.PROJECT, Remedy.OTHER_PROJECT) if project else (Whose.ACCOUNT, Remedy.OTHER_ACCOUNT)
    )
    return Case(
        says, 403, body, FaultKind.PERMISSION, whose, remedy, Scope.ACCOUNT, 300, guessed=True, attention=code,
        advice=advice, url=url, listed=listed,
    )  # fmt: skip


def unpaid(
    says: str, status: int, body: Any, url: str = "https://ai.studio/projects", *, listed: bool = True
) -> Case:
    return Case(
        says, status, body, FaultKind.BILLING, Whose.PROJECT, Remedy.OTHER_PROJECT, Scope.PROJECT, math.inf,
        attention="billing", advice="top it up", url=url, listed=listed,
    )  # fmt: skip


def limit(
    says: str, body: Any, lasts: float, kind: FaultKind = FaultKind.RATE_LIMITED, *, status: int = 429,
    scope: Scope = Scope.PROJECT_MODEL, guessed: bool = False, advice: str = "reopens by itself", call: Call = CALL,
    headers: tuple[tuple[bytes, bytes], ...] = (), listed: bool = True,
) -> Case:  # fmt: skip
    return Case(
        says, status, body, kind, Whose.PROJECT, Remedy.OTHER_PROJECT, scope, lasts, guessed=guessed, advice=advice,
        call=call, headers=headers, listed=listed,
    )  # fmt: skip


def spent_day(says: str, body: Any, *, status: int = 429, listed: bool = True) -> Case:
    return limit(says, body, UNTIL_MIDNIGHT, FaultKind.QUOTA_PER_DAY, status=status, advice="until midnight Pacific", listed=listed)  # fmt: skip


def no_quota(says: str, body: Any, *, status: int = 429, listed: bool = True) -> Case:
    return limit(says, body, DAY, FaultKind.NO_QUOTA, status=status, advice="gemini-3-flash has no quota in project 1234", listed=listed)  # fmt: skip


def crowded(says: str, status: int, body: Any, lasts: float = 2.0, *, guessed: bool = True,
            headers: tuple[tuple[bytes, bytes], ...] = (), listed: bool = True) -> Case:  # fmt: skip
    return Case(
        says, status, body, FaultKind.OVERLOADED, Whose.MODEL, Remedy.ONCE_MORE, Scope.MODEL, lasts, guessed=guessed,
        advice="for everyone", headers=headers, listed=listed,
    )  # fmt: skip


def failed(says: str, status: int, body: Any, advice: str = "usually gone", *, listed: bool = True) -> Case:
    return Case(says, status, body, FaultKind.SERVER_ERROR, Whose.GOOGLE, Remedy.ONCE_MORE, advice=advice, listed=listed)  # fmt: skip


def unreadable(says: str, status: int, body: Any, whose: Whose, advice: str, *, listed: bool = True) -> Case:
    return Case(
        says, status, body, FaultKind.BAD_ANSWER, whose, Remedy.ONCE_MORE, advice=advice, listed=listed
    )


def elsewhere(says: str, body: Any, *, listed: bool = True) -> Case:
    return Case(
        says, 400, body, FaultKind.UNUSABLE_HERE, Whose.PROJECT, Remedy.OTHER_PROJECT, Scope.PROJECT_MODEL, 300,
        guessed=True, advice="enable billing, or use Vertex", url="available-regions", listed=listed,
    )  # fmt: skip


def unknown_model(says: str, status: int, body: Any, *, listed: bool = True) -> Case:
    return Case(
        says, status, body, FaultKind.MODEL_NOT_FOUND, Whose.MODEL, Remedy.GIVE_UP, advice="unknown to this API", listed=listed
    )  # fmt: skip


def signature(says: str, message: str, *, listed: bool = False) -> Case:
    return Case(
        says, 400, error(400, message, "INVALID_ARGUMENT"), FaultKind.SIGNATURE_REFUSED, Whose.CLIENT, Remedy.MEND,
        advice="thought signature", listed=listed,
    )  # fmt: skip


def stale_token(says: str, body: Any, *, listed: bool = False) -> Case:
    return Case(
        says, 401, body, FaultKind.TOKEN_REJECTED, Whose.ACCOUNT, Remedy.REFRESH, advice="renewed", listed=listed
    )  # fmt: skip


UNAUTHENTICATED = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other …"
)
CALLER = (
    "Caller does not have required permission to use project X. Grant the caller the roles/serviceusage.serviceUsageConsumer "
    "role, or a custom role with the serviceusage.services.use permission, by visiting https://…"
)
IAM_URL = "https://console.developers.google.com/iam-admin/iam/project?project=X"
PREDICT = (
    "Permission 'aiplatform.endpoints.predict' denied on resource '//aiplatform.googleapis.com/projects/P/locations/L/publishers/"
    "google/models/M' (or it may not exist)."
)
DEPLETED = "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your project and billing."
NOT_FOUND = (
    "models/X is not found for API version v1beta, or is not supported for generateContent. Call ListModels …"
)
CLAUDE_QUOTA = (
    "Quota exceeded for aiplatform.googleapis.com/online_prediction_requests_per_base_model with base model: anthropic-claude-x. "
    "Please submit a quota increase request."
)
LIMIT_ZERO = "* Quota exceeded for metric: x/requests, limit: 0, model: gemini-3-pro\nPlease retry in 20s."
UNKNOWN_FIELD = "Invalid JSON payload received. Unknown name \"$schema\" at 'tools[0].function_declarations[0].parameters'"

CASES: list[Case] = [
    # -- 400 --
    mistake("400, a body it does not accept", error(400, UNKNOWN_FIELD, "INVALID_ARGUMENT",
            {"@type": TYPE + "BadRequest", "fieldViolations": [{"field": "tools[0]"}]})),
    mistake("400 model turn", error(400, "Requests ending with a model turn are not supported.", "INVALID_ARGUMENT"), listed=False),
    mistake("400 function parts", error(400, "Please ensure that the number of function response parts is equal to …",
            "INVALID_ARGUMENT"), listed=False),
    mistake("400 function turn", error(400, "Please ensure that function call turn comes immediately after a user turn …",
            "INVALID_ARGUMENT"), listed=False),
    mistake("400 too long", error(400, "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).",
            "INVALID_ARGUMENT"), listed=False),
    mistake("400 api key", error(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT",
            info("API_KEY_INVALID")), listed=False),
    mistake("400 html", b"<html>Bad Request</html>", listed=False),
    signature("400, a thought signature it did not make", "Corrupted thought signature.", listed=True),
    signature("400 missing signature", "Function call is missing a thought_signature in functionCall parts. … position 2. …"),
    signature("400 undecodable signature", "Invalid value at 'thought_signature' (TYPE_BYTES), Base64 decoding failed"),
    elsewhere("400, the location is not supported", error(400, "User location is not supported for the API use.", "FAILED_PRECONDITION")),
    elsewhere("400 free tier country", error(400, "Gemini API free tier is not available in your country. Please enable billing",
              "FAILED_PRECONDITION"), listed=False),
    Case("400, the project may not use the model (Model Garden)", 400,
         error(400, "Project `1234` is not allowed to use Publisher Model `projects/…`", "FAILED_PRECONDITION"),
         FaultKind.MODEL_NOT_ALLOWED, Whose.PROJECT, Remedy.OTHER_PROJECT, Scope.PROJECT_MODEL, 3600, guessed=True,
         advice="Model Garden of project 1234", url="model-garden?project=1234"),
    # -- 401 --
    stale_token("401", error(401, UNAUTHENTICATED, "UNAUTHENTICATED", info("ACCESS_TOKEN_EXPIRED")), listed=True),
    stale_token("401 token type", error(401, UNAUTHENTICATED, "UNAUTHENTICATED", info("ACCESS_TOKEN_TYPE_UNSUPPORTED"))),
    stale_token("401 no credentials", error(401, UNAUTHENTICATED, "UNAUTHENTICATED", info("CREDENTIALS_MISSING"))),
    stale_token("401 account state", error(401, UNAUTHENTICATED, "UNAUTHENTICATED", info("ACCOUNT_STATE_INVALID"))),
    stale_token("401 html", b"<html>login</html>"),
    Case("401 again, with a fresh token", 401, error(401, UNAUTHENTICATED, "UNAUTHENTICATED", info("ACCESS_TOKEN_EXPIRED")),
         FaultKind.TOKEN_REJECTED, Whose.ACCOUNT, Remedy.OTHER_ACCOUNT, Scope.ACCOUNT, 300, guessed=True,
         advice="sign in to the account again", call=REPLAYED),
    Case("401 `ACCOUNT_STATE_INVALID` again, with a fresh token", 401,
         error(401, UNAUTHENTICATED, "UNAUTHENTICATED", info("ACCOUNT_STATE_INVALID")),
         FaultKind.TOKEN_REJECTED, Whose.ACCOUNT, Remedy.OTHER_ACCOUNT, Scope.ACCOUNT, 300, guessed=True,
         attention="account_state", advice="restricts this account", url="https://myaccount.google.com", call=REPLAYED),
    # -- money --
    unpaid("402, the prepaid balance is used up", 402, error(402, "Your prepay balance is depleted", EXHAUSTED)),
    unpaid("402 string code", 402, {"error": {"code": "payment_required", "message": "pay"}}, listed=False),
    mistake("402 html is no verdict", b"<html>pay for wifi</html>", 402, listed=False),
    unpaid("429 in words: credits depleted, monthly spending cap reached", 429, error(429, DEPLETED, EXHAUSTED)),
    unpaid("429 monthly cap", 429, error(429, "Your project has exceeded its monthly spending cap.", EXHAUSTED), listed=False),
    unpaid("403 `BILLING_DISABLED`", 403, error(403, "This API method requires billing to be enabled.", DENIED,
           info("BILLING_DISABLED", consumer="projects/1234"))),
    # -- 403 --
    denied("403 `SERVICE_DISABLED`", SERVICE_DISABLED, "service_disabled", "Enable the API", ACTIVATION, project=True),
    denied("403 service disabled in words", error(403, "Vertex AI API has not been used in project 1 before or it is disabled.", DENIED),
           "service_disabled", "Enable the API", project=True, listed=False),
    denied("403, no quota project", error(403, "The generativelanguage.googleapis.com API requires a quota project, which is not set by "
           "default.", DENIED, info("SERVICE_DISABLED", consumer="projects/764086051850")),
           "quota_project_missing", "project_id"),
    denied("403 `USER_PROJECT_DENIED`", error(403, CALLER, DENIED, info("USER_PROJECT_DENIED", consumer="projects/X", consoleUrl=IAM_URL)),
           "user_project_denied", "roles/serviceusage.serviceUsageConsumer", IAM_URL),
    denied("403 user project in words", error(403, CALLER, DENIED), "user_project_denied", "Service Usage Consumer", listed=False),
    denied("403 `CONSUMER_INVALID`, `RESOURCE_PROJECT_INVALID`", error(403, "Permission denied on resource project X.", DENIED,
           info("CONSUMER_INVALID")), "project_invalid", "set another project_id", project=True),
    denied("403 project invalid", error(403, "bad project", DENIED, info("RESOURCE_PROJECT_INVALID")), "project_invalid",
           "does not exist", project=True, listed=False),
    denied("403 `ACCESS_TOKEN_SCOPE_INSUFFICIENT`", error(403, "Request had insufficient authentication scopes.", DENIED,
           info("ACCESS_TOKEN_SCOPE_INSUFFICIENT", service="generativelanguage.googleapis.com")), "scope_missing", "Sign in again"),
    denied("403 scope in words", error(403, "Request had insufficient authentication scopes.", DENIED), "scope_missing",
           "every box", listed=False),
    denied("403 `CONSUMER_SUSPENDED`, `GCP_SUSPENDED`", error(403, "Consumer 'projects/1' has been suspended.", DENIED,
           info("CONSUMER_SUSPENDED")), "suspended", "appeal", project=True),
    denied("403 gcp suspended", error(403, "no", DENIED, info("GCP_SUSPENDED")), "suspended", "appeal", project=True, listed=False),
    denied("403 access denied to the project", error(403, "Your project has been denied access. Please contact support.", DENIED),
           "suspended", "appeal", project=True, listed=False),
    denied("403 `IAM_PERMISSION_DENIED`", error(403, PREDICT, DENIED, info("IAM_PERMISSION_DENIED")), "iam_permission_denied",
           "roles/aiplatform.user", "https://console.cloud.google.com/iam-admin/iam"),
    denied("403 iam in words", error(403, PREDICT, DENIED), "iam_permission_denied", "Vertex AI User", listed=False),
    denied("403 `VALIDATION_REQUIRED`", error(403, "Verify your account to continue.", DENIED,
           info("VALIDATION_REQUIRED", validation_url="https://v.example/1")), "verify_account", "verify the account", "https://v.example/1"),
    denied("403 validation with a link", error(403, "Please verify your Google account.", DENIED,
           {"@type": TYPE + "Help", "links": [{"description": "verify", "url": "https://v.example/2"}]}), "verify_account",
           "open the link", "https://v.example/2", listed=False),
    denied("403 `USER_BLOCKED_BY_ADMIN`, `SECURITY_POLICY_VIOLATED`, `LOCATION_POLICY_VIOLATED`", error(403, "blocked", DENIED,
           info("USER_BLOCKED_BY_ADMIN")), "policy_denied", "administrator"),
    denied("403 security policy", error(403, "vpc", DENIED, info("SECURITY_POLICY_VIOLATED")), "policy_denied", "administrator", listed=False),
    denied("403 location policy", error(403, "org", DENIED, info("LOCATION_POLICY_VIOLATED")), "policy_denied", "administrator", listed=False),
    denied("403 `ACCOUNT_STATE_INVALID`, `ACCOUNT_TYPE_UNSUPPORTED`, `CREDENTIAL_TYPE_UNSUPPORTED`", error(403, "state", DENIED,
           info("ACCOUNT_STATE_INVALID")), "account_state", "restricts this account", "https://myaccount.google.com"),
    denied("403 account type", error(403, "t", DENIED, info("ACCOUNT_TYPE_UNSUPPORTED")), "account_state", "restricts", listed=False),
    denied("403 credential type", error(403, "t", DENIED, info("CREDENTIAL_TYPE_UNSUPPORTED")), "account_state", "restricts", listed=False),
    denied("403 for another reason", error(403, "The caller does not have permission", DENIED), "permission_denied", "read the message"),
    mistake("403 about a file or bucket that the request names", error(403, "You do not have permission to access the File abc or it may "
            "not exist.", DENIED), 403),
    mistake("403 bucket", error(403, "ann@example.com does not have storage.objects.get access to the object", DENIED,
            info("IAM_PERMISSION_DENIED")), 403, listed=False),
    Case("403 as a web page: a firewall, a portal, a block of this address", 403, b"<html><title>Sorry...</title> automated queries</html>",
         FaultKind.BLOCKED, Whose.NETWORK, Remedy.ONCE_MORE, Scope.ACCOUNT, 30, guessed=True, advice="firewall"),
    limit("403 `RATE_LIMIT_EXCEEDED`", error(403, "Rate Limit Exceeded", DENIED, info("RATE_LIMIT_EXCEEDED")), 30, status=403,
          guessed=True, listed=False),
    limit("403 resource quota", error(403, "Quota", DENIED, info("RESOURCE_QUOTA_EXCEEDED"), retry("8s")), 8, status=403, listed=False),
    limit("403 legacy reason", {"error": {"code": 403, "message": "Rate", "errors": [{"reason": "rateLimitExceeded"}]}}, 30, status=403,
          guessed=True, listed=False),
    # -- 404 and other mistakes --
    unknown_model("404, no such model", 404, error(404, NOT_FOUND, "NOT_FOUND")),
    unknown_model("404 vertex", 404, error(404, "Publisher Model `projects/P/…` was not found or your project does not have access to it.",
                  "NOT_FOUND"), listed=False),
    unknown_model("404 new users", 404, error(404, "This model is no longer available to new users, use models/Y", "NOT_FOUND"), listed=False),
    mistake("413", b"", 413, listed=False),
    Case("407 of a proxy", 407, b"", FaultKind.BLOCKED, Whose.NETWORK, Remedy.ONCE_MORE, advice="proxy"),
    # -- 429 --
    limit("429, per minute, with `RetryInfo`", error(429, "quota", EXHAUSTED, quota(violation(PER_MINUTE)), retry("45s")), 45),
    limit("429 fraction", error(429, "quota", EXHAUSTED, quota(violation(PER_MINUTE)), retry("35.17s")), 35.17, listed=False),
    limit("429 nanoseconds", error(429, "quota", EXHAUSTED, quota(violation(PER_MINUTE)), retry("35.174346048s")), 35.174346048, listed=False),
    limit("429 milliseconds", error(429, "quota", EXHAUSTED, retry("900ms")), 0.9, listed=False),
    limit("429 long delay is not capped", error(429, "quota", EXHAUSTED, retry("4000s")), 4000, listed=False),
    limit("429 tokens per minute", error(429, "quota", EXHAUSTED, quota(violation(TOKENS_PER_MINUTE, "250000")), retry("12s")), 12, listed=False),
    limit("429, per minute, without a time", error(429, "quota", EXHAUSTED, quota(violation(PER_MINUTE))), 60),
    limit("429, a time in words only", error(429, "limit: 250, model: gemini-3-flash\nPlease retry in 45.578569677s.", EXHAUSTED), 45.578569677),
    limit("429 hours in words", error(429, "limit: 250\nPlease retry in 1h2m3.5s.", EXHAUSTED), 3723.5, listed=False),
    limit("429 milliseconds in words", error(429, "Please retry in 912.3ms.", EXHAUSTED), 0.9123, listed=False),
    limit("429 with `Retry-After`", b"", 7, headers=((b"retry-after", b"7"),), listed=False),
    spent_day("429, per day (requests or tokens), whatever `RetryInfo` says beside it", error(429, "quota", EXHAUSTED,
              quota(violation(PER_DAY)), retry("25s"))),
    spent_day("429 tokens per day", error(429, "quota", EXHAUSTED, quota(violation(TOKENS_PER_DAY, "1000000")), retry("9s")), listed=False),
    spent_day("429 minute and day, twice", error(429, "quota", EXHAUSTED, quota(violation(PER_MINUTE), violation(PER_DAY),
              violation(PER_DAY)), retry("25s")), listed=False),
    spent_day("429 string code of a day", {"error": {"code": "quota_exceeded", "message": "daily quota"}}, listed=False),
    no_quota("429, `limit: 0`", error(429, LIMIT_ZERO, EXHAUSTED, quota(violation(PER_DAY, None)), retry("20s"))),
    no_quota("429 quotaValue 0", error(429, "quota", EXHAUSTED, quota(violation(PER_MINUTE, "0"))), listed=False),
    no_quota("429 quotaValue missing", error(429, "quota", EXHAUSTED, quota(violation(PER_MINUTE, None))), listed=False),
    no_quota("429 limit 0 in words", error(429, LIMIT_ZERO, EXHAUSTED), listed=False),
    limit("429 quotaValue missing but limit named", error(429, "limit: 10", EXHAUSTED, quota(violation(PER_MINUTE, None)), retry("5s")), 5,
          listed=False),
    limit("429, spending too fast (rolling ten minutes)", error(429, "You have exceeded your spend-based rate limit.", EXHAUSTED), 60,
          FaultKind.SPEND_LIMIT, scope=Scope.PROJECT, guessed=True, advice="spends too fast"),
    limit("429 spending with a time", error(429, "Spend rate limit reached.", EXHAUSTED, retry("240s")), 240, FaultKind.SPEND_LIMIT,
          scope=Scope.PROJECT, advice="within ten minutes", listed=False),
    limit('429, nothing but "exhausted"', error(429, "Resource has been exhausted (e.g. check quota).", EXHAUSTED), 30, guessed=True),
    limit("429 on Vertex, shared capacity", error(429, "Resource exhausted. Please try again later.", EXHAUSTED), 1, guessed=True, call=VERTEX),
    limit("429 on Vertex, Claude's quota", [error(429, CLAUDE_QUOTA, EXHAUSTED)], 60, listed=False),
    limit("429 html", b"<html>We're sorry</html>", 30, guessed=True, listed=False),
    limit("429 string code", {"error": {"code": "rate_limit_exceeded", "message": "slow down"}}, 30, guessed=True, listed=False),
    crowded("429 capacity", 429, error(429, "No capacity", EXHAUSTED, info("MODEL_CAPACITY_EXHAUSTED")), listed=False),
    # -- Google's own --
    failed("499", 499, error(499, "The operation was cancelled.", "CANCELLED"), "cancelled the call"),
    failed("500, 502", 500, error(500, "An internal error has occurred. Please retry or report in https://…", "INTERNAL")),
    failed("502 html", 502, b"<html>Bad Gateway</html>", listed=False),
    failed("408", 408, b"", listed=False),
    crowded("503, 529: the model is overloaded", 503, error(503, "The model is overloaded. Please try again later.", "UNAVAILABLE")),
    crowded("503 with `Retry-After`", 503, b"", 9, guessed=False, headers=((b"Retry-After", b"9"),), listed=False),
    crowded("503 html", 503, b"<html>unavailable</html>", listed=False),
    crowded("529 claude", 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_vrtx_1"},
            listed=False),
    no_quota("503 limit 0", error(503, "limit: 0, model: x", "UNAVAILABLE"), status=503, listed=False),
    failed("504", 504, error(504, "Deadline expired before operation could complete.", "DEADLINE_EXCEEDED"), "shorter prompt"),
    unreadable("a redirect", 302, b"", Whose.NETWORK, "portal"),
    # -- an error inside a 200 --
    crowded("an error in a 200 stream: as its own code says", 200, error(503, "The model is overloaded.", "UNAVAILABLE")),
    spent_day("200 with a day's quota", error(429, "quota", EXHAUSTED, quota(violation(PER_DAY)), retry("25s")), status=200, listed=False),
    crowded("200 with a status and no code", 200, {"error": {"status": "UNAVAILABLE", "message": "overloaded"}}, listed=False),
    limit("200 with claude's error event", {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}, 30, status=200,
          guessed=True, listed=False),
    failed("200 with claude's api_error", 200, {"type": "error", "error": {"type": "api_error", "message": "x"}}, listed=False),
    unknown_model("200 with a string code", 200, {"event_type": "error", "error": {"code": "model_not_found", "message": "no"}}, listed=False),
    unreadable("200 with rubbish", 200, b"<html>", Whose.GOOGLE, "unreadable"),
]  # fmt: skip
