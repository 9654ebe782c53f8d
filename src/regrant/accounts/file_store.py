"""One JSON file per account: atomic, locked, watched. The file is the authority on its account's state.

Theory of operation. A write goes to a temporary file in the same folder, is fsynced, renamed over the old file, and the
folder is fsynced: at every moment, also after kill -9 or a power cut, `<id>.json` is the old state or the new one.
Writers of one account take turns with `locks/<id>.lock`; they re-read the file under that lock, so nobody writes over
what he has not seen. The longer lock `locks/<id>.refresh.lock` is held while Google is asked; readers take none.
Lock files are never deleted: a waiter and a newcomer would lock two different inodes of one name.
What counts as a change is decided by comparing stat signatures; the notification of the operating system only says
when to look, because it does not work on every file system.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import filelock
import msgspec

from regrant.accounts.model import Account, AccountFileError, decode_account, encode_account
from regrant.accounts.store import Corrupt, Decide, Records, StoreError
from regrant.files import sync_folder, write_atomically

WRITE_LOCK_TIMEOUT_S = 10.0
RESCAN_S = 0.8  # a change that the operating system did not announce is still seen within a second
RESCAN_SHARE = 0.05  # of one core, at most, for looking at a large folder
NOTIFY_GATHER_MS = 50
LEFTOVER_AGE_S = 600.0
VALID_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")

Signature = tuple[int, int, int]
"""Modification time in ns, size and inode: what tells one version of a file from another without reading it."""


class FileRefreshLock:
    def __init__(self, path: Path) -> None:
        self._lock = filelock.FileLock(path, blocking=False, thread_local=False, mode=0o600)

    def try_acquire(self) -> bool:
        try:
            self._lock.acquire(blocking=False)
        except filelock.Timeout:
            return False
        except OSError as error:
            raise StoreError(f"cannot lock {self._lock.lock_file}: {error.strerror or error}") from error
        return True

    def release(self) -> None:
        self._lock.release()


class FileStore:
    """Keeps accounts under `data_dir`. `now` gives unix seconds for `updated_at`."""

    def __init__(self, data_dir: Path, *, now: Callable[[], float] = time.time) -> None:
        self._accounts = data_dir / "accounts"
        self._locks = data_dir / "locks"
        self._now = now

    def prepare(self) -> None:
        """Create the folders. Raises StoreError with the path that cannot be made."""
        for folder in (self._accounts, self._locks):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(
                    f"cannot create {folder}: {error.strerror}. Check the owner of the folder."
                ) from error

    def path(self, account_id: str) -> Path:
        """Where the account is kept. Raises StoreError for an id that is not a plain file name."""
        if not VALID_ID.fullmatch(account_id):
            raise StoreError(f"{account_id!r} is not an account id")
        return self._accounts / f"{account_id}.json"

    def load_all(self) -> Records:
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
        path = self.path(account_id)
        try:
            return decode_account(path.read_bytes(), stem=account_id)
        except FileNotFoundError:
            return None
        except OSError as error:
            return Corrupt(account_id, str(path), f"cannot be read: {error.strerror}")
        except AccountFileError as error:
            return Corrupt(account_id, str(path), str(error))

    def transact(self, account_id: str, decide: Decide) -> Account | None:
        path = self.path(account_id)
        with self._locked(f"{account_id}.lock"):
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
            self._write(path, encode_account(stored))
            return stored

    def delete(self, account_id: str) -> bool:
        path = self.path(account_id)
        with self._locked(f"{account_id}.lock"):
            try:
                path.unlink()
            except FileNotFoundError:
                return False
            except OSError as error:
                raise StoreError(f"cannot delete {path}: {error.strerror}") from error
            sync_folder(path.parent)
            return True

    @contextlib.contextmanager
    def adding(self) -> Iterator[None]:
        with self._locked("accounts.lock"):
            yield

    def refresh_lock(self, account_id: str) -> FileRefreshLock:
        self.path(account_id)
        return FileRefreshLock(self._locks / f"{account_id}.refresh.lock")

    async def changes(self) -> AsyncIterator[frozenset[str]]:
        seen = await asyncio.to_thread(self._scan)
        yield frozenset()
        next_look = 0.0
        async for announced in self._moments():
            started = time.monotonic()
            if not announced and started < next_look:
                continue
            found = await asyncio.to_thread(self._scan)
            now = time.monotonic()
            next_look = now + (now - started) / RESCAN_SHARE
            changed = {key for key in seen.keys() | found.keys() if seen.get(key) != found.get(key)}
            seen = found
            if changed:
                yield frozenset(changed)

    async def _moments(self) -> AsyncIterator[bool]:
        """When to look at the folder: True as soon as the system announces a change, False at least every RESCAN_S."""
        import watchfiles

        while True:
            try:
                async for events in watchfiles.awatch(
                    self._accounts,
                    watch_filter=None,
                    debounce=NOTIFY_GATHER_MS,
                    step=NOTIFY_GATHER_MS // 2,
                    rust_timeout=int(RESCAN_S * 1000),
                    yield_on_timeout=True,
                    recursive=False,
                ):
                    yield bool(events)
            except OSError:
                # No folder, or no watches left (fs.inotify.max_user_watches): looking at intervals still works.
                yield False
                await asyncio.sleep(RESCAN_S)

    def _scan(self) -> dict[str, Signature]:
        found: dict[str, Signature] = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self._accounts) as entries:
            for entry in entries:
                stem, dot, suffix = entry.name.rpartition(".")
                if dot and suffix == "json" and VALID_ID.fullmatch(stem):
                    with contextlib.suppress(OSError):
                        stat = entry.stat()
                        found[stem] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        return found

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        lock = filelock.FileLock(
            self._locks / name, timeout=WRITE_LOCK_TIMEOUT_S, thread_local=False, mode=0o600
        )
        try:
            lock.acquire(poll_interval=0.005)
        except filelock.Timeout as error:
            raise StoreError(
                f"another process has held {lock.lock_file} for {WRITE_LOCK_TIMEOUT_S:.0f} s"
            ) from error
        except OSError as error:
            raise StoreError(f"cannot lock {lock.lock_file}: {error.strerror or error}") from error
        try:
            yield
        finally:
            lock.release()

    def _write(self, path: Path, content: bytes) -> None:
        try:
            write_atomically(path, content)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error
