"""Claude names: passed through to Claude on Vertex where an account has it, else answered by a Gemini model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import pytest
from tests.acceptance.harness import Answer, Gateway, Json, account_file
from tests.acceptance.wire import sha256
from tests.sandbox_client import SandboxProcess

CLAUDE = "claude-opus-4-8"
NOT_ENABLED = {
    "error": {
        "code": 400,
        "status": "FAILED_PRECONDITION",
        "message": f"Project `ann-project` is not allowed to use Publisher Model `{CLAUDE}`",
    }
}
Add = Callable[..., None]


@pytest.fixture
def add(sandbox: SandboxProcess, data_dir: Path) -> Add:
    """`add("ann", upstream="vertex")`: an account of her own project."""

    def put(name: str, *, upstream: str = "vertex") -> None:
        fields: Any = {"upstream": upstream, "location": "global", "project_id": f"{name}-project"}
        account_file(data_dir, name, sandbox.grant(f"{name}@example.com"), **fields)

    return put


def body(text: str = "hi", **fields: Any) -> Json:
    return {
        "model": CLAUDE,
        "max_tokens": 5000,
        "messages": [{"role": "user", "content": text}],
        **fields,
    }


def ask(gateway: Gateway, asked: Any = None, path: str = "/v1/messages", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.call("POST", path, asked or body(), named)


def claude_calls(sandbox: SandboxProcess) -> list[Json]:
    return [entry for entry in sandbox.journal() if "/publishers/anthropic/" in entry["path"]]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_of_claudes_is_passed_on_byte_for_byte(
    sandbox: SandboxProcess, data_dir: Path, add: Add, *, stream: bool
) -> None:
    add("ann")
    with Gateway(data_dir, sandbox.url) as gateway:
        answer = ask(gateway, body(stream=stream, invented={"a": 1}), anthropic_beta="one-2025-01-01,two")
    [call] = claude_calls(sandbox)
    assert call["path"].endswith(f"/{CLAUDE}:{'streamRawPredict' if stream else 'rawPredict'}")
    assert "/projects/ann-project/locations/global/" in call["path"]
    sent = json.loads(call["body"])
    assert sent.pop("anthropic_version") == "vertex-2023-10-16"
    assert sent == {
        name: value for name, value in body(stream=stream, invented={"a": 1}).items() if name != "model"
    }
    assert ["anthropic-beta", "one-2025-01-01,two"] in call["headers"]
    assert answer.status == 200
    assert sha256(answer.body) == call["answered_sha256"]
    assert answer.headers["x-regrant-model"] == CLAUDE
    assert answer.headers["content-type"] == ("text/event-stream" if stream else "application/json")


def test_the_sdk_reads_claude_through_the_gateway(sandbox: SandboxProcess, data_dir: Path, add: Add) -> None:
    add("ann")
    with Gateway(data_dir, sandbox.url) as gateway:
        with anthropic.Anthropic(base_url=gateway.url, api_key="not-a-key", max_retries=0) as sdk:
            asked: Any = body("hello")
            with sdk.messages.stream(**asked) as stream:
                assert "".join(stream.text_stream) == "Hello from Ann's account. You said: hello"
            counted = sdk.messages.count_tokens(model=CLAUDE, messages=asked["messages"])
    assert counted.input_tokens > 0
    count = claude_calls(sandbox)[-1]
    assert count["path"].endswith("/count-tokens:rawPredict")
    assert json.loads(count["body"])["model"] == CLAUDE


def test_where_no_project_has_claude_gemini_answers_and_vertex_is_not_asked_again(
    sandbox: SandboxProcess, data_dir: Path, add: Add
) -> None:
    add("ann")
    sandbox.script("raw", status=400, json=NOT_ENABLED, model=CLAUDE, times=None)
    with Gateway(data_dir, sandbox.url) as gateway:
        answers = [ask(gateway) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert all(answer.headers["x-regrant-model"].startswith("gemini-") for answer in answers)
    assert all(answer.json()["model"] == CLAUDE for answer in answers)
    assert len(claude_calls(sandbox)) == 1


def test_nobody_waits_for_a_dead_account_when_a_gemini_model_can_answer(
    sandbox: SandboxProcess, data_dir: Path, add: Add
) -> None:
    add("ann")
    add("bob")
    sandbox.script("raw", status=400, json=NOT_ENABLED, model=CLAUDE, times=None)
    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="90", POOL__DEADLINE_S="100") as gateway:
        sandbox.revoke("bob@example.com")
        answer = ask(gateway)  # the client gives up after 30 s
    assert answer.status == 200
    assert answer.headers["x-regrant-model"].startswith("gemini-")


def test_an_account_whose_project_has_claude_is_found_behind_one_that_has_not(
    sandbox: SandboxProcess, data_dir: Path, add: Add
) -> None:
    add("ann")
    add("bob")
    sandbox.script("raw", status=400, json=NOT_ENABLED, model=CLAUDE, email="ann@example.com", times=None)
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin") as gateway:
        for _ in range(3):
            assert "Bob" in ask(gateway).json()["content"][0]["text"]


def test_accounts_on_the_gemini_api_are_not_tried_with_claude_unless_an_alias_says_so(
    sandbox: SandboxProcess, data_dir: Path, add: Add
) -> None:
    add("ann", upstream="gemini")
    with Gateway(data_dir, sandbox.url) as gateway:
        assert ask(gateway).headers["x-regrant-model"].startswith("gemini-")
        assert claude_calls(sandbox) == []
    aliases = json.dumps({"smart": "claude-sonnet-4-5"})
    with Gateway(data_dir, sandbox.url, MODELS__ALIASES=aliases) as gateway:
        answer = ask(gateway, body() | {"model": "smart"})
    assert answer.headers["x-regrant-model"] == "claude-sonnet-4-5@20250929"
    assert "Ann" in answer.json()["content"][0]["text"]


def test_a_beta_and_a_field_that_vertex_refuses_are_left_out_from_then_on(
    sandbox: SandboxProcess, data_dir: Path, add: Add
) -> None:
    add("ann")
    message = "Unexpected value(s) `new-2031-01-01` for the `anthropic-beta` header."
    refusal = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    sandbox.script("raw", status=400, json=refusal, model=CLAUDE)
    with Gateway(data_dir, sandbox.url) as gateway:
        for _ in range(2):
            assert ask(gateway, anthropic_beta="new-2031-01-01, old").status == 200
    sent = [dict(call["headers"]).get("anthropic-beta") for call in claude_calls(sandbox)]
    assert sent == ["new-2031-01-01,old", "old", "old"]


def test_claudes_own_error_is_passed_on_untouched(sandbox: SandboxProcess, data_dir: Path, add: Add) -> None:
    add("ann")
    with Gateway(data_dir, sandbox.url) as gateway:
        answer = ask(gateway, body(max_tokens=None))
    [call] = claude_calls(sandbox)
    assert answer.status == 400
    assert sha256(answer.body) == call["answered_sha256"]
    assert answer.json()["request_id"].startswith("req_vrtx_")


def test_a_limit_of_a_claude_that_has_answered_is_told_and_nobody_stands_in(
    sandbox: SandboxProcess, data_dir: Path, add: Add
) -> None:
    add("ann")
    with Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="0") as gateway:
        assert ask(gateway).status == 200
        sandbox.script("error", name="429_per_minute", model=CLAUDE, times=None)
        answers = [ask(gateway), ask(gateway)]
    for answer in answers:
        assert answer.status == 429
        assert answer.json()["error"]["type"] == "rate_limit_error"
        assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("break_", ["cut", "end"])
def test_a_broken_stream_of_claudes_ends_with_an_error_event(
    sandbox: SandboxProcess, data_dir: Path, add: Add, break_: str
) -> None:
    add("ann")
    sandbox.script(break_, after_chunks=3, endpoint="stream", model=CLAUDE)
    with Gateway(data_dir, sandbox.url) as gateway:
        answer = ask(gateway, body(stream=True))
    assert answer.body.startswith(b"event: message_start\n")
    assert b"message_stop" not in answer.body
    last = answer.body.strip().rpartition(b"\n\n")[2]
    assert last.startswith(b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"')


def test_an_account_that_dies_is_replaced_by_the_next(
    sandbox: SandboxProcess, data_dir: Path, add: Add
) -> None:
    add("ann")
    add("bob")
    with Gateway(data_dir, sandbox.url) as gateway:
        first = ask(gateway).json()["content"][0]["text"].split("'")[0].rpartition(" ")[2].lower()
        sandbox.revoke(f"{first}@example.com")
        answer = ask(gateway, body(stream=True))
    assert answer.status == 200
    assert b"message_stop" in answer.body
    assert claude_calls(sandbox)[-1]["email"] != f"{first}@example.com"
