"""Kill -9 at each system call of a write and at 300 random moments: no torn file, no lost token, no stuck lock."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.accounts.store_worker import numbered
from tests.accounts.worker_process import WorkerProcess, required, worker

from regrant.accounts.file_store import FileLock, FileStore
from regrant.accounts.model import Account
from regrant.files import temporaries

STRACE = shutil.which("strace")
RANDOM_KILLS = 300


@dataclass(frozen=True, slots=True)
class Step:
    """One system call of a write, as strace prints it: the `occurrence`-th of its name in the process."""

    call: str
    occurrence: int
    text: str


EXPECTED = [
    ("take the lock", r"flock\(\d+, LOCK_EX"),
    (
        "create the temporary file",
        r'openat\(.*"[^"]*/\.ann\.json\.[0-9a-f]+\.tmp", O_WRONLY\|O_CREAT\|O_EXCL',
    ),
    ("write it", r"write\("),
    ("fsync it", r"fsync\("),
    ("close it", r"close\("),
    ("rename it", r'rename\w*\(.*"[^"]*\.tmp",.*/ann\.json"'),
    ("open the folder", r'openat\(.*/accounts", O_RDONLY'),
    ("fsync the folder", r"fsync\("),
    ("close the folder", r"close\("),
    ("release the lock", r"flock\(\d+, LOCK_UN"),
]
"""The sequence that makes a write atomic and durable, in this order; other calls may stand between."""


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    store = FileStore(tmp_path / "data")
    store.prepare()
    store.transact("ann", lambda _: numbered(0))
    return store


@pytest.fixture
def server(tmp_path: Path, store: FileStore) -> Iterator[WorkerProcess]:
    with worker(tmp_path / "data", "serve") as process:
        yield process


def number_in(store: FileStore) -> int:
    """The number of the state on disk, which must be whole: the token and all the padding are of one write."""
    account = store.load("ann")
    assert isinstance(account, Account), f"torn or lost: {account}"
    whole = numbered(account.last_used_at)
    assert account.token == whole.token
    assert account.unknown == whole.unknown
    return account.last_used_at


def assert_in_order(store: FileStore) -> None:
    """What must hold after any kill: the lock is free at once, writing works, leftovers are no accounts."""
    lock = FileLock(store.path("ann").parent.parent / "locks" / "ann.write.lock")
    assert lock.try_acquire(), "the lock of the killed process is stuck"
    lock.release()
    before = number_in(store)
    assert store.transact("ann", lambda _: numbered(before + 1)) is not None
    assert number_in(store) == before + 1
    records = store.load_all()
    assert set(records.accounts) == {"ann"}
    assert records.corrupt == {}


@contextlib.contextmanager
def traced(pid: int, log: Path, *options: str) -> Iterator[None]:
    """Run the body with strace attached to `pid`; ends when the process has ended."""
    assert STRACE is not None
    tracer = subprocess.Popen(
        [STRACE, "-p", str(pid), "-o", str(log), "-s", "300", *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tracer.stderr is not None
    try:
        line = tracer.stderr.readline()
        assert "attached" in line, f"strace cannot attach: {line}"
        yield
        tracer.wait(20)
    finally:
        tracer.kill()
        tracer.wait(20)
        tracer.stderr.close()


def write_traced(server: WorkerProcess, number: int, log: Path, *options: str) -> int:
    """Let a fresh process write state `number` under strace; its exit code, negative for a signal."""
    server.tell(f"write {number}")
    _, pid = server.hear().split()
    with traced(int(pid), log, *options):
        server.tell("go")
        _, code = server.hear().split()
    return int(code)


def steps_in(log: Path) -> list[Step]:
    """All system calls in a trace, counted by name."""
    seen: Counter[str] = Counter()
    steps = []
    for line in log.read_text().splitlines():
        if match := re.match(r"(?:\d+ +)?(\w+)\(", line):
            seen[match[1]] += 1
            steps.append(Step(match[1], seen[match[1]], line[match.start(1) :]))
    return steps


def the_write(steps: list[Step]) -> list[Step]:
    """From taking the lock to closing its file."""
    first = next(n for n, step in enumerate(steps) if re.match(EXPECTED[0][1], step.text))
    last = next(n for n, step in enumerate(steps) if re.match(EXPECTED[-1][1], step.text))
    return steps[first : last + 2]


def name_steps(steps: list[Step]) -> dict[str, Step]:
    """The expected steps among `steps`, in their order; a step that is not there is missing in the answer."""
    found: dict[str, Step] = {}
    rest = iter(steps)
    for name, pattern in EXPECTED:
        if (match := next((step for step in rest if re.match(pattern, step.text)), None)) is None:
            break
        found[name] = match
    return found


def test_kill_9_at_each_system_call_of_a_write_leaves_the_old_or_the_new_state(
    tmp_path: Path, store: FileStore, server: WorkerProcess
) -> None:
    required(STRACE is not None, "strace")
    log = tmp_path / "trace"
    assert write_traced(server, 1, log) == 0
    window = the_write(steps_in(log))
    named = name_steps(window)
    assert list(named) == [name for name, _ in EXPECTED], f"not the sequence of a durable write: {window}"
    rename = window.index(named["rename it"])

    hit: set[Step] = set()
    leftovers = 0
    for position, step in enumerate(window):
        old = number_in(store)
        inject = f"inject={step.call}:signal=KILL:when={step.occurrence}"
        code = write_traced(server, old + 1, log, "-e", inject)
        assert code == -signal.SIGKILL, f"{step} was not reached: exit code {code}"
        last = steps_in(log)[-1]
        assert (last.call, last.occurrence) == (step.call, step.occurrence), f"{step} was not hit, but {last}"
        hit.add(step)
        assert number_in(store) == (old if position <= rename else old + 1), f"killed at {step}"
        leftovers += len(temporaries(store.path("ann").parent))
        assert_in_order(store)
        store.prepare()
        assert temporaries(store.path("ann").parent) == [], "a leftover with a token in it stays"
    assert hit >= set(named.values()), "a step was never hit"
    assert leftovers >= 4, "no kill fell between creating the temporary file and renaming it"


def test_300_kills_at_random_moments_lose_no_acknowledged_write(
    store: FileStore, server: WorkerProcess
) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    where: Counter[str] = Counter()
    for round_number in range(RANDOM_KILLS):
        before = number_in(store)
        acknowledged = kill_at_random(server, before, chance)
        now = number_in(store)
        assert acknowledged <= now <= acknowledged + 1, (
            f"seed {seed}, round {round_number}: {acknowledged} {now}"
        )
        where["before the first write" if now == before else "after a write"] += 1
        where["with a leftover"] += bool(temporaries(store.path("ann").parent))
        assert_in_order(store)
        store.prepare()
        assert temporaries(store.path("ann").parent) == []
    assert where["after a write"] > RANDOM_KILLS / 10, f"seed {seed}: the kills came too early: {where}"
    assert where["with a leftover"] > 0, f"seed {seed}: no kill fell into a write: {where}"


def kill_at_random(server: WorkerProcess, before: int, chance: random.Random) -> int:
    """Kill a process that writes on and on; the number of its last write that it acknowledged."""
    server.tell(f"write-on {before}")
    _, pid = server.hear().split()
    server.tell("go")
    acknowledged = before
    for _ in range(chance.randrange(3)):
        acknowledged = int(server.hear().removeprefix("stored "))
    until = time.monotonic() + chance.uniform(0, 0.008)
    while time.monotonic() < until:
        pass  # a sleep is too coarse to meet every step of a write
    os.kill(int(pid), signal.SIGKILL)
    while not (line := server.hear()).startswith("ended "):
        acknowledged = int(line.removeprefix("stored "))
    assert line == f"ended {-signal.SIGKILL}"
    return acknowledged
