"""A disk that is full or must not be written at the moment of a verdict: memory first, the failure shown, the write made up for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.acceptance.harness import Gateway, account_file, read_account, wait_until
from tests.accounts.worker_process import required
from tests.sandbox_client import SandboxProcess

ANN = "ann@example.com"
BOB = "bob@example.com"
NOBODY = 65534
PAGE = 4096
# Not root, and nothing that root may do but to read the Python that runs it, wherever that is installed.
AS_NOBODY = (
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "--no-new-privs",
    "--inh-caps=-all,+dac_read_search",
    "--ambient-caps=-all,+dac_read_search",
    "--bounding-set=-all,+dac_read_search",
)


@dataclass(frozen=True)
class Trouble:
    """A data folder whose accounts cannot be written between `begin` and `end`."""

    data_dir: Path
    begin: Callable[[], None]
    end: Callable[[], None]
    says: str
    prefix: tuple[str, ...] = ()


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder that another user can reach, which pytest's own is not."""
    required(
        sys.platform == "linux" and os.geteuid() == 0,
        "root on Linux, to mount a small disk and to change the user",
    )
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def small_disk(folder: Path, *, pages: int) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    options = f"size={pages * PAGE},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as filler:
        chunk = b"x" * PAGE
        try:
            while True:
                filler.write(chunk)
        except OSError:
            pass
    assert os.statvfs(disk).f_bavail == 0


@pytest.fixture(params=["full_accounts", "full_data_folder", "read_only_folder", "read_only_mount"])
def trouble(request: pytest.FixtureRequest, outside: Path) -> Iterator[Trouble]:
    data_dir = outside / "data"
    data_dir.mkdir(mode=0o700)
    accounts = data_dir / "accounts"
    match request.param:
        case "full_accounts" | "full_data_folder":
            disk = accounts if request.param == "full_accounts" else data_dir
            small_disk(disk, pages=64 if disk == accounts else 1024)
            yield Trouble(data_dir, lambda: fill(disk), (disk / "filler").unlink, "No space left on device")
            subprocess.run(["umount", "-l", str(disk)], check=True)
        case "read_only_mount":
            small_disk(accounts, pages=64)
            yield Trouble(
                data_dir,
                lambda: remount(accounts, "ro"),
                lambda: remount(accounts, "rw"),
                "Read-only file system",
            )
            subprocess.run(["umount", "-l", str(accounts)], check=True)
        case _:
            accounts.mkdir(mode=0o700)
            os.chown(data_dir, NOBODY, NOBODY)
            os.chown(accounts, NOBODY, NOBODY)
            yield Trouble(
                data_dir,
                lambda: accounts.chmod(0o500),
                lambda: accounts.chmod(0o700),
                "Permission denied",
                AS_NOBODY,
            )


def remount(folder: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)


def add(trouble: Trouble, sandbox: SandboxProcess, name: str, *, fresh: bool = False) -> None:
    path = account_file(trouble.data_dir, name, sandbox.grant(f"{name}@example.com"), fresh=fresh)
    if trouble.prefix:
        os.chown(path, NOBODY, NOBODY)


@pytest.mark.root
def test_an_account_that_dies_while_the_disk_cannot_be_written_is_out_shown_and_stored_later(
    sandbox: SandboxProcess, trouble: Trouble
) -> None:
    data_dir = trouble.data_dir
    add(trouble, sandbox, "ann")
    add(trouble, sandbox, "bob", fresh=True)
    sandbox.revoke(ANN)
    with Gateway(data_dir, sandbox.url, prefix=trouble.prefix, POOL__STRATEGY="round_robin") as gateway:
        if trouble.prefix:
            assert f"Uid:\t{NOBODY}\t" in Path(f"/proc/{gateway.pid}/status").read_text()
        gateway.admin("GET", "/api/accounts")  # the admin token is on disk
        trouble.begin()
        assert gateway.served_by() == "bob", "the request goes on"
        assert gateway.ready() == {"ready": True, "reasons": {"disabled": 1}}, "out of the pool"
        wait_until(lambda: "account not stored" in gateway.stderr, "the failure is said")
        assert trouble.says in gateway.stderr
        shown = gateway.account("ann")
        assert (shown["state"], shown["persisted"]) == ("disabled", False)
        assert shown["disabled_reason"].startswith("invalid_grant: ")
        assert gateway.account("bob")["persisted"] is True
        assert "disabled" not in read_account(data_dir, "ann"), "or this test proves nothing"
        for _ in range(5):
            assert gateway.served_by() == "bob"
        assert sandbox.token_calls(ANN) == 1
        trouble.end()
        wait_until(lambda: read_account(data_dir, "ann").get("disabled"), "stored when the disk is back")
        wait_until(lambda: gateway.account("ann")["persisted"], "and shown to be")
        assert gateway.stderr.count("account not stored") == 1, "said once, not at each attempt"
        gateway.stop()
    document = read_account(data_dir, "ann")
    assert document["disabled_cause"] == "revoked"
    assert [line["event"] for line in document["history"]] == ["disabled"]
    with Gateway(data_dir, sandbox.url, prefix=trouble.prefix) as gateway:
        assert gateway.ready()["reasons"] == {"disabled": 1}
    assert sandbox.token_calls(ANN) == 1
    assert not [path for path in (data_dir / "accounts").iterdir() if path.suffix != ".json"]


@pytest.mark.root
def test_a_token_that_cannot_be_stored_serves_all_the_same_and_is_stored_later(
    sandbox: SandboxProcess, trouble: Trouble
) -> None:
    """Even one that Google has rotated: it is not lost while the process lives."""
    data_dir = trouble.data_dir
    add(trouble, sandbox, "ann")
    sandbox.script("rotate", email=ANN, endpoint="token")
    with Gateway(data_dir, sandbox.url, prefix=trouble.prefix) as gateway:
        gateway.admin("GET", "/api/accounts")
        old = read_account(data_dir, "ann")["token"]["refresh_token"]
        trouble.begin()
        assert gateway.served_by() == "ann"
        assert gateway.account("ann")["persisted"] is False
        assert read_account(data_dir, "ann")["token"]["refresh_token"] == old
        trouble.end()
        wait_until(
            lambda: read_account(data_dir, "ann")["token"]["refresh_token"] != old,
            "the rotated token is stored",
        )
        gateway.stop()
    sandbox.expire(ANN)
    with Gateway(data_dir, sandbox.url, prefix=trouble.prefix) as gateway:
        assert gateway.served_by() == "ann"


@pytest.mark.root
def test_a_persons_wish_that_cannot_be_stored_is_refused(sandbox: SandboxProcess, trouble: Trouble) -> None:
    add(trouble, sandbox, "ann", fresh=True)
    with Gateway(trouble.data_dir, sandbox.url, prefix=trouble.prefix) as gateway:
        gateway.admin("GET", "/api/accounts")
        trouble.begin()
        answer = gateway.admin("POST", "/api/accounts/ann/pause")
        assert answer.status in {503, 507}
        assert answer.json()["error"]["code"] == "not_persisted"
        assert trouble.says in gateway.stderr
        assert gateway.ready() == {"ready": True, "reasons": {}}
        assert gateway.served_by() == "ann"
        trouble.end()
        assert gateway.admin("POST", "/api/accounts/ann/pause").status == 200
