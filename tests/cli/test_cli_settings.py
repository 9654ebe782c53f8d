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


# -- doctor --------------------------------------------------------------------------------------------------------


def test_doctor_finds_everything_fine(cli: CommandLine) -> None:
    cli.add("ann")
    cli.sandbox.clear_journal()
    done = cli.run("doctor")
    assert "FAIL" not in done.out
    report = cli.run("doctor", "--json").json
    assert report["ok"] is True
    looked_at = {one["check"] for one in report["checks"]}
    assert {"settings", "data folder", "disk", "OAuth client", "token endpoint", "account"} <= looked_at
    asked = cli.sandbox.journal()
    assert {entry["path"] for entry in asked} == {"/token"}
    assert all(entry["body"] == "" for entry in asked)
    assert not [name for entry in asked for name, _ in entry["headers"] if name == "authorization"]


def failures(cli: CommandLine, *arguments: str, **environ: str) -> str:
    report = cli.run("doctor", "--json", *arguments, code=1, **environ).json
    return json.dumps([one for one in report["checks"] if one["level"] == "fail"])


def test_doctor_tells_dead_accounts_with_the_way_to_mend_them(cli: CommandLine) -> None:
    cli.add("ann")
    cli.add("bob")
    cli.sandbox.revoke("ann@example.com")
    cli.run("accounts", "verify", "ann@example.com", code=1)
    found = failures(cli)
    assert "regrant accounts reauth ann@example.com" in found
    assert "bob@example.com" not in found
    assert cli.run("doctor", "bob@example.com").code == 0


def test_doctor_tells_how_each_endpoint_is_reached_without_a_password(cli: CommandLine) -> None:
    away = {"REGRANT_GOOGLE__ENDPOINTS__GEMINI": "https://gemini.invalid"}
    done = cli.run("doctor", "--json", code=None, HTTPS_PROXY="socks5://ann:pass-1@proxy.invalid", **away)
    routes = [one["message"] for one in done.json["checks"] if one["check"] == "route"]
    sandbox = cli.sandbox.url
    assert routes == [
        "through the proxy socks5h://proxy.invalid:1080, through a tunnel (from HTTPS_PROXY): https://gemini.invalid",
        f"directly: {sandbox}, {sandbox}/token, {sandbox}/v1/userinfo",
    ]
    assert "pass-1" not in done.out + done.err
    broken = failures(cli, HTTPS_PROXY="socks4://ann:pass-1@proxy.invalid")
    assert "HTTPS_PROXY" in broken
    assert "pass-1" not in broken


def test_doctor_tells_accounts_that_share_a_project(cli: CommandLine) -> None:
    cli.add("ann")
    cli.add("bob")
    cli.add("cara", "--project", "cara-project")
    (line,) = [line for line in cli.run("doctor").out.splitlines() if "is shared by" in line]
    assert "ann@example.com, bob@example.com" in line
    assert "cara@example.com" not in line


def test_doctor_tells_what_is_wrong_with_settings_clients_network_and_folder(cli: CommandLine) -> None:
    cli.add("ann")
    assert "none is configured" in failures(
        cli, REGRANT_GOOGLE__CLIENT_ID="", REGRANT_GOOGLE__CLIENT_SECRET=""
    )
    nowhere = {"REGRANT_GOOGLE__ENDPOINTS__TOKEN": "http://127.0.0.1:9/token"}
    assert "does not answer" in failures(cli, **nowhere)
    (cli.data / "accounts").chmod(0o700)
    (cli.data / "config.toml").write_text("[server]\nporto = 1\n")
    (cli.data / "config.toml").chmod(0o644)
    found = failures(cli)
    assert "porto" in found
    assert "chmod go-rwx" in found
    (cli.data / "config.toml").write_text("[server\n")
    assert "not valid TOML" in failures(cli)


def test_doctor_says_what_the_front_door_makes_of_a_key(cli: CommandLine) -> None:
    cli.add("ann")
    key = cli.run("keys", "create", "laptop").out.strip()
    (cli.data / "admin.token").write_text("the-admin-token\n")
    (cli.data / "admin.token").chmod(0o600)
    strict = {"REGRANT_SERVER__AUTH_MODE": "strict"}
    good = cli.run("doctor", "--key", key, REGRANT_SERVER__AUTH_MODE="strict").out
    assert '"laptop"' in good
    assert key not in good
    assert "x-goog-api-key" in good
    assert "401" in failures(cli, "--key", "rg-wrong", **strict)
    assert "admin token" in failures(cli, "--key", "the-admin-token", **strict)
    assert "Bearer" in failures(cli, "--key", f"Bearer {key}", **strict)
    assert "off" in cli.run("doctor", "--key", "rg-wrong").out


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
