"""Google's own client libraries against the sandbox: they must take it for Google."""

from __future__ import annotations

from typing import Any

import pytest
from google import genai
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import Request
from google.genai import errors, types
from google.oauth2.credentials import Credentials
from tests.sandbox.wire import FLASH
from tests.sandbox_client import MintedGrant, SandboxControl


def credentials(sandbox: SandboxControl, grant: MintedGrant) -> Any:
    return Credentials(  # type: ignore[no-untyped-call]
        token=None,
        refresh_token=grant.refresh_token,
        token_uri=f"{sandbox.url}/token",
        client_id=grant.client_id,
        client_secret=grant.client_secret,
    )


def test_google_auth_refreshes_and_tells_a_dead_grant(sandbox: SandboxControl, ann: MintedGrant) -> None:
    held = credentials(sandbox, ann)
    held.refresh(Request())
    assert held.token.startswith("sandbox-access-ann-")
    assert held.valid
    sandbox.revoke("ann@example.com")
    with pytest.raises(RefreshError) as dead:
        held.refresh(Request())
    assert "Token has been expired or revoked." in str(dead.value)
    assert not dead.value.retryable


@pytest.fixture
def client(sandbox: SandboxControl, ann: MintedGrant) -> genai.Client:
    return genai.Client(
        vertexai=True,
        project="ann-project",
        location="global",
        credentials=credentials(sandbox, ann),
        http_options=types.HttpOptions(base_url=sandbox.url, api_version="v1"),
    )


def test_genai_reads_answers_streams_and_calls(client: genai.Client) -> None:
    answer = client.models.generate_content(model=FLASH, contents="hi there")
    assert answer.text == "Hello from Ann's account. You said: hi there"
    assert answer.candidates is not None
    assert answer.candidates[0].finish_reason is types.FinishReason.STOP
    chunks = list(client.models.generate_content_stream(model=FLASH, contents="one two three"))
    assert "".join(chunk.text or "" for chunk in chunks).endswith("You said: one two three")
    function = types.FunctionDeclaration(name="f", parameters_json_schema={"type": "object"})
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[function])])
    called = client.models.generate_content(model=FLASH, contents="call f", config=config)
    assert called.function_calls is not None
    assert called.function_calls[0].name == "f"


def test_genai_reads_errors(sandbox: SandboxControl, client: genai.Client) -> None:
    sandbox.script("error", name="429_per_minute", endpoint="generate", times=None)
    with pytest.raises(errors.ClientError) as refused:
        client.models.generate_content(model=FLASH, contents="hi")
    assert (refused.value.code, refused.value.status) == (429, "RESOURCE_EXHAUSTED")
