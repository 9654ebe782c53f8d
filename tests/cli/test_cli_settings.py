from __future__ import annotations

import hashlib
import json
import os

from tests.cli.command_line import CommandLine


def test_a_key_is_printed_once_alone_on_stdout_and_only_its_hash_is_kept(cli: CommandLine) -> None:
    done = cli.run("keys", "create", "laptop")
    key = done.out.removesuffix("\n")
    assert key.startswith("rg-")
    assert "\n" not in key
    content = (cli.data / "keys.json").read_text()
    assert key not in content
    assert hashlib.sha256(key.encode()).hexdigest() in content
    listed = cli.run("keys", "list")
    assert "laptop" in listed.out
    assert key not in listed.out


def test_a_key_is_revoked_by_name_or_id(cli: CommandLine) -> None:
    cli.run("keys", "create", "one")
    other = cli.run("keys", "create", "two", "--json").json
    assert cli.run("keys", "revoke", "one").out == "revoked one\n"
    cli.run("keys", "revoke", other["id"])
    assert cli.run("keys", "list", "--json").json["items"] == []
    assert "regrant keys list" in cli.run("keys", "revoke", "one", code=1).err


def test_names_of_keys_that_cannot_be_are_refused(cli: CommandLine) -> None:
    cli.run("keys", "create", "laptop")
    for name in ("laptop", "settings", "", "\x1b[2J", "x" * 101):
        assert cli.run("keys", "create", name, code=1).out == ""


def test_settings_are_shown_with_their_origin_and_no_secret(cli: CommandLine) -> None:
    cli.run("config", "set", "server.port", "9000")
    done = cli.run("config", "show")
    assert "sandbox-client-secret" not in done.out
    items = {one["key"]: one for one in cli.run("config", "show", "--json").json["items"]}
    assert (items["server.port"]["value"], items["server.port"]["origin"]) == ("9000", "config.toml")
    assert items["server.host"]["origin"] == "default"
    assert items["google.client_id"]["origin"] == "environment REGRANT_GOOGLE__CLIENT_ID"
    section = cli.run("config", "show", "server", "--json").json["items"]
    assert {one["key"].partition(".")[0] for one in section} == {"server"}
    assert cli.run("config", "show", "nonsense", code=1).err


def test_a_setting_is_changed_and_the_comments_stay(cli: CommandLine) -> None:
    cli.data.mkdir()
    (cli.data / "config.toml").write_text("# mine\n[server]\nport = 1 # here\n")
    done = cli.run("config", "set", "server.port", "9000")
    assert "started again" in done.err
    assert (cli.data / "config.toml").read_text() == "# mine\n[server]\nport = 9000 # here\n"
    cli.run("config", "set", "models.aliases", '{"small": "gemini-2.5-flash"}')
    cli.run("config", "set", "pool.deadline_s", "30")
    assert "aliases" in (cli.data / "config.toml").read_text()


def test_a_secret_setting_may_come_from_stdin(cli: CommandLine) -> None:
    cli.run("config", "set", "server.api_key", "-", stdin="key-of-mine\n")
    assert 'api_key = "key-of-mine"' in (cli.data / "config.toml").read_text()
    assert "key-of-mine" not in cli.run("config", "show").out


def test_wrong_settings_are_refused_and_not_written(cli: CommandLine) -> None:
    for key, value in (
        ("server.port", "99999"),
        ("server.porto", "1"),
        ("google.endpoints.token", "http://x.test"),
    ):
        done = cli.run("config", "set", key, value, code=2)
        assert key in done.err
    assert not (cli.data / "config.toml").exists()


def test_the_path_is_printed_alone(cli: CommandLine) -> None:
    assert cli.run("config", "path").out == f"{cli.data / 'config.toml'}\n"


def test_check_lists_every_problem_at_once(cli: CommandLine) -> None:
    assert cli.run("config", "check").out
    cli.data.mkdir(exist_ok=True)
    (cli.data / "config.toml").write_text('[server]\nport = "x"\nauth_mode = "y"\nporto = 1\n')
    done = cli.run("config", "check", code=1)
    for key in ("server.port ", "server.auth_mode", "server.porto"):
        assert key in done.err
    assert len(cli.run("config", "check", "--json", code=1).json["problems"]) == 3
    assert "server.auth_mode" in cli.run("accounts", "list", code=2).err


# -- logs -------------------------------------------------------------------------------------------------------------


def test_logs_show_the_end_of_the_log_readably_or_as_it_is(cli: CommandLine) -> None:
    assert "no log yet" in cli.run("logs").err
    cli.add("ann")
    cli.sandbox.revoke("ann@example.com")
    cli.run("accounts", "verify", "ann@example.com", code=1)
    (line,) = cli.run("logs", "-n", "1").out.splitlines()
    assert "Disabling account due to invalid_grant (ann@example.com)" in line
    assert not line.startswith("{")
    (raw,) = cli.run("logs", "-n", "1", "--json").out.splitlines()
    assert json.loads(raw)["event"] == "account_disabled"
    assert os.linesep not in raw
