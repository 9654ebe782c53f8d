"""Background tasks that fail: what is logged, and who goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.accounts.keeper_stage import logged

from regrant.accounts.background import Background


async def test_a_task_that_is_meant_to_last_is_begun_again_when_it_fails(
    tmp_path: Path,
) -> None:
    background = Background(first_pause_s=0.001)
    begun = 0
    runs_on = asyncio.Event()

    async def follow() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise ValueError("the disk said something unheard of")
        runs_on.set()
        await asyncio.Event().wait()

    with logged(tmp_path) as lines:
        task = background.keep_running(follow, "follow something")
        async with asyncio.timeout(5):
            await runs_on.wait()
        failures = [line for line in lines() if line["event"] == "task_failed"]
        assert [line["task"] for line in failures] == ["follow something"] * 2
    assert not task.done()
    await background.cancel()
    assert task.cancelled()
    assert begun == 3


async def test_a_task_that_is_meant_to_last_may_come_to_its_end() -> None:
    background = Background(first_pause_s=0.001)
    begun = 0

    async def end_at_once() -> None:
        nonlocal begun
        begun += 1

    async with asyncio.timeout(5):
        await background.keep_running(end_at_once, "nothing to do")
    assert begun == 1


async def test_a_task_that_is_cancelled_before_it_begins_leaves_nothing_behind() -> None:
    background = Background()

    async def never() -> None:
        raise AssertionError("it was cancelled")

    task = background.keep_running(never, "never")
    await background.cancel()
    assert task.cancelled()
