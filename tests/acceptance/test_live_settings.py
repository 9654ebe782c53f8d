"""Changed settings, accounts and keys take effect in the running process, and in each of several."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.acceptance.harness import Gateway, People, account_file, regrant, wait_until
from tests.sandbox_client import SandboxProcess


def model_ids(gateway: Gateway) -> set[str]:
    return {model["id"] for model in gateway.call("GET", "/v1/models").json()["data"]}


def script_models(sandbox: SandboxProcess, project: str, *names: str) -> None:
    """What the accounts of that project see from now on."""
    body = {
        "models": [
            {"name": f"models/{name}", "supportedGenerationMethods": ["generateContent"]} for name in names
        ]
    }
    sandbox.script("raw", endpoint="models", project=project, times=None, json=body)


def test_the_models_on_offer_are_those_of_every_project(sandbox: SandboxProcess, data_dir: Path) -> None:
    for name in ("ann", "bob"):
        sandbox.person(f"{name}@example.com", projects=[f"{name}-project"])
        account_file(data_dir, name, sandbox.grant(f"{name}@example.com"), project_id=f"{name}-project")
        script_models(sandbox, f"{name}-project", "gemini-3.8-flash", f"gemini-for-{name}")
    with Gateway(data_dir, sandbox.url) as gateway:
        assert model_ids(gateway) == {"gemini-3.8-flash", "gemini-for-ann", "gemini-for-bob"}


def test_an_account_that_is_added_brings_its_models_at_once(sandbox: SandboxProcess, data_dir: Path) -> None:
    account_file(data_dir, "ann", sandbox.grant("ann@example.com"))
    script_models(sandbox, "bob-project", "gemini-for-bob")
    with Gateway(data_dir, sandbox.url) as gateway:
        assert "gemini-for-bob" not in model_ids(gateway)
        sandbox.person("bob@example.com", projects=["bob-project"])
        account_file(data_dir, "bob", sandbox.grant("bob@example.com"), project_id="bob-project")
        wait_until(lambda: "gemini-for-bob" in model_ids(gateway), "the new account's models")


def test_another_strategy_is_followed_without_a_restart(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        assert len({gateway.served_by("the same conversation") for _ in range(6)}) == 1
        assert regrant(data_dir, sandbox.url, "config", "set", "pool.strategy", "round_robin").returncode == 0
        wait_until(lambda: gateway.messages("settings_changed"), "the new settings")
        assert {gateway.served_by("the same conversation") for _ in range(6)} == {"ann", "bob"}


def test_a_proxy_that_is_set_while_running_is_used_from_then_on(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        assert (
            regrant(data_dir, sandbox.url, "config", "set", "network.proxy", "http://127.0.0.1:9").returncode
            == 0
        )
        wait_until(lambda: gateway.messages("settings_changed"), "the new settings")
        # This machine is never reached through a proxy, so the sandbox still answers on the new client.
        assert gateway.served_by("hello") == "ann"


def test_network_settings_that_cannot_be_used_do_not_end_the_following_of_settings_and_keys(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        config = data_dir / "config.toml"
        config.write_text('[network]\nca_file = "/nowhere/ca.pem"\n')
        wait_until(lambda: gateway.messages("settings_refused"), "the refusal")
        assert "the network settings stay as they were" in gateway.messages("settings_refused")[0]
        assert gateway.served_by("hello") in {"ann", "bob"}
        config.write_text('[pool]\nstrategy = "round_robin"\n')
        wait_until(lambda: len(gateway.messages("settings_changed")) == 2, "the settings after that")
        assert {gateway.served_by("the same conversation") for _ in range(6)} == {"ann", "bob"}


def test_several_workers_that_need_a_key_get_one_first_key(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, "--workers", "2", SERVER__AUTH_MODE="strict") as gateway:
        said = [line for line in gateway.stderr.splitlines() if "client key was made" in line]
        assert len(said) == 1, gateway.stderr
        key = said[0].rpartition(": ")[2]
        assert len(json.loads((data_dir / "keys.json").read_text())) == 1
        for number in range(8):
            answer = gateway.chat(os.urandom(4).hex(), {"x-api-key": key})
            assert answer.status == 200, (number, answer.body)
        assert gateway.chat("no key").status == 401
