"""Whose turn it is, counted where the requests arrive: the sandbox's journal."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.harness import MODEL, Gateway, account_file, at_once, regrant, wait_until
from tests.acceptance.wire import asked, gemini_body, gemini_path
from tests.sandbox_client import SandboxProcess

OTHER_MODEL = "gemini-2.5-flash"


def accounts(sandbox: SandboxProcess, data_dir: Path, *names: str) -> None:
    """Accounts with a project each, so that one's limit is no other's."""
    for name in names:
        sandbox.person(f"{name}@example.com", projects=[f"project-{name}"])
        grant = sandbox.grant(f"{name}@example.com")
        account_file(data_dir, name, grant, fresh=True, project_id=f"project-{name}")


def limit(sandbox: SandboxProcess, name: str) -> None:
    """From now on Google refuses that account's project, and says that it will for an hour."""
    sandbox.script("error", name="429_per_minute", project=f"project-{name}", times=None, retry_delay="3600s")


def group(name: str, *members: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "accounts": [f"{member}@example.com" for member in members], **more}


def say(gateway: Gateway, count: int, **more: Any) -> None:
    for number in range(count):
        assert gateway.chat(f"conversation {number}", **more).status == 200


def test_least_loaded_spreads_requests_that_are_in_flight(sandbox: SandboxProcess, data_dir: Path) -> None:
    accounts(sandbox, data_dir, "ann", "bob", "cara")
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="least_loaded") as gateway:
        gateway.chat("so that the model is known")
        before = sandbox.last_seq()
        sandbox.script("slow", seconds=1.5, endpoint="generate", times=9)
        at_once([lambda: gateway.chat("the same")] * 9)
        assert Counter(asked(sandbox, before)) == {"ann": 3, "bob": 3, "cara": 3}


def test_fill_first_uses_one_account_until_it_cools(sandbox: SandboxProcess, data_dir: Path) -> None:
    accounts(sandbox, data_dir, "ann", "bob", "cara")
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="fill_first") as gateway:
        say(gateway, 5)
        assert set(asked(sandbox)) == {"ann"}
        limit(sandbox, "ann")
        before = sandbox.last_seq()
        say(gateway, 5)
        assert asked(sandbox, before) == ["ann", *["bob"] * 5]


def test_weighted_gives_accounts_their_shares(sandbox: SandboxProcess, data_dir: Path) -> None:
    accounts(sandbox, data_dir, "ann", "bob", "cara")
    groups = json.dumps([group("big", "ann", weight=4), group("small", "cara", weight=0.5)])
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="weighted", POOL__GROUPS=groups) as gateway:
        say(gateway, 44)
        calls = Counter(asked(sandbox))
        assert abs(calls["ann"] - 32) <= 3
        assert abs(calls["bob"] - 8) <= 3
        assert abs(calls["cara"] - 4) <= 3


def test_priority_leaves_lower_groups_alone_while_a_higher_one_is_free(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    accounts(sandbox, data_dir, "ann", "bob", "cara")
    groups = json.dumps([group("first", "bob", priority=2), group("last", "ann", priority=-1)])
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="priority", POOL__GROUPS=groups) as gateway:
        say(gateway, 4)
        limit(sandbox, "bob")
        say(gateway, 4)
        limit(sandbox, "cara")
        say(gateway, 4)
        calls = Counter(asked(sandbox))
        assert calls == {"bob": 5, "cara": 5, "ann": 4}


def test_a_changed_strategy_holds_from_the_next_request_on(sandbox: SandboxProcess, data_dir: Path) -> None:
    accounts(sandbox, data_dir, "ann", "bob", "cara")
    with Gateway(data_dir, sandbox.url) as gateway:
        say(gateway, 24)
        assert len(set(asked(sandbox))) == 3
        answer = gateway.admin("PATCH", "/api/settings", {"pool.strategy": "fill_first"})
        assert answer.status == 200, answer.body
        before = sandbox.last_seq()
        say(gateway, 6)
        assert set(asked(sandbox, before)) == {"ann"}


def key_named(data_dir: Path, sandbox: SandboxProcess, name: str) -> dict[str, str]:
    """The header of a new client key."""
    made = regrant(data_dir, sandbox.url, "keys", "create", name, "--json")
    assert made.returncode == 0, made.stderr
    return {"authorization": f"Bearer {json.loads(made.stdout)['key']}"}


def test_a_key_and_a_model_are_confined_to_their_groups(sandbox: SandboxProcess, data_dir: Path) -> None:
    accounts(sandbox, data_dir, "ann", "bob", "cara")
    laptop, batch = (key_named(data_dir, sandbox, name) for name in ("laptop", "batch"))
    rules = [
        {"key": "laptop", "group": "work"},
        {"model": OTHER_MODEL, "account": "cara@example.com"},
        {"key": "laptop", "model": OTHER_MODEL, "account": "bob", "fallback": True},
    ]
    groups = json.dumps([group("work", "ann", "bob")])

    def served(headers: dict[str, str], model: str = MODEL, count: int = 12) -> set[str]:
        before = sandbox.last_seq()
        for number in range(count):
            assert gateway.chat(f"number {number}", headers, model=model).status == 200
        return set(asked(sandbox, before))

    with Gateway(
        data_dir,
        sandbox.url,
        POOL__GROUPS=groups,
        POOL__CHOICES=json.dumps(rules),
        POOL__MAX_WAIT_S="0",
        SERVER__AUTH_MODE="strict",
    ) as gateway:
        assert served(laptop) == {"ann", "bob"}
        assert served(batch, count=24) == {"ann", "bob", "cara"}
        assert served(batch, OTHER_MODEL, 4) == {"cara"}
        assert served(laptop, OTHER_MODEL, 4) == {"bob"}

        for name in ("bob", "cara"):
            assert gateway.admin("POST", f"/api/accounts/{name}/pause", {}).status == 200
        assert served(laptop, OTHER_MODEL, 2) == {"ann"}, "the rule says that others may stand in"
        before = sandbox.last_seq()
        refused = gateway.chat("pinned", batch, model=OTHER_MODEL)
        assert refused.status == 503
        assert refused.json()["error"]["code"] == "no_accounts"
        assert asked(sandbox, before) == []
        assert served(batch, count=4) == {"ann"}


def test_a_rule_for_a_group_that_does_not_exist_is_refused_at_the_start(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    (data_dir / "config.toml").write_text('[[pool.choices]]\nkey = "k"\ngroup = "nobody"\n')
    checked = regrant(data_dir, sandbox.url, "config", "check")
    assert checked.returncode != 0
    assert "pool.choices[0].group" in checked.stdout + checked.stderr
    assert '"nobody"' in checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/v1/chat/completions",
            {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "prompt_cache_key": "c"},
        ),
        (
            "/v1/messages",
            {
                "model": MODEL,
                "max_tokens": 64,
                "messages": [{"role": "user", "content": "hi"}],
                "metadata": {"user_id": "u"},
            },
        ),
        (gemini_path("generateContent"), gemini_body()),
    ],
)
def test_a_conversation_stays_on_its_account_in_every_dialect(
    sandbox: SandboxProcess, data_dir: Path, path: str, body: dict[str, Any]
) -> None:
    accounts(sandbox, data_dir, "ann", "bob", "cara", "dora")
    with Gateway(data_dir, sandbox.url) as gateway:
        for _ in range(6):
            assert gateway.call("POST", path, body).status == 200
        assert len(set(asked(sandbox))) == 1


def test_subagents_of_one_session_are_spread(sandbox: SandboxProcess, data_dir: Path) -> None:
    accounts(sandbox, data_dir, "ann", "bob", "cara", "dora")
    with Gateway(data_dir, sandbox.url) as gateway:
        session = {"x-claude-code-session-id": "one"}
        for number in range(20):
            gateway.chat("the same", session | {"x-claude-code-agent-id": f"agent {number % 10}"})
        calls = asked(sandbox)
        assert calls[:10] == calls[10:], "each agent stays where it is"
        assert len(set(calls)) >= 3


def test_a_resumed_account_gets_its_share_by_and_by_and_its_first_request_at_once(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    accounts(sandbox, data_dir, "ann", "bob", "cara")
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin", POOL__SLOW_START_S="3000") as gateway:
        assert gateway.admin("POST", "/api/accounts/cara/pause", {}).status == 200
        say(gateway, 4)
        assert set(asked(sandbox)) == {"ann", "bob"}
        assert gateway.admin("POST", "/api/accounts/cara/resume", {}).status == 200
        wait_until(lambda: gateway.account("cara")["state"] == "active", "cara is back")
        before = sandbox.last_seq()
        say(gateway, 30)
        calls = asked(sandbox, before)
        assert calls.count("cara") == 1
        assert "cara" in calls[:3], "the first request proves that the account works"
        for name in ("ann", "bob"):
            assert gateway.admin("POST", f"/api/accounts/{name}/pause", {}).status == 200
        before = sandbox.last_seq()
        say(gateway, 5)
        assert asked(sandbox, before) == ["cara"] * 5, "nobody else is free"
