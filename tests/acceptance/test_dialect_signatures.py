"""Thought signatures over real processes: clients that drop them, accounts that die, gateways that restart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.acceptance.harness import Gateway, Json, People, hand_edit, wait_until
from tests.acceptance.wire import gemini_path, model_calls, sha256
from tests.sandbox_client import SandboxProcess

ANN = "ann@example.com"
MODEL = "gemini-3.5-flash-lite"
STAND_IN = "skip_thought_signature_validator"
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("get_weather", "get_time")
]


@pytest.fixture(autouse=True)
def _bound_to_the_account(sandbox: SandboxProcess) -> Iterator[None]:
    """Google refuses a signature that another account minted."""
    sandbox.settings(signatures="account")
    yield
    sandbox.settings(signatures="model")


class Chat:
    """A conversation by the openai SDK that keeps of a tool call what most clients keep: id, name and arguments."""

    def __init__(self, gateway: Gateway, *, stream: bool) -> None:
        self._gateway = gateway
        self._stream = stream
        self.messages: list[Any] = []

    def say(self, text: str) -> str:
        self.messages.append({"role": "user", "content": text})
        return self._go_on()

    def answer(self, result: str) -> str:
        """Answer every tool call of the last message."""
        for call in self.messages[-1]["tool_calls"]:
            self.messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        return self._go_on()

    def move(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def _go_on(self) -> str:
        message: Any
        with openai.OpenAI(
            base_url=f"{self._gateway.url}/v1", api_key="unused", max_retries=0, timeout=30
        ) as client:
            if self._stream:
                with client.chat.completions.stream(
                    model=MODEL, messages=self.messages, tools=TOOLS
                ) as stream:
                    message = stream.get_final_completion().choices[0].message
            else:
                completion = client.chat.completions.create(model=MODEL, messages=self.messages, tools=TOOLS)
                message = completion.choices[0].message
        kept: Json = {"role": "assistant", "content": message.content}
        if message.tool_calls:
            kept["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.function.name, "arguments": call.function.arguments},
                }
                for call in message.tool_calls
            ]
        self.messages.append(kept)
        return message.content or ""


def signatures(entry: Json) -> list[str | None]:
    contents = json.loads(entry["body"])["contents"]
    parts = [part for content in contents for part in content["parts"]]
    return [part.get("thoughtSignature") for part in parts if "functionCall" in part]


def by(entry: Json) -> str:
    return str(entry["email"]).partition("@")[0]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_dropped_signature_goes_back_to_the_account_that_minted_it(
    sandbox: SandboxProcess, data_dir: Path, people: People, stream: bool
) -> None:
    people("ann", "bob")
    with Gateway(data_dir, sandbox.url) as gateway:
        chat = Chat(gateway, stream=stream)
        chat.say("call get_weather")
        assert "22 degrees" in chat.answer("22 degrees")
        first, second = model_calls(sandbox)
    assert by(first) == by(second)
    [signature] = signatures(second)
    assert signature not in {None, STAND_IN}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_account_that_dies_between_call_and_result_takes_no_conversation_with_it(
    sandbox: SandboxProcess, data_dir: Path, people: People, stream: bool
) -> None:
    people("ann", "bob")
    with Gateway(data_dir, sandbox.url) as gateway:
        chat = Chat(gateway, stream=stream)
        chat.say("call get_weather")
        [first] = model_calls(sandbox)
        sandbox.revoke(first["email"])
        assert "22 degrees" in chat.answer("22 degrees")
        *refused, served = model_calls(sandbox)[1:]
        assert {by(entry) for entry in refused} <= {by(first)}
        assert by(served) != by(first)
        assert signatures(served) == [STAND_IN]
        chat.say("call get_time")
        chat.answer("noon")
        last = model_calls(sandbox)[-1]
    assert by(last) == by(served)
    assert signatures(last)[0] is None, "an old step of a dead account needs no signature"
    assert signatures(last)[1] not in {None, STAND_IN}
    assert all(entry["status"] in {200, 401} for entry in model_calls(sandbox))


def test_a_restart_between_call_and_result_keeps_the_signature(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    with Gateway(data_dir, sandbox.url) as gateway:
        chat = Chat(gateway, stream=True)
        chat.say("call get_weather, call get_time")
    with Gateway(data_dir, sandbox.url) as gateway:
        chat.move(gateway)
        assert "fine" in chat.answer("fine")
        last = model_calls(sandbox)[-1]
    signed, follower = signatures(last)
    assert signed not in {None, STAND_IN}
    assert follower is None


def test_after_a_crash_and_a_death_together_the_conversation_still_goes_on(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob")
    with Gateway(data_dir, sandbox.url) as gateway:
        chat = Chat(gateway, stream=False)
        chat.say("call get_weather")
        gateway.kill()
        [first] = model_calls(sandbox)
        sandbox.revoke(first["email"])
        (data_dir / "state.sqlite3").unlink()
    with Gateway(data_dir, sandbox.url) as gateway:
        chat.move(gateway)
        assert "22 degrees" in chat.answer("22 degrees")
        assert signatures(model_calls(sandbox)[-1]) == [STAND_IN]


def test_a_refused_signature_is_forgotten_and_the_request_repeated_once_on_the_same_account(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    with Gateway(data_dir, sandbox.url) as gateway:
        chat = Chat(gateway, stream=False)
        chat.say("call get_weather")
        sandbox.script("error", name="400_thought_signature", endpoint="generate")
        assert "22 degrees" in chat.answer("22 degrees")
        _, refused, repeated = model_calls(sandbox)
        assert refused["status"] == 400
        assert signatures(refused)[0] not in {None, STAND_IN}
        assert signatures(repeated) == [STAND_IN]


def test_a_second_refusal_is_the_clients_to_know_and_costs_no_third_call(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob")
    with Gateway(data_dir, sandbox.url) as gateway:
        chat = Chat(gateway, stream=False)
        chat.say("call get_weather")
        sandbox.script("error", name="400_thought_signature", endpoint="generate", times=None)
        with pytest.raises(openai.BadRequestError, match="thought signature"):
            chat.answer("22 degrees")
        assert [entry["status"] for entry in model_calls(sandbox)] == [200, 400, 400]
        assert gateway.ready()["ready"]


def test_a_relayed_request_is_mended_only_after_google_refused_it(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob")
    declared = [{"functionDeclarations": [{"name": "get_weather"}]}]
    asked = {"role": "user", "parts": [{"text": "call get_weather"}]}
    path = gemini_path("generateContent", MODEL)
    with Gateway(data_dir, sandbox.url) as gateway:
        hand_edit(data_dir, "bob", lambda document: document.update(proxy_disabled=True))
        wait_until(lambda: "paused" in gateway.ready()["reasons"], "bob is paused")
        called = gateway.call("POST", path, {"contents": [asked], "tools": declared}).json()
        model_turn = called["candidates"][0]["content"]
        hand_edit(data_dir, "bob", lambda document: document.pop("proxy_disabled"))
        hand_edit(data_dir, "ann", lambda document: document.update(proxy_disabled=True))
        wait_until(lambda: gateway.account("bob")["state"] == "active", "bob is back")
        wait_until(lambda: gateway.account("ann")["state"] == "paused", "ann is paused")
        response = {"functionResponse": {"name": "get_weather", "response": {"output": "22 degrees"}}}
        if "id" in model_turn["parts"][0].get("functionCall", {}):
            response["functionResponse"]["id"] = model_turn["parts"][0]["functionCall"]["id"]
        contents = [asked, model_turn, {"role": "user", "parts": [response]}]
        body = json.dumps({"contents": contents, "tools": declared}, indent=1).encode()
        answer = gateway.call("POST", path, body)
        assert answer.status == 200, answer.body
        assert answer.headers["x-regrant-attempts"] == "2"
        _, refused, repeated = model_calls(sandbox)
    assert [by(refused), by(repeated)] == ["bob", "bob"]
    assert (refused["status"], refused["body_sha256"]) == (400, sha256(body))
    assert signatures(repeated) == [STAND_IN]
