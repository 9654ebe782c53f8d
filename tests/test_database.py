"""One SQLite file, several connections in a process and several processes: none may end the locks of another."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from regrant.database import Database

# SQLite keeps a shared lock on these bytes of the file for as long as a connection to a WAL database is open:
# SHARED_FIRST and SHARED_SIZE in https://www.sqlite.org/src/file/src/os.h.
TRY_TO_LOCK_ALL = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)
    except OSError:
        print("locked")
    else:
        print("free")
"""


def prepare(connection: sqlite3.Connection) -> None:
    connection.execute("pragma journal_mode = wal")
    connection.execute("create table if not exists fact (name text)")


def lock_seen_by_another_process(path: Path) -> str:
    command = [sys.executable, "-c", TRY_TO_LOCK_ALL, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX locks")
def test_a_second_connection_of_a_process_leaves_the_locks_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "facts.sqlite3"
    first, second = Database(path, prepare), Database(path, prepare)
    first.fetch("select * from fact")
    assert lock_seen_by_another_process(path) == "locked"
    second.fetch("select * from fact")
    assert lock_seen_by_another_process(path) == "locked"
    second.close()
    assert lock_seen_by_another_process(path) == "locked"
    first.close()
    assert lock_seen_by_another_process(path) == "free"


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
def test_a_new_file_is_private(tmp_path: Path) -> None:
    database = Database(tmp_path / "facts.sqlite3", prepare)
    database.fetch("select * from fact")
    assert (tmp_path / "facts.sqlite3").stat().st_mode & 0o777 == 0o600
    database.close()


def test_commit_that_fails_does_not_keep_later_ones_from_being_made(tmp_path: Path) -> None:
    def with_a_promise(connection: sqlite3.Connection) -> None:
        connection.execute("pragma foreign_keys = on")
        connection.execute("create table if not exists fact (name text primary key)")
        connection.execute(
            "create table if not exists echo (name text references fact deferrable initially deferred)"
        )

    database = Database(tmp_path / "facts.sqlite3", with_a_promise)
    with pytest.raises(sqlite3.IntegrityError), database.transaction() as cursor:
        cursor.execute("insert into echo values ('nobody said this')")  # found out at the commit
    with database.transaction() as cursor:
        cursor.execute("insert into fact values ('said')")
    assert database.fetch("select (select count(*) from fact), (select count(*) from echo)") == [(1, 0)]
    database.close()
