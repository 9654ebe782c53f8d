"""Gemini to Gemini: what the client sent arrives at Google byte for byte, and what Google answered at the client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.harness import MODEL, Gateway, People, account_file
from tests.acceptance.wire import OPENAI_CHAT, gemini_body, gemini_path, header_of, last_call, sha256, wire
from tests.sandbox_client import SandboxProcess

EMBEDDER = "gemini-embedding-001"
TEXT = b'{"parts":[{"text":"caf\xc3\xa9 \\u00e9 \\n <b>"}],"role":"user"}'
EMBED = b'{ "content" : {"parts":[{"text":"hi"}]} , "taskType":"RETRIEVAL_QUERY" }'
BATCH = (
    b'{"requests": [ {"model":"models/gemini-embedding-001","content":{"parts":[{"text":"one"}]}},\n'
    b' {"model":"models/gemini-embedding-001","content":{"parts":[{"text":"two"}]}} ]}'
)

REQUESTS = {
    "generateContent": (gemini_path("generateContent"), b'{"contents":[' + TEXT + b"]}"),
    "generateContent on v1": (f"/v1/models/{MODEL}:generateContent", b'{"contents":[' + TEXT + b"]}"),
    "odd white space": (gemini_path("generateContent"), b'\r\n {\t"contents" :\n[ ' + TEXT + b" ] } \n"),
    "snake case": (
        gemini_path("generateContent"),
        b'{"system_instruction":{"parts":[{"text":"Be brief."}]},"contents":[' + TEXT + b"],"
        b'"generation_config":{"max_output_tokens":50}}',
    ),
    "events": (gemini_path("streamGenerateContent", query="alt=sse"), b'{"contents":[' + TEXT + b"]}"),
    "array": (gemini_path("streamGenerateContent"), b'{"contents":[' + TEXT + b"]}"),
    "countTokens": (gemini_path("countTokens"), b'{"contents":[' + TEXT + b"]}"),
    "countTokens of a request": (
        gemini_path("countTokens"),
        b'{"generateContentRequest":{"model":"models/' + MODEL.encode() + b'","contents":[' + TEXT + b"]}}",
    ),
    "embedContent": (gemini_path("embedContent", EMBEDDER), EMBED),
    "batchEmbedContents": (gemini_path("batchEmbedContents", EMBEDDER), BATCH),
}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, SandboxProcess]]:
    """One gateway with one account, for tests that leave no trace."""
    data_dir = tmp_path_factory.mktemp("bytes") / "data"
    aliases = {"my-flash": MODEL, "my-embedder": EMBEDDER}
    with SandboxProcess() as sandbox:
        account_file(data_dir, "ann", sandbox.grant("ann@example.com"), fresh=True)
        with Gateway(data_dir, sandbox.url, MODELS__ALIASES=json.dumps(aliases)) as gateway:
            yield gateway, sandbox


@pytest.mark.parametrize(("path", "body"), REQUESTS.values(), ids=REQUESTS.keys())
def test_gemini_requests_and_answers_pass_byte_for_byte(
    front: tuple[Gateway, SandboxProcess], path: str, body: bytes
) -> None:
    gateway, sandbox = front
    before = sandbox.last_seq()
    answer = gateway.call("POST", path, body)
    assert answer.status == 200, answer.body
    entry = last_call(sandbox, before)
    assert entry["body_sha256"] == sha256(body)
    assert entry["answered_sha256"] == sha256(answer.body)
    assert entry["path"] == path.partition("?")[0].replace("/v1/", "/v1beta/")
    assert answer.headers["x-regrant-model"] == path.partition("models/")[2].partition(":")[0]


def test_unknown_fields_reach_google_and_its_refusal_reaches_the_client(
    front: tuple[Gateway, SandboxProcess],
) -> None:
    gateway, sandbox = front
    before = sandbox.last_seq()
    body = json.dumps(gemini_body(somethingNew={"a": [1, 2.50, None]})).encode()
    for path in (gemini_path("generateContent"), gemini_path("streamGenerateContent")):
        answer = gateway.call("POST", path, body)
        entry = last_call(sandbox, before)
        assert answer.status == 400
        assert b"somethingNew" in answer.body
        assert entry["body_sha256"] == sha256(body)
        assert entry["answered_sha256"] == sha256(answer.body)


def test_an_alias_changes_the_address_and_nothing_else(front: tuple[Gateway, SandboxProcess]) -> None:
    gateway, sandbox = front
    body = b'{ "contents":[' + TEXT + b"] }"
    answer = gateway.call("POST", gemini_path("generateContent", "my-flash"), body)
    assert answer.status == 200, answer.body
    entry = last_call(sandbox)
    assert entry["path"] == gemini_path("generateContent")
    assert entry["body_sha256"] == sha256(body)
    assert answer.headers["x-regrant-model"] == MODEL


def test_an_alias_changes_the_model_named_inside_the_body_too(front: tuple[Gateway, SandboxProcess]) -> None:
    gateway, sandbox = front
    content = {"parts": [{"text": "one"}]}
    inside = {"model": "models/my-embedder", "content": content, "taskType": "CLUSTERING"}
    answer = gateway.call(
        "POST", gemini_path("batchEmbedContents", "my-embedder"), {"requests": [inside, inside]}
    )
    assert answer.status == 200, answer.body
    renamed = {**inside, "model": f"models/{EMBEDDER}"}
    assert json.loads(last_call(sandbox)["body"]) == {"requests": [renamed, renamed]}

    counted = {"model": "models/my-flash", **gemini_body("hi")}
    answer = gateway.call("POST", gemini_path("countTokens", "my-flash"), {"generateContentRequest": counted})
    assert answer.status == 200, answer.body
    sent = json.loads(last_call(sandbox)["body"])
    assert sent == {"generateContentRequest": {**counted, "model": f"models/{MODEL}"}}


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":1,"requests":3}',
        b'{"model":"x","requests":[3]}',
        b'{"model":"x","generateContentRequest":[]}',
        b'{"requests":[{"model":"x"}],"requests":{"model":"y"}}',
    ],
)
def test_a_body_in_which_an_alias_cannot_be_named_is_400(
    front: tuple[Gateway, SandboxProcess], body: bytes
) -> None:
    gateway, _ = front
    answer = gateway.call("POST", gemini_path("batchEmbedContents", "my-embedder"), body)
    assert answer.status == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"


SECRETS = {
    "authorization": "Bearer client-key-a",
    "x-api-key": "client-key-b",
    "api-key": "client-key-d",
    "cookie": "session=client-cookie",
    "user-agent": "client-agent/1.0",
    "proxy-authorization": "Basic client-proxy",
    "x-forwarded-for": "203.0.113.7",
    "referer": "http://client-page.test/",
    "origin": "http://127.0.0.1",
}


@pytest.mark.parametrize("gemini", [True, False], ids=["gemini", "openai"])
def test_no_key_cookie_or_user_agent_of_a_client_goes_upstream(
    front: tuple[Gateway, SandboxProcess], gemini: bool
) -> None:
    gateway, sandbox = front
    before = sandbox.last_seq()
    body = gemini_body() if gemini else {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    path = gemini_path("generateContent") if gemini else OPENAI_CHAT
    with wire(gateway.url) as connection:
        own = {**SECRETS, "origin": gateway.url, "x-goog-api-key": "client-key-c"}
        connection.post(f"{path}?key=client-key-e&alt=json&key=client-key-f", body, own)
        status, _, answered = connection.answer()
    assert status == 200, answered
    entry = last_call(sandbox, before)
    everything = json.dumps([entry["path"], entry["query"], entry["headers"], entry["body"]])
    assert "client-" not in everything
    assert "203.0.113" not in everything
    names = {name.lower() for name, _ in entry["headers"]}
    allowed = {"host", "authorization", "accept-encoding", "user-agent", "content-type", "content-length"}
    assert names <= allowed
    assert (header_of(entry, "user-agent") or "").startswith("regrant/")
    assert header_of(entry, "x-goog-user-project") is None


def test_the_marks_of_google_s_own_sdk_are_passed_on(front: tuple[Gateway, SandboxProcess]) -> None:
    gateway, sandbox = front
    sent = {"x-goog-api-client": "google-genai-sdk/3.4.0", "x-server-timeout": "60"}
    answer = gateway.call("POST", gemini_path("generateContent"), gemini_body(), sent)
    assert answer.status == 200
    entry = last_call(sandbox)
    assert {name: header_of(entry, name) for name in sent} == sent


def test_the_quota_project_is_named_exactly_when_the_account_has_one(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    account_file(data_dir, "bob", sandbox.grant("bob@example.com"), fresh=True, project_id="bob-project")
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin") as gateway:
        assert sorted([gateway.served_by(), gateway.served_by()]) == ["ann", "bob"]
        named = {
            entry["email"]: header_of(entry, "x-goog-user-project")
            for entry in sandbox.journal(endpoint="generate")
        }
        assert named == {"ann@example.com": None, "bob@example.com": "bob-project"}
