"""Hosts with several addresses, of which some are silent or refuse."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.transport.hostile import PATIENCE_S, always, serving

from regrant.transport.dial import Address, _alternate, connect_any

V4 = int(socket.AF_INET)
V6 = int(socket.AF_INET6)


@pytest.fixture
def silent() -> Iterator[Address]:
    """An address at which connecting neither succeeds nor fails: a listener whose queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield V4, listener.getsockname()


@pytest.fixture
def refusing() -> Address:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return V4, sock.getsockname()


async def test_silent_address_does_not_hold_up_the_next(silent: Address) -> None:
    async with serving(always(b"")) as server:
        async with asyncio.timeout(PATIENCE_S):
            sock = await connect_any([silent, (V4, ("127.0.0.1", server.port))])
        with sock:
            assert sock.getpeername() == ("127.0.0.1", server.port)


async def test_refusing_address_is_followed_by_the_next_at_once(refusing: Address) -> None:
    async with serving(always(b"")) as server:
        with await connect_any([refusing, (V4, ("127.0.0.1", server.port))]) as sock:
            assert sock.getpeername() == ("127.0.0.1", server.port)


async def test_failure_of_every_address_is_raised(refusing: Address) -> None:
    with pytest.raises(ConnectionRefusedError):
        await connect_any([refusing, refusing])


async def test_cancelled_race_leaves_no_socket_behind(silent: Address) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):  # both attempts are under way by then
            await connect_any([silent, silent])
    running = [task for task in asyncio.all_tasks() if task.get_name() == "regrant-connect"]
    await asyncio.gather(*running, return_exceptions=True)


def test_address_families_take_turns() -> None:
    six, four = [(V6, (f"::{n}",)) for n in range(3)], [(V4, (f"127.0.0.{n}",)) for n in range(1)]
    assert _alternate([*six, *four]) == [six[0], four[0], six[1], six[2]]
