"""`regrant doctor` as a process: what it finds right, what wrong, and what it says to do about it."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import pytest
from tests.acceptance.test_disk import AS_NOBODY, NOBODY
from tests.accounts.worker_process import required
from tests.cli.command_line import CommandLine, finish, read_line
from tests.sandbox_client import CLIENT_ID, CLIENT_SECRET


def test_doctor_finds_everything_fine_and_sends_no_grant_anywhere(cli: CommandLine) -> None:
    cli.add("ann")
    cli.sandbox.clear_journal()
    done = cli.run("doctor")
    assert "FAIL" not in done.out
    report = cli.run("doctor", "--json").json
    assert report["ok"] is True
    looked_at = {one["check"] for one in report["checks"]}
    assert looked_at >= {
        "settings",
        "data folder",
        "disk",
        "clock",
        "Gemini API",
        "token endpoint",
        "userinfo endpoint",
        "OAuth client",
        "account",
        "gateway",
        "alerts",
        "front door",
    }
    asked = cli.sandbox.journal()
    assert {entry["path"] for entry in asked} == {"/", "/token", "/v1/userinfo"}
    assert not [name for entry in asked for name, _ in entry["headers"] if name == "authorization"]
    assert cli.token_of("ann") not in json.dumps(asked)


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


def test_doctor_tells_an_oauth_client_that_google_does_not_take(cli: CommandLine) -> None:
    cli.add("ann")
    wrong = failures(cli, REGRANT_GOOGLE__CLIENT_SECRET="pretend-other-word")
    assert "invalid_client" in wrong
    assert "pretend-other-word" not in wrong
    assert "ann@example.com is" not in wrong
    cli.sandbox.client(CLIENT_ID, CLIENT_SECRET, state="deleted")
    assert "deleted_client" in failures(cli)
    cli.sandbox.client(CLIENT_ID, CLIENT_SECRET, state="ok")
    assert cli.run("doctor").code == 0
    assert cli.account_file("ann").get("disabled") is None, "no account is blamed"


def test_doctor_tells_each_endpoint_that_does_not_answer_and_which_of_them_matter(cli: CommandLine) -> None:
    cli.add("ann")
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        nowhere = f"http://127.0.0.1:{reserved.getsockname()[1]}"
    for name, check in (
        ("GEMINI", "Gemini API"),
        ("USERINFO", "userinfo endpoint"),
        ("TOKEN", "token endpoint"),
    ):
        found = json.loads(failures(cli, **{f"REGRANT_GOOGLE__ENDPOINTS__{name}": nowhere}))
        assert [one["check"] for one in found] == [check]
        assert "does not answer" in found[0]["message"]
    unused = cli.run("doctor", "--json", REGRANT_GOOGLE__ENDPOINTS__VERTEX=nowhere).json
    [vertex] = [one for one in unused["checks"] if one["check"] == "Vertex AI"]
    assert vertex["level"] == "note"
    cli.run(
        "accounts",
        "add",
        "--refresh-token-file",
        "-",
        "--upstream",
        "vertex",
        stdin=cli.sandbox.grant("bob@example.com").refresh_token,
    )
    assert "Vertex AI" in failures(cli, REGRANT_GOOGLE__ENDPOINTS__VERTEX=nowhere)


class Refusing(http.server.BaseHTTPRequestHandler):
    """A proxy that lets nobody through."""

    def do_CONNECT(self) -> None:
        self.send_error(403)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the standard library's
        """Quiet."""


class Late(http.server.BaseHTTPRequestHandler):
    """A token endpoint whose clock is an hour behind this machine's."""

    def answer(self, status: int, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("date", formatdate(time.time() - 3600, usegmt=True))
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.answer(404, b"")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.answer(400, b'{"error": "invalid_grant", "error_description": "Bad Request"}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the standard library's
        """Quiet."""


@contextmanager
def served(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_doctor_tells_a_proxy_that_refuses(cli: CommandLine) -> None:
    cli.add("ann")
    with served(Refusing) as proxy:
        found = json.loads(
            failures(
                cli,
                REGRANT_NETWORK__PROXY=f"http://ann:pass-1@{proxy}",
                REGRANT_GOOGLE__ENDPOINTS__GEMINI="https://gemini.invalid",
            )
        )
    assert [one["check"] for one in found] == ["Gemini API"]
    assert "403" in found[0]["message"]
    assert "network.proxy" in found[0]["advice"]
    assert "pass-1" not in json.dumps(found)


def test_doctor_tells_a_clock_that_is_off(cli: CommandLine) -> None:
    cli.add("ann")
    with served(Late) as google:
        found = json.loads(failures(cli, REGRANT_GOOGLE__ENDPOINTS__TOKEN=f"http://{google}/token"))
    assert [one["check"] for one in found] == ["clock"]
    assert "ahead of" in found[0]["message"]
    assert "NTP" in found[0]["advice"]


@pytest.mark.root
def test_doctor_tells_files_that_belong_to_another_user(cli: CommandLine) -> None:
    required(sys.platform == "linux" and os.geteuid() == 0, "root on Linux, to change the user")
    cli.add("ann")
    outside = Path(tempfile.mkdtemp())
    try:
        outside.chmod(0o755)
        data = outside / "data"
        shutil.copytree(cli.data, data)
        for path in (data, *data.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        [account] = (data / "accounts").glob("*.json")
        os.chown(account, 0, 0)
        command = [*AS_NOBODY, sys.executable, "-m", "regrant", "doctor", "--json", "--data-dir", str(data)]
        run = subprocess.run(
            command, env=cli.environ, cwd="/", capture_output=True, text=True, timeout=60, check=False
        )
        assert run.returncode == 1, run.stderr
        found = [one for one in json.loads(run.stdout)["checks"] if one["level"] == "fail"]
        assert [(one["check"], one["message"].split(" ")[0]) for one in found] == [
            ("permissions", str(account))
        ]
        assert "chown" in found[0]["advice"]
        for path in (data, *data.rglob("*")):
            os.chown(path, 0, 0)
        run = subprocess.run(
            command, env=cli.environ, cwd="/", capture_output=True, text=True, timeout=60, check=False
        )
        assert run.returncode == 1, run.stderr
        assert "cannot be read and written" in run.stdout
        assert "Traceback" not in run.stderr
    finally:
        shutil.rmtree(outside)


def test_doctor_tells_which_gateways_run_and_asks_them_about_a_key(cli: CommandLine) -> None:
    cli.add("ann")
    key = cli.run("keys", "create", "laptop").out.strip()
    assert "none runs on this data folder" in cli.run("doctor").out
    gateway = cli.start("serve", "--port", "0", REGRANT_SERVER__AUTH_MODE="strict")
    try:
        url = read_line(gateway).removeprefix("Regrant is ready: ")
        assert f"{url} (process {gateway.pid}) runs" in cli.run("doctor").out
        assert f"{url} lets it in" in cli.run("doctor", "--key", key).out
        # This command sees auth_mode off, the gateway was started with another.
        found = json.loads(failures(cli, "--key", "rg-wrong"))
        assert [one["check"] for one in found] == ["gateway's word"]
        assert "401" in found[0]["message"]
    finally:
        gateway.terminate()
        finish(gateway)
    assert "none runs on this data folder" in cli.run("doctor").out


def test_doctor_says_which_layer_refuses_a_key(cli: CommandLine) -> None:
    cli.add("ann")
    key = cli.run("keys", "create", "laptop").out.strip()
    strict = {"REGRANT_SERVER__AUTH_MODE": "strict"}

    def layers(given: str, code: int, **environ: str) -> dict[str, str]:
        checks = cli.run("doctor", "--json", "--key", given, code=code, **environ).json["checks"]
        return {one["check"]: one["level"] for one in checks if one["check"] in {"mode", "header", "key"}}

    assert layers(f"x-api-key: {key}", 0, **strict) == {"mode": "ok", "header": "ok", "key": "ok"}
    assert layers(f"Authorization: Bearer {key}", 0, **strict) == {"mode": "ok", "header": "ok", "key": "ok"}
    assert layers(f"x-my-key: {key}", 1, **strict) == {"mode": "ok", "header": "fail", "key": "ok"}
    assert layers("x-api-key: rg-wrong", 1, **strict) == {"mode": "ok", "header": "ok", "key": "fail"}
    assert layers("x-my-key: rg-wrong", 0) == {"mode": "ok", "header": "note", "key": "note"}


def test_doctor_names_who_is_told_of_a_death_and_shows_no_address(cli: CommandLine) -> None:
    cli.add("ann")
    assert "nobody is told" in cli.run("doctor").out
    out = cli.run("doctor", REGRANT_NOTIFY__WEBHOOKS='["https://hooks.slack.com/services/pretend"]').out
    assert "hooks.slack.com (slack)" in out
    assert "pretend" not in out
