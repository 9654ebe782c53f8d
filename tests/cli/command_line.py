"""Runs the real `regrant` command as a process, in a home and a data folder of its own."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.sandbox_client import CLIENT_ID, CLIENT_SECRET, SandboxControl

DEADLINE_S = 60


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class CommandLine:
    home: Path
    sandbox: SandboxControl
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def environ(self) -> dict[str, str]:
        url = self.sandbox.url
        endpoints = {
            "authorize": f"{url}/o/oauth2/v2/auth",
            "token": f"{url}/token",
            "revoke": f"{url}/revoke",
            "userinfo": f"{url}/v1/userinfo",
            "gemini": url,
            "vertex": url,
            "cloudquotas": url,
            "monitoring": url,
            "serviceusage": url,
        }
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
        return {
            **kept,
            "HOME": str(self.home),
            "REGRANT_DATA_DIR": str(self.data),
            "REGRANT_GOOGLE__CLIENT_ID": CLIENT_ID,
            "REGRANT_GOOGLE__CLIENT_SECRET": CLIENT_SECRET,
            "REGRANT_GOOGLE__ENDPOINTS": json.dumps(endpoints),
            **self.extra,
        }

    def run(self, *arguments: str, stdin: str = "", code: int | None = 0, **environ: str) -> Done:
        """Run to the end and check the exit code, unless `code` is None. No command may ever show a traceback."""
        finished = subprocess.run(
            [sys.executable, "-m", "regrant", *arguments],
            input=stdin.encode("utf-8", "surrogateescape"),
            capture_output=True,
            env={**self.environ, **environ},
            cwd=self.home,
            timeout=DEADLINE_S,
            check=False,
        )
        done = Done(
            finished.returncode,
            finished.stdout.decode(errors="replace"),
            finished.stderr.decode(errors="replace"),
        )
        assert "Traceback" not in done.err + done.out, done.err
        assert "a mistake in Regrant" not in done.err, done.err
        assert code is None or done.code == code, done
        return done

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "regrant", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environ, **environ},
            cwd=self.home,
        )

    def add(self, name: str, *arguments: str) -> dict[str, Any]:
        """Add a person of the sandbox by a new refresh token; the account object."""
        grant = self.sandbox.grant(f"{name}@example.com")
        done = self.run(
            "accounts", "add", "--refresh-token-file", "-", "--json", *arguments, stdin=grant.refresh_token
        )
        account: dict[str, Any] = done.json["account"]
        return account

    def account_file(self, name: str) -> dict[str, Any]:
        """What is on disk about a person."""
        for path in (self.data / "accounts").glob("*.json"):
            document: dict[str, Any] = json.loads(path.read_bytes())
            if document["email"] == f"{name}@example.com":
                return document
        raise AssertionError(f"no file of {name}")

    def token_of(self, name: str) -> str:
        return str(self.account_file(name)["token"]["refresh_token"])


def read_line(process: subprocess.Popen[str], timeout_s: float = 30.0) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], timeout_s)
    assert ready, "no line came"
    return process.stdout.readline().rstrip("\n")


def finish(process: subprocess.Popen[str], stdin: str | None = None) -> Done:
    """Wait for the end of a process that was started."""
    try:
        out, err = process.communicate(stdin, timeout=DEADLINE_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert "Traceback" not in err, err
    return Done(process.returncode, out, err)


def visit(url: str) -> str:
    """A tiny browser: follows the sandbox's consent page to where it leads. The text of the last page."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def landing_of(url: str) -> str:
    """The address to which the consent page would send the browser, without going there."""
    try:
        urllib.request.build_opener(_Stay()).open(url, timeout=30).close()
    except urllib.error.HTTPError as error:
        with error:
            return str(error.headers["location"])
    raise AssertionError("the consent page did not redirect")


def until(what: str, look: Any, timeout_s: float = 10.0) -> Any:
    """What `look` returns as soon as it is true."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {timeout_s} s: {what}")


def emails(items: Sequence[dict[str, Any]]) -> list[str]:
    return [item["email"] for item in items]
