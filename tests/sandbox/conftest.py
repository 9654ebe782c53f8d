"""One sandbox process for all tests here, put back to its start before each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.sandbox_client import MintedGrant, SandboxControl, SandboxProcess


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[SandboxProcess]:
    with SandboxProcess() as process:
        yield process


@pytest.fixture
def sandbox(sandbox_process: SandboxProcess) -> SandboxControl:
    sandbox_process.reset()
    return sandbox_process


@pytest.fixture
def ann(sandbox: SandboxControl) -> MintedGrant:
    return sandbox.grant("ann@example.com")
