"""Nonsense at the front door: each gets the contract's answer, and the process lives on."""

from __future__ import annotations

import json
import socket
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.acceptance.harness import MODEL, Gateway, People, account_file, chat_body, http_call
from tests.acceptance.wire import OPENAI_CHAT, gemini_body, gemini_path, wire
from tests.sandbox_client import SandboxProcess

GENERATE = gemini_path("generateContent")
DEEP = 50_000


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with SandboxProcess() as sandbox:
        data_dir = tmp_path_factory.mktemp("bad") / "data"
        account_file(data_dir, "ann", sandbox.grant("ann@example.com"), fresh=True)
        with Gateway(data_dir, sandbox.url, SERVER__MAX_BODY_MB="1") as process:
            yield process


@pytest.fixture(autouse=True)
def _lives_on(gateway: Gateway) -> Iterator[None]:
    yield
    assert gateway.served_by("are you well?") == "ann"
    assert not gateway.log("request_failed")


def message(content: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": content}]}


BAD_CHATS = {
    "empty": b"",
    "half": b'{"model":',
    "array": b"[]",
    "null": b"null",
    "text": b'"hello"',
    "not UTF-8": b'{"model":"\xff"}',
    "UTF-16": json.dumps(chat_body("hi")).encode("utf-16"),
    "lone surrogate": b'{"model":"\\ud800","messages":[]}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "no model": json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode(),
    "model a number": json.dumps({**chat_body("hi"), "model": 1}).encode(),
    "no messages": json.dumps({"model": MODEL}).encode(),
    "messages a number": json.dumps({"model": MODEL, "messages": 3}).encode(),
    "no message": json.dumps({"model": MODEL, "messages": []}).encode(),
    "unknown role": json.dumps({"model": MODEL, "messages": [{"role": "nobody", "content": "x"}]}).encode(),
    "content a number": json.dumps(message(7)).encode(),
    "part without a type": json.dumps(message([{"text": "x"}])).encode(),
    "stream a word": json.dumps(chat_body("hi", stream="yes")).encode(),
    "tools a word": json.dumps(chat_body("hi", tools="hammer")).encode(),
    "deep": b'{"model":"m","messages":' + b"[" * DEEP,
    "deep objects": b'{"a":' * DEEP,
    "deep schema": b'{"model":"m","messages":[],"tools":' + b'[{"x":' * DEEP + b"1" + b"}]" * DEEP + b"}",
}


@pytest.mark.parametrize("body", BAD_CHATS.values(), ids=BAD_CHATS.keys())
def test_a_malformed_chat_is_400_in_openai_s_words(gateway: Gateway, body: bytes) -> None:
    answer = gateway.call("POST", OPENAI_CHAT, body)
    assert answer.status == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert answer.headers["x-regrant-attempts"] == "0"


BAD_GEMINI = {name: BAD_CHATS[name] for name in ("empty", "half", "array", "null", "text", "deep objects")}


@pytest.mark.parametrize("body", BAD_GEMINI.values(), ids=BAD_GEMINI.keys())
@pytest.mark.parametrize("verb", ["generateContent", "streamGenerateContent", "countTokens", "embedContent"])
def test_a_malformed_gemini_request_is_400_in_google_s_words(
    gateway: Gateway, verb: str, body: bytes
) -> None:
    answer = gateway.call("POST", gemini_path(verb), body)
    assert answer.status == 400
    error = answer.json()["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert answer.headers["x-regrant-attempts"] == "0"


ODD_MODELS = [
    "gemini-x\r\nx-injected: yes",
    "gemini-x\x00",
    "gemini-\x7f\x1b[31m",
    "gemini-日本語",
    "gemini-" + "x" * 5000,
    "gemini-../../v1beta/models",
    "gemini-x?alt=sse#fragment",
    "gemini-%0d%0a",
]


@pytest.mark.parametrize("model", ODD_MODELS)
@pytest.mark.parametrize("path", [OPENAI_CHAT, "gemini"])
def test_a_model_name_with_odd_characters_is_404_and_injects_nothing(
    gateway: Gateway, path: str, model: str
) -> None:
    if path == OPENAI_CHAT:
        answer = gateway.chat(model=model)
    else:
        quoted = "".join(
            f"%25{byte:02x}" for byte in model.encode()
        )  # decoded by the server, then by the route
        answer = gateway.call("POST", gemini_path("generateContent", quoted), gemini_body())
    assert answer.status == 404
    assert "x-injected" not in answer.headers
    assert "error" in answer.json()


def test_an_unknown_model_is_404_that_names_the_setting(gateway: Gateway) -> None:
    answer = gateway.chat(model="nobody-knows")
    assert (answer.status, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert "models.default" in answer.json()["error"]["message"]
    answer = gateway.call("POST", gemini_path("generateContent", "nobody-knows"), gemini_body())
    assert (answer.status, answer.json()["error"]["status"]) == (404, "NOT_FOUND")
    assert "models.default" in answer.json()["error"]["message"]


NOWHERE = {
    "unknown path": ("GET", "/v2/chat", 404),
    "root": ("GET", "/", 404),
    "console page": ("GET", "/index.html", 404),
    "climbing": ("GET", "/v1/../../etc/passwd", 404),
    "unknown Gemini method": ("POST", gemini_path("dreamContent"), 404),
    "no Gemini method": ("POST", f"/v1beta/models/{MODEL}", 405),
    "GET on chat": ("GET", OPENAI_CHAT, 405),
    "PUT on chat": ("PUT", OPENAI_CHAT, 405),
    "GET on Gemini": ("GET", GENERATE, 405),
    "POST on models": ("POST", "/v1/models", 405),
    "POST on health": ("POST", "/healthz", 405),
    "long path": ("GET", "/" + "a" * 20_000, 404),
    "not UTF-8": ("GET", "/v1/%ff%fe", 404),
    "null byte": ("GET", "/v1/models/%00", 404),
}


@pytest.mark.parametrize(("method", "path", "status"), NOWHERE.values(), ids=NOWHERE.keys())
def test_what_is_nowhere_is_told_in_json(gateway: Gateway, method: str, path: str, status: int) -> None:
    answer = gateway.call(method, path, {} if method in {"POST", "PUT"} else None)
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert "error" in answer.json()


def test_noise_of_clients_is_answered_with_nothing(gateway: Gateway) -> None:
    for method, path in (("HEAD", "/"), ("HEAD", "/api/hello"), ("POST", "/api/event_logging/batch")):
        answer = gateway.call(method, path, {"events": [1]} if method == "POST" else None)
        assert (answer.status, answer.body) == (200, b"")


# -- bodies over the limit ---------------------------------------------------------------------------------------------

MB = 1 << 20


@pytest.mark.parametrize("path", [OPENAI_CHAT, GENERATE])
def test_a_body_over_the_limit_is_413_when_it_is_announced(gateway: Gateway, path: str) -> None:
    with wire(gateway.url) as connection:
        connection.get(path, {"content-length": str(MB + 1), "expect": "100-continue"}, method="POST")
        status, headers, body = connection.answer()
        assert status == 413
        assert json.loads(body)["error"]["message"] == "The request body is over 1 MB (server.max_body_mb)."
        assert headers["connection"] == "close"


def test_a_body_over_the_limit_is_413_when_it_comes_in_chunks(gateway: Gateway) -> None:
    with wire(gateway.url) as connection:
        connection.get(OPENAI_CHAT, {"transfer-encoding": "chunked"}, method="POST")
        piece = b"%x\r\n%s\r\n" % (64 << 10, b" " * (64 << 10))
        for _ in range(17):
            connection.send(piece)
        status, _, body = connection.answer()
    assert status == 413
    assert json.loads(body)["error"]["code"] == "request_too_large"


@pytest.mark.parametrize("size_mb", [2, 20])
def test_an_ordinary_client_that_sends_too_much_reads_the_413(gateway: Gateway, size_mb: int) -> None:
    answer = http_call(gateway.url, "POST", OPENAI_CHAT, b" " * (size_mb * MB))
    assert answer.status == 413
    assert answer.json()["error"]["code"] == "request_too_large"


def test_a_refused_client_with_a_large_body_reads_why(gateway: Gateway) -> None:
    answer = http_call(gateway.url, "POST", OPENAI_CHAT, b" " * (5 * MB), {"host": "evil.example"})
    assert answer.status == 403


def test_a_body_at_the_limit_is_read(gateway: Gateway) -> None:
    body = json.dumps(chat_body("hi")).encode()
    assert gateway.call("POST", OPENAI_CHAT, body.ljust(MB)).status == 200
    assert gateway.call("POST", OPENAI_CHAT, body.ljust(MB + 1)).status == 413


# -- the connection ----------------------------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(gateway: Gateway) -> None:
    with wire(gateway.url) as connection:
        connection.post(OPENAI_CHAT, chat_body("one"))
        connection.post(OPENAI_CHAT, b"{")
        connection.get("/healthz")
        connection.post("/api/event_logging/batch", {"noise": True})
        connection.post(GENERATE, gemini_body("five"))
        answers = [connection.answer() for _ in range(5)]
    assert [status for status, _, _ in answers] == [200, 400, 200, 200, 200]
    assert b"You said: one" in answers[0][2]
    assert b"You said: five" in answers[4][2]


def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing_behind(gateway: Gateway) -> None:
    for _ in range(5):
        with wire(gateway.url) as connection:
            connection.get(OPENAI_CHAT, {"content-length": "1000"}, method="POST")
            connection.send(b'{"model":')


GARBAGE = {
    "no HTTP": b"hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "header without a colon": b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nnonsense\r\n\r\n",
    "two lengths": b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
    "length and chunks": b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n"
    b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "endless length": b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: "
    + b"9" * 5000
    + b"\r\n\r\n",
    "bad chunk": b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
}


@pytest.mark.parametrize("raw", GARBAGE.values(), ids=GARBAGE.keys())
def test_what_is_not_http_is_400_and_the_connection_ends(gateway: Gateway, raw: bytes) -> None:
    with wire(gateway.url) as connection:
        connection.send(raw)
        answer = connection.read_all()
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_absurd_headers_do_no_harm(gateway: Gateway) -> None:
    odd = {
        "accept-encoding": "gzip, br, zstd",
        "range": "bytes=0-1",
        "if-none-match": "*",
        "x-long": "y" * 60_000,
        "x-session-id": "\xff\xfe",
        "authorization": "Bearer",
        "x-goog-api-client": "é",
        **{f"x-{number}": "z" for number in range(500)},
    }
    with wire(gateway.url) as connection:
        connection.post(GENERATE, gemini_body(), odd)
        status, _, body = connection.answer()
    assert status == 200, body


# -- fuzzing -----------------------------------------------------------------------------------------------------------

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
CHAT_FIELDS = st.sampled_from(
    [
        "messages",
        "model",
        "tools",
        "tool_choice",
        "stream",
        "stream_options",
        "stop",
        "n",
        "max_tokens",
        "temperature",
        "response_format",
        "reasoning_effort",
        "user",
        "metadata",
        "functions",
        "logprobs",
    ]
)
GEMINI_FIELDS = st.sampled_from(
    [
        "contents",
        "systemInstruction",
        "tools",
        "toolConfig",
        "generationConfig",
        "cachedContent",
        "model",
        "requests",
        "content",
        "generateContentRequest",
        "safetySettings",
    ]
)
fuzzed = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


@given(st.dictionaries(CHAT_FIELDS, JSON_VALUES, max_size=4), st.booleans())
@fuzzed
def test_no_chat_makes_the_gateway_fail(gateway: Gateway, fields: dict[str, Any], whole: bool) -> None:
    body = {**chat_body("hi"), **fields} if whole else fields
    answer = gateway.call("POST", OPENAI_CHAT, json.dumps(body).encode("utf-8", "surrogatepass"))
    assert answer.status in {200, 400, 404}, answer.body


@given(
    st.dictionaries(GEMINI_FIELDS, JSON_VALUES, max_size=4),
    st.sampled_from(["generateContent", "streamGenerateContent", "countTokens", "batchEmbedContents"]),
    st.sampled_from([MODEL, "gpt-5", "gemini-embedding-001"]),
)
@fuzzed
def test_no_gemini_request_makes_the_gateway_fail(
    gateway: Gateway, fields: dict[str, Any], verb: str, model: str
) -> None:
    body = json.dumps({**gemini_body(), **fields}).encode("utf-8", "surrogatepass")
    answer = gateway.call("POST", gemini_path(verb, model), body)
    assert answer.status in {200, 400, 404}, answer.body


@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"]),
    st.lists(
        st.sampled_from(
            ["v1", "v1beta", "models", "openai", MODEL, "chat", "completions", "messages", ":", "%2f"]
        )
        | st.text(string.ascii_letters + string.digits + ":%@!$&'()*+,;=-._~", max_size=6),
        max_size=5,
    ),
    st.binary(max_size=40),
)
@fuzzed
def test_no_path_makes_the_gateway_fail(
    gateway: Gateway, method: str, segments: list[str], body: bytes
) -> None:
    path = "/" + "/".join(segments)
    answer = gateway.call(method, path.replace("%", "%25"), body)
    assert answer.status in {200, 400, 401, 403, 404, 405}, answer.body


@pytest.mark.slow
def test_a_body_that_stops_coming_is_given_up_with_a_408(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        parts = urlsplit(gateway.url)
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as connection:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\n"
            connection.sendall(head + b'{"model":')
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"stopped coming" in answer
        assert gateway.served_by("afterwards") == "ann"


def test_answers_of_the_back_office_carry_an_id_too(sandbox: SandboxProcess, data_dir: Path) -> None:
    with Gateway(data_dir, sandbox.url) as gateway:
        ids = {gateway.call("GET", "/api/accounts").headers["x-request-id"] for _ in range(3)}
        assert len(ids) == 3
