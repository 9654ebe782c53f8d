"""Background tasks that are held, named, and whose failures are logged; those that are meant to last are begun again.

What the tasks do is known by those who start them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from regrant import logs

FIRST_PAUSE_S, LAST_PAUSE_S = 1.0, 60.0
SOUND_S = (
    300.0  # a task that ran for so long failed for a reason of its own: its next pause is the first again
)

log = logs.get("accounts")

Work = Callable[[], Coroutine[Any, Any, None]]


class Background:
    """The tasks of one event loop. `first_pause_s` is how long a lasting task rests after its first failure."""

    def __init__(self, *, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._first_pause_s = first_pause_s
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run it once."""
        task = asyncio.ensure_future(self._once(work, name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # it never began if the task was cancelled at once
        return task

    def keep_running(self, work: Work, name: str) -> asyncio.Task[None]:
        """Run it until it returns: when it fails, that is logged and after a pause it is begun again."""
        return self.spawn(self._again_and_again(work, name), name)

    async def supervise(self, work: Awaitable[None], name: str) -> bool:
        """Wait for it; whether it went well. A failure is logged."""
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # The boundary of a background task: nobody else would hear of it.
            log.error("task_failed", f"{name} failed: {error!r}", task=name)
            return False
        return True

    async def cancel(self, tasks: Iterable[asyncio.Task[None]] | None = None) -> None:
        """End these, or all that are running now."""
        ending = list(self._tasks if tasks is None else tasks)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _once(self, work: Awaitable[None], name: str) -> None:
        await self.supervise(work, name)

    async def _again_and_again(self, work: Work, name: str) -> None:
        loop = asyncio.get_running_loop()
        pause_s = self._first_pause_s
        while True:
            begun = loop.time()
            if await self.supervise(work(), name):
                return
            if loop.time() - begun > SOUND_S:
                pause_s = self._first_pause_s
            await asyncio.sleep(pause_s)
            pause_s = min(LAST_PAUSE_S, pause_s * 2)
