"""The life of the process `regrant serve`: ready, drained, refused."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.acceptance.harness import START_S, Gateway, People, chat_body, environment, wait_until
from tests.sandbox_client import SandboxProcess


def run_serve(
    data_dir: Path, sandbox_url: str, *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "regrant", "serve", "--data-dir", str(data_dir), *arguments],
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
        env=environment(sandbox_url, **settings),
    )


def test_sigterm_while_it_starts_ends_it_with_0(sandbox: SandboxProcess, data_dir: Path) -> None:
    for mark in ("run", "state.sqlite3", "admin.token"):  # in the order in which they are made
        folder = data_dir / f"until-{mark}"
        command = [sys.executable, "-m", "regrant", "serve", "--port", "0", "--data-dir", str(folder)]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(sandbox.url),
        ) as process:
            wait_until((folder / mark).exists, mark)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=START_S)
        assert process.returncode == 0, said
        assert "Traceback" not in said


def test_serve_notes_itself_in_the_run_folder_while_it_runs(sandbox: SandboxProcess, data_dir: Path) -> None:
    before = int(time.time())
    with Gateway(data_dir, sandbox.url) as gateway:
        note = json.loads((data_dir / "run" / f"{gateway.pid}.json").read_text())
        assert set(note) == {"pid", "url", "version", "started_at"}
        assert (note["pid"], note["url"]) == (gateway.pid, gateway.url)
        assert before <= note["started_at"] <= time.time()
        assert gateway.url.startswith("http://127.0.0.1:")
        assert gateway.call("GET", "/healthz").status == 200
        gateway.stop()
        assert not list((data_dir / "run").iterdir())


def test_the_note_of_a_killed_gateway_goes_when_the_next_one_starts(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    run = data_dir / "run"
    with Gateway(data_dir, sandbox.url) as killed:
        killed.process.kill()
        killed.process.wait(20)
        assert [note.stem for note in run.iterdir()] == [str(killed.pid)]
    with Gateway(data_dir, sandbox.url) as gateway, Gateway(data_dir, sandbox.url) as another:
        assert {note.stem for note in run.iterdir()} == {str(gateway.pid), str(another.pid)}
        assert {note.stat().st_mode & 0o777 for note in run.iterdir()} == {0o600}


def test_sigterm_lets_a_slow_stream_finish_and_exits_with_0(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    with Gateway(data_dir, sandbox.url) as gateway:
        text = "tell me " + "a long story " * 20
        body = chat_body(text, stream=True)
        gateway.chat("warm up")
        sandbox.script("delay_stream", endpoint="stream", seconds=0.4)
        with gateway.opened("/v1/chat/completions", body) as (_, answer):
            assert answer.status == 200
            first = answer.readline()
            gateway.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not accepts(gateway.url), "no new connections")
            rest = answer.read()
        gateway.stop()
    assert first.startswith(b"data: ")
    assert rest.rstrip().endswith(b"data: [DONE]")
    assert b'"finish_reason":"stop"' in rest
    assert not sandbox.journal(endpoint="stream")[-1]["aborted"]


def accepts(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=1):
            return True
    except OSError:
        return False


def test_sigint_ends_it_in_order_too(sandbox: SandboxProcess, data_dir: Path) -> None:
    with Gateway(data_dir, sandbox.url) as gateway:
        gateway.process.send_signal(signal.SIGINT)
        assert gateway.process.wait(20) == 0


def test_a_port_in_use_exits_with_1_and_says_what_to_do(sandbox: SandboxProcess, data_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = run_serve(data_dir, sandbox.url, "--port", str(port))
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "--port 0" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_invalid_settings_exit_with_2_and_name_every_problem_at_once(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    (data_dir / "config.toml").write_text('[server]\nport = 99999\n[pool]\nstrategy = "whichever"\n')
    ended = run_serve(
        data_dir,
        sandbox.url,
        LOG__LEVEL="shout",
        SERVER__PROT="1",
        GOOGLE__ENDPOINTS__TOKEN="http://tokens.example/token",
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    for key in (
        "server.port",
        "pool.strategy",
        "log.level",
        "REGRANT_SERVER__PROT",
        "google.endpoints.token",
    ):
        assert key in ended.stderr, key
    assert "Traceback" not in ended.stderr


def test_nothing_but_the_ready_line_is_written_to_stdout(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    process = subprocess.Popen(
        [sys.executable, "-m", "regrant", "serve", "--port", "0", "--data-dir", str(data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(sandbox.url) | {"FORCE_COLOR": "1"},
    )
    assert process.stdout is not None
    timer = threading.Timer(START_S, process.kill)
    timer.start()
    line = process.stdout.readline()
    sandbox.revoke("ann@example.com")
    os.kill(process.pid, signal.SIGTERM)
    rest = process.stdout.read()
    assert process.wait(20) == 0
    timer.cancel()
    process.stdout.close()
    assert line.decode().startswith("Regrant is ready: http://127.0.0.1:")
    assert b"\x1b" not in line
    assert rest == b""
