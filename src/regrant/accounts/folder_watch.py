"""Says which files of a folder have changed, whoever changed them and whatever the file system announces.

Theory of operation. The operating system's announcements only say where to look; what counts as a change is decided by
comparing stat signatures, and the whole folder is compared at least every RESCAN_S as well, because announcements do not
work on every file system, run out (fs.inotify limits) and end when the folder is replaced. An announced name counts as
changed even with an equal signature: two edits in place can fall into one tick of the file system's clock.
What is in the files is not looked at here; that is `file_store.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path

RESCAN_S = 0.8  # a change that was not announced is still seen within a second
RESCAN_SHARE = 0.05  # of one core, at most, for comparing a large folder
GATHER_MS = 50

Signature = tuple[int, int, int, int]
"""Times of change and of modification in ns, size and inode: tell one version of a file from another without reading it.

The time of change is there for chmod: a file that becomes readable has not been modified.
"""
UNREADABLE: Signature = (-1, -1, -1, -1)

Announce = Callable[[Path], AsyncGenerator[frozenset[str], None]]
"""Yields the names of files that may have changed: at once when there are some, else an empty set within RESCAN_S.

Raises OSError or RuntimeError where the folder cannot be watched.
"""


async def announced_by_system(folder: Path) -> AsyncGenerator[frozenset[str], None]:
    """inotify, FSEvents or ReadDirectoryChangesW, by watchfiles."""
    import watchfiles

    batches = watchfiles.awatch(
        folder,
        watch_filter=None,
        debounce=GATHER_MS,
        step=GATHER_MS,  # it wakes up so often for as long as the process lives
        rust_timeout=int(RESCAN_S * 1000),
        yield_on_timeout=True,
        recursive=False,
    )
    async with contextlib.aclosing(batches):
        async for batch in batches:
            yield frozenset(os.path.basename(path) for _, path in batch)


def scan(folder: Path, names: Iterable[str] | None = None) -> dict[str, Signature]:
    """The signatures of all visible `*.json` files in the folder, or of those among `names`.

    A folder that is not there is empty. Raises OSError.
    """
    found: dict[str, Signature] = {}
    if names is not None:
        for name in filter(is_visible_json, names):
            with contextlib.suppress(FileNotFoundError):
                found[name] = _signature(folder / name)
        return found
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if is_visible_json(entry.name):
                with contextlib.suppress(FileNotFoundError):
                    found[entry.name] = _signature(entry)
    return found


def is_visible_json(name: str) -> bool:
    """Temporary files of ours and of editors begin with a dot or end in something else."""
    return name.endswith(".json") and not name.startswith(".")


def _signature(entry: Path | os.DirEntry[str]) -> Signature:
    try:
        status = entry.stat()
    except OSError:  # a link that leads nowhere is something that exists; what is gone raises again
        status = entry.stat(follow_symlinks=False)
    return (status.st_ctime_ns, status.st_mtime_ns, status.st_size, status.st_ino)


class FolderWatch:
    """Watches the `*.json` files of `folder`, which may come and go as well."""

    def __init__(self, folder: Path, announce: Announce = announced_by_system) -> None:
        self._folder = folder
        self._announce = announce
        self._seen: dict[str, Signature] = {}

    async def changes(self) -> AsyncGenerator[frozenset[str], None]:
        """Names of files that were changed, added or removed. The first item is empty: from then on none is missed."""
        self._seen = await asyncio.to_thread(self._look)
        yield frozenset()
        rest_until = 0.0
        async with contextlib.aclosing(self._moments()) as moments:
            async for names in moments:
                started = time.monotonic()
                if started >= rest_until:
                    found = await asyncio.to_thread(self._look)
                    rest_until = time.monotonic() + (time.monotonic() - started) / RESCAN_SHARE
                elif names:
                    found = await asyncio.to_thread(self._look, names)
                else:
                    continue
                changed = self._compare(found, names)
                self._seen = found
                if changed:
                    yield changed

    def _look(self, names: frozenset[str] | None = None) -> dict[str, Signature]:
        """All signatures as they are now; with `names`, only theirs are looked up anew."""
        try:
            if names is None:
                return scan(self._folder)
            kept = {name: signature for name, signature in self._seen.items() if name not in names}
            return kept | scan(self._folder, names)
        except OSError:
            # Reading the files will say what is wrong with the folder: let it be tried, once.
            return dict.fromkeys(self._seen, UNREADABLE)

    def _compare(self, found: dict[str, Signature], names: frozenset[str]) -> frozenset[str]:
        either = self._seen.keys() | found.keys()
        return frozenset(name for name in either if name in names or self._seen.get(name) != found.get(name))

    async def _moments(self) -> AsyncGenerator[frozenset[str], None]:
        """When to look, and at which names in any case: as soon as they are announced, else at least every RESCAN_S."""
        while True:
            watched = await asyncio.to_thread(self._identity)
            yield frozenset()  # what happened while nothing was watched
            try:
                async with contextlib.aclosing(self._announce(self._folder)) as batches:
                    async for names in batches:
                        yield names
                        if await asyncio.to_thread(self._identity) != watched:
                            break  # the folder was replaced: what is watched is the one that is gone
            except (OSError, RuntimeError, ExceptionGroup):
                # No folder, or no watch to be had (fs.inotify.max_user_instances raises RuntimeError).
                await asyncio.sleep(RESCAN_S)

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._folder)
        except OSError:
            return None
        return (status.st_dev, status.st_ino)
