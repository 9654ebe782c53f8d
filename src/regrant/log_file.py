"""A log file that several processes append to and that is rotated by its size.

What is in a line is decided in `logs`.
"""

from __future__ import annotations

import os
import threading
from itertools import pairwise
from pathlib import Path

MAX_BYTES = 10_000_000
KEEP = 5


class LogFile:
    """`path`, then `path.1` (newest) to `path.<keep>`. Every line is one append, so that lines of processes never mix.

    Whoever finds the file full rotates it under a lock; the others notice that the name has a new file behind it. A
    line that was on its way meanwhile lands in the rotated file: late, never lost.
    """

    def __init__(self, path: Path, lock_path: Path, *, max_bytes: int = MAX_BYTES, keep: int = KEEP) -> None:
        self.path = path
        self._lock_path = lock_path
        self._max_bytes = max_bytes
        self._keep = keep
        self._descriptor: int | None = None
        self._cut = False
        self._threads = threading.Lock()

    def write(self, line: bytes) -> None:
        """Append `line`, which ends with a newline. Raises OSError; the next call starts afresh."""
        with self._threads:
            try:
                self._append(self._current(len(line)), line)
            except OSError:
                self._close()
                raise

    def close(self) -> None:
        with self._threads:
            self._close()

    def _append(self, descriptor: int, line: bytes) -> None:
        data = b"\n" + line if self._cut else line
        written = os.write(descriptor, data)
        self._cut = written < len(data)
        if self._cut:
            raise OSError(f"only {written} of {len(data)} bytes were written")

    def _current(self, coming: int) -> int:
        """A descriptor of the file that has the name now, rotated if `coming` bytes would make it too long."""
        if self._descriptor is None or not self._has_the_name(self._descriptor):
            self._reopen()
        assert self._descriptor is not None
        size = os.fstat(self._descriptor).st_size
        if size and size + coming > self._max_bytes and self._rotate(coming):
            self._reopen()
        return self._descriptor

    def _has_the_name(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _rotate(self, coming: int) -> bool:
        """Whether the file was rotated, here or elsewhere. False while another process is at it: nobody waits."""
        from filelock import FileLock, Timeout

        self._lock_path.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            with FileLock(self._lock_path, timeout=0, mode=0o600):
                if self._is_full(coming):  # asked again under the lock: another process may have rotated it
                    self._shift()
        except Timeout:
            return False
        return True

    def _is_full(self, coming: int) -> bool:
        try:
            return os.stat(self.path).st_size + coming > self._max_bytes
        except FileNotFoundError:
            return False

    def _shift(self) -> None:
        names = [
            self.path,
            *(self.path.with_name(f"{self.path.name}.{number}") for number in range(1, self._keep + 1)),
        ]
        for newer, older in reversed(list(pairwise(names))):
            if newer.exists():
                newer.replace(older)

    def _reopen(self) -> None:
        self._close()
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(self.path, flags, 0o600)

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
