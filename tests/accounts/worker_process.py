"""Starts `store_worker.py` as a process and talks to it."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("store_worker.py")
DEADLINE_S = 20.0


class WorkerProcess:
    """A running worker: `tell` sends a line, `hear` waits for one. Always killed at the end."""

    def __init__(self, data_dir: Path, *command: str, prefix: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [*prefix, sys.executable, str(WORKER), str(data_dir), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._heard = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, line: str) -> None:
        self._stdin.write(f"{line}\n".encode())

    def hear(self, *, within_s: float = DEADLINE_S) -> str:
        """The next line; fails the test if none comes in time or the worker has ended."""
        until = time.monotonic() + within_s
        while b"\n" not in self._heard:
            ready, _, _ = select.select([self._stdout], [], [], max(0.0, until - time.monotonic()))
            chunk = os.read(self._stdout.fileno(), 65536) if ready else b""
            if not chunk:
                pytest.fail(f"the worker {'ended' if ready else 'said nothing in time'}: {self._heard!r}")
            self._heard += chunk
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()

    def wait(self) -> None:
        """Until it ends by itself, without error."""
        assert self._process.wait(DEADLINE_S) == 0

    def kill(self) -> None:
        """As kill -9 does it, and wait until it is gone."""
        self._process.kill()
        self._process.wait(DEADLINE_S)

    def close(self) -> None:
        self.kill()
        self._stdin.close()
        self._stdout.close()


@contextlib.contextmanager
def worker(data_dir: Path, *command: str, prefix: Sequence[str] = ()) -> Iterator[WorkerProcess]:
    process = WorkerProcess(data_dir, *command, prefix=prefix)
    try:
        yield process
    finally:
        process.close()


def required(present: bool, what: str) -> None:
    """Without what a test needs it fails where it must not be missing (CI), and is skipped on a developer's machine."""
    if not present:
        if os.environ.get("CI"):
            pytest.fail(f"this test needs {what}")
        pytest.skip(f"this test needs {what}")
