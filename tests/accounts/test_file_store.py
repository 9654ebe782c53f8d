"""The file store on real files, with other processes at work on them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.accounts.store_contract import (
    CHANGE_DEADLINE_S,
    StoreContract,
    ann,
    labelled,
    next_change,
    watching,
    with_email,
)
from tests.accounts.worker_process import required, worker

from regrant.accounts import file_store
from regrant.accounts.file_store import FileStore
from regrant.accounts.folder_watch import RESCAN_S, Announce, announced_by_system
from regrant.accounts.model import Account
from regrant.accounts.store import Corrupt, StoreError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def folder(data: Path) -> Path:
    return data / "accounts"


@pytest.fixture
def store(data: Path) -> FileStore:
    store = FileStore(data)
    store.prepare()
    return store


class TestContract(StoreContract):
    @pytest.fixture
    def store(self, store: FileStore) -> FileStore:
        return store

    @pytest.fixture
    def rival(self, store: FileStore, data: Path) -> FileStore:
        return FileStore(data)


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def loose_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


# -- who may read --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("loose_umask")
def test_files_and_folders_are_private_whatever_the_umask(data: Path, folder: Path) -> None:
    store = FileStore(data)
    store.prepare()
    store.transact("ann", lambda _: ann())
    assert store.refresh_lock("ann").try_acquire()
    assert [mode_of(path) for path in (folder, data / "locks")] == [0o700, 0o700]
    files = [*folder.iterdir(), *(data / "locks").iterdir()]
    assert len(files) >= 3
    assert {mode_of(path) for path in files} == {0o600}


def test_a_file_that_everybody_could_read_is_private_after_the_next_write(
    store: FileStore, folder: Path
) -> None:
    store.transact("ann", lambda _: ann())
    (folder / "ann.json").chmod(0o644)
    store.transact("ann", labelled("work"))
    assert mode_of(folder / "ann.json") == 0o600


def test_a_folder_that_everybody_could_read_is_private_after_start(data: Path, folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o755)
    folder.chmod(0o755)
    FileStore(data).prepare()
    assert mode_of(folder) == 0o700


# -- what lies in the folder ---------------------------------------------------------------------------------------


def make_huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)  # a hole: takes no space, and would take the memory of the machine to read


BAD_FILES: dict[str, Callable[[Path], object]] = {
    "a folder": lambda path: path.mkdir(),
    "not a regular file": os.mkfifo,
    "a link that leads nowhere": lambda path: path.symlink_to("nothing"),
    "Too many levels of symbolic links": lambda path: path.symlink_to(path.name),
    "longer than": make_huge,
    "not a valid account": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(b'{"email": "ann@exam'),
    "malformed": lambda path: path.write_bytes(b"\0" * 700),  # what some file systems leave after a power cut
}


@pytest.mark.parametrize("problem", BAD_FILES)
def test_what_is_not_an_account_is_reported_with_its_path_and_left_alone(
    store: FileStore, folder: Path, problem: str
) -> None:
    store.transact("ben", lambda _: with_email("ben"))
    path = folder / "ann.json"
    BAD_FILES[problem](path)
    before = path.lstat()
    records = store.load_all()
    assert set(records.accounts) == {"ben"}
    assert records.corrupt["ann"].path == str(path)
    assert problem in records.corrupt["ann"].problem
    assert store.load("ann") == records.corrupt["ann"]
    with pytest.raises(StoreError, match=str(path)):
        store.transact("ann", lambda _: ann())
    assert (path.lstat().st_ino, path.lstat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


NO_ID_NAMES = ["ann (copy)", "_ann", "änn", "a" * 200, "ann,old", "…"]


@pytest.mark.parametrize("name", NO_ID_NAMES)
def test_a_file_whose_name_is_no_id_is_reported_not_dropped(
    store: FileStore, folder: Path, name: str
) -> None:
    (folder / f"{name}.json").write_text('{"email": "ann@example.com"}')
    records = store.load_all()
    assert records.accounts == {}
    assert records.corrupt[name].path == str(folder / f"{name}.json")
    assert "not named like an account" in records.corrupt[name].problem
    assert store.load(name) == records.corrupt[name]


def test_a_name_that_is_no_utf_8_is_reported_in_words_that_json_can_hold(
    store: FileStore, folder: Path
) -> None:
    (Path(os.fsdecode(os.fsencode(folder) + b"/ann\xff.json"))).touch()
    (corrupt,) = store.load_all().corrupt.values()
    assert msgspec.json.encode(corrupt.path).endswith('/ann\ufffd.json"'.encode())
    assert store.load(corrupt.id) == corrupt


TEMPORARY_NAMES = [
    ".ann.json.0123456789abcdef0123456789abcdef.tmp",
    ".ann.json.swp",
    ".ann.json",
    "ann.json~",
    "#ann.json#",
    "4913",
    "sedAbC123",
    "ann.json.bak",
    ".goutputstream-ABC123",
    "ann.json.tmp",
]


@pytest.mark.parametrize("name", TEMPORARY_NAMES)
def test_temporary_files_are_neither_accounts_nor_corrupt(store: FileStore, folder: Path, name: str) -> None:
    (folder / name).write_text("half a fi")
    records = store.load_all()
    assert (records.accounts, records.corrupt) == ({}, {})


@pytest.mark.parametrize("edit", [b"\xef\xbb\xbf%s", b"\r\n%s\r\n"], ids=["byte order mark", "CRLF"])
def test_what_windows_editors_add_is_understood_and_gone_after_a_write(
    store: FileStore, folder: Path, edit: bytes
) -> None:
    stored = store.transact("ann", lambda _: ann())
    path = folder / "ann.json"
    path.write_bytes(edit % path.read_bytes().replace(b"\n", b"\r\n"))
    assert store.load("ann") == stored
    store.transact("ann", labelled("work"))
    assert path.read_bytes().startswith(b"{\n")
    assert b"\r" not in path.read_bytes()


def test_the_file_is_indented_json_that_ends_with_a_newline(store: FileStore, folder: Path) -> None:
    store.transact("ann", lambda _: ann(name="Ann Ünger"))
    content = (folder / "ann.json").read_text(encoding="utf-8")
    assert '\n  "name": "Ann Ünger",\n' in content
    assert content.endswith("}\n")


def test_an_account_too_large_to_be_read_back_is_not_written(store: FileStore) -> None:
    stored = store.transact("ann", lambda _: ann())
    with pytest.raises(StoreError, match="longer than"):
        store.transact("ann", lambda _: ann(label="x" * file_store.ACCOUNT_FILE_LIMIT))
    assert store.load("ann") == stored


def test_a_data_folder_behind_a_link_works_and_shares_its_locks(store: FileStore, data: Path) -> None:
    link = data.with_name("link")
    link.symlink_to(data)
    linked = FileStore(link)
    linked.prepare()
    stored = linked.transact("ann", lambda _: ann())
    assert store.load("ann") == stored
    lock = store.refresh_lock("ann")
    assert lock.try_acquire()
    assert not linked.refresh_lock("ann").try_acquire()
    lock.release()


def test_a_linked_account_file_stays_linked(store: FileStore, folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text('{"email": "ann@example.com", "mine": 1}')
    (folder / "ann.json").symlink_to(elsewhere)
    stored = store.transact("ann", labelled("work"))
    assert (folder / "ann.json").is_symlink()
    assert '"label": "work"' in elsewhere.read_text()
    assert store.load("ann") == stored


def test_a_write_after_the_data_folder_was_removed_makes_it_anew(
    store: FileStore, data: Path, folder: Path
) -> None:
    store.transact("ann", lambda _: ann())
    shutil.rmtree(data)
    assert store.load_all().accounts == {}
    assert store.transact("ann", labelled("late")) is None, "a late answer recreated a removed account"
    assert store.transact("ann", lambda _: ann()) is not None
    assert mode_of(folder) == 0o700


def test_start_removes_leftovers_of_the_dead_but_not_the_work_of_the_living(
    store: FileStore, data: Path, folder: Path
) -> None:
    def leave(account_id: str) -> Path:
        leftover = folder / f".{account_id}.json.{'0' * 32}.tmp"
        leftover.write_text("half a token")
        return leftover

    dead, living = leave("ann"), leave("ben")
    lock = file_store.FileLock(data / "locks" / "ben.write.lock")
    lock.acquire(timeout_s=1)
    store.prepare()
    assert not dead.exists()
    assert living.exists()
    lock.release()


# -- several processes ---------------------------------------------------------------------------------------------


def test_two_processes_that_write_200_times_each_lose_nothing(store: FileStore, data: Path) -> None:
    store.transact("ann", lambda _: ann(unknown={"counter": 0}))
    with worker(data, "count", "200") as one, worker(data, "count", "200") as other:
        one.wait()
        other.wait()
    account = store.load("ann")
    assert isinstance(account, Account)
    assert account.unknown == {"counter": 400}
    assert account.revision == 401


def test_the_refresh_lock_excludes_another_process_and_dies_with_its_holder(
    store: FileStore, data: Path
) -> None:
    with worker(data, "hold-refresh-lock") as holder:
        assert holder.hear() == "held"
        assert not store.refresh_lock("ann").try_acquire()
        with worker(data, "hold-refresh-lock") as rival:
            assert rival.hear() == "refused"
        holder.kill()
        lock = store.refresh_lock("ann")
        assert lock.try_acquire()
        lock.release()


def test_eight_processes_that_add_one_email_make_one_record(store: FileStore, data: Path) -> None:
    emails = ["ann@example.com", "Ann@Example.com"]
    adders = [worker(data, "add", f"ann-{n}", emails[n % 2]) for n in range(8)]
    processes = [adder.__enter__() for adder in adders]
    try:
        for process in processes:
            process.wait()
    finally:
        for adder in adders:
            adder.__exit__(None, None, None)
    assert len(store.load_all().accounts) == 1


# -- changes -------------------------------------------------------------------------------------------------------


async def no_announcements(folder: Path) -> AsyncGenerator[frozenset[str], None]:
    """A system whose limit of watches is reached."""
    if folder.name:
        raise OSError("OS file watch limit reached")
    yield frozenset()


async def broken_announcements(folder: Path) -> AsyncGenerator[frozenset[str], None]:
    """A system whose limit of inotify instances is reached: watchfiles raises a RuntimeError then."""
    if folder.name:
        raise RuntimeError("Error creating recommended watcher: Too many open files")
    yield frozenset()


async def silent_announcements(folder: Path) -> AsyncGenerator[frozenset[str], None]:
    """A network file system: watching works and never says anything."""
    while True:
        await asyncio.sleep(RESCAN_S)
        yield frozenset()


ANNOUNCE = [announced_by_system, no_announcements, broken_announcements, silent_announcements]


def write_in_place(folder: Path) -> None:
    with (folder / "ann.json").open("r+b") as file:
        content = file.read().replace(b'"label": ""', b'"label": "by hand"')
        file.seek(0)
        file.truncate()
        file.flush()
        file.write(content)


def save_as_editors_do(folder: Path) -> None:
    path = folder / "ann.json"
    (folder / "ann.json~").write_bytes(path.read_bytes())
    (folder / "4913").touch()
    (folder / "4913").unlink()
    (folder / "ann.json.new").write_text('{"email": "ann@example.com", "label": "vim"}')
    (folder / "ann.json.new").rename(path)


def write_by_another_process(folder: Path) -> None:
    with worker(folder.parent, "write", "7") as other:
        other.wait()


def restore_with_its_old_time(folder: Path) -> None:
    path = folder / "ann.json"
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"refresh-ann-1", b"refresh-ann-2"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "a write by another process": write_by_another_process,
    "an edit in place": write_in_place,
    "a save by renaming": save_as_editors_do,
    "a removal": lambda folder: (folder / "ann.json").unlink(),
    "a chmod": lambda folder: (folder / "ann.json").chmod(0o400),
    "a restored file of the same time and size": restore_with_its_old_time,
    "the folder removed": shutil.rmtree,
}


@pytest.mark.parametrize("announce", ANNOUNCE)
@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_by_anybody_is_reported(
    data: Path, folder: Path, announce: Announce, change: str
) -> None:
    store = FileStore(data, announce=announce)
    store.prepare()
    store.transact("ann", lambda _: ann())
    async with watching(store) as changes:
        for _ in range(2):  # the first may be seen before the system is asked to announce, the second is not
            (folder / "ben.json").write_text(str(time.monotonic_ns()))
            await next_change(changes, "ben")
        await asyncio.to_thread(CHANGES[change], folder)
        await next_change(changes, "ann")


@pytest.mark.parametrize("announce", ANNOUNCE)
async def test_a_new_file_is_reported_also_in_a_folder_that_was_removed_and_made_anew(
    data: Path, folder: Path, announce: Announce
) -> None:
    store = FileStore(data, announce=announce)
    store.prepare()
    store.transact("ann", lambda _: ann())
    async with watching(store) as changes:
        shutil.rmtree(folder)
        await next_change(changes, "ann")
        await asyncio.to_thread(folder.mkdir)
        (folder / "ben.json").write_text('{"email": "ben@example.com"}')
        await next_change(changes, "ben")
        assert isinstance(store.load("ben"), Account)
        (folder / "cid.json").write_text('{"email": "cid@example.com"}')
        await next_change(changes, "cid")


def make_anew(folder: Path) -> None:
    folder.rename(folder.with_name("aside"))  # kept, so that its inode number is not used again
    folder.mkdir()


async def test_a_folder_that_was_made_anew_is_watched_by_the_system_again(data: Path, folder: Path) -> None:
    watched: list[int] = []

    async def counted(folder: Path) -> AsyncGenerator[frozenset[str], None]:
        watched.append(os.stat(folder).st_ino)
        async with contextlib.aclosing(announced_by_system(folder)) as batches:
            async for names in batches:
                yield names

    store = FileStore(data, announce=counted)
    store.prepare()
    async with watching(store) as changes:
        while not watched:
            (folder / "ann.json").touch()
            await next_change(changes, "ann")
        await asyncio.to_thread(make_anew, folder)
        for account_id in ("ben", "cid"):
            (folder / f"{account_id}.json").touch()
            await next_change(changes, account_id)
    assert len(set(watched)) == 2
    assert watched[-1] == os.stat(folder).st_ino


async def test_a_folder_that_is_missing_at_start_is_watched_once_it_is_there(
    data: Path, folder: Path
) -> None:
    store = FileStore(data)
    async with watching(store) as changes:
        store.transact("ann", lambda _: ann())
        await next_change(changes, "ann")


async def announced_at_once(folder: Path) -> AsyncGenerator[frozenset[str], None]:
    """Announces `ann.json` again and again, whether it has changed or not."""
    while True:
        yield frozenset({"ann.json", ".ann.json.swp", "gone.json"})
        await asyncio.sleep(0.01)


async def test_an_announced_file_counts_as_changed_even_if_it_looks_the_same(data: Path) -> None:
    store = FileStore(data, announce=announced_at_once)
    store.prepare()
    store.transact("ann", lambda _: ann())
    async with watching(store) as changes:
        assert await anext(changes) == {"ann"}
        assert await anext(changes) == {"ann"}


async def test_reading_and_temporary_files_are_no_changes(store: FileStore, folder: Path) -> None:
    store.transact("ann", lambda _: ann())
    async with watching(store) as changes:
        store.load_all()
        (folder / ".ann.json.swp").touch()
        (folder / "ann.json~").touch()
        store.transact("ben", lambda _: with_email("ben"))
        async with asyncio.timeout(CHANGE_DEADLINE_S):
            assert await anext(changes) == {"ben"}


async def test_a_folder_that_cannot_be_listed_makes_every_account_be_looked_at(
    data: Path, folder: Path
) -> None:
    store = FileStore(data, announce=silent_announcements)
    store.prepare()
    store.transact("ann", lambda _: ann())
    async with watching(store) as changes:
        shutil.move(folder, data / "aside")
        await asyncio.to_thread(folder.touch)  # a file where the folder was: listing fails for root as well
        await next_change(changes, "ann")
        assert isinstance(store.load("ann"), Corrupt)
        with pytest.raises(StoreError, match=str(folder)):
            store.load_all()
        await asyncio.to_thread(folder.unlink)
        shutil.move(data / "aside", folder)
        await next_change(changes, "ann")
        assert isinstance(store.load("ann"), Account)


async def test_each_step_of_an_edit_in_place_ends_with_the_whole_account(
    store: FileStore, folder: Path
) -> None:
    store.transact("ann", lambda _: ann())
    content = (folder / "ann.json").read_bytes()
    async with watching(store) as changes:
        (folder / "ann.json").write_bytes(b"")
        await next_change(changes, "ann")
        empty = store.load("ann")
        assert isinstance(empty, Corrupt)
        with pytest.raises(StoreError):
            store.transact("ann", lambda _: ann())
        (folder / "ann.json").write_bytes(content)
        await next_change(changes, "ann")
        assert isinstance(store.load("ann"), Account)


async def test_watching_ends_when_its_task_is_cancelled(store: FileStore) -> None:
    async def follow() -> None:
        async for _ in store.changes():
            started.set()

    started = asyncio.Event()
    task = asyncio.create_task(follow())
    await started.wait()
    await asyncio.sleep(0.05)  # into the wait for an announcement; either way the task must end
    task.cancel()
    async with asyncio.timeout(CHANGE_DEADLINE_S):
        with pytest.raises(asyncio.CancelledError):
            await task


LIMITS = ["max_inotify_instances", "max_inotify_watches"]


@pytest.mark.root
@pytest.mark.parametrize("limit", LIMITS)
def test_changes_are_reported_where_the_system_has_no_watches_left(
    store: FileStore, data: Path, limit: str
) -> None:
    required(
        sys.platform == "linux" and os.geteuid() == 0,
        "root on Linux, for a user namespace with its own limits",
    )
    script = f'echo 0 >/proc/sys/user/{limit} && exec "$@"'
    with worker(data, "watch", prefix=["unshare", "-U", "-r", "sh", "-c", script, "sh"]) as watcher:
        assert watcher.hear() == "changed"
        store.transact("ann", lambda _: ann())
        started = time.monotonic()
        line = watcher.hear(within_s=CHANGE_DEADLINE_S)
        assert line == "changed ann", f"after {time.monotonic() - started:.2f} s"


# -- many ----------------------------------------------------------------------------------------------------------


def test_10_000_account_files_are_loaded(store: FileStore, folder: Path, data: Path) -> None:
    store.transact("ann", lambda _: ann())
    content = (folder / "ann.json").read_text()
    for number in range(9_999):
        account_id = f"ann-{number}"
        (folder / f"{account_id}.json").write_text(content.replace('"ann"', f'"{account_id}"'))
    records = FileStore(data).load_all()
    assert len(records.accounts) == 10_000
    assert records.corrupt == {}


async def test_one_change_among_10_000_files_is_reported(store: FileStore, folder: Path) -> None:
    for number in range(10_000):
        (folder / f"ann-{number}.json").touch()
    async with watching(store) as changes:
        (folder / "ann-777.json").write_text('{"email": "ann@example.com"}')
        await next_change(changes, "ann-777")
        (folder / "ann-777.json").unlink()
        await next_change(changes, "ann-777")
