"""A disk that is full or must not be written: the error names the path, the old state stays, and work goes on after."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.accounts.store_contract import ann, labelled
from tests.accounts.store_worker import NOBODY, numbered
from tests.accounts.worker_process import required, worker

from regrant.accounts.file_store import FileStore
from regrant.accounts.model import Account
from regrant.accounts.store import StoreError
from regrant.files import read_bounded, temporaries, write_atomically

PAGE = 4096
DISK_PAGES = 64


@pytest.fixture
def root() -> None:
    required(
        sys.platform == "linux" and os.geteuid() == 0,
        "root on Linux, to mount a small disk and change the user",
    )


@pytest.fixture
def disk(tmp_path: Path, root: None) -> Iterator[Path]:
    """A disk of 64 pages and 32 files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = f"size={DISK_PAGES * PAGE},nr_inodes=32,mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, *, pages_left: int) -> Path:
    """Write a file until exactly `pages_left` pages are free."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail - pages_left
    filler.write_bytes(b"x" * (free * PAGE))
    assert os.statvfs(disk).f_bavail == pages_left
    return filler


def use_up_files(disk: Path) -> list[Path]:
    fillers = [disk / f"file-{n}" for n in range(os.statvfs(disk).f_ffree)]
    for filler in fillers:
        filler.touch()
    return fillers


@pytest.mark.root
@pytest.mark.parametrize("pages_left", [0, 1, 2])
def test_a_full_disk_keeps_the_old_state_and_names_the_path(disk: Path, pages_left: int) -> None:
    store = FileStore(disk)
    store.prepare()
    old = store.transact("ann", lambda _: numbered(1))  # three pages
    filler = fill(disk, pages_left=pages_left)
    with pytest.raises(StoreError, match="No space left on device") as failure:
        store.transact("ann", lambda _: numbered(2))
    assert str(store.path("ann")) in str(failure.value)
    assert store.load("ann") == old
    assert temporaries(disk / "accounts") == []
    assert os.statvfs(disk).f_bavail == pages_left, "something of the failed write takes up space"
    filler.unlink()
    assert store.transact("ann", lambda _: numbered(2)) == store.load("ann") != old


@pytest.mark.root
def test_a_disk_without_room_for_one_more_file_keeps_the_old_state(disk: Path) -> None:
    store = FileStore(disk)
    store.prepare()
    old = store.transact("ann", lambda _: ann())
    fillers = use_up_files(disk)
    with pytest.raises(StoreError, match="No space left on device") as failure:
        store.transact("ann", labelled("new"))
    assert str(store.path("ann")) in str(failure.value)
    with pytest.raises(StoreError, match=r"ben\.write\.lock.*No space left"):
        store.transact("ben", lambda _: ann(id="ben"))
    with pytest.raises(StoreError, match=r"ben\.refresh\.lock.*No space left"):
        store.refresh_lock("ben").try_acquire()
    assert store.load("ann") == old
    assert store.delete("ann"), "an account must be removable from a full disk"
    for filler in fillers:
        filler.unlink()
    assert store.transact("ann", lambda _: ann()) is not None


@pytest.mark.root
def test_a_disk_that_is_mounted_read_only_keeps_the_old_state(disk: Path) -> None:
    store = FileStore(disk)
    store.prepare()
    old = store.transact("ann", lambda _: ann())
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(StoreError, match="Read-only file system") as failure:
        store.transact("ann", labelled("new"))
    assert str(disk) in str(failure.value)
    with pytest.raises(StoreError, match=str(disk)):
        store.delete("ann")
    assert store.load("ann") == old
    assert store.load_all().accounts == {"ann": old}
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert store.transact("ann", labelled("new")) is not None


@pytest.fixture
def shared(root: None) -> Iterator[Path]:
    """A data folder that another user can reach, which pytest's own folder is not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    data = folder / "data"
    FileStore(data).prepare()
    for path in (data, data / "accounts", data / "locks"):
        os.chown(path, NOBODY, NOBODY)
    yield data
    shutil.rmtree(folder)


def write_as_nobody(data: Path, number: int) -> str:
    with worker(data, "write-as-nobody", str(number)) as process:
        answer = process.hear()
        process.wait()
        return answer


@pytest.mark.root
def test_a_user_without_the_right_to_write_is_told_the_path(shared: Path) -> None:
    store = FileStore(shared)
    assert write_as_nobody(shared, 1) == "stored"
    (shared / "accounts").chmod(0o500)
    answer = write_as_nobody(shared, 2)
    assert answer.startswith("StoreError")
    assert str(store.path("ann")) in answer
    assert "Permission denied" in answer
    assert_stored(store, 1)
    assert temporaries(shared / "accounts") == []
    (shared / "accounts").chmod(0o700)
    assert write_as_nobody(shared, 2) == "stored"


@pytest.mark.root
@pytest.mark.parametrize("mode", [0o000, 0o500])
def test_a_user_without_the_right_to_lock_is_told_the_path(shared: Path, mode: int) -> None:
    (shared / "locks").chmod(mode)
    os.chown(shared / "locks", 0, 0)
    answer = write_as_nobody(shared, 1)
    assert answer.startswith("StoreError: cannot lock")
    assert str(shared / "locks" / "ann.write.lock") in answer
    assert FileStore(shared).load_all().accounts == {}


@pytest.mark.root
def test_an_account_file_that_may_not_be_read_is_told_and_left_as_it_is(shared: Path) -> None:
    store = FileStore(shared)
    store.transact("ann", lambda _: numbered(1))  # root's file, mode 0600
    os.chown(shared / "locks" / "ann.write.lock", NOBODY, NOBODY)
    answer = write_as_nobody(shared, 2)
    assert answer.startswith(f"StoreError: {store.path('ann')} cannot be read: Permission denied")
    assert_stored(store, 1)


def assert_stored(store: FileStore, number: int) -> None:
    stored = store.load("ann")
    assert isinstance(stored, Account)
    assert stored.token == numbered(number).token
    assert stored.unknown == numbered(number).unknown


def test_a_data_folder_that_cannot_be_made_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(StoreError, match=str(tmp_path / "data" / "accounts")):
        FileStore(tmp_path / "data").prepare()


def test_a_write_that_fails_at_the_rename_leaves_no_temporary_file(tmp_path: Path) -> None:
    target = tmp_path / "a folder"
    target.mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(target, b"content")
    assert temporaries(tmp_path) == []


def test_reading_stops_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    assert read_bounded(path, limit=10) == b"x" * 10
    with pytest.raises(OSError, match="longer than 9 bytes"):
        read_bounded(path, limit=9)
