"""One recorded-shape body per row of what Google answers, and what each must be taken for."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrant.errors import (
    AnswerTimeout,
    BadAnswer,
    BodyCut,
    BodyIdle,
    BodyTooLarge,
    CertificateRefused,
    ConnectFailed,
    ResetBeforeAnswer,
    TransportError,
)
from regrant.upstream.error_body import Violation, parse_duration, parse_error_body
from regrant.upstream.faults import (
    Call,
    Fault,
    FaultKind,
    Scope,
    Whose,
    account_died,
    classify_answer,
    classify_transport,
    next_midnight,
    retry_after,
    token_unavailable,
)

PACIFIC = ZoneInfo("America/Los_Angeles")
NOW = datetime(2026, 7, 1, 12, 0, tzinfo=PACIFIC).timestamp()
MIDNIGHT = NOW + 12 * 3600
CALL = Call(model="gemini-3-flash", project="1234", now=NOW, tz=PACIFIC)
TYPE = "type.googleapis.com/google.rpc."


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


def judge(
    status: int, body: object, call: Call = CALL, headers: list[tuple[bytes, bytes]] | None = None
) -> Fault:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classify_answer(status, headers or [], raw, call)


def end_of(fault: Fault) -> float:
    assert fault.hold is not None
    return fault.hold.until


PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
EXHAUSTED = "RESOURCE_EXHAUSTED"
DENIED = "PERMISSION_DENIED"
ACTIVATION = (
    "https://console.developers.google.com/apis/api/generativelanguage.googleapis.com/overview?project=1234"
)
SERVICE_DISABLED = error(
    403,
    f"Generative Language API has not been used in project 1234 before or it is disabled. Enable it by visiting {ACTIVATION}",
    DENIED,
    info("SERVICE_DISABLED", service="generativelanguage.googleapis.com", activationUrl=ACTIVATION),
    {"@type": TYPE + "LocalizedMessage", "locale": "en-US", "message": "…"},
    {"@type": TYPE + "Help", "links": [{"description": "activation", "url": ACTIVATION}]},
)

# status, body, kind, whose, scope of the cool-down (None: no cool-down), its seconds, attention code
Row = tuple[str, int, object, FaultKind, Whose, Scope | None, float, str | None]

ROWS: list[Row] = [
    (
        "400 unknown field", 400,
        error(400, 'Invalid JSON payload received. Unknown name "$schema" at \'tools[0]\'', "INVALID_ARGUMENT",
              {"@type": TYPE + "BadRequest", "fieldViolations": [{"field": "tools[0]"}]}),
        FaultKind.CLIENT_ERROR, Whose.CLIENT, None, 0, None,
    ),
    ("400 model turn", 400, error(400, "Requests ending with a model turn are not supported.", "INVALID_ARGUMENT"),
     FaultKind.CLIENT_ERROR, Whose.CLIENT, None, 0, None),
    ("400 thought signature", 400, error(400, "Corrupted thought signature.", "INVALID_ARGUMENT"),
     FaultKind.SIGNATURE_REFUSED, Whose.CLIENT, None, 0, None),
    ("400 api key", 400, error(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", info("API_KEY_INVALID")),
     FaultKind.CLIENT_ERROR, Whose.CLIENT, None, 0, None),
    ("400 location", 400, error(400, "User location is not supported for the API use.", "FAILED_PRECONDITION"),
     FaultKind.UNUSABLE_HERE, Whose.PROJECT, Scope.PROJECT_MODEL, 300, None),
    ("400 free tier country", 400,
     error(400, "Gemini API free tier is not available in your country. Please enable billing", "FAILED_PRECONDITION"),
     FaultKind.UNUSABLE_HERE, Whose.PROJECT, Scope.PROJECT_MODEL, 300, None),
    ("400 model garden", 400, error(400, "Project `1234` is not allowed to use Publisher Model `projects/…`", "FAILED_PRECONDITION"),
     FaultKind.MODEL_NOT_ALLOWED, Whose.PROJECT, Scope.PROJECT_MODEL, 3600, None),
    ("401", 401, error(401, "Request had invalid authentication credentials.", "UNAUTHENTICATED", info("ACCESS_TOKEN_EXPIRED")),
     FaultKind.TOKEN_REJECTED, Whose.ACCOUNT, None, 0, None),
    ("401 html", 401, b"<html>login</html>", FaultKind.TOKEN_REJECTED, Whose.ACCOUNT, None, 0, None),
    ("402", 402, error(402, "Your prepay balance is depleted", EXHAUSTED),
     FaultKind.BILLING, Whose.PROJECT, Scope.PROJECT, math.inf, "billing"),
    ("402 html is no verdict", 402, b"<html>pay for wifi</html>", FaultKind.CLIENT_ERROR, Whose.CLIENT, None, 0, None),
    ("429 depleted", 429,
     error(429, "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects", EXHAUSTED),
     FaultKind.BILLING, Whose.PROJECT, Scope.PROJECT, math.inf, "billing"),
    ("403 billing disabled", 403, error(403, "This API method requires billing", DENIED, info("BILLING_DISABLED")),
     FaultKind.BILLING, Whose.PROJECT, Scope.PROJECT, math.inf, "billing"),
    ("403 service disabled", 403, SERVICE_DISABLED,
     FaultKind.PERMISSION, Whose.PROJECT, Scope.ACCOUNT, 300, "service_disabled"),
    ("403 no quota project", 403,
     error(403, "The generativelanguage.googleapis.com API requires a quota project, which is not set by default.", DENIED,
           info("SERVICE_DISABLED", consumer="projects/764086051850")),
     FaultKind.PERMISSION, Whose.ACCOUNT, Scope.ACCOUNT, 300, "quota_project_missing"),
    ("403 user project", 403,
     error(403, "Caller does not have required permission to use project X. Grant the caller the role", DENIED,
           info("USER_PROJECT_DENIED", consumer="projects/X")),
     FaultKind.PERMISSION, Whose.ACCOUNT, Scope.ACCOUNT, 300, "user_project_denied"),
    ("403 consumer invalid", 403, error(403, "Permission denied on resource project X.", DENIED, info("CONSUMER_INVALID")),
     FaultKind.PERMISSION, Whose.PROJECT, Scope.ACCOUNT, 300, "project_invalid"),
    ("403 scope", 403,
     error(403, "Request had insufficient authentication scopes.", DENIED, info("ACCESS_TOKEN_SCOPE_INSUFFICIENT")),
     FaultKind.PERMISSION, Whose.ACCOUNT, Scope.ACCOUNT, 300, "scope_missing"),
    ("403 scope by message", 403, error(403, "Request had insufficient authentication scopes.", DENIED),
     FaultKind.PERMISSION, Whose.ACCOUNT, Scope.ACCOUNT, 300, "scope_missing"),
    ("403 suspended", 403, error(403, "Consumer 'projects/1' has been suspended.", DENIED, info("CONSUMER_SUSPENDED")),
     FaultKind.PERMISSION, Whose.PROJECT, Scope.ACCOUNT, 300, "suspended"),
    ("403 iam", 403,
     error(403, "Permission 'aiplatform.endpoints.predict' denied on resource '//aiplatform.googleapis.com/projects/P/locations/L/"
           "publishers/google/models/M' (or it may not exist).", DENIED, info("IAM_PERMISSION_DENIED")),
     FaultKind.PERMISSION, Whose.ACCOUNT, Scope.ACCOUNT, 300, "iam_permission_denied"),
    ("403 verify", 403, error(403, "Verify your account to continue.", DENIED, info("VALIDATION_REQUIRED", validation_url="https://v.example")),
     FaultKind.PERMISSION, Whose.ACCOUNT, Scope.ACCOUNT, 300, "verify_account"),
    ("403 admin", 403, error(403, "blocked", DENIED, info("USER_BLOCKED_BY_ADMIN")),
     FaultKind.PERMISSION, Whose.ACCOUNT, Scope.ACCOUNT, 300, "admin_policy"),
    ("403 unknown", 403, error(403, "The caller does not have permission", DENIED),
     FaultKind.PERMISSION, Whose.ACCOUNT, Scope.ACCOUNT, 300, "permission_denied"),
    ("403 someone's file", 403, error(403, "You do not have permission to access the File abc or it may not exist.", DENIED),
     FaultKind.CLIENT_ERROR, Whose.CLIENT, None, 0, None),
    ("403 bucket", 403,
     error(403, "ann@example.com does not have storage.objects.get access to the object", DENIED, info("IAM_PERMISSION_DENIED")),
     FaultKind.CLIENT_ERROR, Whose.CLIENT, None, 0, None),
    ("403 html", 403, b"<html><title>Sorry...</title> automated queries</html>",
     FaultKind.BLOCKED, Whose.NETWORK, Scope.ACCOUNT, 30, None),
    ("403 rate limit", 403, error(403, "Rate Limit Exceeded", DENIED, info("RATE_LIMIT_EXCEEDED")),
     FaultKind.RATE_LIMITED, Whose.PROJECT, Scope.PROJECT_MODEL, 30, None),
    ("404 model", 404, error(404, "models/X is not found for API version v1beta", "NOT_FOUND"),
     FaultKind.MODEL_NOT_FOUND, Whose.MODEL, None, 0, None),
    ("404 vertex", 404, error(404, "Publisher Model `projects/P/…` was not found or your project does not have access to it.", "NOT_FOUND"),
     FaultKind.MODEL_NOT_FOUND, Whose.MODEL, None, 0, None),
    ("413", 413, b"", FaultKind.CLIENT_ERROR, Whose.CLIENT, None, 0, None),
    ("429 per minute", 429, error(429, "quota", EXHAUSTED, quota(violation(PER_MINUTE)), retry("45s")),
     FaultKind.RATE_LIMITED, Whose.PROJECT, Scope.PROJECT_MODEL, 45, None),
    ("429 fraction", 429, error(429, "quota", EXHAUSTED, quota(violation(PER_MINUTE)), retry("35.25s")),
     FaultKind.RATE_LIMITED, Whose.PROJECT, Scope.PROJECT_MODEL, 35.25, None),
    ("429 milliseconds", 429, error(429, "quota", EXHAUSTED, retry("900ms")),
     FaultKind.RATE_LIMITED, Whose.PROJECT, Scope.PROJECT_MODEL, 0.9, None),
    ("429 long delay is not capped", 429, error(429, "quota", EXHAUSTED, retry("4000s")),
     FaultKind.RATE_LIMITED, Whose.PROJECT, Scope.PROJECT_MODEL, 4000, None),
    ("429 per minute without delay", 429, error(429, "quota", EXHAUSTED, quota(violation(PER_MINUTE))),
     FaultKind.RATE_LIMITED, Whose.PROJECT, Scope.PROJECT_MODEL, 60, None),
    ("429 message only", 429, error(429, "limit: 250, model: gemini-3-flash\nPlease retry in 45.5s.", EXHAUSTED),
     FaultKind.RATE_LIMITED, Whose.PROJECT, Scope.PROJECT_MODEL, 45.5, None),
    ("429 per day", 429, error(429, "quota", EXHAUSTED, quota(violation(PER_DAY)), retry("25s")),
     FaultKind.QUOTA_PER_DAY, Whose.PROJECT, Scope.PROJECT_MODEL, 12 * 3600, None),
    ("429 minute and day", 429,
     error(429, "quota", EXHAUSTED, quota(violation(PER_MINUTE), violation(PER_DAY), violation(PER_DAY)), retry("25s")),
     FaultKind.QUOTA_PER_DAY, Whose.PROJECT, Scope.PROJECT_MODEL, 12 * 3600, None),
    ("429 limit 0", 429,
     error(429, "* Quota exceeded for metric: x/requests, limit: 0, model: gemini-3-pro\nPlease retry in 20s.", EXHAUSTED,
           quota(violation(PER_DAY, None)), retry("20s")),
     FaultKind.NO_QUOTA, Whose.PROJECT, Scope.PROJECT_MODEL, 86400, None),
    ("429 quotaValue 0", 429, error(429, "quota", EXHAUSTED, quota(violation(PER_MINUTE, "0"))),
     FaultKind.NO_QUOTA, Whose.PROJECT, Scope.PROJECT_MODEL, 86400, None),
    ("429 quotaValue missing", 429, error(429, "quota", EXHAUSTED, quota(violation(PER_MINUTE, None))),
     FaultKind.NO_QUOTA, Whose.PROJECT, Scope.PROJECT_MODEL, 86400, None),
    ("429 quotaValue missing but limit named", 429, error(429, "limit: 10", EXHAUSTED, quota(violation(PER_MINUTE, None)), retry("5s")),
     FaultKind.RATE_LIMITED, Whose.PROJECT, Scope.PROJECT_MODEL, 5, None),
    ("429 no details", 429, error(429, "Resource has been exhausted (e.g. check quota).", EXHAUSTED),
     FaultKind.RATE_LIMITED, Whose.PROJECT, Scope.PROJECT_MODEL, 30, None),
    ("429 claude on vertex", 429,
     [error(429, "Quota exceeded for aiplatform.googleapis.com/online_prediction_requests_per_base_model with base model: "
            "anthropic-claude-x. Please submit a quota increase request.", EXHAUSTED)],
     FaultKind.RATE_LIMITED, Whose.PROJECT, Scope.PROJECT_MODEL, 60, None),
    ("429 html", 429, b"<html>We're sorry</html>", FaultKind.RATE_LIMITED, Whose.PROJECT, Scope.PROJECT_MODEL, 30, None),
    ("499", 499, error(499, "cancelled", "CANCELLED"), FaultKind.CLIENT_ERROR, Whose.CLIENT, None, 0, None),
    ("500", 500, error(500, "An internal error has occurred.", "INTERNAL"), FaultKind.SERVER_ERROR, Whose.GOOGLE, None, 0, None),
    ("502 html", 502, b"<html>Bad Gateway</html>", FaultKind.SERVER_ERROR, Whose.GOOGLE, None, 0, None),
    ("503", 503, error(503, "The model is overloaded. Please try again later.", "UNAVAILABLE"),
     FaultKind.OVERLOADED, Whose.MODEL, Scope.MODEL, 2, None),
    ("503 limit 0", 503, error(503, "limit: 0, model: x", "UNAVAILABLE"),
     FaultKind.NO_QUOTA, Whose.PROJECT, Scope.PROJECT_MODEL, 86400, None),
    ("504", 504, error(504, "Deadline expired before operation could complete.", "DEADLINE_EXCEEDED"),
     FaultKind.SERVER_ERROR, Whose.GOOGLE, None, 0, None),
    ("529 claude", 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_vrtx_1"},
     FaultKind.OVERLOADED, Whose.MODEL, Scope.MODEL, 2, None),
    ("302 captive portal", 302, b"", FaultKind.BAD_ANSWER, Whose.NETWORK, None, 0, None),
    ("200 with an error event", 200, error(503, "The model is overloaded.", "UNAVAILABLE"),
     FaultKind.OVERLOADED, Whose.MODEL, Scope.MODEL, 2, None),
    ("200 with claude's error event", 200, {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}},
     FaultKind.RATE_LIMITED, Whose.PROJECT, Scope.PROJECT_MODEL, 30, None),
    ("200 with rubbish", 200, b"<html>", FaultKind.BAD_ANSWER, Whose.GOOGLE, None, 0, None),
    ("interactions daily", 429, {"error": {"code": "quota_exceeded", "message": "daily quota"}},
     FaultKind.QUOTA_PER_DAY, Whose.PROJECT, Scope.PROJECT_MODEL, 12 * 3600, None),
    ("interactions not found in a stream", 200, {"event_type": "error", "error": {"code": "model_not_found", "message": "no"}},
     FaultKind.MODEL_NOT_FOUND, Whose.MODEL, None, 0, None),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_every_answer_of_google_is_taken_for_what_it_is(row: Row) -> None:
    _, status, body, kind, whose, scope, seconds, attention = row
    fault = judge(status, body)
    assert (fault.kind, fault.whose) == (kind, whose)
    assert (fault.hold.scope if fault.hold else None) == scope
    if fault.hold:
        assert fault.hold.until == pytest.approx(NOW + seconds)
    assert (fault.attention.code if fault.attention else None) == attention


@pytest.mark.parametrize(
    "row", [row for row in ROWS if not isinstance(row[2], bytes)], ids=lambda row: row[0]
)
def test_array_wrapping_changes_nothing(row: Row) -> None:
    _, status, body, *_ = row
    assert judge(status, [body]) == judge(status, body)


def test_the_link_that_mends_a_403_is_handed_on() -> None:
    attention = judge(403, SERVICE_DISABLED).attention
    assert attention is not None
    assert attention.url == ACTIVATION


def test_a_403_on_a_side_way_holds_back_only_that_model() -> None:
    fault = judge(403, SERVICE_DISABLED, replace(CALL, attend=False))
    assert fault.attention is None
    assert fault.hold is not None
    assert fault.hold.scope is Scope.PROJECT_MODEL


def test_a_401_after_the_replay_holds_back_the_account() -> None:
    fault = judge(401, b"", replace(CALL, replayed=True))
    assert fault.hold is not None
    assert fault.hold.scope is Scope.ACCOUNT


@pytest.mark.parametrize(("strikes", "seconds"), [(0, 30), (1, 60), (4, 480), (5, 600), (1000, 600)])
def test_a_429_that_names_no_time_backs_off_longer_each_time(strikes: int, seconds: float) -> None:
    fault = judge(429, error(429, "Resource exhausted.", EXHAUSTED), replace(CALL, strikes=strikes))
    assert end_of(fault) == NOW + seconds


@pytest.mark.parametrize(("strikes", "seconds"), [(0, 1), (3, 8), (20, 60)])
def test_the_shared_quota_of_vertex_backs_off_from_one_second(strikes: int, seconds: float) -> None:
    fault = judge(
        429, error(429, "Resource exhausted.", EXHAUSTED), replace(CALL, strikes=strikes, vertex=True)
    )
    assert end_of(fault) == NOW + seconds


def test_duplicate_violations_are_learned_once() -> None:
    body = error(
        429, "quota", EXHAUSTED, quota(violation(PER_DAY), violation(PER_DAY), violation(PER_MINUTE))
    )
    assert [limit.quota_id for limit in judge(429, body).limits] == [PER_DAY, PER_MINUTE]
    assert judge(429, body).limits[0] == Violation(
        metric="generativelanguage.googleapis.com/generate_content_free_tier_requests",
        quota_id=PER_DAY,
        model="gemini-3-flash",
        value="250",
    )


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (b"7", 7.0),
        (b"Wed, 01 Jul 2026 19:00:10 GMT", 10.0),
        (b"Wed, 01 Jul 2026 18:00:00 GMT", 0.0),
        (b"soon", None),
        (b"-5", None),
    ],
)
def test_retry_after_is_read_in_both_forms(header: bytes, seconds: float | None) -> None:
    assert retry_after([(b"retry-after", header)], NOW) == seconds


def test_retry_after_counts_where_the_body_names_no_time() -> None:
    assert end_of(judge(429, b"", headers=[(b"retry-after", b"7")])) == NOW + 7
    assert end_of(judge(503, b"", headers=[(b"Retry-After", b"9")])) == NOW + 9
    both = error(429, "x", EXHAUSTED, retry("3s"))
    assert end_of(judge(429, both, headers=[(b"retry-after", b"7")])) == NOW + 3


@pytest.mark.parametrize(
    ("message", "zero"),
    [
        ("limit: 0", True),
        ("limit: 0, model: x", True),
        ("limit:0", True),
        ("limit: 0.5", False),
        ("limit: 05", False),
        ("limit: 10", False),
    ],
)
def test_limit_zero_is_told_from_limits_that_begin_with_zero(message: str, zero: bool) -> None:
    assert (judge(429, error(429, message, EXHAUSTED)).kind is FaultKind.NO_QUOTA) == zero


@pytest.mark.parametrize(
    ("when", "hours"),
    [
        (datetime(2026, 3, 7, 23, 30, tzinfo=PACIFIC), 0.5),
        (datetime(2026, 3, 8, 0, 0, tzinfo=PACIFIC), 23),  # the day on which clocks go forward
        (datetime(2026, 11, 1, 0, 0, tzinfo=PACIFIC), 25),  # and back
        (datetime(2026, 12, 31, 22, 0, tzinfo=PACIFIC), 2),
        (datetime(2026, 7, 1, 6, 59, tzinfo=UTC), 1 / 60),
    ],
)
def test_midnight_is_right_across_daylight_saving(when: datetime, hours: float) -> None:
    now = when.timestamp()
    assert next_midnight(now, PACIFIC) - now == pytest.approx(hours * 3600)


def test_json_inside_the_message_is_unwrapped() -> None:
    inner = json.dumps([error(429, "quota", EXHAUSTED, quota(violation(PER_DAY)))])
    assert judge(429, error(429, inner, EXHAUSTED)).kind is FaultKind.QUOTA_PER_DAY


def test_stray_commas_are_forgiven() -> None:
    raw = (
        b',{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED","details":['
        + json.dumps(retry("9s")).encode()
        + b",],},},"
    )
    assert end_of(judge(429, raw)) == NOW + 9


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45s", 45),
        ("35.174346048s", 35.174346048),
        ("900ms", 0.9),
        ("500ms", 0.5),
        ("0s", 0),
        ("-3s", 0),
        ("5m", None),
        ("", None),
        (7, None),
    ],
)
def test_durations_are_read_by_their_unit(text: object, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (ConnectFailed("refused"), FaultKind.CONNECT_FAILED),
        (CertificateRefused("self-signed"), FaultKind.CONNECT_FAILED),
        (ResetBeforeAnswer("reset"), FaultKind.RESET),
        (AnswerTimeout("slow"), FaultKind.ANSWER_TIMEOUT),
        (BodyCut("cut"), FaultKind.CUT),
        (BodyIdle("idle"), FaultKind.IDLE),
        (BadAnswer("ftp"), FaultKind.BAD_ANSWER),
        (BodyTooLarge("big"), FaultKind.BAD_ANSWER),
    ],
)
def test_every_transport_error_has_its_kind(raised: TransportError, kind: FaultKind) -> None:
    fault = classify_transport(raised)
    assert (fault.kind, fault.whose, fault.hold, fault.attention) == (kind, Whose.NETWORK, None, None)
    assert fault.advice


def test_faults_of_the_token_are_the_accounts_or_googles() -> None:
    assert account_died("revoked").whose is Whose.ACCOUNT
    assert token_unavailable("503").whose is Whose.GOOGLE


def test_a_deeply_nested_body_is_no_error() -> None:
    assert not parse_error_body(b"[" * 100_000).parsed
    assert not parse_error_body(b'{"error":' * 5000).parsed


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "details",
                    "@type",
                    "violations",
                    "retryDelay",
                    "code",
                    "message",
                    "reason",
                    "links",
                    "metadata",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(
    status=st.integers(100, 999),
    body=JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200),
)
def test_no_answer_whatever_breaks_the_judgement(status: int, body: bytes) -> None:
    fault = classify_answer(status, [], body, CALL)
    assert fault.hold is None or fault.hold.until > NOW - 1
    assert fault.attention is None or fault.kind in {FaultKind.PERMISSION, FaultKind.BILLING}
