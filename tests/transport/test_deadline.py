"""The moving timer, on a loop whose time is moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from regrant.transport.deadline import Deadline


class Handle:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.live = True

    def cancel(self) -> None:
        self.live = False


class ManualLoop:
    def __init__(self) -> None:
        self.now = 100.0
        self.handles: list[Handle] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Handle:
        self.handles.append(Handle(when, callback))
        return self.handles[-1]

    @property
    def armed(self) -> list[float]:
        return [handle.when for handle in self.handles if handle.live]

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for handle in list(self.handles):
            if handle.live and handle.when <= self.now:
                handle.live = False
                handle.callback()


def deadline() -> tuple[ManualLoop, Deadline, list[float]]:
    loop, expired = ManualLoop(), list[float]()
    return (
        loop,
        Deadline(cast("asyncio.AbstractEventLoop", loop), lambda: expired.append(loop.now)),
        expired,
    )


def test_later_moment_costs_no_second_timer_and_counts() -> None:
    loop, moving, expired = deadline()
    moving.set(5)
    loop.advance(3)
    moving.set(5)
    assert loop.armed == [105]
    loop.advance(2)
    assert (expired, loop.armed) == ([], [108])
    loop.advance(3)
    loop.advance(100)
    assert (expired, loop.armed) == ([108], [])


def test_earlier_moment_replaces_the_timer() -> None:
    loop, moving, expired = deadline()
    moving.set(50)
    moving.set(5)
    assert loop.armed == [105]
    loop.advance(5)
    assert (expired, loop.armed) == ([105], [])


def test_stopped_deadline_holds_no_timer_never_expires_and_can_be_set_again() -> None:
    loop, moving, expired = deadline()
    moving.set(5)
    moving.stop()
    moving.stop()
    assert loop.armed == []
    loop.advance(10)
    assert expired == []
    moving.set(5)
    loop.advance(5)
    assert expired == [115]
