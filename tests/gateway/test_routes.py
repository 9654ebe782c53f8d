"""Which route a request is for, and in whose words it is answered."""

from __future__ import annotations

import pytest

from regrant.gateway.routes import Action, Speech, find_route

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("method", "path", "action", "speech"),
    [
        ("POST", CHAT, Action.CHAT, Speech.OPENAI),
        ("POST", CHAT + "/", Action.CHAT, Speech.OPENAI),
        ("POST", "/v1" + CHAT, Action.CHAT, Speech.OPENAI),
        ("POST", "/v1beta/openai/chat/completions", Action.CHAT, Speech.OPENAI),
        ("GET", CHAT, Action.METHOD_NOT_ALLOWED, Speech.OPENAI),
        ("GET", "/v1beta/models", Action.MODELS, Speech.GEMINI),
        ("GET", "/v1beta/openai/models", Action.MODELS, Speech.OPENAI),
        ("GET", "/v1beta/openai/models/m", Action.MODEL, Speech.OPENAI),
        ("GET", "/v1/models", Action.MODELS, Speech.OPENAI),
        ("HEAD", "/v1/models", Action.MODELS, Speech.OPENAI),
        ("DELETE", "/v1/models", Action.METHOD_NOT_ALLOWED, Speech.OPENAI),
        ("GET", "/healthz", Action.HEALTH, Speech.OPENAI),
        ("HEAD", "/readyz", Action.READY, Speech.OPENAI),
        ("HEAD", "/", Action.NOTHING, Speech.ANTHROPIC),
        ("GET", "/", Action.NOT_FOUND, Speech.OPENAI),
        ("POST", "/api/event_logging/batch", Action.NOTHING, Speech.ANTHROPIC),
        ("POST", "/v1beta/models/m:dream", Action.NOT_FOUND, Speech.GEMINI),
        ("GET", "/v1beta/models/m:generateContent", Action.METHOD_NOT_ALLOWED, Speech.GEMINI),
        ("GET", "/v1beta/nothing", Action.NOT_FOUND, Speech.GEMINI),
    ],
)
def test_a_method_and_a_path_name_a_route(method: str, path: str, action: Action, speech: Speech) -> None:
    route = find_route(method, path, b"", {})
    assert (route.action, route.speech) == (action, speech)


@pytest.mark.parametrize("version", ["v1", "v1beta"])
@pytest.mark.parametrize("model", ["gemini-3.8-flash", "org/model:tag@latest", "tunedModels/a"])
def test_a_gemini_path_is_split_at_its_last_colon(version: str, model: str) -> None:
    route = find_route("POST", f"/{version}/models/{model}:streamGenerateContent", b"", {})
    assert (route.action, route.model, route.method) == (Action.GEMINI, model, "streamGenerateContent")


@pytest.mark.parametrize(
    ("query", "headers", "speech"),
    [
        (b"", {}, Speech.OPENAI),
        (b"", {b"anthropic-version": b"2023-06-01"}, Speech.ANTHROPIC),
        (b"limit=1000", {b"x-api-key": b"k"}, Speech.OPENAI),
        (b"key=k", {}, Speech.GEMINI),
        (b"a=b&key=k", {}, Speech.GEMINI),
        (b"monkey=k", {}, Speech.OPENAI),
        (b"pageSize=50", {}, Speech.GEMINI),
        (b"", {b"x-goog-api-key": b"k"}, Speech.GEMINI),
        (b"", {b"x-goog-api-client": b"sdk"}, Speech.GEMINI),
    ],
)
def test_the_shared_list_of_models_is_told_in_the_words_of_who_asks(
    query: bytes, headers: dict[bytes, bytes], speech: Speech
) -> None:
    assert find_route("GET", "/v1/models", query, headers).speech == speech
    assert find_route("GET", "/v1/models/m", query, headers).speech == speech
