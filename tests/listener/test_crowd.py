"""More clients than the process may have open files."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time

import pytest
from tests.listener.crowded import FILES
from tests.listener.rig import get


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_crowd_beyond_the_limit_of_open_files_does_not_end_the_server(loop: str) -> None:
    command = [sys.executable, "-m", "tests.listener.crowded", loop]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            with contextlib.ExitStack() as crowd:
                first = crowd.enter_context(socket.create_connection(("127.0.0.1", port), 5))
                for _ in range(FILES * 2):
                    crowd.enter_context(socket.create_connection(("127.0.0.1", port), 5))
                time.sleep(0.3)
                first.sendall(get())
                assert first.recv(1000).startswith(b"HTTP/1.1 200"), "who was served before is served on"
            assert _served_again(port)
            assert process.poll() is None
        finally:
            process.kill()


def _served_again(port: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as client:
            client.sendall(get())
            if client.recv(1000).startswith(b"HTTP/1.1 200"):
                return True
        time.sleep(0.1)
    return False
