"""Which model serves a name, and which models are on offer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.harness import MODEL, Gateway, People, account_file
from tests.acceptance.wire import asked, gemini_body, gemini_path, last_call
from tests.sandbox_client import SandboxProcess

ALIASES = {
    "fast": "gemini-2.5-flash",
    "claude-*": "gemini-2.5-pro",
    "claude-3-*": "gemini-3.1-pro-preview",
    "gpt-4o": "gemini-2.5-pro",
    "gemini-2.0-*": "gemini-2.5-flash",
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, SandboxProcess]]:
    with SandboxProcess() as sandbox:
        data_dir = tmp_path_factory.mktemp("models") / "data"
        account_file(data_dir, "ann", sandbox.grant("ann@example.com"), fresh=True)
        with Gateway(data_dir, sandbox.url, MODELS__ALIASES=json.dumps(ALIASES)) as gateway:
            yield gateway, sandbox


@pytest.mark.parametrize(
    ("name", "served"),
    [
        ("fast", "gemini-2.5-flash"),
        ("models/fast", "gemini-2.5-flash"),
        ("claude-3-opus", "gemini-3.1-pro-preview"),
        ("claude-sonnet-5", "gemini-2.5-pro"),
        ("claude-haiku-5", "gemini-2.5-pro"),
        ("gpt-4o", "gemini-2.5-pro"),
        ("gemini-2.0-flash", "gemini-2.5-flash"),
        (MODEL, MODEL),
        (f"models/{MODEL}", MODEL),
        ("gpt-5", "gemini-3.1-pro-preview"),
        ("GPT-5", "gemini-3.1-pro-preview"),
        ("o3", "gemini-3.1-pro-preview"),
        ("gpt-5-mini", "gemini-3.8-flash"),
        ("some-nano", "gemini-3.8-flash"),
        ("o4-mini", "gemini-3.8-flash"),
    ],
)
def test_a_name_leads_to_its_model_and_the_answer_echoes_the_name(
    stage: tuple[Gateway, SandboxProcess], name: str, served: str
) -> None:
    gateway, sandbox = stage
    answer = gateway.chat(model=name)
    assert answer.status == 200, answer.body
    assert answer.headers["x-regrant-model"] == served
    assert answer.json()["model"] == name
    assert last_call(sandbox)["model"] == served
    if "/" not in name:
        answer = gateway.call("POST", gemini_path("generateContent", name), gemini_body())
        assert (answer.status, answer.headers["x-regrant-model"]) == (200, served)


def test_without_presets_a_foreign_name_is_unknown_unless_there_is_a_default(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, MODELS__PRESETS="false") as gateway:
        assert gateway.chat(model="gpt-5").status == 404
        assert asked(sandbox) == []
    with Gateway(data_dir, sandbox.url, MODELS__PRESETS="false", MODELS__DEFAULT=MODEL) as gateway:
        answer = gateway.chat(model="gpt-5")
        assert (answer.status, answer.headers["x-regrant-model"]) == (200, MODEL)


def test_models_are_listed_in_three_shapes(stage: tuple[Gateway, SandboxProcess]) -> None:
    gateway, _ = stage
    openai = gateway.call("GET", "/v1/models").json()
    assert openai["object"] == "list"
    ids = {model["id"] for model in openai["data"]}
    assert {MODEL, "fast", "gpt-4o"} <= ids
    assert "claude-*" not in ids
    assert gateway.call("GET", "/v1beta/openai/models").json() == openai

    anthropic = gateway.call("GET", "/v1/models", None, {"anthropic-version": "2023-06-01"}).json()
    assert {model["type"] for model in anthropic["data"]} == {"model"}
    assert anthropic["has_more"] is False
    assert {model["id"] for model in anthropic["data"]} == ids

    google = gateway.call("GET", "/v1beta/models").json()
    assert {model["name"] for model in google["models"]} == {f"models/{name}" for name in ids}
    for path, headers in (
        ("/v1/models?key=any", {}),
        ("/v1/models?pageSize=50", {}),
        ("/v1/models", {"x-goog-api-key": "any"}),
        ("/v1/models", {"x-goog-api-client": "google-genai-sdk/3"}),
    ):
        assert gateway.call("GET", path, None, headers).json() == google


def test_one_model_is_shown_in_three_shapes(stage: tuple[Gateway, SandboxProcess]) -> None:
    gateway, _ = stage
    assert gateway.call("GET", f"/v1/models/{MODEL}").json()["object"] == "model"
    shown = gateway.call("GET", f"/v1/models/{MODEL}", None, {"anthropic-version": "2023-06-01"}).json()
    assert (shown["type"], shown["id"]) == ("model", MODEL)
    assert gateway.call("GET", f"/v1beta/models/{MODEL}").json()["name"] == f"models/{MODEL}"
    missing = gateway.call("GET", "/v1beta/models/nobody-knows")
    assert (missing.status, missing.json()["error"]["status"]) == (404, "NOT_FOUND")


def test_google_is_asked_for_its_models_once_however_many_want_to_know(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        for _ in range(3):
            assert gateway.chat(model="gpt-5").status == 200
            assert gateway.call("GET", "/v1/models").status == 200
        assert len(sandbox.journal(endpoint="models")) == 1
