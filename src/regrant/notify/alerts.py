"""Hears of incidents and sees that every webhook is told: puts alerts into the outbox and keeps a courier per webhook.

Nothing here waits for a receiver: a change is noted in memory, written by a task of its own, and sent by the courier of
each webhook. A webhook that was added while an incident went on is told of the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from regrant import logs
from regrant.accounts.incidents import IncidentChange
from regrant.clock import Clock
from regrant.notify.alert import Alert, alert_of, is_wanted, trial_alert
from regrant.notify.answers import Outcome
from regrant.notify.courier import Courier, post
from regrant.notify.outbox import Outbox, file_outbox, memory_outbox
from regrant.settings.model import Webhook
from regrant.transport.model import Transport

MAX_UNWRITTEN = 1000
CLOSE_S = 3.0

log = logs.get("notify")


class Alerts:
    """`path` is the database that the processes of a data folder share; it is opened when there is a webhook."""

    def __init__(
        self,
        path: Path,
        webhooks: Callable[[], Iterable[Webhook]],
        *,
        transport: Transport,
        clock: Clock,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._path = path
        self._webhooks = webhooks
        self._transport = transport
        self._clock = clock
        self._chance = chance
        self._changes: deque[IncidentChange] = deque(maxlen=MAX_UNWRITTEN)
        self._awake = asyncio.Event()
        self._boxes: tuple[Outbox, Outbox] | None = None
        self._couriers: dict[str, tuple[Courier, asyncio.Task[None]]] = {}
        self._clerk: asyncio.Task[None] | None = None
        self._closing = False

    def incident_changed(self, change: IncidentChange) -> None:
        """A listener of the incidents; returns at once."""
        self._changes.append(change)
        self._awake.set()

    def settings_changed(self) -> None:
        """Webhooks may have been added, changed or removed."""
        self._awake.set()

    def start(self) -> None:
        """Begin to send, with what an earlier process left."""
        self._awake.set()
        self._clerk = asyncio.create_task(self._work(), name="alerts")
        self._clerk.add_done_callback(_tell_crash)

    async def close(self) -> None:
        """End: what is known is written down; a try that is under way gets a moment to succeed."""
        self._closing = True
        self._awake.set()
        if self._clerk is not None:
            await asyncio.wait([self._clerk])
        await self._dismiss(list(self._couriers))
        boxes, self._boxes = self._boxes or (), None
        for box in boxes:
            with contextlib.suppress(sqlite3.Error, OSError):  # its hold ends by itself
                await box.off_loop(box.close)

    async def try_out(self, name: str = "") -> list[tuple[Webhook, Outcome]]:
        """Send a test now to every webhook, or to those of that name, past the outbox. What each made of it."""
        chosen = [webhook for webhook in self._webhooks() if not name or webhook.name == name]
        alert = trial_alert(uuid.uuid4().hex, self._clock.now())
        outcomes = await asyncio.gather(
            *(post(webhook, alert, self._transport, self._clock) for webhook in chosen)
        )
        return list(zip(chosen, outcomes, strict=True))

    async def _work(self) -> None:
        closing = False
        while not closing:
            await self._awake.wait()
            self._awake.clear()
            closing = self._closing  # what came before is still written down
            await self._unless_broken(self._employ())
            while self._changes:
                change = self._changes.popleft()
                await self._unless_broken(self._file(alert_of(change, self._clock.now())))

    async def _unless_broken(self, step: Awaitable[None]) -> None:
        """The boundary of a background task: what fails unforeseen must not end all telling."""
        try:
            await step
        except Exception as error:
            # Its text might quote the address of a webhook, which is a secret.
            log.error("alert_failed", f"an alert may be lost: {type(error).__name__}")

    async def _employ(self) -> None:
        """A courier for each webhook as it is now."""
        wanted = lines(self._webhooks())
        stale = [key for key, (courier, _) in self._couriers.items() if wanted.get(key) != courier.webhook]
        await self._dismiss(stale)
        if wanted and self._boxes is None:
            self._boxes = (file_outbox(self._path), memory_outbox())
        for key, webhook in wanted.items():
            if key not in self._couriers and self._boxes is not None:
                courier = Courier(
                    key,
                    webhook,
                    self._boxes,
                    transport=self._transport,
                    clock=self._clock,
                    chance=self._chance,
                )
                task = asyncio.create_task(courier.run(), name=f"alerts to {webhook.name}")
                task.add_done_callback(_tell_crash)
                self._couriers[key] = courier, task

    async def _dismiss(self, keys: list[str]) -> None:
        leaving = [self._couriers.pop(key) for key in keys]
        for courier, _ in leaving:
            courier.stop()
        tasks = [task for _, task in leaving]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _file(self, alert: Alert) -> None:
        """Put it into the line of each webhook that wants it; in memory where it cannot be written."""
        if self._boxes is None:
            return
        on_disk, in_memory = self._boxes
        for key, (courier, _) in self._couriers.items():
            if not is_wanted(alert, courier.webhook):
                continue
            now = self._clock.now()
            try:
                added = await on_disk.off_loop(on_disk.put, key, alert, now)
                if not added and alert.phase != "opened":  # its beginning may have been kept in memory
                    await in_memory.off_loop(in_memory.put, key, alert, now)
            except (sqlite3.Error, OSError) as error:
                log.warning(
                    "alert_not_stored",
                    f"an alert for {courier.webhook.name} is kept in memory only: {error}",
                    webhook=courier.webhook.name,
                    alert=alert.id,
                )
                await in_memory.off_loop(in_memory.put, key, alert, now, certain=True)
            courier.wake()


def _tell_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("alerts_stopped", f"{task.get_name()} stopped: {task.exception()!r}")


def lines(webhooks: Iterable[Webhook]) -> dict[str, Webhook]:
    """Each webhook by the key of its line: the fingerprint of its address, numbered where several share one."""
    found: dict[str, Webhook] = {}
    for webhook in webhooks:
        key, number = webhook.url.fingerprint(), 1
        while key in found:
            number += 1
            key = f"{webhook.url.fingerprint()}-{number}"
        found[key] = webhook
    return found
