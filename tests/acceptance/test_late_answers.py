"""A re-add while a refresh with the old token is in flight: the late answer, whichever it is, is about a grant that is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.acceptance.gate import Gate
from tests.acceptance.harness import (
    Answer,
    Gateway,
    Json,
    People,
    at_once,
    hand_edit,
    read_account,
    regrant,
    wait_until,
)
from tests.sandbox_client import SandboxProcess

ANN = "ann@example.com"


def by_api(gateway: Gateway, sandbox: SandboxProcess, refresh_token: str) -> None:
    answer = gateway.admin("POST", "/api/accounts", {"refresh_token": refresh_token})
    assert answer.status == 200, answer.body


def by_command(gateway: Gateway, sandbox: SandboxProcess, refresh_token: str) -> None:
    ended = regrant(
        gateway.data_dir, sandbox.url, "accounts", "add", "--refresh-token-file", "-", stdin=refresh_token
    )
    assert ended.returncode == 0, ended.stderr


def by_hand(gateway: Gateway, sandbox: SandboxProcess, refresh_token: str) -> None:
    hand_edit(gateway.data_dir, "ann", lambda document: document["token"].update(refresh_token=refresh_token))


Add = Callable[[Gateway, SandboxProcess, str], None]


@pytest.mark.parametrize("late", ["failure", "success", "rotated"])
@pytest.mark.parametrize("add", [by_api, by_command, by_hand], ids=["api", "command", "hand"])
def test_a_late_answer_about_the_old_grant_is_ignored_after_a_re_add(
    sandbox: SandboxProcess, data_dir: Path, people: People, late: str, add: Add
) -> None:
    old = people("ann")["ann"]
    if late == "failure":
        sandbox.revoke(refresh_token=old.refresh_token)
    if late == "rotated":
        sandbox.script("rotate", endpoint="token")
    with (
        Gate(sandbox.url) as gate,
        Gateway(data_dir, sandbox.url, GOOGLE__ENDPOINTS__TOKEN=gate.url) as gateway,
    ):

        def add_again() -> Json:
            gate.wait()
            new = sandbox.grant(ANN)
            add(gateway, sandbox, new.refresh_token)
            added = wait_until(lambda: taken_in(data_dir, new.refresh_token), "the new grant is taken in")
            assert gate.holds, "the answer about the old grant is still on its way"
            gate.open()
            return added

        answer, added = at_once([lambda: gateway.chat("patience"), add_again])
        assert isinstance(answer, Answer)
        assert isinstance(added, dict)
        assert answer.status == 200
        wait_until(lambda: read_account(data_dir, "ann").get("verified"), "the new grant is verified")
        assert gateway.served_by() == "ann"
        gateway.stop()
    document = read_account(data_dir, "ann")
    assert "disabled" not in document
    assert document["generation"] == 2
    assert document["token"]["refresh_token"] == added["refresh_token"]
    assert document["token"]["access_token"] == (added["access_token"] or document["token"]["access_token"])
    assert not gateway.log("account_disabled")
    # The request itself went out with the new grant's token: the old one's was never used.
    old_grant = sandbox.journal(endpoint="token")[0]["grant"]
    grants_used = {entry["grant"] for entry in sandbox.journal(endpoint="generate")}
    assert len(grants_used) == 1
    assert old_grant not in grants_used


def taken_in(data_dir: Path, refresh_token: str) -> Json:
    """The stored token once the gateway or the command has made it a new generation."""
    document = read_account(data_dir, "ann")
    token: Json = document["token"]
    return token if token["refresh_token"] == refresh_token and document.get("generation") == 2 else {}
