"""Regrant and litellm before the sandbox, the pretend Google that keeps a journal: for what speed does not show.

The sandbox's own client is `tests/sandbox_client.py`; contestants before the fast upstream are in `stage.py`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import stage
from bench.stage import Contestant
from tests.sandbox_client import CLIENT_ID, CLIENT_SECRET, MintedGrant, SandboxProcess

MODEL = "gemini-3.5-flash-lite"
LOCATION = "us-central1"
PATHS = {"AUTHORIZE": "/o/oauth2/v2/auth", "TOKEN": "/token", "REVOKE": "/revoke", "USERINFO": "/v1/userinfo"}


@contextlib.contextmanager
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as process:
        yield process


def name_of(grant: MintedGrant) -> str:
    return grant.email.partition("@")[0]


@contextlib.contextmanager
def regrant(folder: Path, google: SandboxProcess, grants: Sequence[MintedGrant]) -> Iterator[Contestant]:
    """The shipped command with default settings and an account per grant, on Vertex; no access token is known yet."""
    data = folder / "data"
    (data / "accounts").mkdir(parents=True, mode=0o700)
    data.chmod(0o700)
    for grant in grants:
        write_account(data, grant)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REGRANT_")}
    endpoints = {
        f"REGRANT_GOOGLE__ENDPOINTS__{name}": google.url + PATHS.get(name, "") for name in stage.ENDPOINTS
    }
    settings = {
        "REGRANT_GOOGLE__CLIENT_ID": CLIENT_ID,
        "REGRANT_GOOGLE__CLIENT_SECRET": CLIENT_SECRET,
        "REGRANT_SERVER__AUTH_MODE": "all_except_health",
        "REGRANT_SERVER__API_KEY": stage.KEY,
    }
    with stage.serve(data, {**kept, **endpoints, **settings}) as gateway:
        yield gateway


def write_account(data: Path, grant: MintedGrant) -> None:
    """A minimal account file, put in place in one step; over an existing one it is a sign-in with a new grant."""
    document = {
        "id": name_of(grant),
        "email": grant.email,
        "sub": grant.sub,
        "client_id": grant.client_id,
        "project_id": f"{name_of(grant)}-project",
        "upstream": "vertex",
        "location": LOCATION,
        "token": {"refresh_token": grant.refresh_token},
    }
    path = data / "accounts" / f"{name_of(grant)}.json"
    _replace(path, document)


def _replace(path: Path, document: dict[str, Any]) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(json.dumps(document))
    fresh.chmod(0o600)
    fresh.replace(path)


def chat(gateway: Contestant, *, timeout_s: float = 120.0) -> int:
    """The status of one chat completion on a connection of its own; 200 only with the text of the sandbox in it."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    headers = dict(line.split(": ", 1) for line in gateway.headers)
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=timeout_s)
    with contextlib.closing(connection):
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), headers | {"content-type": "application/json"}
        )
        answer = connection.getresponse()
        text = answer.read()
        if answer.status == 200 and b"Hello from" not in text:
            return 0
        return answer.status
