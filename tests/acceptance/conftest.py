"""Fixtures of the acceptance tests: one sandbox process for a module, reset before each test, and a data folder per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.harness import People, account_file
from tests.sandbox_client import MintedGrant, SandboxProcess


@pytest.fixture(scope="module")
def sandbox_process() -> Iterator[SandboxProcess]:
    with SandboxProcess() as process:
        yield process


@pytest.fixture
def sandbox(sandbox_process: SandboxProcess) -> SandboxProcess:
    """A pretend Google with nobody in it and an empty journal."""
    sandbox_process.reset()
    sandbox_process.clear_journal()
    return sandbox_process


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def people(sandbox: SandboxProcess, data_dir: Path) -> People:
    """`people("ann", "bob")`: people with a grant each, and their account files. `fresh=True`: with live access tokens."""

    def add(*names: str, fresh: bool = False) -> dict[str, MintedGrant]:
        grants = {name: sandbox.grant(f"{name}@example.com") for name in names}
        for name, grant in grants.items():
            account_file(data_dir, name, grant, fresh=fresh)
        return grants

    return add
