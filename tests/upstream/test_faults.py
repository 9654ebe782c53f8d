"""One recorded-shape body per row of what Google answers, and what each must be taken for."""

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.upstream.recorded import (
    ACTIVATION,
    CALL,
    CASES,
    EXHAUSTED,
    NOW,
    PACIFIC,
    PER_DAY,
    PER_MINUTE,
    SERVICE_DISABLED,
    UNTIL_MIDNIGHT,
    Case,
    error,
    quota,
    retry,
    violation,
)

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
from regrant.upstream.classifier import classify_answer, classify_transport
from regrant.upstream.error_body import Violation, parse_duration, parse_error_body
from regrant.upstream.faults import (
    Call,
    Fault,
    FaultKind,
    Scope,
    Whose,
    account_died,
    token_refused,
    token_unavailable,
)
from regrant.upstream.waits import next_midnight, retry_after

MIDNIGHT = NOW + UNTIL_MIDNIGHT


def judge(
    status: int, body: object, call: Call = CALL, headers: list[tuple[bytes, bytes]] | None = None
) -> Fault:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classify_answer(status, headers or [], raw, call)


def end_of(fault: Fault) -> float:
    assert fault.hold is not None
    return fault.hold.until


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_every_answer_of_google_is_taken_for_what_it_is(case: Case) -> None:
    fault = judge(case.status, case.body, case.call, list(case.headers))
    assert (fault.kind, fault.whose, fault.remedy) == (case.kind, case.whose, case.remedy)
    assert (fault.hold.scope if fault.hold else None) == case.scope
    if fault.hold:
        assert fault.hold.until == pytest.approx(NOW + case.lasts)
        assert fault.hold.guessed == case.guessed
    assert (fault.attention.code if fault.attention else None) == case.attention
    assert fault.advice
    assert case.advice in fault.advice
    assert case.url in fault.url
    if fault.attention is not None:
        assert fault.attention.url == fault.url


@pytest.mark.parametrize(
    "case", [case for case in CASES if not isinstance(case.body, bytes)], ids=lambda case: case.says
)
def test_array_wrapping_changes_nothing(case: Case) -> None:
    headers = list(case.headers)
    assert judge(case.status, [case.body], case.call, headers) == judge(
        case.status, case.body, case.call, headers
    )


def test_every_kind_of_answer_is_in_the_table() -> None:
    without_answer = {
        FaultKind.CONNECT_FAILED,
        FaultKind.RESET,
        FaultKind.ANSWER_TIMEOUT,
        FaultKind.CUT,
        FaultKind.IDLE,
        FaultKind.ACCOUNT_DIED,
        FaultKind.TOKEN_UNAVAILABLE,
        FaultKind.TOKEN_REFUSED,
    }
    assert {case.kind for case in CASES} | without_answer == set(FaultKind)


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
def test_a_guess_is_spread_and_a_time_that_google_names_is_not(jitter: float, share: float) -> None:
    call = msgspec.structs.replace(CALL, jitter=jitter)
    guess = judge(429, error(429, "Resource exhausted.", EXHAUSTED), call)
    assert end_of(guess) == pytest.approx(NOW + 30 * share)
    assert end_of(judge(429, error(429, "x", EXHAUSTED, retry("45s")), call)) == NOW + 45
    assert end_of(judge(429, error(429, "x", EXHAUSTED, quota(violation(PER_DAY))), call)) == MIDNIGHT


def test_the_link_that_mends_a_403_is_handed_on() -> None:
    attention = judge(403, SERVICE_DISABLED).attention
    assert attention is not None
    assert attention.url == ACTIVATION


def test_a_403_on_a_side_way_holds_back_only_that_model() -> None:
    fault = judge(403, SERVICE_DISABLED, msgspec.structs.replace(CALL, attend=False))
    assert fault.attention is None
    assert fault.hold is not None
    assert fault.hold.scope is Scope.PROJECT_MODEL


def test_a_401_after_the_replay_holds_back_the_account() -> None:
    fault = judge(401, b"", msgspec.structs.replace(CALL, replayed=True))
    assert fault.hold is not None
    assert fault.hold.scope is Scope.ACCOUNT


@pytest.mark.parametrize(("strikes", "seconds"), [(0, 30), (1, 60), (4, 480), (5, 600), (1000, 600)])
def test_a_429_that_names_no_time_backs_off_longer_each_time(strikes: int, seconds: float) -> None:
    fault = judge(
        429, error(429, "Resource exhausted.", EXHAUSTED), msgspec.structs.replace(CALL, strikes=strikes)
    )
    assert end_of(fault) == NOW + seconds


@pytest.mark.parametrize(("strikes", "seconds"), [(0, 1), (3, 8), (20, 60)])
def test_the_shared_quota_of_vertex_backs_off_from_one_second(strikes: int, seconds: float) -> None:
    fault = judge(
        429,
        error(429, "Resource exhausted.", EXHAUSTED),
        msgspec.structs.replace(CALL, strikes=strikes, vertex=True),
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


@pytest.mark.parametrize(
    ("status", "most_s"), [(429, 31 * 86_400), (503, 600)], ids=["one project", "the model, for everybody"]
)
def test_a_wait_of_years_is_not_believed(status: int, most_s: int) -> None:
    assert end_of(judge(status, b"", headers=[(b"retry-after", b"999999999999")])) == NOW + most_s


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
        ("5m", 300),
        ("1h2m3.5s", 3723.5),
        ("2m900ms", 120.9),
        ("", None),
        ("s", None),
        ("3 models", None),
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
    assert token_refused("paused").whose is Whose.ACCOUNT
    assert token_refused("client_broken", oauth_client=True).whose is Whose.OAUTH_CLIENT


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
    assert fault.advice
