"""The sandbox as a process, inside another program's event loop, over TLS, and under load."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from tests.sandbox.wire import asking, generate, refresh, stream
from tests.sandbox_client import MintedGrant, SandboxControl, SandboxProcess

from regrant.sandbox.server import Sandbox, listen


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_process_with_0(number: signal.Signals) -> None:
    process = SandboxProcess()
    try:
        os.kill(process.process.pid, number)
        assert process.process.wait(timeout=10) == 0
    finally:
        process.stop()


def test_signal_ends_the_process_while_a_request_hangs() -> None:
    with SandboxProcess() as sandbox:
        ann = sandbox.grant("ann@example.com")
        sandbox.script("hang", endpoint="generate")
        failed: list[Exception] = []

        def ask() -> None:
            try:
                generate(sandbox, ann.access_token, asking("hi"))
            except (OSError, EOFError) as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        sandbox.wait_for(lambda entry: entry["endpoint"] == "generate")
        assert sandbox.stop() == 0
        thread.join(timeout=10)
        assert len(failed) == 1


def test_people_of_the_command_line_are_the_people() -> None:
    with SandboxProcess(people=["dora", "emil@other.example"]) as sandbox:
        emails = [person["email"] for person in sandbox.state()["people"]]
        assert emails == ["dora@example.com", "emil@other.example"]


def test_port_that_is_taken_is_told_in_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "regrant.sandbox", "--port", str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert f"port {port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_tls_is_served_with_the_given_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    key.write_bytes(certificate.private_key_pem.bytes())
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    arguments = ("--tls-cert", str(chain), "--tls-key", str(key))
    with SandboxProcess(*arguments, context=trusting) as sandbox:
        assert sandbox.url.startswith("https://")
        assert sandbox.grant("ann@example.com").email == "ann@example.com"


async def test_sandbox_runs_inside_another_programs_loop() -> None:
    before = signal.getsignal(signal.SIGTERM)
    sandbox = Sandbox(people=["ann"])
    url = await sandbox.start()
    try:
        assert signal.getsignal(signal.SIGTERM) is before
        control = SandboxControl(url)
        ann = await asyncio.to_thread(control.grant, "ann@example.com")
        got = await asyncio.to_thread(generate, control, ann.access_token, asking("hi"))
        assert got.status == 200
    finally:
        await sandbox.stop()
    await sandbox.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=2)


async def test_stopping_sends_waiting_journal_readers_home() -> None:
    sandbox = Sandbox()
    control = SandboxControl(await sandbox.start())
    reader = asyncio.create_task(asyncio.to_thread(control.journal, wait=50))
    stopped = asyncio.create_task(_stop_soon(sandbox))
    done, _ = await asyncio.wait({reader, stopped}, timeout=20)
    assert done == {reader, stopped}
    assert reader.result() == []


async def _stop_soon(sandbox: Sandbox) -> None:
    await asyncio.sleep(0.2)
    await sandbox.stop()


def test_200_requests_at_once_are_all_answered_and_counted(sandbox: SandboxControl, ann: MintedGrant) -> None:
    sandbox.script("slow", seconds=0.5, endpoint="generate", times=None)

    def ask(number: int) -> int:
        if number % 2:
            return stream(sandbox, ann.access_token, asking(f"number {number}")).status
        return generate(sandbox, ann.access_token, asking(f"number {number}")).status

    with ThreadPoolExecutor(200) as threads:
        assert list(threads.map(ask, range(200))) == [200] * 200
    assert sandbox.counts()["endpoints"] == {"generate": 100, "stream": 100}
    assert len({entry["body"] for entry in sandbox.journal()}) == 200


def test_listener_names_its_protocol_so_that_answers_do_not_wait_for_acknowledgements() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_concurrent_refreshes_are_each_journaled(sandbox: SandboxControl, ann: MintedGrant) -> None:
    with ThreadPoolExecutor(50) as threads:
        tokens = list(threads.map(lambda _: refresh(sandbox, ann).json()["access_token"], range(300)))
    assert len(set(tokens)) == 300
    assert sandbox.token_calls("ann@example.com") == 300
