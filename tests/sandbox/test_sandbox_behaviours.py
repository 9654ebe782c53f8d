"""Every scripted behaviour, seen from the client's side of the connection."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
from tests.sandbox.wire import (
    FLASH,
    OLDER,
    api,
    asking,
    call,
    events,
    eventually,
    form,
    generate,
    parts_of,
    refresh,
    stream,
    texts,
)
from tests.sandbox_client import MintedGrant, SandboxControl

QUESTION = asking("one two three four five six seven eight nine ten")

API_ERRORS = {
    "400_invalid_argument": (400, "INVALID_ARGUMENT"),
    "400_location": (400, "FAILED_PRECONDITION"),
    "400_thought_signature": (400, "INVALID_ARGUMENT"),
    "400_too_long": (400, "INVALID_ARGUMENT"),
    "401": (401, "UNAUTHENTICATED"),
    "401_account_state": (401, "UNAUTHENTICATED"),
    "402": (402, "RESOURCE_EXHAUSTED"),
    "403_service_disabled": (403, "PERMISSION_DENIED"),
    "403_scope": (403, "PERMISSION_DENIED"),
    "403_user_project": (403, "PERMISSION_DENIED"),
    "403_consumer_invalid": (403, "PERMISSION_DENIED"),
    "403_billing_disabled": (403, "PERMISSION_DENIED"),
    "403_consumer_suspended": (403, "PERMISSION_DENIED"),
    "403_permission": (403, "PERMISSION_DENIED"),
    "403_iam": (403, "PERMISSION_DENIED"),
    "403_validation_required": (403, "PERMISSION_DENIED"),
    "403_admin": (403, "PERMISSION_DENIED"),
    "404_model": (404, "NOT_FOUND"),
    "429_per_minute": (429, "RESOURCE_EXHAUSTED"),
    "429_per_day": (429, "RESOURCE_EXHAUSTED"),
    "429_limit_zero": (429, "RESOURCE_EXHAUSTED"),
    "429_spend": (429, "RESOURCE_EXHAUSTED"),
    "429_no_details": (429, "RESOURCE_EXHAUSTED"),
    "429_depleted": (429, "RESOURCE_EXHAUSTED"),
    "429_vertex": (429, "RESOURCE_EXHAUSTED"),
    "499": (499, "CANCELLED"),
    "500": (500, "INTERNAL"),
    "503_overloaded": (503, "UNAVAILABLE"),
    "504": (504, "DEADLINE_EXCEEDED"),
}
OAUTH_ERRORS = {
    "invalid_grant": (400, "invalid_grant"),
    "invalid_grant_bad_request": (400, "invalid_grant"),
    "invalid_rapt": (400, "invalid_grant"),
    "rapt_required": (400, "invalid_grant"),
    "account_deleted": (400, "invalid_grant"),
    "invalid_client": (401, "invalid_client"),
    "invalid_client_secret": (401, "invalid_client"),
    "deleted_client": (401, "deleted_client"),
    "disabled_client": (401, "disabled_client"),
    "unauthorized_client": (401, "unauthorized_client"),
    "invalid_scope": (400, "invalid_scope"),
    "admin_policy_enforced": (400, "admin_policy_enforced"),
    "access_denied": (403, "access_denied"),
    "rate_limit_exceeded": (429, "rate_limit_exceeded"),
    "internal_failure": (500, "internal_failure"),
    "temporarily_unavailable": (400, "temporarily_unavailable"),
}
OTHER_ERRORS = {"502", "403_html", "error_object", "html_sorry", "captive_portal"}


def test_every_named_error_is_met_by_a_test(sandbox: SandboxControl) -> None:
    assert set(sandbox.state()["errors"]) == API_ERRORS.keys() | OAUTH_ERRORS.keys() | OTHER_ERRORS


@pytest.mark.parametrize("name", sorted(API_ERRORS))
def test_named_api_error_has_googles_envelope(sandbox: SandboxControl, ann: MintedGrant, name: str) -> None:
    sandbox.script("error", name=name, endpoint="generate")
    got = generate(sandbox, ann.access_token, QUESTION)
    status, canonical = API_ERRORS[name]
    error = got.json()["error"]
    assert (got.status, error["code"], error["status"]) == (status, status, canonical)
    assert error["message"]
    assert generate(sandbox, ann.access_token, QUESTION).status == 200


@pytest.mark.parametrize("name", sorted(OAUTH_ERRORS))
def test_named_oauth_error_is_told_by_the_token_endpoint(
    sandbox: SandboxControl, ann: MintedGrant, name: str
) -> None:
    sandbox.script("error", name=name, endpoint="token", email="ann@example.com")
    got = refresh(sandbox, ann)
    assert (got.status, got.json()["error"]) == OAUTH_ERRORS[name]
    assert refresh(sandbox, ann).status == 200


def test_token_endpoint_can_answer_what_is_no_oauth_error(sandbox: SandboxControl, ann: MintedGrant) -> None:
    for name in ("html_sorry", "captive_portal", "error_object", "502", "403_html"):
        sandbox.script("error", name=name, endpoint="token")
    sorry, portal, wrapped, gateway, firewall = (refresh(sandbox, ann) for _ in range(5))
    statuses = [one.status for one in (sorry, portal, wrapped, gateway, firewall)]
    assert statuses == [403, 200, 501, 502, 403]
    assert b"automated queries" in sorry.body
    assert b"invalid_grant" in portal.body
    assert portal.headers["content-type"].startswith("text/html")
    assert wrapped.json()["error"]["status"] == "UNIMPLEMENTED"


def details(got: Any) -> dict[str, Any]:
    return {one["@type"].rpartition(".")[2]: one for one in got.json()["error"]["details"]}


def test_429_names_the_quota_and_the_delay(sandbox: SandboxControl, ann: MintedGrant) -> None:
    for name in ("429_per_minute", "429_per_day", "429_limit_zero"):
        sandbox.script("error", name=name, endpoint="generate", retry_delay="3s")
    minute, day, zero = (generate(sandbox, ann.access_token, QUESTION, model=OLDER) for _ in range(3))
    violation = details(minute)["QuotaFailure"]["violations"][0]
    assert violation["quotaId"] == "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
    assert violation["quotaDimensions"] == {"location": "global", "model": OLDER}
    assert details(minute)["RetryInfo"]["retryDelay"] == "3s"
    assert "Please retry in 3s." in minute.message
    assert "PerDay" in details(day)["QuotaFailure"]["violations"][0]["quotaId"]
    assert details(zero)["QuotaFailure"]["violations"][0]["quotaValue"] == "0"
    assert "limit: 0," in zero.message
    assert "retry-after" not in minute.headers


def test_error_can_have_other_words(sandbox: SandboxControl, ann: MintedGrant) -> None:
    sandbox.script("error", name="500", endpoint="generate", message="Broken today.")
    assert generate(sandbox, ann.access_token, QUESTION).message == "Broken today."
    sandbox.script("error", name="invalid_grant", endpoint="token", message="Bad Request")
    assert refresh(sandbox, ann).json()["error_description"] == "Bad Request"


def test_service_disabled_names_the_charged_project(sandbox: SandboxControl, ann: MintedGrant) -> None:
    sandbox.script("error", name="403_service_disabled", project="ann-project")
    assert generate(sandbox, ann.access_token, QUESTION).status == 200
    got = generate(sandbox, ann.access_token, QUESTION, headers={"x-goog-user-project": "ann-project"})
    assert details(got)["ErrorInfo"]["reason"] == "SERVICE_DISABLED"
    assert details(got)["ErrorInfo"]["metadata"]["consumer"] == "projects/ann-project"


def test_script_meets_only_the_account_endpoint_and_model_it_names(
    sandbox: SandboxControl, ann: MintedGrant
) -> None:
    bob = sandbox.grant("bob@example.com")
    sandbox.script("error", name="500", email="ann@example.com", endpoint="generate", model=FLASH, times=2)
    assert generate(sandbox, bob.access_token, QUESTION).status == 200
    assert generate(sandbox, ann.access_token, QUESTION, model=OLDER).status == 200
    assert stream(sandbox, ann.access_token, QUESTION).status == 200
    statuses = [generate(sandbox, ann.access_token, QUESTION).status for _ in range(3)]
    assert statuses == [500, 500, 200]


def test_scripts_are_met_in_the_order_they_came_and_can_last_for_ever(
    sandbox: SandboxControl, ann: MintedGrant
) -> None:
    sandbox.script("error", name="500", endpoint="generate")
    lasting = sandbox.script("error", name="503_overloaded", endpoint="generate", times=None)
    statuses = [generate(sandbox, ann.access_token, QUESTION).status for _ in range(4)]
    assert statuses == [500, 503, 503, 503]
    sandbox.unscript(lasting)
    assert generate(sandbox, ann.access_token, QUESTION).status == 200
    sandbox.script("error", name="500", times=None)
    sandbox.unscript()
    assert generate(sandbox, ann.access_token, QUESTION).status == 200


def test_dead_credentials_are_refused_before_a_script_is_met(
    sandbox: SandboxControl, ann: MintedGrant
) -> None:
    sandbox.script("error", name="500", endpoint="generate")
    sandbox.expire("ann@example.com")
    assert generate(sandbox, ann.access_token, QUESTION).status == 401
    fresh = refresh(sandbox, ann).json()["access_token"]
    assert generate(sandbox, fresh, QUESTION).status == 500


def test_raw_answer_is_sent_as_it_was_given(sandbox: SandboxControl, ann: MintedGrant) -> None:
    sandbox.script("raw", status=302, headers={"Location": "http://127.0.0.1:1/token"}, endpoint="token")
    sandbox.script("raw", status=200, body="<html>", headers={"content-type": "text/html"}, endpoint="token")
    sandbox.script("raw", status=400, json={"error": {"code": 1}}, endpoint="token")
    sandbox.script("raw", status=200, size=3_000_000, endpoint="token")
    sandbox.script("raw", status=503, endpoint="token")
    moved, page, odd, huge, empty = (refresh(sandbox, ann) for _ in range(5))
    assert (moved.status, moved.headers["location"]) == (302, "http://127.0.0.1:1/token")
    assert (page.body, page.headers["content-type"]) == (b"<html>", "text/html")
    assert (odd.status, odd.json()) == (400, {"error": {"code": 1}})
    assert len(huge.body) == 3_000_000
    assert (empty.status, empty.body) == (503, b"")


def test_status_answers_with_the_envelope_of_that_status(sandbox: SandboxControl, ann: MintedGrant) -> None:
    sandbox.script("status", status=504, endpoint="generate")
    assert generate(sandbox, ann.access_token, QUESTION).json()["error"]["status"] == "DEADLINE_EXCEEDED"


def elapsed(action: Any) -> tuple[Any, float]:
    start = time.monotonic()
    return action(), time.monotonic() - start


def test_slow_answers_late_and_rightly(sandbox: SandboxControl, ann: MintedGrant) -> None:
    sandbox.script("slow", seconds=0.3, endpoint="token")
    got, seconds = elapsed(lambda: refresh(sandbox, ann))
    assert got.status == 200
    assert seconds >= 0.3
    sandbox.script("error", name="500", delay=0.3, endpoint="generate")
    got, seconds = elapsed(lambda: generate(sandbox, ann.access_token, QUESTION))
    assert got.status == 500
    assert seconds >= 0.3


def test_stream_can_pause_once_or_before_every_chunk(sandbox: SandboxControl, ann: MintedGrant) -> None:
    sandbox.script("slow", seconds=0.3, after_chunks=2, endpoint="stream")
    got, seconds = elapsed(lambda: stream(sandbox, ann.access_token, QUESTION))
    assert texts(events(got)).endswith("nine ten")
    assert seconds >= 0.3
    sandbox.script("delay_stream", seconds=0.1, endpoint="stream")
    got, seconds = elapsed(lambda: stream(sandbox, ann.access_token, QUESTION))
    assert seconds >= 0.1 * len(events(got))


def test_hang_is_silent_until_the_client_leaves_which_is_journaled(
    sandbox: SandboxControl, ann: MintedGrant
) -> None:
    number = sandbox.script("hang", endpoint="generate")
    with pytest.raises(TimeoutError):
        generate(sandbox, ann.access_token, QUESTION, timeout_s=0.3)
    entry = sandbox.wait_for(lambda one: one["endpoint"] == "generate" and one["aborted"])
    assert entry["status"] is None
    assert (entry["behaviour"], entry["script"]) == ("hang", number)


def _until_silent(answer: http.client.HTTPResponse) -> bytes:
    """What comes before nothing comes for the connection's time-out; fails if the body ends."""
    received = b""
    try:
        while piece := answer.read1(65536):
            received += piece
    except TimeoutError:
        return received
    raise AssertionError("the body ended instead of hanging")


def test_hang_in_mid_stream_sends_the_chunks_before_it(sandbox: SandboxControl, ann: MintedGrant) -> None:
    sandbox.script("hang", after_chunks=2, endpoint="stream")
    address = urlsplit(sandbox.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=0.5)
    headers = {"authorization": f"Bearer {ann.access_token}"}
    path = f"/v1beta/models/{FLASH}:streamGenerateContent?alt=sse"
    connection.request("POST", path, json.dumps(QUESTION), headers)
    answer = connection.getresponse()
    received = _until_silent(answer)
    answer.close()
    connection.close()
    assert received.count(b"data: ") == 2
    assert sandbox.wait_for(lambda one: one["aborted"])["status"] == 200


def test_client_that_leaves_a_slow_stream_is_journaled_as_gone(
    sandbox: SandboxControl, ann: MintedGrant
) -> None:
    sandbox.script("delay_stream", seconds=0.2, endpoint="stream")
    with pytest.raises(TimeoutError):
        stream(sandbox, ann.access_token, QUESTION, timeout_s=0.1)
    assert sandbox.wait_for(lambda one: one["endpoint"] == "stream" and one["aborted"])


@pytest.mark.parametrize("endpoint", ["token", "generate", "stream", "userinfo"])
def test_reset_breaks_the_connection_before_an_answer(
    sandbox: SandboxControl, ann: MintedGrant, endpoint: str
) -> None:
    sandbox.script("reset", endpoint=endpoint)
    calls = {
        "token": lambda: refresh(sandbox, ann),
        "generate": lambda: generate(sandbox, ann.access_token, QUESTION),
        "stream": lambda: stream(sandbox, ann.access_token, QUESTION),
        "userinfo": lambda: call(
            sandbox, "GET", "/v1/userinfo", headers={"authorization": f"Bearer {ann.access_token}"}
        ),
    }
    with pytest.raises(ConnectionResetError):
        calls[endpoint]()
    assert sandbox.journal()[-1]["status"] is None
    assert calls[endpoint]().status == 200


def test_cut_drops_the_connection_in_mid_body(sandbox: SandboxControl, ann: MintedGrant) -> None:
    sandbox.script("cut", after_chunks=2, endpoint="stream")
    got = stream(sandbox, ann.access_token, QUESTION)
    assert (got.status, got.cut, len(events(got))) == (200, True, 2)
    assert got.body.endswith(b"\r\n\r\n")
    sandbox.script("cut", after_chunks=1, mid_chunk=True, endpoint="stream")
    got = stream(sandbox, ann.access_token, QUESTION)
    assert got.cut
    assert got.body.count(b"data: ") == 2
    assert not got.body.endswith(b"\r\n\r\n")
    sandbox.script("cut", endpoint="generate")
    got = generate(sandbox, ann.access_token, QUESTION)
    assert (got.status, got.cut) == (200, True)
    assert not sandbox.journal()[-1]["aborted"]


def test_interruption_comes_before_the_end_however_late_it_is_asked_for(
    sandbox: SandboxControl, ann: MintedGrant
) -> None:
    sandbox.script("cut", after_chunks=99, endpoint="stream")
    got = stream(sandbox, ann.access_token, QUESTION)
    assert got.cut
    assert b"finishReason" not in got.body


def test_end_is_a_clean_body_without_finish_reason(sandbox: SandboxControl, ann: MintedGrant) -> None:
    sandbox.script("end", after_chunks=2, endpoint="stream", times=2)
    got = stream(sandbox, ann.access_token, QUESTION)
    assert (got.cut, len(events(got))) == (False, 2)
    assert b"finishReason" not in got.body
    array = api(sandbox, f"v1beta/models/{FLASH}:streamGenerateContent", QUESTION, ann.access_token)
    assert (array.cut, len(array.json())) == (False, 2)
    sandbox.script("end", after_chunks=0, endpoint="stream")
    nothing = api(sandbox, f"v1beta/models/{FLASH}:streamGenerateContent", QUESTION, ann.access_token)
    assert nothing.json() == []


def test_error_in_mid_stream_is_a_bare_object_over_several_lines(
    sandbox: SandboxControl, ann: MintedGrant
) -> None:
    sandbox.script("error", name="503_overloaded", after_chunks=1, endpoint="stream", times=2)
    got = stream(sandbox, ann.access_token, QUESTION)
    assert got.status == 200
    first, rest = got.body.split(b"\r\n\r\n", 1)
    assert first.startswith(b"data: ")
    assert rest.startswith(b'{\n  "error"')
    assert json.loads(rest)["error"]["code"] == 503
    array = api(sandbox, f"v1beta/models/{FLASH}:streamGenerateContent", QUESTION, ann.access_token)
    assert [list(one) for one in array.json()][-1] == ["error"]
    sandbox.script("error", name="503_overloaded", after_chunks=0, endpoint="stream")
    alone = api(sandbox, f"v1beta/models/{FLASH}:streamGenerateContent", QUESTION, ann.access_token)
    assert (alone.status, [list(one) for one in alone.json()]) == (200, [["error"]])
    sandbox.script("error", name="503_overloaded", after_chunks=1)
    assert generate(sandbox, ann.access_token, QUESTION).status == 503


def test_scripted_text_and_parts_are_said(sandbox: SandboxControl, ann: MintedGrant) -> None:
    sandbox.script("reply", text="Exactly this, word by word, as it was scripted.", endpoint="any")
    body = generate(sandbox, ann.access_token, QUESTION).json()
    assert texts([body]) == "Exactly this, word by word, as it was scripted."
    sandbox.script("reply", text="Exactly this, word by word, as it was scripted.")
    assert texts(events(stream(sandbox, ann.access_token, QUESTION))) == texts([body])
    parts = [{"functionCall": {"id": "c1", "name": "f", "args": {}}, "thoughtSignature": "QUJD"}]
    sandbox.script("reply", parts=parts, finish_reason="MAX_TOKENS")
    body = generate(sandbox, ann.access_token, QUESTION).json()
    assert parts_of(body) == parts
    assert body["candidates"][0]["finishReason"] == "MAX_TOKENS"


def test_scripted_bodies_are_sent_as_they_are(sandbox: SandboxControl, ann: MintedGrant) -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}}
    sandbox.script("reply", response=blocked, times=2)
    assert generate(sandbox, ann.access_token, QUESTION).json() == blocked
    assert events(stream(sandbox, ann.access_token, QUESTION)) == [blocked]
    chunks = [
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "a"}]}}]},
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "b"}]}, "finishReason": "STOP"}]},
    ]
    sandbox.script("reply", chunks=chunks, times=2)
    assert events(stream(sandbox, ann.access_token, QUESTION)) == chunks
    assert texts([generate(sandbox, ann.access_token, QUESTION).json()]) == "ab"


def test_userinfo_and_revoke_can_be_scripted(sandbox: SandboxControl, ann: MintedGrant) -> None:
    sandbox.script("error", name="500", endpoint="userinfo", email="ann@example.com")
    sandbox.script("error", name="503_overloaded", endpoint="revoke", email="ann@example.com")
    headers = {"authorization": f"Bearer {ann.access_token}"}
    assert call(sandbox, "GET", "/v1/userinfo", headers=headers).status == 500
    assert form(sandbox, "/revoke", token=ann.refresh_token).status == 503
    assert refresh(sandbox, ann).status == 200


@pytest.mark.parametrize(
    "order",
    [
        {"behaviour": {"kind": "no-such-kind"}},
        {"behaviour": {"kind": "error", "name": "no_such_error"}},
        {"behaviour": {"kind": "slow"}},
        {"behaviour": {"kind": "status", "status": 99}},
        {"behaviour": {"kind": "hang", "colour": "red"}},
        {"behaviour": {"kind": "hang"}, "endpoint": "nowhere"},
        {"kind": "hang"},
    ],
)
def test_script_that_makes_no_sense_is_refused(sandbox: SandboxControl, order: dict[str, Any]) -> None:
    with pytest.raises(HTTPError) as refused:
        sandbox.request("POST", "script", order)
    with refused.value as answer:
        assert answer.code == 400
        assert json.loads(answer.read())["error"]
    assert eventually(lambda: sandbox.state()["scripts"] == [])


def test_the_queue_shows_scripts_of_every_kind(sandbox: SandboxControl) -> None:
    sandbox.script("raw", status=200, body="<html></html>")
    sandbox.script("raw", json={"a": [1]})
    sandbox.script("hang", times=None)
    shown = [one["behaviour"] for one in sandbox.state()["scripts"]]
    assert [one["kind"] for one in shown] == ["raw", "raw", "hang"]
    assert [one.get("json") for one in shown] == [None, {"a": [1]}, None]
