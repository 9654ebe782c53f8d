"""The traffic log: written in batches, never waited for, bounded while it is written, shared, and mended."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from regrant.clock import SystemClock
from regrant.messages.model import Usage
from regrant.secret import MASK, Secret
from regrant.settings.model import Traffic
from regrant.traffic import log as traffic_log
from regrant.traffic import schema
from regrant.traffic.exchange import MAX_BODY_BYTES, Attempt, Bodies, Exchange
from regrant.traffic.history import Filter, History, TrafficUnreadable
from regrant.traffic.log import TrafficLog

NOW = 1_800_000_000.0


@dataclass
class StoppedClock:
    at: float = NOW
    ticks: float = 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return time.monotonic() + self.ticks


@dataclass
class Stage:
    """A log on a folder, its settings, and what it reported."""

    folder: Path
    clock: StoppedClock = field(default_factory=StoppedClock)
    limits: Traffic = field(default_factory=lambda: Traffic(keep_days=30, max_mb=512, record_bodies=False))
    said: list[tuple[str, str]] = field(default_factory=list)
    opened: list[TrafficLog] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.folder / schema.FILE

    @property
    def history(self) -> History:
        return History(self.folder)

    def open(self, *, start: bool = True, **options: int) -> TrafficLog:
        log = TrafficLog(
            self.path,
            self.clock,
            limits=lambda: self.limits,
            secrets=lambda: [Secret("secret-word-of-the-settings")],
            report=lambda event, sentence: self.said.append((event, sentence)),
            **options,
        )
        self.opened.append(log)
        if start:
            log.start()
        return log

    def ids(self) -> list[str]:
        return [one.id for one in self.history.newest(Filter(), 100_000).records]

    def size(self) -> int:
        """Bytes on disk, of the file and its write-ahead log."""
        names = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(path.stat().st_size for path in names if path.exists())


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    for log in made.opened:
        log.close()


def exchange(number: int, **fields: object) -> Exchange:
    made = Exchange(
        id=f"req_{number:024x}",
        at=NOW,
        dialect="openai",
        model="gpt-5",
        served_model="gemini-pro",
        status=200,
    )
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_an_exchange_is_kept_with_all_that_is_known_of_it(stage: Stage) -> None:
    log = stage.open()
    log.record(
        exchange(
            1,
            key="laptop",
            ms=1234.5678,
            first_ms=300.1234,
            usage=Usage(input_tokens=10, cached_tokens=4, output_tokens=7, reasoning_tokens=3),
            problem="cut",
            dropped=("seed", "logit_bias"),
            attempts=[
                Attempt(account_id="ann", status=429, fault="rate_limited", ms=12.0, said="Slow\n down"),
                Attempt(account_id="bob", status=200, ms=40.0),
            ],
        )
    )
    assert log.flush(10)
    [kept] = stage.history.newest(Filter(), 10).records
    assert (kept.id, kept.at, kept.dialect, kept.key) == (f"req_{1:024x}", NOW, "openai", "laptop")
    assert (kept.model, kept.served_model, kept.status, kept.problem) == ("gpt-5", "gemini-pro", 200, "cut")
    assert (kept.ms, kept.first_ms) == (1234.568, 300.123)
    assert kept.tokens == {
        "input_tokens": 10,
        "cached_tokens": 4,
        "cache_write_tokens": 0,
        "output_tokens": 7,
        "reasoning_tokens": 3,
    }
    assert kept.dropped == ["seed", "logit_bias"]
    assert [(one.account_id, one.status, one.fault, one.said) for one in kept.attempts] == [
        ("ann", 429, "rate_limited", "Slow down"),
        ("bob", 200, "", ""),
    ]


def test_the_file_and_its_journals_are_their_owners_alone(stage: Stage) -> None:
    before = os.umask(0)
    try:
        log = stage.open()
        log.record(exchange(1))
        assert log.flush(10)
        found = list(stage.folder.glob("traffic.sqlite3*"))
        assert {path.name for path in found} >= {"traffic.sqlite3", "traffic.sqlite3-wal"}
        assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}
    finally:
        os.umask(before)


def test_nothing_is_made_before_there_is_traffic(stage: Stage) -> None:
    log = stage.open()
    assert log.flush(1)
    log.close()
    assert not stage.path.exists()
    assert stage.ids() == []


def test_what_is_over_the_limit_is_counted_and_nobody_waits(stage: Stage) -> None:
    log = stage.open(start=False, max_queued=100)
    for number in range(250):
        log.record(exchange(number))
    assert (log.queued, log.dropped) == (100, 150)
    log.start()
    assert log.flush(10)
    assert len(stage.ids()) == 100
    log.record(exchange(999))
    assert log.flush(10)
    assert (log.queued, log.dropped) == (0, 150)


def test_what_was_recorded_is_written_at_the_end(stage: Stage) -> None:
    log = stage.open()
    for number in range(2500):
        log.record(exchange(number))
    log.close()
    assert len(stage.ids()) == 2500


def test_it_is_written_soon_without_being_asked(stage: Stage) -> None:
    log = stage.open()
    log.record(exchange(1))
    until(lambda: stage.ids() == [f"req_{1:024x}"])
    assert log.queued == 0


def test_a_strange_name_of_a_model_does_no_harm(stage: Stage) -> None:
    log = stage.open()
    log.record(exchange(1, model="x" * 1_000_000))
    log.record(exchange(2, model="lone \ud800 surrogate"))
    log.record(exchange(3, model='quote " and \\ and \x00 and ünïcode'))
    assert log.flush(10)
    third, second, first = stage.history.newest(Filter(), 10).records
    assert first.model == "x" * 199 + "…"
    assert second.model == "lone ? surrogate"
    assert third.model.startswith('quote " and \\ and ')


def test_a_value_that_no_column_can_hold_costs_its_own_row_only(stage: Stage) -> None:
    log = stage.open()
    for number in range(10):
        log.record(exchange(number, status=1 << 70 if number == 4 else 200))
    assert log.flush(10)
    assert stage.ids() == [f"req_{number:024x}" for number in (9, 8, 7, 6, 5, 3, 2, 1, 0)]
    assert (log.dropped, stage.said) == (1, [])


def test_an_exchange_that_cannot_be_read_at_all_costs_its_own_row_only(stage: Stage) -> None:
    log = stage.open()
    for number in range(3):
        log.record(exchange(number))
    broken = exchange(3)
    broken.usage = 7  # type: ignore[assignment]  # a mistake of ours in some later version
    log.record(broken)
    log.record(exchange(4))
    assert log.flush(10)
    assert stage.ids() == [f"req_{number:024x}" for number in (4, 2, 1, 0)]
    assert log.dropped == 1


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_the_file_stays_under_its_size_while_it_is_written(stage: Stage) -> None:
    stage.limits = Traffic(keep_days=30, max_mb=1, record_bodies=False)
    log = stage.open()
    largest = 0
    for number in range(12_000):
        attempts = [Attempt(account_id="ann", status=500, fault="server_error", said=f"{number} " * 20)]
        log.record(exchange(number, attempts=attempts))
        if number % 200 == 199:
            assert log.flush(30)
            largest = max(largest, stage.size())
    assert log.dropped == 0
    assert largest <= 1 << 20
    kept = stage.ids()
    assert 100 < len(kept) < 12_000
    assert kept == [f"req_{number:024x}" for number in range(11_999, 11_999 - len(kept), -1)]


def test_a_smaller_limit_counts_at_once_and_the_file_really_shrinks(stage: Stage) -> None:
    log = stage.open()
    said = "words " * 60
    for number in range(9_000):
        log.record(exchange(number, attempts=[Attempt(account_id="ann", fault="reset", said=said)]))
    assert log.flush(30)
    before = stage.size()
    assert before > 4 << 20
    stage.limits = msgspec.structs.replace(stage.limits, max_mb=2)
    until(lambda: stage.size() <= 2 << 20)
    assert stage.ids()[0] == f"req_{8_999:024x}"


def test_rows_over_their_age_go_while_it_runs(stage: Stage) -> None:
    log = stage.open()
    log.record(exchange(1, at=NOW - 40 * 86_400))
    log.record(exchange(2, at=NOW - 29 * 86_400))
    log.record(exchange(3))
    assert log.flush(10)
    until(lambda: len(stage.ids()) == 2)
    stage.limits = msgspec.structs.replace(stage.limits, keep_days=7)
    until(lambda: stage.ids() == [f"req_{3:024x}"])
    stage.clock.at += 8 * 86_400
    stage.clock.ticks += 61
    until(lambda: stage.ids() == [])


def test_bodies_go_with_their_requests(stage: Stage) -> None:
    log = stage.open()
    log.record(exchange(1, at=NOW - 40 * 86_400, bodies=bodies(b"old", b"old")))
    log.record(exchange(2, bodies=bodies(b"new", b"new")))
    assert log.flush(10)
    until(lambda: stage.ids() == [f"req_{2:024x}"])
    with closing(sqlite3.connect(stage.path)) as connection:
        assert connection.execute("select count(*) from body").fetchone() == (1,)


# -- bodies ------------------------------------------------------------------------------------------------------------


def bodies(request: bytes, *answer: bytes) -> Bodies:
    made = Bodies()
    made.take_request(request)
    for part in answer:
        made.take_answer(part)
    return made


def test_bodies_are_kept_without_secrets_and_bounded(stage: Stage) -> None:
    log = stage.open()
    asked = b'{"api_key": "word-1", "text": "secret-word-of-the-settings"}'
    log.record(exchange(1, bodies=bodies(asked, b"Authorization: Bearer ", b"word-2\n", b"x" * 400_000)))
    assert log.flush(10)
    pair = stage.history.bodies(f"req_{1:024x}")
    assert pair is not None
    assert pair.request.text == f'{{"api_key": "{MASK}", "text": "{MASK}"}}'
    assert (pair.request.bytes, pair.request.cut) == (len(asked), False)
    assert pair.answer.text.startswith(f"Authorization: {MASK}\nxxx")
    assert (pair.answer.bytes, pair.answer.cut) == (400_029, True)
    assert len(pair.answer.text) <= MAX_BODY_BYTES
    raw = b"".join(path.read_bytes() for path in stage.folder.glob("traffic.sqlite3*"))
    assert b"word-1" not in raw
    assert b"word-2" not in raw
    assert b"secret-word" not in raw


def test_bodies_that_wait_are_bounded_and_their_requests_kept(stage: Stage) -> None:
    log = stage.open(start=False)
    part = b"x" * MAX_BODY_BYTES
    for number in range(100):
        log.record(exchange(number, bodies=bodies(part, part)))
    assert log.bodies_dropped == 36
    assert (log.queued, log.dropped) == (100, 0)
    log.start()
    assert log.flush(60)
    assert len(stage.ids()) == 100
    log.record(exchange(100, bodies=bodies(part, part)))
    assert log.flush(10)
    assert log.bodies_dropped == 36, "there is room again"


# -- trouble -----------------------------------------------------------------------------------------------------------


def test_a_place_that_cannot_be_written_is_reported_once_and_made_up_for(stage: Stage) -> None:
    stage.path.mkdir()  # nobody, not even root, can write a folder as a file
    log = stage.open(max_queued=10)
    for number in range(25):
        log.record(exchange(number))
    until(lambda: log.failures >= 2)
    assert [event for event, _ in stage.said] == ["traffic_not_recorded"]
    assert "Free space" in stage.said[0][1]
    assert (log.queued, log.dropped) == (10, 15)
    stage.path.rmdir()
    until(lambda: log.queued == 0)
    until(lambda: log.failures == 0)
    assert [event for event, _ in stage.said] == ["traffic_not_recorded", "traffic_recorded_again"]
    assert len(stage.ids()) == 10


def test_a_damaged_file_is_kept_aside_and_a_new_one_begun(stage: Stage) -> None:
    stage.path.write_bytes(b"no database at all " * 1000)
    with pytest.raises(TrafficUnreadable, match="cannot be read"):
        stage.ids()
    log = stage.open()
    log.record(exchange(1))
    assert log.flush(20)
    assert stage.ids() == [f"req_{1:024x}"]
    [(event, sentence)] = stage.said
    [kept] = stage.folder.glob("traffic.sqlite3.corrupt-*")
    assert (event, kept.name in sentence) == ("traffic_damaged", True)
    assert kept.read_bytes().startswith(b"no database at all")


def test_a_file_that_is_deleted_under_a_running_log_is_begun_anew(stage: Stage) -> None:
    log = stage.open()
    log.record(exchange(1))
    assert log.flush(10)
    for path in stage.folder.glob("traffic.sqlite3*"):
        path.unlink()
    log.record(exchange(2))
    assert log.flush(10)
    assert stage.ids() == [f"req_{2:024x}"]
    assert stage.said == []


def test_a_file_of_a_newer_program_is_left_alone_and_said_so(stage: Stage) -> None:
    with closing(sqlite3.connect(stage.path)) as connection:
        connection.execute("create table future (x)")
        connection.execute(f"pragma user_version = {schema.VERSION + 1}")
    log = stage.open()
    log.record(exchange(1))
    until(lambda: bool(stage.said))
    assert "newer Regrant" in stage.said[0][1]
    assert "update Regrant" in stage.said[0][1]
    with pytest.raises(TrafficUnreadable, match="newer Regrant"):
        stage.ids()
    with closing(sqlite3.connect(stage.path)) as connection:
        assert connection.execute("select name from sqlite_master").fetchall() == [("future",)]
    stage.path.unlink()
    until(lambda: log.queued == 0)
    assert stage.ids() == [f"req_{1:024x}"]


def test_a_file_of_an_older_version_is_brought_up_to_date_with_its_rows(stage: Stage) -> None:
    with closing(sqlite3.connect(stage.path, isolation_level=None)) as connection:
        connection.execute("pragma journal_mode = wal")
        for statement in schema._STEPS[0]:
            connection.execute(statement)
        connection.execute("pragma user_version = 1")
        connection.execute(
            "insert into exchange values"
            " (7, 'req_old', 1, 'openai', 'm', 'm', 200, '', 1, null, '', 1, 1, 1, 1, 1, 'ann', 0, '[]', '[]')"
        )
    stage.limits = msgspec.structs.replace(stage.limits, keep_days=100_000)
    log = stage.open()
    log.record(exchange(1, bodies=bodies(b"asked", b"answered")))
    assert log.flush(10)
    assert stage.ids() == [f"req_{1:024x}", "req_old"]
    assert stage.history.bodies(f"req_{1:024x}") is not None


def test_a_row_written_again_after_a_commit_of_unknown_outcome_counts_once(stage: Stage) -> None:
    log = stage.open()
    log.record(exchange(1))
    assert log.flush(10)
    log.record(exchange(1))
    log.record(exchange(2))
    assert log.flush(10)
    assert len(stage.ids()) == 2


# -- several -----------------------------------------------------------------------------------------------------------


def test_two_processes_write_one_file(stage: Stage) -> None:
    program = (
        "import sys; from pathlib import Path; from regrant.clock import SystemClock;"
        "from regrant.settings.model import Traffic; from regrant.traffic.log import TrafficLog;"
        "from regrant.traffic.exchange import Exchange;"
        "log = TrafficLog(Path(sys.argv[1]), SystemClock(),"
        " limits=lambda: Traffic(keep_days=30000, max_mb=512, record_bodies=False));"
        "log.start();"
        "[(log.record(Exchange(id='req_%s%06d' % (sys.argv[2], n), at=1.0, dialect='openai')), n % 50 or log.flush(20))"
        " for n in range(2000)];"
        "log.close(20); sys.exit(log.dropped or log.queued)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(stage.path), name], stderr=subprocess.PIPE)
        for name in ("a", "b")
    ]
    for writer in writers:
        _, said = writer.communicate(timeout=60)
        assert (writer.returncode, said) == (0, b"")
    ids = stage.ids()
    assert len(ids) == len(set(ids)) == 4000
    with closing(sqlite3.connect(stage.path)) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        assert connection.execute("pragma auto_vacuum").fetchone() == (2,)


def test_recording_goes_on_while_another_holds_the_file(stage: Stage) -> None:
    log = stage.open()
    log.record(exchange(0))
    assert log.flush(10)
    with closing(sqlite3.connect(stage.path, isolation_level=None)) as other:
        other.execute("begin immediate")
        began = threading.Event()

        def record() -> None:
            for number in range(1, 500):
                log.record(exchange(number))
            began.set()

        thread = threading.Thread(target=record)
        thread.start()
        assert began.wait(5), "record waits for nobody"
        thread.join()
        assert log.queued == 499
        other.execute("rollback")
    assert log.flush(20)
    assert len(stage.ids()) == 500
    assert stage.said == []


def test_the_real_clock_does(tmp_path: Path) -> None:
    log = TrafficLog(
        tmp_path / schema.FILE,
        SystemClock(),
        limits=lambda: Traffic(keep_days=1, max_mb=1, record_bodies=False),
    )
    log.start()
    log.record(exchange(1, at=time.time()))
    assert log.flush(10)
    log.close()
    log.close()
    assert traffic_log.MAX_QUEUED == 10_000
    assert len(History(tmp_path).newest(Filter(), 10).records) == 1
