from __future__ import annotations

import multiprocessing
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from regrant.log_file import LogFile


def log_file(folder: Path, *, max_bytes: int = 100, keep: int = 3) -> LogFile:
    return LogFile(folder / "a.log", folder / "log.lock", max_bytes=max_bytes, keep=keep)


def line(number: int) -> bytes:
    return b"%029d\n" % number


def test_a_full_file_moves_on_by_one_number_and_the_oldest_goes(tmp_path: Path) -> None:
    file = log_file(tmp_path)
    for number in range(14):
        file.write(line(number))
    file.close()
    found = {path.name: [int(text) for text in path.read_text().split()] for path in tmp_path.glob("a.log*")}
    assert found == {"a.log": [12, 13], "a.log.1": [9, 10, 11], "a.log.2": [6, 7, 8], "a.log.3": [3, 4, 5]}


def test_a_line_longer_than_the_limit_is_written_whole(tmp_path: Path) -> None:
    file = log_file(tmp_path)
    file.write(b"x" * 300 + b"\n")
    file.write(line(1))
    file.close()
    assert (tmp_path / "a.log").read_bytes() == line(1)
    assert (tmp_path / "a.log.1").stat().st_size == 301


def test_writing_goes_on_without_waiting_while_another_process_rotates(tmp_path: Path) -> None:
    file = log_file(tmp_path)
    with FileLock(tmp_path / "log.lock"):
        for number in range(10):
            file.write(line(number))
    assert (tmp_path / "a.log").stat().st_size == 300
    file.write(line(10))
    file.close()
    assert (tmp_path / "a.log").read_bytes() == line(10)


def test_a_file_that_was_moved_or_deleted_is_opened_anew(tmp_path: Path) -> None:
    file = log_file(tmp_path)
    file.write(line(1))
    (tmp_path / "a.log").rename(tmp_path / "moved")
    file.write(line(2))
    (tmp_path / "a.log").unlink()
    file.write(line(3))
    file.close()
    assert (tmp_path / "moved").read_bytes() == line(1)
    assert (tmp_path / "a.log").read_bytes() == line(3)


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_rotated_files_stay_private(tmp_path: Path) -> None:
    file = log_file(tmp_path)
    for number in range(8):
        file.write(line(number))
    file.close()
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("a.log*")} == {0o600}


def _write_many(folder: Path, first: int) -> None:
    file = log_file(folder, max_bytes=3000, keep=50)
    for number in range(first, first + 1000):
        file.write(line(number))
    file.close()


def test_processes_that_rotate_at_once_lose_no_line_and_cut_none(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(tmp_path, first)) for first in (0, 1000, 2000)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    paths = list(tmp_path.glob("a.log*"))
    longest_line = 5
    assert all(path.stat().st_size > 3000 - longest_line for path in paths if path.name != "a.log")
    found = sorted(int(text) for path in paths for text in path.read_text().splitlines())
    assert found == list(range(3000))
    assert len(paths) >= 4


CUT = """
import resource, sys
from pathlib import Path
from regrant.log_file import LogFile
folder = Path(sys.argv[1])
file = LogFile(folder / "a.log", folder / "log.lock")
file.write(b"first line\\n")
resource.setrlimit(resource.RLIMIT_FSIZE, (15, resource.RLIM_INFINITY))
try:
    file.write(b"second line\\n")
except OSError:
    print("told")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
file.write(b"third line\\n")
"""


@pytest.mark.skipif(os.name == "nt", reason="file size limits are POSIX")
def test_a_line_that_was_cut_by_a_full_disk_does_not_spoil_the_next(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CUT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "told\n"
    assert (tmp_path / "a.log").read_text() == "first line\nseco\nthird line\n"
