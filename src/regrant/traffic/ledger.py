"""How several processes of one server answer a scrape as one: each keeps its numbers in a file that the others read.

A process writes its own file only, every second, at its end, and before it answers a scrape, so that a number that was
shown once is on disk. The supervisor puts the counters of a process that has ended into one common file; so they never
go down, and a server whose processes die often does not gather files. Nothing is made durable: after a power cut the
counters begin anew with the server.

Blocking: called in threads. With one process none of this is used.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from pathlib import Path
from typing import TypeVar

import msgspec

from regrant import logs
from regrant.files import read_bounded
from regrant.traffic.tally import Tally, counts_up

T = TypeVar("T")

SUFFIX = ".tally"
GONE = "gone" + SUFFIX
MAX_BYTES = 16 << 20
NAMES_KEPT = 100  # far more than may end while one scrape reads the folder

log = logs.get("metrics")


class _Gone(msgspec.Struct):
    """What processes that ended have counted. `names` are the latest files that are in it."""

    names: list[str]
    tally: Tally


class Ledger:
    """The file of this process among those of its server, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # The start time keeps a process apart from an earlier one with the same number.
        self._own = folder / f"{os.getpid()}.{time.time_ns()}{SUFFIX}"
        self._turn = threading.Lock()
        self._written = 0

    def write(self, tally: Tally, number: int) -> None:
        """Replace this process's numbers by those taken as the `number`th, unless later ones are there. Raises OSError."""
        with self._turn:
            if number > self._written:
                _write(self._own, msgspec.msgpack.encode(tally))
                self._written = number

    def others(self) -> list[Tally]:
        """The numbers of the other processes, those that have ended included. Raises OSError."""
        found: dict[str, Tally] = {}
        for path in _tallies(self._folder):
            if path != self._own:
                with contextlib.suppress(FileNotFoundError):  # put into the common file meanwhile
                    found[path.name] = _read(path, Tally)
        gone = _gone(self._folder)  # last: who was there above and is in here must not be counted twice
        return [gone.tally, *(tally for name, tally in found.items() if name not in gone.names)]


def begin_run(data_dir: Path) -> Path:
    """The folder for the processes of this supervisor, empty; those of supervisors that were killed are removed."""
    parent = data_dir / "run" / "metrics"
    folder = parent / str(os.getpid())
    end_run(folder)
    try:
        folder.mkdir(mode=0o700, parents=True)
        for other in parent.iterdir():
            if not _runs(other.name):
                end_run(other)
    except OSError as error:
        _warn(error)
    return folder


def end_run(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def put_away(folder: Path, pid: int) -> None:
    """Add the counters of a process that has ended to the common file. For the supervisor only."""
    try:
        _put_away(folder, pid)
    except (OSError, msgspec.MsgspecError) as error:
        _warn(error)


def _put_away(folder: Path, pid: int) -> None:
    ended = [path for path in _tallies(folder) if path.name.startswith(f"{pid}.")]
    if not ended:
        return
    gone = _gone(folder)
    for path in ended:
        gone.tally.add(_read(path, Tally), counts_up)
        gone.names.append(path.name)
    gone.names = gone.names[-NAMES_KEPT:]
    _write(folder / GONE, msgspec.msgpack.encode(gone))
    for path in ended:
        path.unlink()


def _gone(folder: Path) -> _Gone:
    try:
        return _read(folder / GONE, _Gone)
    except FileNotFoundError:
        return _Gone([], Tally())


def _tallies(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.endswith(SUFFIX) and path.name[0].isdigit()]


def _read(path: Path, kind: type[T]) -> T:
    return msgspec.msgpack.decode(read_bounded(path, limit=MAX_BYTES), type=kind)


def _write(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)


def _warn(error: Exception) -> None:
    log.warning("metrics_not_shared", f"metrics of processes may be missing: {error}")


def _runs(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True  # as another user
    return True
