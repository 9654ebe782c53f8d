"""Commands beside a gateway that runs on the same data folder, and the two commands that run a gateway themselves."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.cli.command_line import CommandLine, finish, read_line, until, visit


@contextlib.contextmanager
def gateway(cli: CommandLine, *arguments: str) -> Iterator[str]:
    """`regrant serve` on the data folder; its address."""
    process = cli.start("serve", "--port", "0", *arguments)
    try:
        line = read_line(process)
        assert line.startswith("Regrant is ready: "), line
        yield line.removeprefix("Regrant is ready: ")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        finish(process)


def fetch(url: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    fields = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, fields), timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def ready(url: str) -> bool:
    return fetch(f"{url}/readyz")[0] == 200


def served_by(url: str) -> str:
    body = {"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": "hello"}]}
    status, answer = fetch(f"{url}/v1/chat/completions", body)
    assert status == 200, answer
    text: str = answer["choices"][0]["message"]["content"]
    return text.removeprefix("Hello from ").partition("'s account")[0]


def test_a_running_gateway_follows_what_commands_do(cli: CommandLine) -> None:
    with gateway(cli) as url:
        assert not ready(url)
        cli.add("ann")
        until("the added account serves", lambda: ready(url))
        assert served_by(url) == "Ann"
        cli.run("accounts", "pause", "ann@example.com")
        until("the paused account is out", lambda: not ready(url))
        cli.add("bob")
        until("the other account serves", lambda: ready(url))
        assert served_by(url) == "Bob"
        cli.run("accounts", "remove", "bob@example.com", "--yes")
        until("the removed account is out", lambda: not ready(url))
        cli.run("accounts", "resume", "ann@example.com")
        until("the resumed account serves", lambda: ready(url))
        assert served_by(url) == "Ann"


def test_an_account_that_the_gateway_found_dead_is_mended_from_the_command_line(cli: CommandLine) -> None:
    cli.add("ann")
    with gateway(cli) as url:
        until("the account serves", lambda: ready(url))
        cli.sandbox.revoke("ann@example.com")
        body = {"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": "hello"}]}
        assert fetch(f"{url}/v1/chat/completions", body)[0] == 503
        until("the file says so", lambda: cli.account_file("ann").get("disabled"))
        shown = cli.run("accounts", "show", "ann@example.com", "--json").json
        assert (shown["state"], shown["cause"]) == ("disabled", "revoked")
        process = cli.start("accounts", "reauth", "ann@example.com", "--no-browser")
        visit(read_line(process).removeprefix("Open: "))
        assert "recovered" in finish(process).out
        until("the account serves again", lambda: ready(url))
        assert served_by(url) == "Ann"
        assert cli.sandbox.token_calls("ann@example.com") < 6


def test_the_objects_of_the_command_line_are_those_of_the_api(cli: CommandLine) -> None:
    cli.add("ann", "--label", "work")
    cli.add("bob")
    cli.run("accounts", "pause", "bob@example.com", "--reason", "holiday")
    with gateway(cli) as url:
        token = (cli.data / "admin.token").read_text().strip() if (cli.data / "admin.token").exists() else ""
        if not token:
            fetch(f"{url}/api/accounts")  # the back office is made when it is first asked for
            token = (cli.data / "admin.token").read_text().strip()
        status, listed = fetch(f"{url}/api/accounts", authorization=f"Bearer {token}")
        assert status == 200
        by_email = {one["email"]: one for one in listed["items"]}
        for one in cli.run("accounts", "list", "--json").json["items"]:
            assert one == by_email[one["email"]]


def test_a_key_made_while_the_gateway_runs_opens_its_door(cli: CommandLine) -> None:
    cli.add("ann")
    cli.run("keys", "create", "first")
    cli.run("config", "set", "server.auth_mode", "strict")
    with gateway(cli) as url:
        assert fetch(f"{url}/v1/models")[0] == 401
        key = cli.run("keys", "create", "laptop").out.strip()
        until(
            "the key is accepted",
            lambda: fetch(f"{url}/v1/models", authorization=f"Bearer {key}")[0] == 200,
        )
        cli.run("keys", "revoke", "laptop")
        until(
            "the key is refused",
            lambda: fetch(f"{url}/v1/models", authorization=f"Bearer {key}")[0] == 401,
        )


def test_serve_takes_its_data_folder_before_the_command_too(cli: CommandLine) -> None:
    elsewhere = cli.home / "elsewhere"
    process = cli.start("--data-dir", str(elsewhere), "serve", "--port", "0")
    assert read_line(process).startswith("Regrant is ready: ")
    assert list((elsewhere / "run").glob("*.json"))
    process.send_signal(signal.SIGTERM)
    assert finish(process).code == 0


# -- serve --sandbox -----------------------------------------------------------------------------------------------


def test_serve_with_the_sandbox_has_three_accounts_and_touches_nothing_else(cli: CommandLine) -> None:
    cli.add("ann")
    before = cli.account_file("ann")
    cli.sandbox.clear_journal()
    with gateway(cli, "--sandbox") as url:
        assert ready(url)
        assert served_by(url) in {"Ann", "Bob", "Cara"}
    pretend = [json.loads(path.read_bytes()) for path in (cli.data / "sandbox" / "accounts").glob("*.json")]
    assert sorted(one["email"] for one in pretend) == [
        "ann@example.com",
        "bob@example.com",
        "cara@example.com",
    ]
    assert cli.account_file("ann") == before
    assert cli.sandbox.journal() == []


def test_accounts_of_the_sandbox_serve_again_at_its_next_start(cli: CommandLine) -> None:
    with gateway(cli, "--sandbox"):
        pass
    folder = cli.data / "sandbox" / "accounts"
    first = {path.name for path in folder.glob("*.json")}
    with gateway(cli, "--sandbox") as url:
        assert served_by(url) in {"Ann", "Bob", "Cara"}
    assert {path.name for path in folder.glob("*.json")} == first


# -- demo ----------------------------------------------------------------------------------------------------------


def test_the_demo_tells_the_whole_story_and_leaves_nothing_behind(cli: CommandLine, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = cli.run("demo", TMPDIR=str(scratch))
    story = ("Served by Ann", "revoked at Google", "Served by Bob", '"disabled": true', "invalid_grant: ")
    places = [done.out.index(words) for words in story]
    assert places == sorted(places)
    assert "Why it died: revoked" in done.out
    assert done.out.rindex("Served by Ann") > places[-1]
    assert list(scratch.iterdir()) == []
    assert not cli.data.exists()
    assert cli.sandbox.journal() == []


def test_an_interrupted_demo_ends_its_gateway_and_leaves_nothing_behind(
    cli: CommandLine, tmp_path: Path
) -> None:
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        scratch = tmp_path / f"scratch-{number}"
        scratch.mkdir()
        process = cli.start("demo", TMPDIR=str(scratch))
        while "Regrant serves at" not in (line := read_line(process)):
            pass
        url = line.partition("serves at ")[2].partition(",")[0]
        process.send_signal(number)
        assert finish(process).code == code
        assert list(scratch.iterdir()) == []
        with contextlib.suppress(urllib.error.HTTPError):
            assert not _answers(url)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/healthz", timeout=5).close()
    except OSError:
        return False
    return True


def test_a_demo_whose_gateway_cannot_run_says_what_was_not_so(cli: CommandLine, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    broken = tmp_path / "path" / "uvloop"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise SystemExit(3)")
    environ = {**cli.environ, "TMPDIR": str(scratch), "PYTHONPATH": str(broken.parent)}
    done = subprocess.run(
        [sys.executable, "-m", "regrant", "demo"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "NOT SO: the gateway does not start" in done.stderr
    assert list(scratch.iterdir()) == []
