"""Several gateway processes behind one port: the supervisor that starts, watches and ends them.

Each worker is a full process with its own keeper; the data folder keeps them in step. A worker that dies is replaced.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType

from regrant import logs
from regrant.settings.live import LiveSettings
from regrant.traffic.ledger import begin_run, end_run, put_away

RESTART_PAUSE_S = 1.0
END_S = 45.0

log = logs.get("serve")


class Workers:
    def __init__(
        self, arguments: Sequence[str], listener: socket.socket, count: int, *, ledger: Path
    ) -> None:
        """`ledger` is the folder in which the workers of this run share their metrics."""
        told = ["--listen-fd", str(listener.fileno()), "--ledger", str(ledger)]
        self._command = [sys.executable, "-m", "regrant", *arguments, *told]
        self._ledger = ledger
        self._fd = listener.fileno()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._count = count
        self.stopping = threading.Event()

    def start(self) -> bool:
        """Start all; whether all of them came to accept requests."""
        os.set_inheritable(self._fd, True)  # the os module's own signature
        self._processes = [self._spawn() for _ in range(self._count)]
        return all(self._is_ready(process) for process in self._processes)

    def watch(self) -> None:
        """Replace workers that die, until told to stop."""
        while not self.stopping.wait(RESTART_PAUSE_S):
            for position, process in enumerate(self._processes):
                if process.poll() is not None:
                    log.error(
                        "worker_died", f"a worker ended with code {process.returncode}; starting another"
                    )
                    put_away(self._ledger, process.pid)
                    self._processes[position] = self._spawn()
                    self._is_ready(self._processes[position])

    def end(self) -> None:
        """Let the workers drain; one that does not end in time is killed."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + END_S
        for process in self._processes:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdout=subprocess.PIPE, pass_fds=(self._fd,))

    def _is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.stdout is not None
        return process.stdout.readline().strip() == b"ready"


def supervise(
    settings: LiveSettings,
    listener: socket.socket,
    arguments: Sequence[str],
    *,
    announce: Callable[[], AbstractContextManager[None]],
) -> int:
    """Run `server.workers` processes until SIGTERM or SIGINT. Exit code 0, 1 if they cannot start."""
    if os.name == "nt":
        print(
            "server.workers above 1 needs a system that can share a socket; Windows cannot. Use 1.",
            file=sys.stderr,
        )
        return 2
    shared = begin_run(settings.data_dir)
    workers = Workers(arguments, listener, settings().server.workers, ledger=shared)

    def stop(_number: int, _frame: FrameType | None) -> None:
        workers.stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        if not workers.start():
            return 1
        with announce():
            workers.watch()
    finally:
        workers.end()
        end_run(shared)
    return 0
