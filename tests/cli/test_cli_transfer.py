from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.cli.command_line import CommandLine, emails


def results(cli: CommandLine, document: Any, *options: str, code: int = 0) -> list[dict[str, Any]]:
    text = document if isinstance(document, str) else json.dumps(document)
    done = cli.run("accounts", "import", "-", "--json", *options, stdin=text, code=code)
    found: list[dict[str, Any]] = done.json["results"]
    return found


def stored(cli: CommandLine) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = cli.run("accounts", "list", "--json").json["items"]
    return items


def test_an_export_with_secrets_moves_accounts_to_another_folder(cli: CommandLine) -> None:
    cli.add("ann", "--label", "work", "--project", "ann-project")
    cli.add("bob")
    cli.run("accounts", "pause", "bob@example.com", "--reason", "holiday")
    file = cli.home / "export.json"
    cli.run("accounts", "export", str(file), "--with-secrets")
    assert os.stat(file).st_mode & 0o777 == 0o600

    there = CommandLine(cli.home / "there", cli.sandbox)
    there.home.mkdir()
    done = there.run("accounts", "import", str(file))
    assert done.out == "ann@example.com: created\nbob@example.com: created\n"
    ann, bob = there.account_file("ann"), there.account_file("bob")
    assert (ann["label"], ann["project_id"]) == ("work", "ann-project")
    assert bob["proxy_disabled_reason"] == "holiday"
    assert there.token_of("ann") == cli.token_of("ann")


def test_an_export_holds_no_secret_unless_asked_and_updates_those_that_are_known(cli: CommandLine) -> None:
    cli.add("ann", "--label", "work")
    done = cli.run("accounts", "export")
    assert cli.token_of("ann") not in done.out
    assert "refresh_token" not in done.out
    document = done.json
    document["accounts"][0]["label"] = "home"
    assert results(cli, document)[0]["outcome"] == "updated"
    assert results(cli, document)[0]["outcome"] == "unchanged"
    assert cli.account_file("ann")["label"] == "home"
    cli.run("accounts", "remove", "ann@example.com", "--yes")
    (refused,) = results(cli, document, code=1)
    assert "no refresh token" in refused["error"]


def test_a_list_of_emails_and_tokens_is_taken_and_every_line_is_reported(cli: CommandLine) -> None:
    cli.add("bob")
    lines = [
        {"email": "ann@example.com", "refresh_token": cli.sandbox.grant("ann@example.com").refresh_token},
        {"email": "bob@example.com", "refresh_token": cli.sandbox.grant("bob@example.com").refresh_token},
        {"email": "dead@example.com", "refresh_token": "refresh-dead-1"},
        {"email": "none@example.com", "refresh_token": ""},
        {"email": "odd@example.com"},
        "ann",
    ]
    done = cli.run("accounts", "import", "-", stdin=json.dumps(lines), code=1)
    assert done.out == "ann@example.com: created\nbob@example.com: updated\n"
    assert done.err.count("refused") == 4
    assert "invalid_grant" in done.err
    assert "refresh-dead-1" not in done.err
    assert emails(stored(cli)) == ["ann@example.com", "bob@example.com"]


def test_a_dry_run_asks_nobody_and_stores_nothing(cli: CommandLine) -> None:
    cli.add("bob")
    cli.sandbox.clear_journal()
    lines = [
        {"email": "ann@example.com", "refresh_token": "refresh-ann-1"},
        {"email": "bob@example.com", "refresh_token": "refresh-bob-1"},
    ]
    outcomes = [one["outcome"] for one in results(cli, lines, "--dry-run")]
    assert outcomes == ["would be created", "would be updated"]
    assert cli.sandbox.journal() == []
    assert emails(stored(cli)) == ["bob@example.com"]


def test_an_account_file_with_quota_protection_brings_models_held_back_and_no_pause(cli: CommandLine) -> None:
    grant = cli.sandbox.grant("ann@example.com")
    document = {
        "id": "5c0ffee0-0000-4000-8000-000000000000",
        "email": "ann@example.com",
        "label": "old",
        "token": {"refresh_token": grant.refresh_token},
        "proxy_disabled": True,
        "proxy_disabled_reason": "quota_protection",
    }
    assert results(cli, document)[0]["outcome"] == "created"
    file = cli.account_file("ann")
    assert file["protected_models"] == ["*"]
    assert "proxy_disabled" not in file
    assert file["label"] == "old"


def test_adc_is_imported_too_but_not_that_of_googles_own_tools(cli: CommandLine) -> None:
    grant = cli.sandbox.grant("ann@example.com")
    document = {
        "type": "authorized_user",
        "client_id": grant.client_id,
        "client_secret": grant.client_secret,
        "refresh_token": grant.refresh_token,
    }
    assert results(cli, document)[0]["outcome"] == "created"
    foreign = document | {"client_id": "764086051850-tool.apps.regrant.test"}
    assert "Google's own tools" in results(cli, foreign, code=1)[0]["error"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", "3", '{"regrant_export": 99, "accounts": []}', "\x00"]
)
def test_what_holds_no_accounts_is_refused_as_a_whole(cli: CommandLine, content: str) -> None:
    done = cli.run("accounts", "import", "-", stdin=content, code=1)
    assert done.err.startswith("regrant: ")


def test_an_export_that_cannot_be_written_says_where(cli: CommandLine, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "no" / "such" / "folder"):
        assert str(place) in cli.run("accounts", "export", str(place), code=1).err
