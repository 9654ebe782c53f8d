"""Which route a request is for, and in which dialect its errors are told.

Pure: a method, a path and a few headers in, a Route out. What each route does is `server.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import unquote

import msgspec


class Speech(StrEnum):
    """The dialect of a route's answers."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"


class Action(StrEnum):
    CHAT = "chat"
    MESSAGES = "messages"
    COUNT_TOKENS = "count_tokens"
    GEMINI = "gemini"
    MODELS = "models"
    MODEL = "model"
    HEALTH = "health"
    READY = "ready"
    METRICS = "metrics"
    NOTHING = "nothing"
    """Noise of clients that is answered with 200 and no content."""
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"


class Route(msgspec.Struct, frozen=True):
    action: Action
    speech: Speech
    model: str = ""
    method: str = ""
    """The Gemini method, e.g. `streamGenerateContent`."""


GEMINI_METHODS = frozenset(
    {"generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"}
)

_FIXED: Mapping[str, tuple[str, Route]] = {
    "/v1/chat/completions": ("POST", Route(Action.CHAT, Speech.OPENAI)),
    "/v1beta/openai/chat/completions": ("POST", Route(Action.CHAT, Speech.OPENAI)),
    "/v1/messages": ("POST", Route(Action.MESSAGES, Speech.ANTHROPIC)),
    "/v1/messages/count_tokens": ("POST", Route(Action.COUNT_TOKENS, Speech.ANTHROPIC)),
    "/v1beta/openai/models": ("GET", Route(Action.MODELS, Speech.OPENAI)),
    "/v1beta/models": ("GET", Route(Action.MODELS, Speech.GEMINI)),
    "/healthz": ("GET", Route(Action.HEALTH, Speech.OPENAI)),
    "/health": ("GET", Route(Action.HEALTH, Speech.OPENAI)),
    "/readyz": ("GET", Route(Action.READY, Speech.OPENAI)),
    "/metrics": ("GET", Route(Action.METRICS, Speech.OPENAI)),
}
_GEMINI = re.compile(r"/v1(?:beta)?/models/(.+):([A-Za-z]+)")
_NOTHING = Route(Action.NOTHING, Speech.ANTHROPIC)


def find_route(method: str, path: str, query: bytes, headers: Mapping[bytes, bytes]) -> Route:
    """The route of a request; header names in lower case. Tolerates `/v1/v1/…` and a final slash."""
    fixed = _FIXED.get(path)
    if fixed is not None:
        return _allowed(method, *fixed)
    path = _tidy(path)
    if path in _FIXED:
        return _allowed(method, *_FIXED[path])
    if found := _GEMINI.fullmatch(path):
        return _gemini(method, unquote(found[1]), found[2])
    if path == "/v1/models" or path.startswith(("/v1/models/", "/v1beta/models/", "/v1beta/openai/models/")):
        return _models(method, path, query, headers)
    if (method == "HEAD" and path in {"/", "/api/hello"}) or (
        method == "POST" and path.startswith("/api/event_logging")
    ):
        return _NOTHING
    return Route(Action.NOT_FOUND, speech_of(path, query, headers))


def _allowed(method: str, wanted: str, route: Route) -> Route:
    if method == wanted or (method == "HEAD" and wanted == "GET"):
        return route
    return Route(Action.METHOD_NOT_ALLOWED, route.speech)


def _gemini(method: str, model: str, verb: str) -> Route:
    if verb not in GEMINI_METHODS:
        return Route(Action.NOT_FOUND, Speech.GEMINI, model, verb)
    if method != "POST":
        return Route(Action.METHOD_NOT_ALLOWED, Speech.GEMINI)
    return Route(Action.GEMINI, Speech.GEMINI, model, verb)


def _models(method: str, path: str, query: bytes, headers: Mapping[bytes, bytes]) -> Route:
    speech = speech_of(path, query, headers)
    if method not in {"GET", "HEAD"}:
        return Route(Action.METHOD_NOT_ALLOWED, speech)
    _, _, model = path.partition("/models/")
    return Route(Action.MODEL, speech, unquote(model)) if model else Route(Action.MODELS, speech)


def speech_of(path: str, query: bytes, headers: Mapping[bytes, bytes]) -> Speech:
    """Whose words an answer on this path is told in; `/v1/models` is shared by three. Source: docs/sources.md, section 6."""
    if path.startswith("/v1beta/openai/"):
        return Speech.OPENAI
    if path.startswith("/v1beta/") or _GEMINI.fullmatch(path):
        return Speech.GEMINI
    if path.startswith("/v1/messages") or b"anthropic-version" in headers:
        return Speech.ANTHROPIC
    shared = path == "/v1/models" or path.startswith("/v1/models/")
    gemini_marks = b"x-goog-api-key" in headers or b"x-goog-api-client" in headers
    if shared and (gemini_marks or re.search(rb"(?:^|&)(?:key|pageSize)=", query)):
        return Speech.GEMINI
    return Speech.OPENAI


def _tidy(path: str) -> str:
    path = path.rstrip("/") or "/"
    return path[3:] if path.startswith("/v1/v1/") else path
