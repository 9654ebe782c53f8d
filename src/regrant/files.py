"""Durable writes and bounded reads: a file is the old one or the new one at every moment, also after kill -9 or a power cut.

What is read and written, and under which lock, is the caller's business.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from pathlib import Path

TEMPORARY = ".tmp"
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a named pipe must not wait for its writer
_FOLDER_SYNC_UNSUPPORTED = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSUP})


def read_bounded(path: Path, *, limit: int) -> bytes:
    """The whole content. Raises OSError, also for what is not a regular file or is longer than `limit` bytes."""
    descriptor = os.open(path, os.O_RDONLY | _NO_WAIT | _BINARY)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "a folder" if stat.S_ISDIR(mode) else "not a regular file", str(path))
        content = bytearray()
        while chunk := os.read(descriptor, limit + 1 - len(content)):
            content += chunk
            if len(content) > limit:
                raise OSError(errno.EFBIG, f"longer than {limit} bytes", str(path))
        return bytes(content)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace the file: the old content or the new one is there at every moment, durable on return.

    A symbolic link is followed, so that a linked file stays linked. Raises OSError; then no temporary file is left, and
    unless syncing the folder was what failed, the old content is in place.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}{TEMPORARY}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, mode)
    try:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(target.parent)


def temporaries(folder: Path) -> list[tuple[Path, str]]:
    """What writers that were killed left behind in `folder` (and what living ones have at work): file, name of its target.

    Raises OSError.
    """
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(TEMPORARY):
                target, dot, unique = entry.name[1 : -len(TEMPORARY)].rpartition(".")
                if dot and len(unique) == 32:
                    found.append((Path(entry.path), target))
    return found


def sync_folder(folder: Path) -> None:
    """Make a rename or removal in `folder` durable. Raises OSError.

    Windows has no such call and needs none. Some network file systems refuse it for folders; like PostgreSQL, take
    that as "not needed here" (Source: fsync_fname_ext in PostgreSQL's src/common/file_utils.c).
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY | _BINARY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _FOLDER_SYNC_UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)
