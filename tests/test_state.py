"""The state database: shared, never in the way, and mended when damaged."""

from __future__ import annotations

import asyncio
import math
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from regrant.clock import SystemClock
from regrant.database import move_aside
from regrant.state import MAX_PENDING, PURGE_S, Change, StateDatabase, follow

LATER = time.time() + 3600
Open = Callable[..., StateDatabase]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite3"


@pytest.fixture
def open_database(path: Path) -> Iterator[Open]:
    opened: list[StateDatabase] = []

    def open_one(report: Callable[[str], None] = lambda _: None) -> StateDatabase:
        opened.append(StateDatabase(path, SystemClock(), report=report))
        return opened[-1]

    yield open_one
    for database in opened:
        database.close()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_what_was_put_is_there_after_a_restart(open_database: Open) -> None:
    first = open_database()
    first.put("cooldown", "a", {"why": "rate_limited"}, LATER)
    first.put("cooldown", "b", [1], math.inf)
    first.put("dead_token", "a", "x", LATER)
    first.close()
    second = open_database()
    assert second.load("cooldown") == {"a": ({"why": "rate_limited"}, LATER), "b": ([1], math.inf)}
    assert second.load("dead_token") == {"a": ("x", LATER)}


def test_the_last_word_wins_and_the_ended_is_not_loaded(open_database: Open) -> None:
    database = open_database()
    database.put("k", "a", 1, LATER)
    database.put("k", "a", 2, LATER)
    database.put("k", "ended", 1, time.time() - 1)
    database.put("k", "gone", 1, LATER)
    database.delete("k", "gone")
    assert database.flush(10)
    assert database.load("k") == {"a": (2, LATER)}


class PassingTime:
    """The system's clock, some time later."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now(self) -> float:
        return time.time() + self.passed_s

    def monotonic(self) -> float:
        return time.monotonic() + self.passed_s


def test_what_has_ended_is_cleared_away_now_and_then_and_not_with_every_write(path: Path) -> None:
    clock = PassingTime()
    database = StateDatabase(path, clock)

    def kept_after_writing() -> list[str]:
        database.put("k", "news", 1, math.inf)
        assert database.flush(10)
        with closing(sqlite3.connect(path)) as connection:
            return [key for (key,) in connection.execute("select key from observed order by key")]

    database.put("k", "ended", 1, time.time() - 1)
    assert kept_after_writing() == ["ended", "news"]
    clock.passed_s = PURGE_S
    assert kept_after_writing() == ["news"]
    database.close()


def test_the_database_is_its_owners_alone(open_database: Open, path: Path) -> None:
    open_database()
    assert path.stat().st_mode & 0o777 == 0o600


def test_each_process_sees_the_changes_of_the_others_and_not_its_own(open_database: Open) -> None:
    ours, theirs = open_database(), open_database()
    ours.put("k", "ours", 1, LATER)
    theirs.put("k", "theirs", 2, LATER)
    assert ours.flush(10)
    assert theirs.flush(10)
    changes, seq = ours.changes(0)
    assert changes == [Change("k", "theirs", 2, LATER, deleted=False)]
    assert ours.changes(seq) == ([], seq)
    theirs.delete("k", "ours")
    assert theirs.flush(10)
    changes, later = ours.changes(seq)
    assert [(change.key, change.deleted) for change in changes] == [("ours", True)]
    assert later > seq


def test_two_followers_of_one_database_both_see_every_change(open_database: Open) -> None:
    ours, theirs = open_database(), open_database()
    theirs.put("k", "a", 1, LATER)
    assert theirs.flush(10)
    _, first = ours.changes(0)
    _, second = ours.changes(0)
    theirs.put("k", "b", 2, LATER)
    assert theirs.flush(10)
    assert [change.key for change in ours.changes(first)[0]] == ["b"]
    assert [change.key for change in ours.changes(second)[0]] == ["b"]


def test_another_process_is_followed(open_database: Open, path: Path) -> None:
    ours = open_database()
    _, seq = ours.changes(0)
    script = (
        "import sys, time; from pathlib import Path; from regrant.clock import SystemClock; from regrant.state import StateDatabase;"
        "database = StateDatabase(Path(sys.argv[1]), SystemClock());"
        "database.put('k', 'from-afar', 1, time.time() + 60); sys.exit(not database.flush(10))"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, timeout=60)
    changes, _ = ours.changes(seq)
    assert [change.key for change in changes] == ["from-afar"]


async def test_a_follower_is_told_in_its_own_loop(open_database: Open) -> None:
    ours, theirs = open_database(), open_database()
    seen: asyncio.Queue[Change] = asyncio.Queue()
    follower = asyncio.create_task(follow(ours, seen.put_nowait, interval_s=0.02))
    theirs.put("k", "a", 1, LATER)
    assert (await asyncio.wait_for(seen.get(), 10)).key == "a"
    theirs.delete("k", "a")
    assert (await asyncio.wait_for(seen.get(), 10)).deleted
    follower.cancel()
    await asyncio.wait({follower}, timeout=5)


@pytest.mark.parametrize(
    "rubbish", [b"this is no database at all, " * 200, b"SQLite format 3\x00" + b"\xff" * 5000]
)
def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(
    open_database: Open, path: Path, rubbish: bytes
) -> None:
    path.write_bytes(rubbish)
    told: list[str] = []
    database = open_database(told.append)
    database.put("k", "a", 1, LATER)
    assert database.flush(10)
    assert database.load("k") == {"a": (1, LATER)}
    (aside,) = path.parent.glob("state.sqlite3.corrupt-*")
    assert aside.read_bytes() == rubbish
    assert len(told) == 1
    assert aside.name in told[0]


def test_a_file_damaged_while_in_use_is_mended_and_followed_by_all(open_database: Open, path: Path) -> None:
    ours, theirs = open_database(), open_database()
    for number in range(50):
        ours.put("k", f"before-{number}", "x" * 500, LATER)
    assert ours.flush(10)
    _, seq = theirs.changes(0)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    with path.open("r+b") as file:
        file.write(b"\x00" * 8192)
    ours.put("k", "after", 1, LATER)
    assert ours.flush(20)
    assert list(path.parent.glob("state.sqlite3.corrupt-*"))
    theirs.put("k", "also-after", 2, LATER)
    assert theirs.flush(20)
    assert set(ours.load("k")) == {"after", "also-after"}
    changes, _ = theirs.changes(seq)
    assert [change.key for change in changes] == ["after"]
    assert (
        len([name for name in path.parent.glob("state.sqlite3.corrupt-*") if name.suffix[-1].isdigit()]) == 1
    )


def test_the_sound_file_that_another_process_has_just_begun_is_left_alone(
    open_database: Open, path: Path
) -> None:
    database = open_database()
    database.put("k", "a", 1, LATER)
    assert database.flush(10)
    assert move_aside(path, 1) is None
    assert database.load("k") == {"a": (1, LATER)}


def test_a_disk_that_does_not_write_is_reported_once_and_tried_again(open_database: Open, path: Path) -> None:
    path.mkdir()  # nothing can be opened there, not even by root
    told: list[str] = []
    database = open_database(told.append)
    for number in range(100):
        database.put("k", str(number), number, LATER)
    assert database.load("k") == {}
    assert database.changes(0) == ([], 0)
    until(lambda: database.failures >= 2)
    assert len(told) == 1
    assert "state.sqlite3" in told[0]
    path.rmdir()
    assert database.flush(20)
    assert len(database.load("k")) == 100
    assert database.failures == 0


def test_callers_never_wait_for_a_locked_database(open_database: Open, path: Path) -> None:
    database = open_database()
    with closing(sqlite3.connect(path, isolation_level=None)) as blocker:
        blocker.execute("begin immediate")
        database.put("k", "first", 1, LATER)
        for number in range(MAX_PENDING + 3000):
            database.put("k", str(number), number, LATER)
        assert database.dropped > 0
        assert not database.flush(0.05)
        blocker.execute("rollback")
    assert database.flush(30)
    assert len(database.load("k")) <= MAX_PENDING + 1001
    assert str(MAX_PENDING + 2999) in database.load("k")


def test_closing_writes_what_is_pending_and_can_be_repeated(open_database: Open) -> None:
    database = open_database()
    for number in range(500):
        database.put("k", str(number), number, LATER)
    database.close()
    database.close()
    assert len(open_database().load("k")) == 500


def test_what_somebody_scribbled_into_the_file_is_passed_over(open_database: Open, path: Path) -> None:
    database = open_database()
    database.put("k", "good", 1, LATER)
    assert database.flush(10)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("insert into observed values ('k', 'bad', '{', ?, 'x', 99)", (LATER,))
        connection.execute("insert into observed values ('cooldown', 'no key', '{}', ?, 'x', 100)", (LATER,))
        connection.commit()
    assert database.load("k") == {"good": (1, LATER)}
    assert [change.key for change in database.changes(0)[0]] == ["no key"]


def test_nothing_is_left_open(open_database: Open, path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("no /proc here")
    for _ in range(3):
        database = open_database()
        database.put("k", "a", 1, LATER)
        database.close()
    mine = [os.readlink(entry) for entry in descriptors.iterdir() if entry.is_symlink()]
    assert not [name for name in mine if name.startswith(str(path))]
