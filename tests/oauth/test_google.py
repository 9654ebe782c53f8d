"""What Google's answers mean: the evidence rule against an oracle of its own, and every field that is read."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from regrant.oauth.google import (
    Granted,
    Identity,
    OAuthClient,
    RefusalKind,
    Refused,
    Revoked,
    Unavailable,
    authorize_url,
    code_form,
    missing_scopes,
    parse_revoke_answer,
    parse_token_answer,
    parse_userinfo,
    refresh_form,
    retry_after,
    revoke_form,
    server_date,
)
from regrant.secret import Secret

CLIENT = OAuthClient("123-app.apps.example", Secret("client-secret-1"))


def granted(**fields: Any) -> Granted:
    answer = parse_token_answer(200, json.dumps({"access_token": "access-1", **fields}).encode())
    assert isinstance(answer, Granted)
    return answer


def refused(status: int, **fields: Any) -> Refused:
    answer = parse_token_answer(status, json.dumps(fields).encode())
    assert isinstance(answer, Refused)
    return answer


# The oracle of the evidence rule: msgspec reads the body, and keys are counted in the list that the test built.


def is_evidence(status: int, body: bytes) -> bool:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return status == 400 and type(value) is dict and value.get("error") == "invalid_grant"


def says_invalid_grant(status: int, body: bytes) -> bool:
    answer = parse_token_answer(status, body)
    return isinstance(answer, Refused) and answer.kind is RefusalKind.invalid_grant


words = st.sampled_from(
    ["invalid_grant", "error", "invalid_grant ", "INVALID_GRANT", "invalid_client", "invalid", "", "x"]
)
leaves = st.one_of(words, st.none(), st.booleans(), st.integers(0, 9), st.text(max_size=8))
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
keys = st.sampled_from(["error", "error", "error_description", "error_subtype", "Error", "status", "error "])
statuses = st.sampled_from([400, 400, 400, 200, 201, 302, 401, 403, 404, 408, 429, 500, 503]) | st.integers(
    100, 599
)
encodings = st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])


@given(statuses, st.lists(st.tuples(keys, values), max_size=4), encodings)
@example(400, [("error", "invalid_grant")], "utf-8")
@example(400, [("error", "invalid_grant"), ("error", "x")], "utf-8")
@example(400, [("error", "x"), ("error", "invalid_grant")], "utf-8")
@example(400, [("error", "invalid_grant")], "utf-16-le")
@settings(max_examples=600)
def test_invalid_grant_is_believed_exactly_when_the_evidence_is_complete(
    status: int, pairs: list[tuple[str, Any]], encoding: str
) -> None:
    text = "{" + ",".join(f"{json.dumps(k)}:{json.dumps(v)}" for k, v in pairs) + "}"
    body = text.encode(encoding)
    once = len({key for key, _ in pairs}) == len(pairs)
    # whatever is not the very bytes of UTF-8 is not read
    readable = body == text.encode()
    expected = status == 400 and once and readable and ("error", "invalid_grant") in pairs
    assert says_invalid_grant(status, body) == expected


@given(statuses, values, st.integers(0, 200), st.integers(0, 4), st.binary(max_size=2))
@example(400, {"error": "invalid_grant"}, 0, 0, b"")
@settings(max_examples=600)
def test_a_damaged_body_is_never_evidence_unless_it_still_is_the_object(
    status: int, value: Any, at: int, dropped: int, inserted: bytes
) -> None:
    whole = json.dumps(value, ensure_ascii=False).encode()
    body = whole[:at] + inserted + whole[at + dropped :]
    if says_invalid_grant(status, body):
        assert is_evidence(status, body)


@given(st.integers(-1, 1000), st.binary(max_size=200))
def test_no_bytes_make_a_reader_raise(status: int, body: bytes) -> None:
    assert isinstance(parse_token_answer(status, body), Granted | Refused | Unavailable)
    assert isinstance(parse_userinfo(status, body), Identity | Refused | Unavailable)
    assert isinstance(parse_revoke_answer(status, body), Revoked | Refused | Unavailable)


@given(statuses, values)
def test_no_json_makes_a_reader_raise(status: int, value: Any) -> None:
    body = json.dumps(value).encode()
    assert isinstance(parse_token_answer(status, body), Granted | Refused | Unavailable)
    assert isinstance(parse_userinfo(status, body), Identity | Refused | Unavailable)
    assert isinstance(parse_revoke_answer(status, body), Revoked | Refused | Unavailable)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 60_000,
        b'{"error":' * 9_000,
        b'{"expires_in":' + b"9" * 9_000 + b"}",
        b'{"error":NaN}',
        b'{"a":"\\ud800"}',
    ],
    ids=["deep list", "deep object", "huge number", "NaN", "lone surrogate"],
)
def test_hostile_json_is_survived(body: bytes) -> None:
    assert isinstance(parse_token_answer(200, body), Unavailable)
    assert isinstance(parse_token_answer(400, body), Unavailable)


@pytest.mark.parametrize("given_s", [None, 0, -1, "soon", True, [], {}, "nan", "inf", "0"])
def test_a_lifetime_that_says_nothing_counts_as_an_hour(given_s: object) -> None:
    assert granted(expires_in=given_s).lifetime_s == 3600
    assert granted().lifetime_s == 3600


def test_lifetimes_that_overflow_count_as_an_hour() -> None:
    body = b'{"access_token":"access-1","expires_in":1e999}'
    answer = parse_token_answer(200, body)
    assert isinstance(answer, Granted)
    assert answer.lifetime_s == 3600
    assert granted(expires_in=10**400).lifetime_s == 3600


def test_a_granted_answer_is_read_whole() -> None:
    answer = granted(
        expires_in=3599,
        refresh_token="refresh-2",
        refresh_token_expires_in=604799,
        scope="openid  email",
        token_type="Bearer",
        id_token="head.claims.signature",
    )
    assert answer == Granted(
        access_token=Secret("access-1"),
        lifetime_s=3599,
        token_type="Bearer",
        scope="openid email",
        refresh_token=Secret("refresh-2"),
        refresh_token_lifetime_s=604799,
        id_token=Secret("head.claims.signature"),
    )
    assert granted(expires_in="120").lifetime_s == 120
    assert granted(expires_in=1e18).lifetime_s == 10 * 365 * 86400


def test_a_granted_answer_without_options_keeps_the_refresh_token() -> None:
    answer = granted(refresh_token="", refresh_token_expires_in=0, scope=None, token_type=7)
    assert (answer.refresh_token, answer.refresh_token_lifetime_s, answer.id_token) == (None, None, None)
    assert (answer.scope, answer.token_type) == ("", "Bearer")


@pytest.mark.parametrize("token", [None, "", 7, "two words", "line\r\nx-injected: 1", "naïve", ["a"]])
def test_an_access_token_that_no_header_can_carry_is_no_token(token: object) -> None:
    answer = parse_token_answer(200, json.dumps({"access_token": token}).encode())
    assert isinstance(answer, Unavailable)


def test_tokens_are_hidden_in_the_representation_of_an_answer() -> None:
    assert "access-1" not in repr(granted())
    assert "refresh-2" not in repr(granted(refresh_token="refresh-2"))


def test_a_description_is_one_bounded_printable_line() -> None:
    answer = refused(400, error="invalid_grant", error_description="a\x1b[31m\r\n\u202eb\u0000" + "é" * 2000)
    assert answer.description.startswith("a [31m b é")
    assert len(answer.description) == 1000
    assert answer.description.endswith("…")
    assert answer.description.isprintable()


def test_a_description_is_masked_before_it_is_cut() -> None:
    token = Secret("refresh/" + "s" * 40)
    for quoted in (token.reveal(), "refresh%2F" + "s" * 40):
        for padding in range(960, 1000):
            fields = {"error": "invalid_grant", "error_description": "p" * padding + quoted}
            answer = parse_token_answer(400, json.dumps(fields).encode(), secrets=[token])
            assert isinstance(answer, Refused)
            assert "sss" not in answer.description


def test_other_types_in_the_explanation_do_not_weaken_the_evidence() -> None:
    answer = refused(400, error="invalid_grant", error_description={"x": 1}, error_subtype=["invalid_rapt"])
    assert (answer.kind, answer.description, answer.subtype) == (RefusalKind.invalid_grant, "", "")


def test_forms_hold_exactly_what_the_endpoint_wants() -> None:
    assert dict(parse_qsl(refresh_form(CLIENT, Secret("refresh/1+ä")).decode())) == {
        "grant_type": "refresh_token",
        "refresh_token": "refresh/1+ä",
        "client_id": "123-app.apps.example",
        "client_secret": "client-secret-1",
    }
    form = code_form(CLIENT, Secret("4/code"), "http://127.0.0.1:5/", Secret("verifier-1")).decode()
    assert dict(parse_qsl(form)) == {
        "grant_type": "authorization_code",
        "code": "4/code",
        "redirect_uri": "http://127.0.0.1:5/",
        "code_verifier": "verifier-1",
        "client_id": "123-app.apps.example",
        "client_secret": "client-secret-1",
    }
    assert revoke_form(Secret("refresh/1")) == b"token=refresh%2F1"


def test_an_empty_client_secret_is_left_out() -> None:
    assert b"client_secret" not in refresh_form(OAuthClient("123-app", Secret()), Secret("refresh-1"))


@pytest.mark.parametrize(
    ("client_id", "number"),
    [
        ("123-app.apps.example", "123"),
        ("app", ""),
        ("123", ""),
        ("a1-b", ""),
        ("", ""),
        ("-x", ""),
        ("٣-x", ""),
    ],
)
def test_the_project_number_is_what_stands_before_the_dash(client_id: str, number: str) -> None:
    assert OAuthClient(client_id, Secret()).project_number == number


@pytest.mark.parametrize(("hint", "prompt"), [("ann@example.com", "consent"), ("", "consent select_account")])
def test_the_address_to_sign_in_at_asks_for_a_durable_grant(hint: str, prompt: str) -> None:
    url = authorize_url(
        "https://accounts.example/auth",
        client_id="123-app",
        redirect_uri="http://127.0.0.1:5/",
        scopes=["openid", "https://scope.example/a"],
        state="state-1",
        challenge="challenge-1",
        login_hint=hint,
    )
    assert urlsplit(url)._replace(query="").geturl() == "https://accounts.example/auth"
    assert "+" not in url
    expected = {
        "client_id": "123-app",
        "redirect_uri": "http://127.0.0.1:5/",
        "response_type": "code",
        "scope": "openid https://scope.example/a",
        "state": "state-1",
        "code_challenge": "challenge-1",
        "code_challenge_method": "S256",
        "access_type": "offline",
        "include_granted_scopes": "false",
        "prompt": prompt,
    }
    assert dict(parse_qsl(urlsplit(url).query)) == expected | ({"login_hint": hint} if hint else {})


def test_scopes_are_compared_under_googles_two_names() -> None:
    asked = ["openid", "email", "profile", "https://scope.example/a"]
    told = "https://www.googleapis.com/auth/userinfo.email openid https://www.googleapis.com/auth/userinfo.profile"
    assert missing_scopes(told, asked) == ["https://scope.example/a"]
    assert missing_scopes("email openid", ["https://www.googleapis.com/auth/userinfo.email"]) == []
    assert missing_scopes("", asked) == []


@pytest.mark.parametrize(
    ("profile", "identity"),
    [
        (
            {"sub": "42", "email": "Ann@Example.com", "email_verified": True, "name": "Ann\n B"},
            Identity("Ann@Example.com", "42", "Ann B", verified=True),
        ),
        (
            {"id": "42", "email": "ann@example.com", "verified_email": True, "name": "Ann"},
            Identity("ann@example.com", "42", "Ann", verified=True),
        ),
        (
            {"email": "ann@example.com", "email_verified": "true"},
            Identity("ann@example.com", "", "", verified=True),
        ),
        (
            {"email": "ann@example.com", "email_verified": 0},
            Identity("ann@example.com", "", "", verified=False),
        ),
    ],
    ids=["oidc", "v2", "tokeninfo spelling", "unverified"],
)
def test_an_identity_is_read_in_both_spellings(profile: dict[str, Any], identity: Identity) -> None:
    assert parse_userinfo(200, json.dumps(profile).encode()) == identity


@pytest.mark.parametrize("email", [None, "", "nobody", "a@b\r\nx", "a b@c", "a@" + "b" * 400, 7])
def test_a_profile_without_a_usable_email_is_a_missing_scope(email: object) -> None:
    answer = parse_userinfo(200, json.dumps({"sub": "42", "email": email}).encode())
    assert isinstance(answer, Refused)
    assert (answer.kind, answer.error) == (RefusalKind.scope, "email_missing")


def test_userinfo_refusals_name_the_token_or_the_scope() -> None:
    old = parse_userinfo(401, b'{"error":"invalid_request","error_description":"Invalid Credentials"}')
    new = parse_userinfo(401, b'{"error":{"code":401,"message":"Invalid Credentials"}}')
    assert old == new == Refused(RefusalKind.bad_request, 401, "invalid_token", "", "Invalid Credentials")
    scope = parse_userinfo(403, b'{"error":{"message":"insufficient"}}')
    assert isinstance(scope, Refused)
    assert (scope.kind, scope.error) == (RefusalKind.scope, "insufficient_scope")
    assert isinstance(parse_userinfo(401, b"<html>sign in to the network</html>"), Unavailable)
    assert isinstance(parse_userinfo(200, b"<html>"), Unavailable)
    assert isinstance(parse_userinfo(503, b"{}"), Unavailable)


def test_revoking_a_dead_token_is_no_failure() -> None:
    assert parse_revoke_answer(200, b"{}") == Revoked(already=False)
    assert parse_revoke_answer(400, b'{"error":"invalid_token"}') == Revoked(already=True)
    assert isinstance(parse_revoke_answer(400, b'{"error":"unsupported_token_type"}'), Refused)
    assert isinstance(parse_revoke_answer(503, b'{"error":"invalid_token"}'), Unavailable)


def test_the_servers_clock_is_read_from_its_answer() -> None:
    assert server_date([(b"date", b"Sun, 06 Nov 1994 08:49:37 GMT")]) == 784111777
    assert server_date([(b"date", b"Sun, 06 Nov 1994 08:49:37 -0000")]) == 784111777
    assert server_date([(b"date", b"yesterday")]) is None
    assert server_date([]) is None


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        (b"7", 7),
        (b" 0 ", 0),
        (b"99999999999999999999", 3600),
        (b"-1", None),
        (b"soon", None),
        ("٣".encode(), None),
        (b"Sun, 06 Nov 1994 08:50:07 GMT", 30),
        (b"Sun, 06 Nov 1994 08:00:00 GMT", 0),
    ],
)
def test_retry_after_is_measured_on_the_servers_clock(value: bytes, wait_s: float | None) -> None:
    headers = [(b"date", b"Sun, 06 Nov 1994 08:49:37 GMT"), (b"retry-after", value)]
    assert retry_after(headers) == wait_s
