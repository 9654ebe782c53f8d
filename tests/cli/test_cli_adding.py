from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from tests.cli.command_line import CommandLine, finish, landing_of, read_line, visit
from tests.sandbox_client import CLIENT_ID, CLIENT_SECRET

OTHER_CLIENT = "200000000002-other.apps.regrant.test"


def client_file(folder: Path, client_id: str = OTHER_CLIENT, secret: str = "other-client-secret") -> Path:
    file = folder / "client_secret.json"
    file.write_text(json.dumps({"installed": {"client_id": client_id, "client_secret": secret}}))
    return file


def opened_address(line: str) -> str:
    assert line.startswith("Open: http")
    return line.removeprefix("Open: ")


# -- refresh tokens and access tokens ------------------------------------------------------------------------------


def test_a_refresh_token_file_makes_an_account_with_what_was_chosen(cli: CommandLine) -> None:
    file = cli.home / "token"
    file.write_text(cli.sandbox.grant("ann@example.com").refresh_token + "\n")
    options = (
        "--label",
        "work",
        "--project",
        "ann-project",
        "--upstream",
        "vertex",
        "--location",
        "europe-west1",
    )
    done = cli.run("accounts", "add", "--refresh-token-file", str(file), "--json", *options)
    assert done.json["outcome"] == "created"
    account = cli.account_file("ann")
    chosen = [account[key] for key in ("label", "project_id", "upstream", "location")]
    assert chosen == ["work", "ann-project", "vertex", "europe-west1"]
    assert os.stat(cli.data / "accounts" / f"{account['id']}.json").st_mode & 0o777 == 0o600


def test_a_dead_refresh_token_is_refused_and_nothing_is_stored(cli: CommandLine) -> None:
    done = cli.run("accounts", "add", "--refresh-token-file", "-", stdin="refresh-nobody-1", code=1)
    assert "invalid_grant" in done.err
    assert "refresh-nobody-1" not in done.err + done.out
    assert list((cli.data / "accounts").glob("*")) == []


def test_adding_a_dead_account_again_brings_it_back(cli: CommandLine) -> None:
    cli.add("ann", "--label", "work")
    cli.sandbox.revoke("ann@example.com")
    cli.run("accounts", "verify", "ann@example.com", code=1)
    grant = cli.sandbox.grant("ann@example.com")
    done = cli.run("accounts", "add", "--refresh-token-file", "-", stdin=grant.refresh_token)
    assert done.out.startswith("ann@example.com: recovered (active)")
    file = cli.account_file("ann")
    assert file["label"] == "work"
    assert "disabled" not in file
    assert file["generation"] == 2


def test_the_same_token_again_changes_nothing(cli: CommandLine) -> None:
    cli.add("ann")
    before = cli.account_file("ann")
    done = cli.run("accounts", "add", "--refresh-token-file", "-", "--json", stdin=cli.token_of("ann"))
    assert done.json["outcome"] == "unchanged"
    assert cli.account_file("ann") == before


def test_an_access_token_alone_is_taken_for_a_known_email_and_the_grant_is_asked_at_once(
    cli: CommandLine,
) -> None:
    cli.add("ann")
    access = cli.sandbox.grant("ann@example.com").access_token
    command = ("accounts", "add", "--access-token-file", "-", "--email", "ann@example.com")
    done = cli.run(*command, stdin=access)
    assert "unverified" in done.out
    assert "alive" in done.out
    assert cli.account_file("ann")["verified"] is True


def test_an_access_token_over_a_dead_grant_leaves_the_account_disabled(cli: CommandLine) -> None:
    cli.add("ann")
    cli.sandbox.revoke("ann@example.com")
    cli.run("accounts", "verify", "ann@example.com", code=1)
    access = cli.sandbox.grant("ann@example.com").access_token
    command = ("accounts", "add", "--access-token-file", "-", "--email", "ann@example.com", "--json")
    assert cli.run(*command, stdin=access).json["account"]["state"] == "disabled"
    assert cli.account_file("ann")["disabled"] is True


def test_an_access_token_of_an_unknown_account_is_not_enough(cli: CommandLine) -> None:
    access = cli.sandbox.grant("ann@example.com").access_token
    command = ("accounts", "add", "--access-token-file", "-")
    assert "refresh token" in cli.run(*command, "--email", "ann@example.com", stdin=access, code=1).err
    assert "--email" in cli.run(*command, stdin=access, code=2).err


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--oauth", "--refresh-token-file", "-"),
        ("--refresh-token-file", "-", "--paste"),
        ("--refresh-token-file", "-", "--adc"),
        ("--refresh-token-file", "-", "--location", "no such place"),
        ("--refresh-token-file", "-", "--project", "two words"),
        ("--refresh-token-file", "-", "--upstream", "elsewhere"),
    ],
)
def test_contradictions_are_mistakes_of_usage(cli: CommandLine, arguments: tuple[str, ...]) -> None:
    assert cli.run("accounts", "add", *arguments, stdin="refresh-ann-1", code=2).err


@pytest.mark.parametrize("content", ["", "two words", "\x00", "é", "{}\n{}", "a\nb"])
def test_what_is_no_token_is_refused_without_asking_google(cli: CommandLine, content: str) -> None:
    done = cli.run("accounts", "add", "--refresh-token-file", "-", stdin=content, code=1)
    assert "token" in done.err
    assert cli.sandbox.token_calls() == 0


def test_files_that_cannot_be_read_are_told_by_name(cli: CommandLine) -> None:
    missing = str(cli.home / "missing")
    for arguments in (
        ("--refresh-token-file", missing),
        ("--refresh-token-file", str(cli.home)),
        ("--adc", missing),
        ("--oauth", "--client-file", missing),
    ):
        assert arguments[-1] in cli.run("accounts", "add", *arguments, code=1).err


# -- Application Default Credentials and other clients -------------------------------------------------------------


def adc(cli: CommandLine, **changes: str) -> str:
    cli.sandbox.client(OTHER_CLIENT, "other-client-secret")
    grant = cli.sandbox.grant("ann@example.com", client_id=OTHER_CLIENT)
    document = {
        "type": "authorized_user",
        "client_id": OTHER_CLIENT,
        "client_secret": "other-client-secret",
        "refresh_token": grant.refresh_token,
        "quota_project_id": "ann-project",
    }
    return json.dumps(document | changes)


def test_adc_is_taken_from_its_usual_place_with_its_client(cli: CommandLine) -> None:
    place = cli.home / ".config" / "gcloud"
    place.mkdir(parents=True)
    (place / "application_default_credentials.json").write_text(adc(cli))
    cli.run("accounts", "add", "--adc")
    file = cli.account_file("ann")
    assert (file["client_id"], file["client_secret"]) == (OTHER_CLIENT, "other-client-secret")
    assert file["project_id"] == "ann-project"
    cli.run("accounts", "verify", "ann@example.com")


def test_adc_without_a_file_may_stand_before_other_options(cli: CommandLine) -> None:
    done = cli.run("accounts", "add", "--adc", "--label", "x", code=1)
    assert "application_default_credentials.json" in done.err


def test_adc_of_googles_own_tools_is_refused_with_the_way_out(cli: CommandLine) -> None:
    document = adc(cli, client_id="764086051850-tool.apps.regrant.test")
    done = cli.run("accounts", "add", "--adc", "-", stdin=document, code=1)
    assert "gcloud auth application-default login --client-id-file" in done.err
    assert cli.sandbox.token_calls() == 0


def test_the_secret_of_a_client_file_is_kept_so_that_later_refreshes_work(cli: CommandLine) -> None:
    cli.sandbox.client(OTHER_CLIENT, "other-client-secret")
    process = cli.start(
        "accounts", "add", "--oauth", "--no-browser", "--client-file", str(client_file(cli.home))
    )
    visit(opened_address(read_line(process)))
    assert finish(process).code == 0
    file = cli.account_file("ann")
    assert (file["client_id"], file["client_secret"]) == (OTHER_CLIENT, "other-client-secret")
    cli.run("accounts", "verify", "ann@example.com")


def test_the_secret_of_a_configured_client_stays_in_the_settings(cli: CommandLine) -> None:
    process = cli.start(
        "accounts",
        "add",
        "--oauth",
        "--no-browser",
        "--client-file",
        str(client_file(cli.home, CLIENT_ID, CLIENT_SECRET)),
    )
    visit(opened_address(read_line(process)))
    assert finish(process).code == 0
    assert "client_secret" not in cli.account_file("ann")


def test_a_web_client_is_refused_as_a_client_file(cli: CommandLine) -> None:
    file = cli.home / "web.json"
    file.write_text(json.dumps({"web": {"client_id": OTHER_CLIENT, "client_secret": "other-client-secret"}}))
    done = cli.run("accounts", "add", "--oauth", "--client-file", str(file), code=1)
    assert "Desktop" in done.err


# -- signing in ----------------------------------------------------------------------------------------------------


def test_a_sign_in_prints_one_address_and_makes_the_account(cli: CommandLine) -> None:
    process = cli.start("accounts", "add", "--oauth", "--no-browser", "--email", "bob@example.com", "--json")
    address = opened_address(read_line(process))
    assert "login_hint=bob%40example.com" in address
    assert "go back to the terminal" in visit(address)
    done = finish(process)
    assert done.code == 0
    assert done.json["outcome"] == "created"
    assert done.json["account"]["email"] == "bob@example.com"
    assert cli.account_file("bob")["token"]["consented_at"] > 0


def test_the_browser_is_opened_unless_it_is_not_wanted(cli: CommandLine) -> None:
    browser = cli.home / "browser"
    browser.write_text(
        f"#!{sys.executable}\nimport sys, urllib.request\nurllib.request.urlopen(sys.argv[1]).close()\n"
    )
    browser.chmod(0o700)
    done = cli.run("accounts", "add", "--oauth", "--wait", "30", BROWSER=f"{browser} %s")
    assert "ann@example.com: created" in done.out
    refused = cli.run(
        "accounts", "add", "--oauth", "--no-browser", "--wait", "1", code=1, BROWSER=f"{browser} %s"
    )
    assert "timed_out" in refused.err


def test_nobody_signing_in_ends_with_advice(cli: CommandLine) -> None:
    done = cli.run("accounts", "add", "--oauth", "--no-browser", "--wait", "0.3", code=1)
    assert "--paste" in done.err


def test_a_refused_consent_ends_the_wait_with_googles_reason(cli: CommandLine) -> None:
    cli.sandbox.next_sign_in(error="access_denied")
    process = cli.start("accounts", "add", "--oauth", "--no-browser")
    address = opened_address(read_line(process))
    with pytest.raises(OSError, match="400"):
        visit(address)
    done = finish(process)
    assert done.code == 1
    assert "access_denied" in done.err


def test_a_strangers_knock_does_not_end_the_wait(cli: CommandLine) -> None:
    process = cli.start("accounts", "add", "--oauth", "--no-browser")
    address = opened_address(read_line(process))
    landing = landing_of(address)
    with pytest.raises(OSError, match="400"):
        visit(landing.partition("?")[0] + "?state=forged&code=forged")
    visit(landing)
    assert finish(process).code == 0


def test_a_pasted_address_signs_in_and_a_wrong_one_may_be_mended(cli: CommandLine) -> None:
    process = cli.start("accounts", "add", "--oauth", "--paste")
    landing = landing_of(opened_address(read_line(process)))
    done = finish(process, f"http://127.0.0.1/?state=another&code=x\n\n{landing}\n")
    assert done.code == 0, done
    assert "ann@example.com: created" in done.out
    assert "another sign-in" in done.err


def test_nothing_pasted_ends_with_advice(cli: CommandLine) -> None:
    assert "paste" in cli.run("accounts", "add", "--oauth", "--paste", stdin="", code=1).err
    process = cli.start("accounts", "add", "--oauth", "--paste", "--wait", "0.3")
    opened_address(read_line(process))
    assert process.wait(30) == 1
    assert "in time" in finish(process).err


@pytest.mark.parametrize("way", ["--no-browser", "--paste"])
def test_an_interrupted_sign_in_ends_quietly(cli: CommandLine, way: str) -> None:
    process = cli.start("accounts", "add", "--oauth", way)
    opened_address(read_line(process))
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    done = finish(process)
    assert "regrant:" not in done.err


# -- signing in again ----------------------------------------------------------------------------------------------


def test_reauth_brings_the_account_back(cli: CommandLine) -> None:
    account = cli.add("bob", "--label", "work")
    cli.sandbox.revoke("bob@example.com")
    cli.run("accounts", "verify", "bob@example.com", code=1)
    process = cli.start("accounts", "reauth", "bob@example.com", "--no-browser", "--json")
    address = opened_address(read_line(process))
    assert "login_hint=bob%40example.com" in address
    visit(address)
    done = finish(process)
    assert done.json["outcome"] == "recovered"
    assert done.json["account"]["id"] == account["id"]
    assert cli.account_file("bob")["label"] == "work"


def test_reauth_with_another_google_account_is_refused_and_changes_nothing(cli: CommandLine) -> None:
    cli.add("bob")
    before = cli.account_file("bob")
    cli.sandbox.next_sign_in("cara@example.com", ignore_hint=True)
    process = cli.start("accounts", "reauth", "bob@example.com", "--no-browser")
    visit(opened_address(read_line(process)))
    done = finish(process)
    assert done.code == 1
    assert "cara@example.com" in done.err
    assert "bob@example.com" in done.err
    assert cli.account_file("bob") == before
    assert len(list((cli.data / "accounts").glob("*.json"))) == 1


def test_reauth_uses_the_client_that_the_account_came_with(cli: CommandLine) -> None:
    cli.run("accounts", "add", "--adc", "-", stdin=adc(cli))
    process = cli.start("accounts", "reauth", "ann@example.com", "--no-browser")
    address = opened_address(read_line(process))
    assert f"client_id={OTHER_CLIENT}" in address
    visit(address)
    assert finish(process).code == 0
    assert cli.account_file("ann")["client_secret"] == "other-client-secret"


def test_without_any_client_a_sign_in_says_how_to_get_one(cli: CommandLine) -> None:
    done = cli.run(
        "accounts",
        "add",
        "--oauth",
        code=1,
        REGRANT_GOOGLE__CLIENT_ID="",
        REGRANT_GOOGLE__CLIENT_SECRET="",
    )
    assert "--client-file" in done.err
    assert done.out == ""
