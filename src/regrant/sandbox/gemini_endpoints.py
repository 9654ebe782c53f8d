"""The Gemini API and Gemini on Vertex: who calls, for which project, and what is answered.

Checking bodies is `strict.py` and `turns.py`; what the models say is `gemini.py`. Source: docs/sources.md, sections 3, 4 and 5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from regrant.sandbox import faults, gemini, strict, turns
from regrant.sandbox.faults import About
from regrant.sandbox.google import CLOUD_PLATFORM, GENERATIVE_LANGUAGE, Google, Grant
from regrant.sandbox.models import MODELS, Model
from regrant.sandbox.oauth_endpoints import bearer
from regrant.sandbox.routes import Target
from regrant.sandbox.script import Said
from regrant.sandbox.wire import Answer, Call, JsonObject, array_answer, json_answer, sse_answer

_SERVICES = {
    "gemini": "generativelanguage.googleapis.com",
    "quotas": "cloudquotas.googleapis.com",
    "usage": "monitoring.googleapis.com",
}
_ABOUT_PREFIX = "google.ai.generativelanguage.v1beta.GenerativeService."


class Denied(Exception):
    """A request that an API answers with an error."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose credentials came, and which project is charged. `grant` is None when the token is unknown."""

    grant: Grant | None
    token_alive: bool
    project: str
    about: About


@dataclass(frozen=True, slots=True)
class Question:
    """A call that has passed the door."""

    call: Call
    target: Target
    grant: Grant
    about: About
    response_id: str
    signed_for: str


def identify(google: Google, call: Call, target: Target, now: float) -> Caller:
    """Who is calling, without judging it."""
    token = google.tokens.get(bearer(call))
    grant = token.grant if token else None
    own = grant.client_id.partition("-")[0] if grant else ""
    project = target.project or call.header("x-goog-user-project") or own
    service = _SERVICES.get(target.endpoint) or _SERVICES.get(target.surface, "aiplatform.googleapis.com")
    method = _ABOUT_PREFIX + (target.method[:1].upper() + target.method[1:] or "ListModels")
    about = About(target.model, project, service, method)
    return Caller(grant, token is not None and token.alive(now), project, about)


def admit(call: Call, target: Target, caller: Caller) -> Grant:
    """Raises Denied unless the credentials, their scopes and the project are in order."""
    about = caller.about
    has_key = bool(call.header("x-goog-api-key") or call.query.get("key"))
    if has_key and call.header("authorization"):
        raise Denied(faults.overloaded_credentials(about))
    if has_key:
        raise Denied(faults.api_key_invalid(about))
    if not bearer(call):
        raise Denied(faults.unauthenticated("CREDENTIALS_MISSING", about))
    if caller.grant is None or not caller.token_alive:
        raise Denied(faults.unauthenticated("ACCESS_TOKEN_EXPIRED", about))
    if not _scope_suffices(caller.grant.scope, target):
        raise Denied(faults.scope_insufficient(about))
    _check_project(call, target, caller, caller.grant)
    return caller.grant


def _scope_suffices(scope: str, target: Target) -> bool:
    scopes = scope.split()
    if target.surface != "gemini":
        return CLOUD_PLATFORM in scopes
    return any(one.startswith(GENERATIVE_LANGUAGE) for one in scopes)


def _check_project(call: Call, target: Target, caller: Caller, grant: Grant) -> None:
    allowed = {*grant.person.projects, grant.client_id.partition("-")[0]}
    charged = call.header("x-goog-user-project")
    if charged and charged not in allowed:
        raise Denied(faults.user_project_denied(caller.about))
    if target.surface == "cloud" and target.project not in allowed:
        raise Denied(faults.named_error("403_permission", caller.about))
    if target.project and target.project not in allowed:
        publisher = "anthropic" if target.surface == "claude" else "google"
        resource = f"projects/{target.project}/locations/{target.location}/publishers/{publisher}/models/{target.model}"
        raise Denied(faults.predict_denied(resource))


def answer(question: Question, said: Said | None) -> Answer:
    """The answer to an admitted call; `said` is what a script makes the model say."""
    match question.target.endpoint:
        case "generate" | "stream":
            return _generate(question, said)
        case "count":
            return _count(question)
        case "embed":
            return _embed(question)
        case _:
            return _models(question)


def _model(question: Question, method: str) -> Model:
    model = MODELS.get(question.target.model)
    if model is None or method not in model.methods:
        raise Denied(faults.model_not_found(question.about, question.target.version, method))
    return model


def _body(question: Question) -> JsonObject:
    try:
        body = msgspec.json.decode(question.call.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        text = f"Invalid JSON payload received. Unexpected token.\n{error}"
        raise Denied(faults.field_violations([("", text)])) from error
    if not isinstance(body, dict):
        text = 'Invalid JSON payload received. Unknown name "": Root element must be a message.'
        raise Denied(faults.field_violations([("", text)]))
    return body


def _checked(question: Question, message: str) -> JsonObject:
    request, violations = strict.normalise(
        _body(question), message, vertex=question.target.surface == "vertex"
    )
    if violations:
        raise Denied(faults.field_violations(violations))
    return request


def _generate(question: Question, said: Said | None) -> Answer:
    model = _model(question, "generateContent")
    request = _checked(question, "GenerateContentRequest")
    if complaint := turns.complaint(
        request, model, question.signed_for, vertex=question.target.surface == "vertex"
    ):
        raise Denied(faults.api_error(400, complaint))
    speaker = gemini.Speaker(question.grant.person.first_name, question.signed_for, question.response_id)
    streamed = question.target.endpoint == "stream"
    if said is not None and (bodies := _scripted_bodies(said)):
        return _streamed(question, bodies) if streamed else json_answer(_merged(bodies))
    if said is not None:
        parts = said.parts if said.parts is not None else [{"text": said.text or ""}]
        reply = gemini.reply_of_parts(parts, said.finish_reason, request, model, speaker)
    else:
        reply = gemini.reply_to(request, model, speaker)
    if streamed:
        return _streamed(question, gemini.chunked(reply, question.signed_for))
    return json_answer(gemini.whole(reply))


def _streamed(question: Question, chunks: list[JsonObject]) -> Answer:
    return sse_answer(chunks) if question.call.query.get("alt") == "sse" else array_answer(chunks)


def _scripted_bodies(said: Said) -> list[JsonObject]:
    return said.chunks or ([said.response] if said.response is not None else [])


def _merged(bodies: list[JsonObject]) -> JsonObject:
    """Chunks as one body: the last one, with the parts of all."""
    if len(bodies) == 1:
        return bodies[0]
    parts = [
        part
        for body in bodies
        for candidate in body.get("candidates", [])[:1]
        for part in candidate.get("content", {}).get("parts", [])
    ]
    last = bodies[-1]
    candidate = {**(last.get("candidates") or [{}])[0], "content": {"role": "model", "parts": parts}}
    return {**last, "candidates": [candidate]}


def _count(question: Question) -> Answer:
    _model(question, "countTokens")
    vertex = question.target.surface == "vertex"
    request = _checked(question, "VertexCountTokensRequest" if vertex else "CountTokensRequest")
    inner: JsonObject = request.get("generateContentRequest", request)
    if inner is not request and "contents" in request:
        text = "contents and generate_content_request are mutually exclusive."
        raise Denied(faults.api_error(400, text))
    if not inner.get("contents"):
        raise Denied(faults.api_error(400, "* CountTokensRequest.contents: contents is not specified"))
    total = gemini.prompt_tokens(inner)
    body: JsonObject = {
        "totalTokens": total,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": total}],
    }
    if vertex:
        body["totalBillableCharacters"] = total * 4
    return json_answer(body)


def _embed(question: Question) -> Answer:
    _model(question, "embedContent")
    handlers: dict[str, Callable[[Question], Answer]] = {
        "embedContent": _embed_one,
        "batchEmbedContents": _embed_batch,
        "predict": _predict,
    }
    return handlers[question.target.method](question)


def _embed_one(question: Question) -> Answer:
    request = _checked(question, "EmbedContentRequest")
    return json_answer({"embedding": {"values": _values(request, "EmbedContentRequest")}})


def _embed_batch(question: Question) -> Answer:
    requests: list[JsonObject] = _checked(question, "BatchEmbedContentsRequest").get("requests", [])
    if not requests:
        raise Denied(faults.api_error(400, "* BatchEmbedContentsRequest.requests: requests is not specified"))
    found = []
    for index, request in enumerate(requests):
        where = f"BatchEmbedContentsRequest.requests[{index}]"
        if request.get("model") != f"models/{question.target.model}":
            raise Denied(faults.api_error(400, f"* {where}.model: must be models/{question.target.model}"))
        found.append({"values": _values(request, where)})
    return json_answer({"embeddings": found})


def _values(request: JsonObject, where: str) -> list[float]:
    parts = request.get("content", {}).get("parts", [])
    text = " ".join(part.get("text", "") for part in parts)
    if not text:
        raise Denied(faults.api_error(400, f"* {where}.content: contents is not specified"))
    return gemini.embedding(text, request.get("outputDimensionality"))


def _predict(question: Question) -> Answer:
    body = _body(question)
    size = body.get("parameters", {}).get("outputDimensionality")
    predictions: list[Any] = []
    for instance in body.get("instances", []):
        text = instance.get("content", "")
        statistics = {"token_count": gemini.tokens_in(text), "truncated": False}
        predictions.append({"embeddings": {"values": gemini.embedding(text, size), "statistics": statistics}})
    return json_answer({"predictions": predictions})


def _models(question: Question) -> Answer:
    target = question.target
    if target.surface == "vertex":
        listed = [{"name": f"publishers/google/models/{one}", "versionId": "001"} for one in MODELS]
        return json_answer({"publisherModels": listed})
    if target.model:
        if target.model not in MODELS:
            raise Denied(faults.model_not_found(question.about, target.version, "generateContent"))
        return json_answer(MODELS[target.model].listed())
    return _model_page(question.call.query)


def _model_page(query: dict[str, str]) -> Answer:
    try:
        size = min(int(query.get("pageSize", "50")), 1000) or 50
        start = int(query.get("pageToken", "0") or "0")
    except ValueError as error:
        raise Denied(faults.api_error(400, "Invalid page token or page size.")) from error
    listed = [model.listed() for model in MODELS.values()]
    body: JsonObject = {"models": listed[start : start + size]}
    if start + size < len(listed):
        body["nextPageToken"] = str(start + size)
    return json_answer(body)
