"""One sandbox process for all tests here, and a gateway with a fresh data folder for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.admin.office_server import OfficeServer
from tests.sandbox_client import SandboxControl, SandboxProcess


@pytest.fixture(scope="session")
def office_sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as process:
        yield process


@pytest.fixture
def sandbox(office_sandbox: SandboxProcess) -> SandboxControl:
    office_sandbox.reset()
    return office_sandbox


@pytest.fixture
def office(tmp_path: Path, sandbox: SandboxControl) -> Iterator[OfficeServer]:
    with OfficeServer(tmp_path / "data", sandbox) as server:
        yield server
