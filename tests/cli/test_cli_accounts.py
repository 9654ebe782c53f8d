from __future__ import annotations

from tests.cli.command_line import CommandLine, emails


def test_an_empty_folder_lists_nothing_and_says_how_to_begin(cli: CommandLine) -> None:
    done = cli.run("accounts", "list")
    assert done.out == ""
    assert "regrant accounts add --oauth" in done.err
    assert cli.run("accounts", "list", "--json").json == {"items": [], "next": None}


def test_listed_accounts_have_the_fields_of_the_api_and_no_secret(cli: CommandLine) -> None:
    cli.add("ann")
    done = cli.run("accounts", "list", "--json")
    (account,) = done.json["items"]
    expected = {"id", "email", "state", "since", "cause", "advice", "expires_hint", "freshness", "persisted"}
    assert expected | {"token_expires_at", "cooldowns", "history", "revision"} <= account.keys()
    assert not {"token", "client_secret"} & account.keys()
    assert cli.token_of("ann") not in done.out
    assert account["state"] == "active"


def test_a_table_in_a_pipe_is_plain_and_never_cuts_an_email(cli: CommandLine) -> None:
    name = "a-very-long-local-part-that-no-eighty-columns-can-hold-beside-the-other-columns-of-the-table"
    cli.add(name, "--label", "left\x1b[31mright")
    done = cli.run("accounts", "list", COLUMNS="40", TERM="xterm-256color", FORCE_COLOR="1")
    heading, row = done.out.splitlines()
    assert heading.startswith("E-MAIL")
    assert row.startswith(f"{name}@example.com  active")
    assert "\x1b" not in done.out
    assert "left" in row


def test_an_account_is_shown_by_email_in_any_case_or_by_id(cli: CommandLine) -> None:
    account = cli.add("ann", "--label", "work")
    by_email = cli.run("accounts", "show", "ANN@example.com", "--json").json
    assert by_email == cli.run("accounts", "show", account["id"], "--json").json
    page = cli.run("accounts", "show", "ann@example.com").out
    assert "work" in page
    assert "active" in page


def test_an_unknown_account_is_told_with_those_that_there_are(cli: CommandLine) -> None:
    cli.add("ann")
    for command in ("show", "verify", "pause", "resume", "remove", "reauth"):
        done = cli.run("accounts", command, "nobody@example.com", code=1)
        assert "nobody@example.com" in done.err
        assert "ann@example.com" in done.err
        assert done.out == ""


def test_verify_says_alive_dead_and_recovered(cli: CommandLine) -> None:
    cli.add("ann")
    assert cli.run("accounts", "verify", "ann@example.com").out == "ann@example.com: alive\n"
    cli.sandbox.revoke("ann@example.com")
    dead = cli.run("accounts", "verify", "ann@example.com", "--json", code=1).json
    assert dead["outcome"] == "dead"
    assert dead["account"]["state"] == "disabled"
    assert dead["account"]["cause"] == "revoked"
    file = cli.account_file("ann")
    assert file["disabled"] is True
    assert file["disabled_reason"].startswith("invalid_grant: ")
    shown = cli.run("accounts", "verify", "ann@example.com", code=1)
    assert "regrant accounts reauth ann@example.com" in shown.out


def test_verify_brings_back_an_account_whose_grant_is_alive_after_all(cli: CommandLine) -> None:
    cli.add("ann")
    cli.sandbox.script("error", name="invalid_grant", endpoint="token", email="ann@example.com")
    cli.run("accounts", "verify", "ann@example.com", code=1)
    assert cli.account_file("ann")["disabled"] is True
    assert cli.run("accounts", "verify", "ann@example.com").out == "ann@example.com: recovered\n"
    assert "disabled" not in cli.account_file("ann")


def test_verify_without_an_answer_is_unknown_and_disables_nobody(cli: CommandLine) -> None:
    cli.add("ann")
    cli.sandbox.script("status", status=503, endpoint="token", times=None)
    done = cli.run("accounts", "verify", "ann@example.com", "--json", code=1)
    assert done.json["outcome"] == "unknown"
    assert "disabled" not in cli.account_file("ann")


def test_verify_of_all_reports_each_and_asks_each_once(cli: CommandLine) -> None:
    for name in ("ann", "bob", "cara"):
        cli.add(name)
    cli.sandbox.revoke("bob@example.com")
    cli.sandbox.clear_journal()
    results = cli.run("accounts", "verify", "--all", "--json", code=1).json["results"]
    assert sorted(one["outcome"] for one in results) == ["alive", "alive", "dead"]
    assert all({"id", "ok", "outcome"} == one.keys() for one in results)
    assert cli.sandbox.token_calls() == 3


def test_pause_and_resume_change_the_file_and_keep_the_reason(cli: CommandLine) -> None:
    cli.add("ann")
    paused = cli.run("accounts", "pause", "ann@example.com", "--reason", "holiday", "--json").json["account"]
    assert paused["state"] == "paused"
    assert cli.account_file("ann")["proxy_disabled_reason"] == "holiday"
    assert cli.run("accounts", "resume", "ann@example.com").out == "ann@example.com: resumed\n"
    assert "proxy_disabled" not in cli.account_file("ann")


def test_several_accounts_are_handled_and_one_unknown_among_them_changes_none(cli: CommandLine) -> None:
    cli.add("ann")
    cli.add("bob")
    cli.run("accounts", "pause", "ann@example.com", "nobody", code=1)
    assert "proxy_disabled" not in cli.account_file("ann")
    results = cli.run("accounts", "pause", "ann@example.com", "bob@example.com", "--json").json["results"]
    assert [one["ok"] for one in results] == [True, True]
    states = [one["state"] for one in cli.run("accounts", "list", "--json").json["items"]]
    assert states == ["paused", "paused"]


def test_neither_names_nor_all_is_a_mistake_of_usage(cli: CommandLine) -> None:
    cli.add("ann")
    for command in ("verify", "pause", "resume"):
        assert "--all" in cli.run("accounts", command, code=2).err
        cli.run("accounts", command, "ann@example.com", "--all", code=2)
    cli.run("accounts", "remove", code=2)


def test_remove_deletes_here_and_leaves_the_grant_alive(cli: CommandLine) -> None:
    cli.add("ann")
    token = cli.token_of("ann")
    cli.run("accounts", "remove", "ann@example.com", "--yes")
    assert list((cli.data / "accounts").glob("*.json")) == []
    cli.run("accounts", "add", "--refresh-token-file", "-", stdin=token)


def test_remove_with_revoke_ends_the_grant_and_says_what_that_means(cli: CommandLine) -> None:
    cli.add("ann")
    token = cli.token_of("ann")
    done = cli.run("accounts", "remove", "ann@example.com", "--revoke", "--yes")
    assert "every grant" in done.err
    assert "invalid_grant" in cli.run("accounts", "add", "--refresh-token-file", "-", stdin=token, code=1).err


def test_an_account_that_cannot_be_revoked_is_kept(cli: CommandLine) -> None:
    cli.add("ann")
    cli.sandbox.script("status", status=503, endpoint="revoke")
    assert "not removed" in cli.run("accounts", "remove", "ann@example.com", "--revoke", "--yes", code=1).err
    assert cli.account_file("ann")["email"] == "ann@example.com"


def test_a_corrupt_file_is_listed_shown_and_never_deleted(cli: CommandLine) -> None:
    cli.add("ann")
    broken = cli.data / "accounts" / "broken.json"
    broken.write_text("{")
    items = cli.run("accounts", "list", "--json").json["items"]
    assert sorted(one["state"] for one in items) == ["active", "corrupt"]
    listed = cli.run("accounts", "list")
    assert "broken" in listed.out
    assert str(broken) in listed.err
    assert cli.run("accounts", "show", "broken", "--json").json["state"] == "corrupt"
    assert str(broken) in cli.run("accounts", "remove", "broken", "--yes", code=1).err
    assert broken.read_text() == "{"


def test_loading_disabled_accounts_says_nothing_on_the_terminal_and_in_the_log(cli: CommandLine) -> None:
    cli.add("ann")
    cli.sandbox.revoke("ann@example.com")
    cli.run("accounts", "verify", "ann@example.com", code=1)
    done = cli.run("accounts", "list")
    assert done.err == ""
    log = (cli.data / "logs" / "regrant.log").read_text()
    assert "Disabling account due to invalid_grant (ann@example.com)" in log
    assert "skipping" not in log


def test_the_data_folder_may_be_named_before_or_after_the_command(cli: CommandLine) -> None:
    cli.add("ann")
    elsewhere = str(cli.home / "else where")
    assert cli.run("--data-dir", elsewhere, "accounts", "list", "--json").json["items"] == []
    assert cli.run("accounts", "list", "--data-dir", elsewhere, "--json").json["items"] == []
    both = ("--data-dir", elsewhere, "accounts", "list", "--json", "--data-dir", str(cli.data))
    assert emails(cli.run(*both).json["items"]) == ["ann@example.com"]
