"""The stage of `regrant demo`: the sandbox, a real gateway process on it, and the means to look at both.

Nothing here knows the story (`demo.py`). Only loopback is spoken to, and all of it is gone when the block ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from regrant.cli.sandboxed import overrides, sandbox_thread
from regrant.cli.terminal import Failure
from regrant.settings import BY_KEY

MODEL = "gemini-2.5-flash"
START_S = 30.0
ANSWER_S = 30.0
SOON_S = 10.0
T = TypeVar("T")


class NotSo(Failure):
    """The story did not go as it must."""


class Answer(msgspec.Struct, frozen=True):
    """What the gateway answered: the text of the model and the headers that tell of the journey."""

    status: int
    text: str
    attempts: str
    ms: float

    @property
    def server(self) -> str:
        """Whose account served, by what the pretend model says; "" for anything else."""
        words = self.text.removeprefix("Hello from ").partition("'s account")
        return words[0] if words[1] else ""


class Stage:
    def __init__(self, folder: Path, sandbox_url: str) -> None:
        self.folder = folder
        self.sandbox_url = sandbox_url
        self.gateway_url = ""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("REGRANT_")}
        settings = {BY_KEY[key].environment: value for key, value in overrides(sandbox_url).items()}
        self._environ = {
            **inherited,
            **settings,
            # A minute is too short for an account to take its share by and by.
            BY_KEY["pool.slow_start_s"].environment: "0",
            "REGRANT_DATA_DIR": str(folder),
            "PYTHONIOENCODING": "utf-8",
        }
        # A proxy of the environment has no business on loopback.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    # -- the gateway -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def gateway(self) -> Iterator[None]:
        """`regrant serve` as a process of its own, until the block ends."""
        with open(self.folder / "serve.err", "wb") as said:
            process = self._start("serve", "--host", "127.0.0.1", "--port", "0", stderr=said)
        try:
            line = _read_line(process, START_S)
            if not line.startswith("Regrant is ready: "):
                tail = (self.folder / "serve.err").read_text(errors="replace")[-2000:]
                raise NotSo("the gateway does not start", tail)
            self.gateway_url = line.partition(": ")[2].strip()
            yield
        finally:
            _end(process)

    def ask(self, session: str) -> Answer:
        """One chat completion as a client of the gateway sends it. Raises NotSo when nothing answers."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Who serves me?"}]}
        began = time.perf_counter()
        status, headers, content = self._exchange(
            f"{self.gateway_url}/v1/chat/completions", body, {"x-session-id": session}
        )
        ms = (time.perf_counter() - began) * 1000
        try:
            text = json.loads(content)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            text = content.decode(errors="replace")[:500]
        return Answer(status, str(text), headers.get("x-regrant-attempts", ""), ms)

    # -- the command line ------------------------------------------------------------------------------------------

    def command(self, *arguments: str, stdin: str = "") -> Any:
        """Run a command of Regrant and return the JSON that it prints. Raises NotSo when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "regrant", *arguments, "--json"],
            input=stdin.encode(),
            capture_output=True,
            env=self._environ,
            timeout=ANSWER_S,
            check=False,
        )
        if done.returncode != 0:
            raise NotSo(f"regrant {' '.join(arguments)} failed", done.stderr.decode(errors="replace")[-2000:])
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def signing_in(self, email: str) -> Iterator[None]:
        """`regrant accounts reauth EMAIL`, with the part of the browser played here: the block begins when it lands.

        Raises NotSo.
        """
        process = self._start("accounts", "reauth", email, "--no-browser", stderr=subprocess.DEVNULL)
        try:
            line = _read_line(process, START_S)
            if not line.startswith("Open: "):
                raise NotSo("the sign-in gives no address to open", line)
            self._exchange(line.removeprefix("Open: ").strip())
            yield
            if process.wait(ANSWER_S) != 0:
                raise NotSo("the sign-in failed")
        finally:
            _end(process)

    # -- the sandbox -----------------------------------------------------------------------------------------------

    def tell_google(self, path: str, body: Any) -> Any:
        """An order to the sandbox (docs/sandbox.md)."""
        _, _, content = self._exchange(f"{self.sandbox_url}/_sandbox/{path}", body)
        return json.loads(content)

    def journal(self, **query: str) -> list[dict[str, Any]]:
        """What the sandbox has received."""
        url = f"{self.sandbox_url}/_sandbox/journal?{urllib.parse.urlencode({'limit': '10000', **query})}"
        _, _, content = self._exchange(url)
        entries: list[dict[str, Any]] = json.loads(content)["entries"]
        return entries

    # -- waiting ---------------------------------------------------------------------------------------------------

    def until(self, what: str, look: Callable[[], T | None]) -> T:
        """What `look` finds as soon as it finds it. Raises NotSo when it does not find it soon."""
        end = time.monotonic() + SOON_S
        while time.monotonic() < end:
            found = look()
            if found is not None:
                return found
            time.sleep(0.02)
        raise NotSo(f"not within {SOON_S:g} s: {what}")

    def _start(self, *arguments: str, stderr: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "regrant", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=self._environ,
        )

    def _exchange(
        self, url: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        data = None if body is None else json.dumps(body).encode()
        fields = {"content-type": "application/json", **(headers or {})}
        request = urllib.request.Request(url, data, fields)  # noqa: S310 - addresses on this machine
        try:
            with self._opener.open(request, timeout=ANSWER_S) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()
        except OSError as error:
            raise NotSo(f"{url} does not answer: {error}") from error


@contextlib.contextmanager
def staged() -> Iterator[Stage]:
    """A stage in a temporary folder, with the sandbox running."""
    with tempfile.TemporaryDirectory(prefix="regrant-demo-") as folder, sandbox_thread() as url:
        yield Stage(Path(folder), url)


def _read_line(process: subprocess.Popen[bytes], within_s: float) -> str:
    """The next line of its stdout; what has come until then when it takes longer, after which the process is ended."""
    assert process.stdout is not None
    timer = threading.Timer(within_s, process.kill)
    timer.start()
    try:
        return process.stdout.readline().decode(errors="replace")
    finally:
        timer.cancel()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
