"""One JSON file per account: atomic, locked, watched. The file is the authority on its account's state.

Theory of operation. A write goes to a temporary file in the same folder, is fsynced, renamed over the old file, and the
folder is fsynced (`files.py`): at every moment, also after kill -9 or a power cut, `<id>.json` is the old state or the
new one. Writers of one account take turns with `locks/<id>.write.lock`; they re-read the file under that lock, so nobody
writes over what he has not seen. The longer lock `locks/<id>.refresh.lock` is held while Google is asked; readers take
none. Lock files are never deleted: a waiter and a newcomer would lock two different inodes of one name.
How a change by anybody else is noticed is `folder_watch.py`.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import filelock
import msgspec

from regrant.accounts.folder_watch import Announce, FolderWatch, announced_by_system, scan
from regrant.accounts.model import Account, AccountFileError, decode_account, encode_account
from regrant.accounts.store import Corrupt, Decide, Records, StoreError
from regrant.files import read_bounded, sync_folder, temporaries, write_atomically

WRITE_LOCK_TIMEOUT_S = 10.0
LOCK_POLL_S = 0.005
ACCOUNT_FILE_LIMIT = 4 * 2**20  # bytes; an account with a full history has some 50 kB
VALID_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
SUFFIX = ".json"
# The names of locks cannot collide, whatever the ids are: each ends in its own suffix, and this one in neither.
ADDING_LOCK = "adding.lock"


class FileLock:
    """A lock among all threads and processes: the RefreshLock, and under the write locks.

    It is freed by the system when its holder dies, and when nothing refers to the object that holds it any more.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # preserve_lock_file: without it Windows removes the file, and a file system without locks falls back
        # silently to one that outlives a killed holder.
        self._lock = filelock.FileLock(path, thread_local=False, mode=0o600, preserve_lock_file=True)

    def try_acquire(self) -> bool:
        """Take the lock if it is free, also of this very object. Raises StoreError."""
        return not self._lock.is_locked and self._acquire(timeout=0.0)

    def acquire(self, *, timeout_s: float) -> None:
        """Raises StoreError if it cannot be had in time or at all."""
        if not self._acquire(timeout=timeout_s):
            raise StoreError(f"another process has held {self._path} for {timeout_s:.0f} s")

    def release(self) -> None:
        self._lock.release()

    def _acquire(self, *, timeout: float) -> bool:
        try:
            make_private_folder(self._path.parent)
            self._lock.acquire(timeout=timeout, poll_interval=LOCK_POLL_S)
        except filelock.Timeout:
            return False
        except OSError as error:
            raise StoreError(f"cannot lock {self._path}: {error.strerror or error}") from error
        return True


class FileStore:
    """Keeps accounts under `data_dir`. `now` gives unix seconds for `updated_at`."""

    def __init__(
        self,
        data_dir: Path,
        *,
        now: Callable[[], float] = time.time,
        announce: Announce = announced_by_system,
    ) -> None:
        self._accounts = data_dir / "accounts"
        self._locks = data_dir / "locks"
        self._now = now
        self._announce = announce

    def prepare(self) -> None:
        """Create the folders, make them private, clear up after killed writers. Raises StoreError with the path."""
        for folder in (self._accounts, self._locks):
            self._make_folder(folder)
        self._remove_leftovers()

    def path(self, account_id: str) -> Path:
        """Where the account is kept. Raises StoreError for an id that is not a plain file name."""
        if not VALID_ID.fullmatch(account_id):
            raise StoreError(f"{account_id!r} is not an account id")
        return self._accounts / f"{account_id}{SUFFIX}"

    def load_all(self) -> Records:
        """Raises StoreError if the folder cannot be listed; what is wrong with one file is in the answer."""
        records = Records()
        for account_id in self._scan():
            match self.load(account_id):
                case Account() as account:
                    records.accounts[account_id] = account
                case Corrupt() as corrupt:
                    records.corrupt[account_id] = corrupt
                case None:  # removed between the scan and the read
                    pass
        return records

    def load(self, account_id: str) -> Account | Corrupt | None:
        if not VALID_ID.fullmatch(account_id):
            return self._misnamed(account_id)
        path = self.path(account_id)
        try:
            return decode_account(read_bounded(path, limit=ACCOUNT_FILE_LIMIT), stem=account_id)
        except FileNotFoundError:
            return (
                Corrupt(account_id, str(path), "is a link that leads nowhere") if path.is_symlink() else None
            )
        except OSError as error:
            return Corrupt(account_id, str(path), f"cannot be read: {error.strerror or error}")
        except AccountFileError as error:
            return Corrupt(account_id, str(path), str(error))

    def transact(self, account_id: str, decide: Decide) -> Account | None:
        path = self.path(account_id)
        with self._locked(f"{account_id}.write.lock"):
            current = self.load(account_id)
            if isinstance(current, Corrupt):
                raise StoreError(
                    f"{current.path} {current.problem}; mend or move the file, it is left as it is"
                )
            wanted = decide(current)
            if wanted is None or wanted == current:
                return current
            stored = msgspec.structs.replace(
                wanted,
                revision=(current.revision if current else wanted.revision) + 1,
                updated_at=int(self._now()),
            )
            self._write(path, stored)
            return stored

    def delete(self, account_id: str) -> bool:
        path = self.path(account_id)
        with self._locked(f"{account_id}.write.lock"):
            try:
                path.unlink()
                sync_folder(path.parent)
            except FileNotFoundError:
                return False
            except OSError as error:
                raise StoreError(f"cannot delete {path}: {error.strerror or error}") from error
            return True

    @contextlib.contextmanager
    def adding(self) -> Iterator[None]:
        with self._locked(ADDING_LOCK):
            yield

    def refresh_lock(self, account_id: str) -> FileLock:
        self.path(account_id)
        return FileLock(self._locks / f"{account_id}.refresh.lock")

    async def changes(self) -> AsyncIterator[frozenset[str]]:
        watch = FolderWatch(self._accounts, self._announce)
        async with contextlib.aclosing(watch.changes()) as changes:
            async for names in changes:
                yield frozenset(_id_of(name) for name in names)

    def _scan(self) -> list[str]:
        try:
            return [_id_of(name) for name in scan(self._accounts)]
        except OSError as error:
            raise StoreError(f"cannot list {self._accounts}: {error.strerror or error}") from error

    def _misnamed(self, account_id: str) -> Corrupt | None:
        """A file that somebody meant as an account, under a name that is no id: said, not dropped."""
        if account_id not in self._scan():
            return None
        problem = "is not named like an account: letters, digits and . _ @ + - only, at most 128"
        return Corrupt(account_id, str(self._accounts / f"{account_id}{SUFFIX}"), problem)

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        lock = FileLock(self._locks / name)
        lock.acquire(timeout_s=WRITE_LOCK_TIMEOUT_S)
        try:
            yield
        finally:
            lock.release()

    def _write(self, path: Path, account: Account) -> None:
        content = encode_account(account)
        _check_readable(content, path)
        try:
            make_private_folder(path.parent)
            write_atomically(path, content)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror or error}") from error

    def _make_folder(self, folder: Path) -> None:
        try:
            make_private_folder(folder)
        except OSError as error:
            raise StoreError(
                f"cannot create {folder}: {error.strerror}. Check the owner of the folder."
            ) from error

    def _remove_leftovers(self) -> None:
        """A leftover of a killed writer holds a token. Whoever has its account's write lock knows that it is dead."""
        try:
            found = temporaries(self._accounts)
        except OSError as error:
            raise StoreError(f"cannot list {self._accounts}: {error.strerror or error}") from error
        for leftover, name in found:
            account_id = name.removesuffix(SUFFIX)
            if name == account_id or not VALID_ID.fullmatch(account_id):
                continue
            lock = FileLock(self._locks / f"{account_id}.write.lock")
            if lock.try_acquire():
                # Where it cannot be removed nothing can be written either, and the first write says so.
                with contextlib.suppress(OSError):
                    leftover.unlink()
                lock.release()


def make_private_folder(folder: Path) -> None:
    """Create the folder if need be, readable by its owner only (0700). Raises OSError.

    Only its owner may narrow it: another's folder, such as a container's volume, is used as it is.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_mode & 0o077 and os.name != "nt" and status.st_uid == os.geteuid():
        folder.chmod(0o700)


def _id_of(name: str) -> str:
    """The id in a file name; bytes that are no UTF-8 are shown as replacement characters, for logs and JSON."""
    return os.fsencode(name).decode("utf-8", "replace").removesuffix(SUFFIX)


def _check_readable(content: bytes, path: Path) -> None:
    """Never write what could not be read back: better the old state than a corrupt file."""
    try:
        decode_account(content, stem=path.stem)
    except AccountFileError as error:
        raise StoreError(f"cannot write {path}: {error}") from error
    if len(content) > ACCOUNT_FILE_LIMIT:
        raise StoreError(f"cannot write {path}: longer than {ACCOUNT_FILE_LIMIT} bytes")
