from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.command_line import CommandLine
from tests.sandbox_client import SandboxProcess


@pytest.fixture(scope="module")
def sandbox_process() -> Iterator[SandboxProcess]:
    with SandboxProcess() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(sandbox_process: SandboxProcess) -> SandboxProcess:
    sandbox_process.reset()
    return sandbox_process


@pytest.fixture
def cli(tmp_path: Path, sandbox: SandboxProcess) -> CommandLine:
    return CommandLine(tmp_path, sandbox)
