"""A real program: Claude Code works through the gateway, calls its tools and finishes. Installed from npm when missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from tests.acceptance.harness import Gateway, Json, People, wait_until
from tests.sandbox_client import SandboxProcess

VERSION = "2.1.330"  # named, because npm would choose one by the version of Node
CLIENTS = Path(__file__).parent.parent.parent / ".make" / "clients"
INSTALL_S = 480
RUN_S = 90
UNKNOWN = "gemini-3.8-flash"
"""A name that Claude Code does not know: it then writes system messages into the conversation, and thinks by effort."""
KNOWN = "claude-sonnet-4-5"


@pytest.fixture(scope="module")
def claude_code() -> Path:
    """The program of VERSION, from the cache folder or from npm."""
    folder = CLIENTS / f"claude-code-{VERSION}"
    program = folder / "node_modules" / ".bin" / "claude"
    if not program.exists():
        npm = shutil.which("npm")
        if npm is None:
            if "CI" in os.environ:
                pytest.fail("npm is missing: this test installs Claude Code with it")
            pytest.skip("npm is missing")
        CLIENTS.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix="claude-code-", dir=CLIENTS))
        package = f"@anthropic-ai/claude-code@{VERSION}"
        command = [npm, "install", "--prefix", str(fresh), "--no-audit", "--no-fund", package]
        installed = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        assert installed.returncode == 0, installed.stderr[-2000:]
        if not folder.exists():
            fresh.rename(folder)
    return program


def run(program: Path, gateway: Gateway, work: Path, prompt: str, *arguments: str, model: str) -> Json:
    """One run without a terminal; its result."""
    home = work.parent / "home"
    home.mkdir(exist_ok=True)
    work.mkdir(exist_ok=True)
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "CLAUDE"))
    }
    environment = inherited | {
        "HOME": str(home),
        "ANTHROPIC_BASE_URL": gateway.url,
        "ANTHROPIC_API_KEY": "dummy-key",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_AUTOUPDATER": "1",
        "IS_SANDBOX": "1",
    }
    command = [str(program), "-p", prompt, "--output-format", "json", "--model", model]
    ended = subprocess.run(
        [*command, "--dangerously-skip-permissions", *arguments],
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    result: Json = json.loads(ended.stdout)
    return result


def writing(path: Path, content: str) -> str:
    """A prompt on which the sandbox's models call the tool Write."""
    return "Please call Write " + json.dumps({"file_path": str(path), "content": content})


@pytest.mark.slow
@pytest.mark.timeout(INSTALL_S + RUN_S)
@pytest.mark.parametrize("model", [KNOWN, UNKNOWN])
def test_claude_code_writes_a_file_through_a_tool_call_and_finishes(
    claude_code: Path, sandbox: SandboxProcess, data_dir: Path, people: People, tmp_path: Path, model: str
) -> None:
    people("ann")
    work = tmp_path / "work"
    with Gateway(data_dir, sandbox.url) as gateway:
        result = run(
            claude_code, gateway, work, writing(work / "hello.txt", "written by a tool"), model=model
        )
    assert (work / "hello.txt").read_text() == "written by a tool"
    assert (result["is_error"], result["num_turns"]) == (False, 2)
    assert "Write answered" in result["result"]
    assert result["usage"]["input_tokens"] > 1000
    calls = sandbox.journal(endpoint="stream")
    assert [entry["status"] for entry in calls] == [200, 200]
    first = json.loads(calls[0]["body"])
    assert "x-anthropic-billing-header" not in json.dumps(first["systemInstruction"])
    declared = {tool["name"] for tool in first["tools"][0]["functionDeclarations"]}
    assert "Write" in declared
    assert "DeferredToolPlaceholder" not in declared


@pytest.mark.slow
@pytest.mark.timeout(INSTALL_S + 2 * RUN_S)
def test_claude_code_goes_on_after_the_death_of_the_account_that_began(
    claude_code: Path, sandbox: SandboxProcess, data_dir: Path, people: People, tmp_path: Path
) -> None:
    people("ann", "bob")
    work = tmp_path / "work"
    with Gateway(data_dir, sandbox.url) as gateway:
        run(claude_code, gateway, work, writing(work / "one.txt", "1"), model=UNKNOWN)
        began = sandbox.journal(endpoint="stream")[-1]["email"]
        sandbox.revoke(began)
        prompt = writing(work / "two.txt", "2")
        result = run(claude_code, gateway, work, prompt, "--continue", model=UNKNOWN)
        last = sandbox.journal(endpoint="stream")[-1]
        wait_until(lambda: gateway.ready()["reasons"].get("disabled") == 1, "the dead account is out")
    assert result["is_error"] is False
    assert (work / "two.txt").read_text() == "2"
    assert last["email"] != began
    assert "one.txt" in last["body"]
