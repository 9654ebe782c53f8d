"""A model that cannot serve is stood in for by the next one, in the same request; per client key; the answer keeps the name."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.harness import Answer, Gateway, Json, People, account_file, regrant, wait_until
from tests.acceptance.wire import gemini_body, gemini_path, model_calls, sse_data
from tests.sandbox_client import SandboxProcess

FIRST, SECOND, THIRD = "gemini-3.8-flash", "gemini-2.5-flash", "gemini-2.5-pro"
ALIASES = json.dumps({"fast": [FIRST, SECOND, THIRD], "only": FIRST})
CLAUDE = "claude-opus-4-8"


def openai(gateway: Gateway, name: str = "fast", *, stream: bool = False) -> Answer:
    return gateway.chat(model=name, stream=stream)


def anthropic(gateway: Gateway, name: str = "fast", *, stream: bool = False) -> Answer:
    messages = [{"role": "user", "content": "hi"}]
    body = {"model": name, "max_tokens": 50, "messages": messages, "stream": stream}
    return gateway.call("POST", "/v1/messages", body)


def gemini(gateway: Gateway, name: str = "fast", *, stream: bool = False) -> Answer:
    verb, query = ("streamGenerateContent", "alt=sse") if stream else ("generateContent", "")
    return gateway.call("POST", gemini_path(verb, name, query=query), gemini_body())


DIALECTS: dict[str, Callable[..., Answer]] = {"openai": openai, "anthropic": anthropic, "gemini": gemini}
SPEAKING = pytest.mark.parametrize("ask", DIALECTS.values(), ids=DIALECTS)


def named(answer: Answer) -> set[str]:
    """The names that the body calls the model, streamed or not."""
    streamed = answer.headers["content-type"].startswith("text/event-stream")
    pieces = [json.loads(data) for data in sse_data(answer.body) if data != b"[DONE]"]
    documents: list[Json] = pieces if streamed else [answer.json()]
    found = {piece.get("model") or piece.get("message", {}).get("model") for piece in documents}
    return {name for name in found if name}


def asked_for(sandbox: SandboxProcess) -> list[str]:
    """The models that Google was asked for, in order."""
    return [call["model"] for call in model_calls(sandbox)]


def recorded(gateway: Gateway, answer: Answer) -> Json:
    """What the traffic log tells of the request."""
    path = f"/api/traffic/{answer.headers['x-request-id']}"
    wait_until(lambda: gateway.admin("GET", path).status == 200, "the request in the traffic log")
    record: Json = gateway.admin("GET", path).json()
    return record


@pytest.fixture(scope="module")
def running(
    sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gateway, SandboxProcess]]:
    """A gateway with one account, for tests whose faults leave no cool-down behind."""
    data_dir = tmp_path_factory.mktemp("fallbacks") / "data"
    sandbox_process.reset()
    account_file(data_dir, "ann", sandbox_process.grant("ann@example.com"), fresh=True)
    with Gateway(data_dir, sandbox_process.url, MODELS__ALIASES=ALIASES, POOL__MAX_WAIT_S="0") as gateway:
        yield gateway, sandbox_process


@pytest.fixture
def stage(running: tuple[Gateway, SandboxProcess]) -> tuple[Gateway, SandboxProcess]:
    gateway, sandbox = running
    sandbox.unscript()
    sandbox.clear_journal()
    assert gateway.admin("POST", "/api/pool/clear", {"all": True}).status == 200
    return gateway, sandbox


@SPEAKING
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_next_model_serves_when_google_does_not_know_the_first(
    stage: tuple[Gateway, SandboxProcess], ask: Callable[..., Answer], *, stream: bool
) -> None:
    gateway, sandbox = stage
    sandbox.script("error", name="404_model", model=FIRST, times=None)
    answer = ask(gateway, stream=stream)
    assert answer.status == 200, answer.body
    assert answer.headers["x-regrant-model"] == SECOND
    assert answer.headers["x-regrant-attempts"] == "2"
    assert asked_for(sandbox) == [FIRST, SECOND]
    assert named(answer) == (set() if ask is gemini else {"fast"})


@SPEAKING
def test_a_mistake_of_the_client_is_not_tried_on_another_model(
    stage: tuple[Gateway, SandboxProcess], ask: Callable[..., Answer]
) -> None:
    gateway, sandbox = stage
    sandbox.script("error", name="400_invalid_argument", model=FIRST, times=None)
    answer = ask(gateway)
    assert answer.status == 400
    assert answer.headers["x-regrant-model"] == FIRST
    assert asked_for(sandbox) == [FIRST]


@SPEAKING
def test_a_stream_that_has_begun_is_not_begun_again_on_another_model(
    stage: tuple[Gateway, SandboxProcess], ask: Callable[..., Answer]
) -> None:
    gateway, sandbox = stage
    sandbox.script("cut", model=FIRST, after_chunks=1, times=None)
    answer = ask(gateway, stream=True)
    assert (answer.status, answer.headers["x-regrant-model"]) == (200, FIRST)
    assert asked_for(sandbox) == [FIRST]


def test_tokens_are_counted_by_the_model_that_stands_in(stage: tuple[Gateway, SandboxProcess]) -> None:
    gateway, sandbox = stage
    sandbox.script("error", name="404_model", model=FIRST, times=None)
    body = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}
    answer = gateway.call("POST", "/v1/messages/count_tokens", body)
    assert (answer.status, answer.headers["x-regrant-model"]) == (200, SECOND), answer.body
    inner = {"generateContentRequest": {"model": "models/fast", **gemini_body()}}
    answer = gateway.call("POST", gemini_path("countTokens", "fast"), inner)
    assert (answer.status, answer.headers["x-regrant-model"]) == (200, SECOND), answer.body
    sent = json.loads(model_calls(sandbox)[-1]["body"])
    assert sent["generateContentRequest"]["model"] == f"models/{SECOND}"


@pytest.mark.parametrize(
    ("fault", "calls"),
    [
        ("429_per_minute", [FIRST, SECOND]),
        ("429_per_day", [FIRST, SECOND]),
        ("503_overloaded", [FIRST, SECOND]),
        ("500", [FIRST, SECOND]),
    ],
)
def test_a_model_that_is_out_is_stood_in_for_at_once(
    stage: tuple[Gateway, SandboxProcess], fault: str, calls: list[str]
) -> None:
    gateway, sandbox = stage
    sandbox.script("error", name=fault, model=FIRST, times=None)
    answer = openai(gateway)
    assert (answer.status, answer.headers["x-regrant-model"]) == (200, SECOND), answer.body
    assert asked_for(sandbox) == calls


def test_while_every_account_cools_the_first_model_is_not_even_asked(
    stage: tuple[Gateway, SandboxProcess],
) -> None:
    gateway, sandbox = stage
    sandbox.script("error", name="429_per_minute", model=FIRST, retry_delay="50s")
    assert openai(gateway, "only").status == 429
    sandbox.clear_journal()
    for ask in DIALECTS.values():
        for stream in (False, True):
            answer = ask(gateway, stream=stream)
            assert (answer.status, answer.headers["x-regrant-model"]) == (200, SECOND), answer.body
    assert asked_for(sandbox) == [SECOND] * 6


def test_the_third_serves_when_the_second_is_out_too_and_the_log_tells_the_story(
    stage: tuple[Gateway, SandboxProcess],
) -> None:
    gateway, sandbox = stage
    sandbox.script("error", name="404_model", model=FIRST, times=None)
    sandbox.script("error", name="429_per_minute", model=SECOND, times=None)
    answer = openai(gateway)
    assert (answer.status, answer.headers["x-regrant-model"]) == (200, THIRD)
    record = recorded(gateway, answer)
    assert (record["model"], record["served_model"]) == ("fast", THIRD)
    told = [(one["model"], one["status"], one["fault"]) for one in record["attempts"]]
    assert told == [(FIRST, 404, "model_not_found"), (SECOND, 429, "rate_limited"), (THIRD, 200, "")]


def test_when_all_are_out_the_client_is_told_of_the_one_that_is_back_first(
    stage: tuple[Gateway, SandboxProcess],
) -> None:
    gateway, sandbox = stage
    for model, delay in ((FIRST, "3000s"), (SECOND, "900s"), (THIRD, "2000s")):
        sandbox.script("error", name="429_per_minute", model=model, retry_delay=delay)
    answer = openai(gateway)
    assert (answer.status, answer.headers["x-regrant-model"]) == (429, SECOND)
    assert 880 <= int(answer.headers["retry-after"]) <= 900
    assert asked_for(sandbox) == [FIRST, SECOND, THIRD]


def test_attempts_are_bounded_for_all_models_together(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    for name in ("ann", "bob", "cleo"):
        sandbox.person(f"{name}@example.com", projects=[name])
        account_file(data_dir, name, sandbox.grant(f"{name}@example.com"), fresh=True, project_id=name)
    with Gateway(data_dir, sandbox.url, MODELS__ALIASES=ALIASES, POOL__MAX_WAIT_S="0") as gateway:
        sandbox.script("error", name="429_per_minute", retry_delay="50s", times=None)
        assert openai(gateway).status == 429
        assert asked_for(sandbox) == [FIRST, FIRST, FIRST, SECOND]  # max_attempts = 4


def test_the_deadline_holds_for_all_models_together(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, MODELS__ALIASES=ALIASES, POOL__DEADLINE_S="2") as gateway:
        sandbox.script("error", name="404_model", delay=1.4, times=None)
        answer = openai(gateway)
        assert (answer.status, answer.headers["x-regrant-model"]) == (504, SECOND), answer.body
        assert asked_for(sandbox) == [FIRST, SECOND]


def test_nobody_waits_for_a_model_while_another_may_serve(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, MODELS__ALIASES=ALIASES, POOL__MAX_WAIT_S="30") as gateway:
        sandbox.script("error", name="429_per_minute", model=FIRST, retry_delay="10s")
        assert openai(gateway, "only").status == 429
        answer = openai(gateway)
        assert (answer.status, answer.headers["x-regrant-model"]) == (200, SECOND), answer.body


def test_a_model_at_its_reserve_is_stood_in_for(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    quota: Any = {
        "QUOTA__PROTECTION": "true",
        "QUOTA__LIMITS": json.dumps([{"model": FIRST, "requests_per_day": 1}]),
    }
    with Gateway(data_dir, sandbox.url, MODELS__ALIASES=ALIASES, **quota) as gateway:
        served = [openai(gateway).headers["x-regrant-model"] for _ in range(3)]
        assert served == [FIRST, SECOND, SECOND]
        assert asked_for(sandbox) == served


def test_the_one_that_is_back_first_is_waited_for_when_that_is_soon(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, MODELS__ALIASES=ALIASES, POOL__MAX_WAIT_S="20") as gateway:
        for model, delay in ((FIRST, "2s"), (SECOND, "500s"), (THIRD, "500s")):
            sandbox.script("error", name="429_per_minute", model=model, retry_delay=delay)
        began = time.monotonic()
        assert openai(gateway, "fast").status == 429  # each account is asked once for each model
        assert time.monotonic() - began < 15
        sandbox.clear_journal()
        answer = openai(gateway, "fast")
        assert (answer.status, answer.headers["x-regrant-model"]) == (200, FIRST), answer.body
        assert asked_for(sandbox) == [FIRST]


def test_fallbacks_by_google_s_name_hold_without_an_alias_and_follow_the_settings(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        sandbox.script("error", name="404_model", model=FIRST, times=None)
        assert openai(gateway, FIRST).status == 404
        changed = gateway.admin("PATCH", "/api/settings", {"models.fallbacks": {"gemini-3.8-*": [SECOND]}})
        assert changed.status == 200, changed.body
        answer = openai(gateway, FIRST)
        assert (answer.status, answer.headers["x-regrant-model"]) == (200, SECOND)
        assert named(answer) == {FIRST}


def test_each_key_has_its_own_names_and_models(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    rules: list[dict[str, Any]] = [
        {"key": "ci", "aliases": {"fast": SECOND}, "allowed": [SECOND]},
        {"key": "*", "aliases": {"fast": THIRD}},
    ]
    made = [regrant(data_dir, sandbox.url, "keys", "create", name, "--json") for name in ("ci", "desk")]
    ci, desk = ({"x-api-key": json.loads(one.stdout)["key"]} for one in made)
    settings: Any = {"MODELS__ALIASES": ALIASES, "MODELS__RULES": json.dumps(rules)}
    with Gateway(data_dir, sandbox.url, **settings) as gateway:

        def served(headers: dict[str, str], name: str = "fast") -> str | int:
            answer = gateway.chat(headers=headers, model=name)
            return answer.headers["x-regrant-model"] if answer.status == 200 else answer.status

        assert [served(ci), served(desk), served({})] == [SECOND, THIRD, FIRST]
        assert [served(ci, THIRD), served(desk, THIRD)] == [404, THIRD]
        barred = gateway.chat(headers=ci, model=THIRD).json()["error"]
        assert (barred["code"], "models.rules" in barred["message"]) == ("model_not_found", True)
        listed = {model["id"] for model in gateway.call("GET", "/v1/models", None, ci).json()["data"]}
        assert listed == {SECOND, "fast"}
        assert THIRD in {model["id"] for model in gateway.call("GET", "/v1/models").json()["data"]}


def test_a_gemini_model_stands_in_for_claude_where_no_account_has_it(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    account_file(
        data_dir,
        "ann",
        sandbox.grant("ann@example.com"),
        upstream="vertex",
        location="global",
        project_id="ann-project",
    )
    aliases = json.dumps({"best": [CLAUDE, FIRST]})
    with Gateway(data_dir, sandbox.url, MODELS__ALIASES=aliases) as gateway:
        for stream in (False, True):
            answer = anthropic(gateway, "best", stream=stream)
            assert (answer.status, answer.headers["x-regrant-model"]) == (200, CLAUDE), answer.body
            assert named(answer) == {"best"}
        sandbox.script("error", name="404_model", model=CLAUDE, times=None)
        answer = anthropic(gateway, "best")
        assert (answer.status, answer.headers["x-regrant-model"]) == (200, FIRST), answer.body
        assert named(answer) == {"best"}
        answer = openai(gateway, "best")
        assert (answer.status, answer.headers["x-regrant-model"]) == (200, FIRST), answer.body


def test_attempts_for_claude_count_for_those_who_stand_in(sandbox: SandboxProcess, data_dir: Path) -> None:
    for name in ("ann", "bob", "cleo"):
        account_file(
            data_dir,
            name,
            sandbox.grant(f"{name}@example.com"),
            upstream="vertex",
            project_id=f"{name}-project",
        )
    aliases = json.dumps({"best": [CLAUDE, FIRST]})
    with Gateway(data_dir, sandbox.url, MODELS__ALIASES=aliases, POOL__MAX_WAIT_S="0") as gateway:
        sandbox.script("error", name="429_vertex", times=None, model=CLAUDE)
        sandbox.script("error", name="429_vertex", times=None, model=FIRST)
        assert anthropic(gateway, "best").status == 429
        assert len([one for one in sandbox.journal() if "/publishers/" in one["path"]]) == 4  # max_attempts


def test_google_is_asked_for_its_models_once_while_it_lists_none(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    sandbox.script("raw", endpoint="models", json={"models": []}, times=None)
    with Gateway(data_dir, sandbox.url) as gateway:
        for _ in range(3):
            assert gateway.call("GET", "/v1/models").json()["data"] == []
        assert len(sandbox.journal(endpoint="models")) == 1


def test_a_list_that_was_known_holds_while_google_is_away(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        before = gateway.call("GET", "/v1/models").json()
        assert gateway.chat(model="gpt-5").status == 200
        sandbox.script("status", endpoint="models", status=500, times=None)
        sandbox.clear_journal()
        assert gateway.admin("POST", "/api/accounts/bob/pause", {}).status == 200
        assert gateway.chat(model="gpt-5").status == 200
        assert gateway.call("GET", "/v1/models").json() == before
        assert sandbox.journal(endpoint="models"), "the accounts have changed, so that Google is asked anew"
