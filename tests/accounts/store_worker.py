"""Another process on the same file store, told what to do by its arguments and, as `serve`, line by line on stdin.

python store_worker.py DATA_DIR COMMAND [ARGUMENT]...   (see COMMANDS). `serve` forks a child per task, so that a task
costs no start of an interpreter and begins with a system call count of zero for whoever traces it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from regrant.accounts.file_store import FileStore
from regrant.accounts.model import Account, Token, same_email
from regrant.accounts.store import StoreError
from regrant.secret import Secret

PR_SET_PTRACER = 0x59616D61
NOBODY = 65534


def tell(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # one write: lines of two processes on one pipe do not mix


def numbered(number: int) -> Account:
    """The state of `ann` after write `number`; the token and the padding tell a torn file from a whole one."""
    return Account(
        id="ann",
        email="ann@example.com",
        last_used_at=number,
        token=Token(refresh_token=Secret(f"refresh-ann-{number}")),
        unknown={"padding": f"{number:05}" * 2000},
    )


def write(store: FileStore, number: str) -> None:
    """Replace the state of `ann` by number `number`."""
    store.transact("ann", lambda _: numbered(int(number)))


def write_on(store: FileStore, number: str) -> None:
    """Write the numbers after `number` for ever and tell each when it is stored."""
    current = int(number)
    while True:
        current += 1
        write(store, str(current))
        tell(f"stored {current}")


def count(store: FileStore, times: str) -> None:
    """Add one to the counter of `ann`, `times` times."""

    def add_one(current: Account | None) -> Account:
        assert current is not None
        counter = current.unknown["counter"] + 1
        return msgspec.structs.replace(current, unknown={**current.unknown, "counter": counter})

    for _ in range(int(times)):
        store.transact("ann", add_one)


def add(store: FileStore, account_id: str, email: str) -> None:
    """Create an account with this e-mail unless there is one."""
    with store.adding():
        known = store.load_all().accounts.values()
        if not any(same_email(account.email, email) for account in known):
            time.sleep(0.02)  # widens the gap between looking and creating, which the lock must close
            store.transact(account_id, lambda _: Account(id=account_id, email=email))


def hold_refresh_lock(store: FileStore) -> None:
    """Take the refresh lock of `ann`, tell, and keep it until killed or stdin ends."""
    lock = store.refresh_lock("ann")
    tell("held" if lock.try_acquire() else "refused")
    sys.stdin.read()


def write_as_nobody(store: FileStore, number: str) -> None:
    """As `write`, as a user without rights; tells the error or `stored`."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    try:
        write(store, number)
    except StoreError as error:
        tell(f"StoreError: {error}")
    else:
        tell("stored")


def watch(store: FileStore) -> None:
    """Tell every change until stdin ends."""

    async def follow() -> None:
        async for ids in store.changes():
            tell(f"changed {' '.join(sorted(ids))}".strip())

    async def until_stdin_ends() -> None:
        following = asyncio.create_task(follow())
        await asyncio.to_thread(sys.stdin.read)
        following.cancel()

    asyncio.run(until_stdin_ends())


def serve(store: FileStore) -> None:
    """For each line `COMMAND ARGUMENT`: fork, tell `ready PID`, wait for a line, let the child go, tell `ended STATUS`."""
    for line in sys.stdin:
        name, *arguments = line.split()
        gate, opener = os.pipe()
        child = os.fork()
        if child == 0:
            # Where only ancestors may trace (kernel.yama.ptrace_scope=1): anybody may trace this child.
            ctypes.CDLL(None).prctl(PR_SET_PTRACER, -1)
            # Not by reading: strace counts the calls of a write, and may or may not see one that it finds under way.
            select.select([gate], [], [])
            COMMANDS[name](store, *arguments)
            os._exit(0)
        tell(f"ready {child}")
        sys.stdin.readline()
        os.write(opener, b"g")
        _, status = os.waitpid(child, 0)
        os.close(gate)
        os.close(opener)
        tell(f"ended {os.waitstatus_to_exitcode(status)}")


COMMANDS: dict[str, Callable[..., None]] = {
    "write": write,
    "write-on": write_on,
    "count": count,
    "add": add,
    "hold-refresh-lock": hold_refresh_lock,
    "write-as-nobody": write_as_nobody,
    "watch": watch,
    "serve": serve,
}

if __name__ == "__main__":
    COMMANDS[sys.argv[2]](FileStore(Path(sys.argv[1])), *sys.argv[3:])
