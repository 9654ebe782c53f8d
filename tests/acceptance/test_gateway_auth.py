"""Who may come in: auth modes, forms of a client key, foreign pages and hosts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.harness import Answer, Gateway, People, account_file, chat_body, regrant, wait_until
from tests.acceptance.wire import OPENAI_CHAT, asked, gemini_body, gemini_path, wire
from tests.sandbox_client import SandboxProcess

KEY = "first-client-key"
GENERATE = gemini_path("generateContent")

OPEN_ROUTES = {
    "chat": ("POST", OPENAI_CHAT, chat_body("hi")),
    "gemini": ("POST", GENERATE, gemini_body()),
    "models": ("GET", "/v1/models", None),
    "gemini models": ("GET", "/v1beta/models", None),
    "unknown": ("GET", "/nope", None),
}
HEALTH_ROUTES = {
    "healthz": ("GET", "/healthz", None),
    "health": ("GET", "/health", None),
    "readyz": ("GET", "/readyz", None),
}
KEY_FORMS = {
    "bearer": ({"authorization": f"Bearer {KEY}"}, ""),
    "bearer in capitals": ({"authorization": f"BEARER  {KEY}"}, ""),
    "bare authorization": ({"authorization": KEY}, ""),
    "x-api-key": ({"x-api-key": KEY}, ""),
    "x-goog-api-key": ({"x-goog-api-key": KEY}, ""),
    "api-key": ({"api-key": KEY}, ""),
    "query": ({}, f"?key={KEY}"),
    "one of several": ({"authorization": "Bearer wrong", "x-api-key": KEY, "api-key": "no"}, "?key=neither"),
    "query beside a wrong header": ({"x-goog-api-key": "wrong"}, f"?a=b&key={KEY}"),
}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with SandboxProcess() as sandbox:
        data_dir = tmp_path_factory.mktemp("strict") / "data"
        account_file(data_dir, "ann", sandbox.grant("ann@example.com"), fresh=True)
        with Gateway(data_dir, sandbox.url, SERVER__AUTH_MODE="strict", SERVER__API_KEY=KEY) as gateway:
            yield gateway


@pytest.mark.parametrize(("headers", "query"), KEY_FORMS.values(), ids=KEY_FORMS.keys())
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [*OPEN_ROUTES.values(), *HEALTH_ROUTES.values()],
    ids=[*OPEN_ROUTES, *HEALTH_ROUTES],
)
def test_each_form_of_a_key_opens_each_route(
    strict: Gateway, method: str, path: str, body: object, headers: dict[str, str], query: str
) -> None:
    answer = strict.call(method, path + query, body, headers)
    assert answer.status == (404 if path == "/nope" else 200), answer.body


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [*OPEN_ROUTES.values(), *HEALTH_ROUTES.values()],
    ids=[*OPEN_ROUTES, *HEALTH_ROUTES],
)
@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong-key-x"}], ids=["none", "wrong"])
def test_strict_needs_a_key_on_every_route(
    strict: Gateway, method: str, path: str, body: object, headers: dict[str, str]
) -> None:
    assert strict.call(method, path, body, headers).status == 401


ERRORS = {
    "openai": (OPENAI_CHAT, {}, lambda answer: answer["error"]["code"] == "invalid_api_key"),
    "gemini": (GENERATE, {}, lambda answer: answer["error"]["status"] == "UNAUTHENTICATED"),
    "anthropic": (
        "/v1/messages",
        {"anthropic-version": "2023-06-01"},
        lambda answer: answer["error"]["type"] == "authentication_error",
    ),
}


@pytest.mark.parametrize(("path", "headers", "fits"), ERRORS.values(), ids=ERRORS.keys())
def test_a_refusal_names_the_mode_and_what_was_seen_and_is_accepted_but_no_key(
    strict: Gateway, path: str, headers: dict[str, str], fits: object
) -> None:
    wrong = {"authorization": "Bearer wrong-key-x", "api-key": "wrong-key-y"}
    answer = strict.call("POST", f"{path}?key=wrong-key-z", {}, headers | wrong)
    assert answer.status == 401
    assert callable(fits)
    assert fits(answer.json())
    text = answer.json()["error"]["message"]
    assert "auth_mode strict" in text
    seen = text.partition("is not a valid one")[0]
    assert all(place in seen for place in ("Authorization", "api-key", "?key="))
    assert "x-goog-api-key" not in seen
    accepted = text.partition("Send one as")[2]
    assert all(
        place in accepted for place in ("Authorization", "x-api-key", "x-goog-api-key", "api-key", "?key=")
    )
    assert b"wrong-key" not in answer.body
    assert KEY.encode() not in answer.body
    assert "no key was sent" in strict.call("POST", path, {}, headers).json()["error"]["message"]


def test_no_key_is_told_to_google_and_no_refused_request_reaches_it(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, SERVER__AUTH_MODE="strict", SERVER__API_KEY=KEY) as gateway:
        assert gateway.chat().status == 401
        assert asked(sandbox) == []
        assert gateway.chat(headers={"x-goog-api-key": KEY}).status == 200
        assert asked(sandbox) == ["ann"]
        assert KEY not in str(sandbox.journal())


MODES: dict[str, tuple[dict[str, Any], bool, bool]] = {
    # settings: (open without a key, health open without a key)
    "off": ({"SERVER__AUTH_MODE": "off"}, True, True),
    "all_except_health": ({"SERVER__AUTH_MODE": "all_except_health"}, False, True),
    "strict": ({"SERVER__AUTH_MODE": "strict"}, False, False),
    "auto on loopback": ({}, True, True),
    "auto on every address": ({"SERVER__HOST": "0.0.0.0"}, False, True),
    "auto behind a proxy": ({"SERVER__TRUSTED_PROXIES": '["127.0.0.1"]'}, False, True),
    "auto with a host name": ({"SERVER__ALLOWED_HOSTS": '["gateway.test"]'}, False, True),
    "auto with a public URL": ({"SERVER__PUBLIC_URL": "https://gateway.test"}, False, True),
    "off on every address": ({"SERVER__HOST": "0.0.0.0", "SERVER__AUTH_MODE": "off"}, True, True),
}


@pytest.mark.parametrize(("settings", "is_open", "health_open"), MODES.values(), ids=MODES.keys())
def test_each_mode_opens_what_it_says(
    sandbox: SandboxProcess,
    data_dir: Path,
    people: People,
    settings: dict[str, Any],
    is_open: bool,
    health_open: bool,
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, SERVER__API_KEY=KEY, **settings) as gateway:
        for method, path, body in OPEN_ROUTES.values():
            status = gateway.call(method, path, body).status
            assert (status != 401) == is_open, path
        for method, path, body in HEALTH_ROUTES.values():
            assert (gateway.call(method, path, body).status == 200) == health_open, path
        assert gateway.chat(headers={"authorization": f"Bearer {KEY}"}).status == 200


def test_the_first_key_is_made_and_shown_once_on_stderr(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, SERVER__AUTH_MODE="strict") as gateway:
        [key] = re.findall(r"rg-[A-Za-z0-9_-]{40,}", gateway.stderr)
        assert gateway.stderr.count(key) == 1
        assert gateway.chat(headers={"authorization": f"Bearer {key}"}).status == 200
        assert gateway.chat().status == 401
    assert '"first"' in (data_dir / "keys.json").read_text()
    assert key not in (data_dir / "keys.json").read_text()
    assert key not in (data_dir / "logs" / "regrant.log").read_text()
    with Gateway(data_dir, sandbox.url, SERVER__AUTH_MODE="strict") as gateway:
        assert "rg-" not in gateway.stderr
        assert gateway.chat(headers={"authorization": f"Bearer {key}"}).status == 200


def test_no_key_is_made_where_none_is_needed(sandbox: SandboxProcess, data_dir: Path) -> None:
    with Gateway(data_dir, sandbox.url) as gateway:
        assert "rg-" not in gateway.stderr
    assert not (data_dir / "keys.json").exists()


def test_keys_made_and_revoked_by_a_command_count_within_a_second(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, SERVER__AUTH_MODE="strict", SERVER__API_KEY=KEY) as gateway:

        def status_of(key: str) -> int:
            return gateway.call("GET", "/healthz", None, {"x-api-key": key}).status

        made = regrant(data_dir, sandbox.url, "keys", "create", "laptop")
        assert made.returncode == 0, made.stderr
        [key] = re.findall(r"rg-[A-Za-z0-9_-]{40,}", made.stdout)
        wait_until(lambda: status_of(key) == 200, "the new key is known", deadline_s=1.5)
        assert regrant(data_dir, sandbox.url, "keys", "revoke", "laptop").returncode == 0
        wait_until(lambda: status_of(key) == 401, "the key is revoked", deadline_s=1.5)
        assert status_of(KEY) == 200


def test_the_admin_token_is_no_client_key(sandbox: SandboxProcess, data_dir: Path, people: People) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, SERVER__AUTH_MODE="strict", SERVER__API_KEY=KEY) as gateway:
        assert gateway.admin("GET", "/api/accounts").status == 200
        assert gateway.admin("POST", OPENAI_CHAT, chat_body("hi")).status == 401
        assert gateway.admin("GET", "/readyz").status == 401
        assert gateway.call("GET", "/api/accounts", None, {"authorization": f"Bearer {KEY}"}).status == 401


def test_an_address_that_a_restart_will_bring_opens_nothing_before(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    (data_dir / "config.toml").write_text('[server]\nhost = "0.0.0.0"\n')
    (data_dir / "config.toml").chmod(0o600)
    with Gateway(data_dir, sandbox.url) as gateway:
        assert gateway.chat().status == 401
        (data_dir / "config.toml").write_text('[server]\nhost = "127.0.0.1"\n')
        wait_until(lambda: gateway.log("settings_changed"), "the change is seen")
        assert gateway.chat().status == 401, "it still listens on every address"


# -- other sites' pages ------------------------------------------------------------------------------------------------

FOREIGN = {
    "host": {"host": "evil.example"},
    "host with our port": {"host": "evil.example:8045"},
    "host that looks like an address": {"host": "127.0.0.1.evil.example"},
    "origin": {"origin": "https://evil.example"},
    "origin of the same name and another port": {"origin": "http://127.0.0.1:1"},
    "origin null": {"origin": "null"},
    "cross-site": {"sec-fetch-site": "cross-site"},
    "same-site": {"sec-fetch-site": "same-site"},
    "host and its own origin": {"host": "evil.example", "origin": "http://evil.example"},
}
FRIENDLY = {
    "localhost": {"host": "localhost"},
    "localhost with port": {"host": "localhost:8045"},
    "IPv6": {"host": "[::1]:8045"},
    "another address": {"host": "192.168.1.7:8045"},
    "a page of the gateway itself": {"host": "localhost:8045", "origin": "http://localhost:8045"},
    "same-origin": {"sec-fetch-site": "same-origin"},
    "typed by the user": {"sec-fetch-site": "none"},
    "allowed host": {"host": "Gateway.test:8045"},
    "allowed by pattern": {"host": "a.b.lan.test"},
    "allowed origin": {"origin": "https://App.example", "sec-fetch-site": "cross-site"},
}


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Open to all, with a host name and an origin of its own."""
    with SandboxProcess() as sandbox:
        data_dir = tmp_path_factory.mktemp("public") / "data"
        account_file(data_dir, "ann", sandbox.grant("ann@example.com"), fresh=True)
        with Gateway(
            data_dir,
            sandbox.url,
            SERVER__AUTH_MODE="off",
            SERVER__API_KEY=KEY,
            SERVER__ALLOWED_HOSTS='["gateway.test","*.Lan.test"]',
            SERVER__ALLOWED_ORIGINS='["https://app.example"]',
        ) as gateway:
            yield gateway


def ask_raw(gateway: Gateway, path: str, headers: dict[str, str]) -> Answer:
    with wire(gateway.url) as connection:
        if path == OPENAI_CHAT:
            connection.post(path, chat_body("hi"), headers)
        else:
            connection.get(path, headers)
        return Answer(*connection.answer())


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("path", [OPENAI_CHAT, "/v1/models", "/healthz", "/nope"])
def test_foreign_hosts_and_pages_are_refused_without_a_key(
    public: Gateway, path: str, headers: dict[str, str]
) -> None:
    answer = ask_raw(public, path, headers)
    assert answer.status == 403
    assert answer.json()["error"]["code"] == "origin_not_allowed"
    assert "access-control-allow-origin" not in answer.headers
    opened = ask_raw(public, path, {**headers, "authorization": f"Bearer {KEY}"})
    assert opened.status == (404 if path == "/nope" else 200)


@pytest.mark.parametrize("headers", FRIENDLY.values(), ids=FRIENDLY.keys())
def test_the_gateway_s_own_hosts_and_pages_are_welcome(public: Gateway, headers: dict[str, str]) -> None:
    assert ask_raw(public, OPENAI_CHAT, headers).status == 200


def test_a_page_of_an_allowed_origin_may_ask_first_and_read_the_answer(public: Gateway) -> None:
    origin = {"origin": "https://app.example", "access-control-request-method": "POST"}
    with wire(public.url) as connection:
        connection.get(
            OPENAI_CHAT, {**origin, "access-control-request-headers": "x-api-key"}, method="OPTIONS"
        )
        status, headers, _ = connection.answer()
        assert status == 204
        assert headers["access-control-allow-origin"] == "https://app.example"
        assert "POST" in headers["access-control-allow-methods"]
        assert "x-api-key" in headers["access-control-allow-headers"]
        connection.post(OPENAI_CHAT, chat_body("hi"), {"origin": "https://app.example"})
        status, headers, _ = connection.answer()
        assert status == 200
        assert headers["access-control-allow-origin"] == "https://app.example"
        assert headers["vary"] == "origin"


def test_a_page_of_another_origin_may_not_even_ask(public: Gateway) -> None:
    with wire(public.url) as connection:
        connection.get(OPENAI_CHAT, {"origin": "https://evil.example"}, method="OPTIONS")
        status, headers, _ = connection.answer()
    assert status == 403
    assert not [name for name in headers if name.startswith("access-control-")]
