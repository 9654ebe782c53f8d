"""Regrant and litellm before the sandbox, the pretend Google that keeps a journal: for what speed does not show.

The sandbox's own client is `tests/sandbox_client.py`; contestants before the fast upstream are in `stage.py`.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.stage import Contestant
from tests.sandbox_client import CLIENT_ID, CLIENT_SECRET, MintedGrant, SandboxProcess

from bench import stage

MODEL = "gemini-3.5-flash-lite"
LOCATION = "us-central1"
_conversations = itertools.count(1)
# As in its documentation of reliability: the recommended strategy, retries, and cool-downs.
ROUTER = {"routing_strategy": "simple-shuffle", "num_retries": 3, "allowed_fails": 3, "cooldown_time": 30}
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
    (data / "accounts").mkdir(parents=True, mode=0o700, exist_ok=True)
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


@contextlib.contextmanager
def litellm(folder: Path, google: SandboxProcess, grants: Sequence[MintedGrant]) -> Iterator[Contestant]:
    """litellm with a deployment per grant under one model name, set up for reliability as its documentation shows.

    It reads `authorized_user` credentials, and google-auth takes them to the token endpoint that it has built in, so those calls go
    through `tunnel.py`. Raises stage.NotRun when it is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ca, cert, key = stage.certificates(folder, "oauth2.googleapis.com")
    for grant in grants:
        write_credentials(folder, grant)
    deployments = [
        {
            "model_name": MODEL,
            "litellm_params": {
                "model": f"vertex_ai/{MODEL}",
                "api_base": google.url,
                "vertex_project": f"{name_of(grant)}-project",
                "vertex_location": LOCATION,
                "vertex_credentials": str(folder / f"{name_of(grant)}.json"),
            },
            "model_info": {"id": name_of(grant)},
        }
        for grant in grants
    ]
    config = {"model_list": deployments, "router_settings": ROUTER}
    tunnel = [sys.executable, str(stage.ROOT / "bench" / "tunnel.py"), "--to", google.url.rpartition(":")[2]]
    with stage.process([*tunnel, "--cert", str(cert), "--key", str(key)], ready=b"ready") as (_, line):
        environment = {
            "HTTPS_PROXY": f"http://127.0.0.1:{line.split()[1]}",
            "NO_PROXY": "127.0.0.1,localhost",
            "REQUESTS_CA_BUNDLE": str(ca),
        }
        with stage.litellm(folder, config, env=environment) as gateway:
            yield gateway


def write_credentials(folder: Path, grant: MintedGrant) -> None:
    """The credentials file of a grant, as `gcloud auth application-default login` writes it; over an existing one it is a new sign-in."""
    document = {
        "type": "authorized_user",
        "client_id": grant.client_id,
        "client_secret": grant.client_secret,
        "refresh_token": grant.refresh_token,
        "quota_project_id": f"{name_of(grant)}-project",
    }
    _replace(folder / f"{name_of(grant)}.json", document)


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
    """The status of one chat completion on a connection of its own: 200 only with the sandbox's text in it, 0 when there was no answer.

    Each is a conversation of its own, so that a gateway which keeps conversations with their account uses all accounts.
    """
    text = f"This is conversation {next(_conversations)}."
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": text}]})
    headers = dict(line.split(": ", 1) for line in gateway.headers) | {"content-type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=timeout_s)
    with contextlib.closing(connection):
        try:
            connection.request("POST", "/v1/chat/completions", body, headers)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException):
            return 0
        return 0 if answer.status == 200 and b"Hello from" not in said else answer.status
