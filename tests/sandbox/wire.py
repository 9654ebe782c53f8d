"""Plain HTTP for the sandbox's tests: one request on one connection, and what came back, however it ended."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.sandbox_client import MintedGrant, SandboxControl

FLASH = "gemini-3.8-flash"
OLDER = "gemini-2.5-flash"


@dataclass(frozen=True)
class Got:
    """`cut` is true when the body ended before its framing said so."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json()["error"]["message"])

    @property
    def reason(self) -> str:
        return str(self.json()["error"]["details"][0]["reason"])

    def query(self) -> dict[str, str]:
        """The parameters of the place that a redirect leads to."""
        return {key: values[0] for key, values in parse_qs(urlsplit(self.headers["location"]).query).items()}


def call(
    sandbox: SandboxControl,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 20.0,
) -> Got:
    parts = urlsplit(sandbox.url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=timeout_s)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        try:
            received, cut = answer.read(), False
        except http.client.IncompleteRead as short:
            received, cut = short.partial, True
        return Got(answer.status, {k.lower(): v for k, v in answer.getheaders()}, received, cut)
    finally:
        connection.close()


def form(sandbox: SandboxControl, path: str, **values: str) -> Got:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return call(sandbox, "POST", path, urlencode(values).encode(), headers=headers)


def refresh(sandbox: SandboxControl, grant: MintedGrant, **changed: str) -> Got:
    values = {
        "grant_type": "refresh_token",
        "refresh_token": grant.refresh_token,
        "client_id": grant.client_id,
        "client_secret": grant.client_secret,
        **changed,
    }
    return form(sandbox, "/token", **{key: value for key, value in values.items() if value})


def api(
    sandbox: SandboxControl,
    path: str,
    body: Any,
    token: str,
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 20.0,
) -> Got:
    """A POST to a model: `path` as in `v1beta/models/...:generateContent`; a body of None is a GET."""
    sent = {"authorization": f"Bearer {token}", "content-type": "application/json", **(headers or {})}
    data = b"" if body is None else json.dumps(body).encode()
    return call(
        sandbox, "GET" if body is None else "POST", f"/{path}", data, headers=sent, timeout_s=timeout_s
    )


def generate(sandbox: SandboxControl, token: str, body: Any, *, model: str = FLASH, **options: Any) -> Got:
    return api(sandbox, f"v1beta/models/{model}:generateContent", body, token, **options)


def stream(sandbox: SandboxControl, token: str, body: Any, *, model: str = FLASH, **options: Any) -> Got:
    return api(sandbox, f"v1beta/models/{model}:streamGenerateContent?alt=sse", body, token, **options)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "parts": [{"text": text}]}


def asking(text: str, **more: Any) -> dict[str, Any]:
    return {"contents": [user(text)], **more}


def events(got: Got) -> list[Any]:
    """The JSON of each `data:` line."""
    return [json.loads(line[6:]) for line in got.body.split(b"\r\n\r\n") if line.startswith(b"data: ")]


def parts_of(body: Any) -> list[Any]:
    return list(body["candidates"][0]["content"].get("parts", []))


def texts(bodies: list[Any]) -> str:
    return "".join(part.get("text", "") for part in _all_parts(bodies) if not part.get("thought"))


def _all_parts(bodies: list[Any]) -> Iterator[Any]:
    for body in bodies:
        yield from parts_of(body)


def eventually(condition: Callable[[], bool], *, timeout_s: float = 5.0) -> bool:
    """Whether the condition comes true within that many seconds."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False
