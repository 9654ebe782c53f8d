"""From method and path to what is asked for: endpoint, model, project.

Answers are made by `oauth_endpoints.py`, `gemini_endpoints.py` and `claude.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FIXED = {
    ("GET", "/o/oauth2/v2/auth"): "authorize",
    ("POST", "/token"): "token",
    ("POST", "/revoke"): "revoke",
    ("GET", "/v1/userinfo"): "userinfo",
    ("GET", "/oauth2/v2/userinfo"): "userinfo",
    ("GET", "/oauth2/v3/userinfo"): "userinfo",
}
_METHODS = {
    "generateContent": "generate",
    "streamGenerateContent": "stream",
    "countTokens": "count",
    "embedContent": "embed",
    "batchEmbedContents": "embed",
    "predict": "embed",
    "rawPredict": "generate",
    "streamRawPredict": "stream",
}
_GEMINI = re.compile(r"/(?P<version>v1beta|v1)/models(?:/(?P<model>[^/:]+)(?::(?P<method>\w+))?)?$")
_VERTEX = re.compile(
    r"/(?P<version>v1beta1|v1)/projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)"
    r"/publishers/(?P<publisher>[^/]+)/models/(?P<model>[^/:]+):(?P<method>\w+)$"
)
_PUBLISHER_LIST = re.compile(r"/(?P<version>v1beta1|v1)/publishers/(?P<publisher>google)/models$")
_QUOTAS = re.compile(
    r"/v1/projects/(?P<project>[^/]+)/locations/global/services/generativelanguage\.googleapis\.com/quotaInfos$"
)
_USAGE = re.compile(r"/v3/projects/(?P<project>[^/]+)/timeSeries$")
ENDPOINTS = (
    *("authorize", "token", "revoke", "userinfo"),
    *("generate", "stream", "count", "embed", "models"),
    *("quotas", "usage"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """`endpoint` is one of ENDPOINTS or "unknown"; `surface` is oauth, gemini, vertex, claude or cloud."""

    endpoint: str
    surface: str = "oauth"
    version: str = ""
    method: str = ""
    model: str = ""
    project: str = ""
    location: str = ""


def target_of(method: str, path: str) -> Target:
    if endpoint := _FIXED.get((method, path)):
        return Target(endpoint)
    if found := _GEMINI.match(path):
        return _gemini_target(method, found)
    if (found := _VERTEX.match(path)) and method == "POST":
        return _vertex_target(found)
    if (found := _PUBLISHER_LIST.match(path)) and method == "GET":
        return Target("models", "vertex", found["version"], "publisherModels")
    for endpoint, pattern in (("quotas", _QUOTAS), ("usage", _USAGE)):
        if (found := pattern.match(path)) and method == "GET":
            return Target(endpoint, "cloud", project=found["project"])
    return Target("unknown")


def _gemini_target(method: str, found: re.Match[str]) -> Target:
    called = found["method"] or ""
    model = found["model"] or ""
    if method == "GET" and not called:
        return Target("models", "gemini", found["version"], "", model)
    known = called in _METHODS and not called.endswith(("rawPredict", "RawPredict", "predict"))
    endpoint = _METHODS[called] if method == "POST" and known else "unknown"
    return Target(endpoint, "gemini", found["version"], called, model)


def _vertex_target(found: re.Match[str]) -> Target:
    surface = "claude" if found["publisher"] == "anthropic" else "vertex"
    raw = found["method"].endswith(("rawPredict", "RawPredict"))
    known = found["method"] in _METHODS and raw == (surface == "claude")
    endpoint = _METHODS[found["method"]] if known else "unknown"
    if surface == "claude" and found["model"] == "count-tokens":
        endpoint = "count"
    return Target(
        endpoint,
        surface,
        found["version"],
        found["method"],
        found["model"],
        found["project"],
        found["location"],
    )
