"""Serves the line of one webhook: one alert at a time, in order, each until it is taken, refused for good, or too old.

What waits is in `outbox.py`, how it is written in `formats.py`, what an answer means in `answers.py`. Logs name a webhook by
its name and never show its address.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence

from regrant import logs
from regrant.clock import Clock
from regrant.errors import RegrantError
from regrant.notify.alert import Alert
from regrant.notify.answers import Again, Delivered, Outcome, Refused, judge, pause
from regrant.notify.formats import write
from regrant.notify.outbox import MAX_AGE_S, Delivery, Later, Outbox
from regrant.notify.signature import ID_HEADER, SIGNATURE_HEADER, sign
from regrant.settings.model import Webhook
from regrant.transport.model import Request, Response, Timeouts, Transport

TRY_S = 20.0
READ_OUT_S = 2.0
TIMEOUTS = Timeouts(connect_s=10.0, first_byte_s=15.0, idle_s=5.0)
MAX_ANSWER_BYTES = 64 * 1024
LOOK_AGAIN_S = 5.0
"""How long what another process queued, and did not live to send, may lie unseen."""
TROUBLE_S = 60.0

log = logs.get("notify")


async def post(webhook: Webhook, alert: Alert, transport: Transport, clock: Clock) -> Outcome:
    """Send one alert now, once. Redirects are not followed."""
    try:
        message = write(alert, webhook)
        at = int(clock.now())
        headers = [(b"content-type", b"application/json"), (ID_HEADER, alert.id.encode())]
        if webhook.secret:
            headers.append((SIGNATURE_HEADER, sign(webhook.secret, at, message.body).encode()))
        async with asyncio.timeout(TRY_S):
            response = await transport.send(Request("POST", message.url, headers, message.body, TIMEOUTS))
    except TimeoutError:
        return Again(f"it does not answer within {TRY_S:g} s")
    except RegrantError as error:
        return Again(str(error))
    await _read_out(response)
    return judge(response.status, response.header(b"retry-after"), clock.now())


async def _read_out(response: Response) -> None:
    """So that the connection can be used again; the status has come and decides, whatever becomes of the body."""
    try:
        with contextlib.suppress(RegrantError, TimeoutError):
            async with asyncio.timeout(READ_OUT_S):
                await response.read(MAX_ANSWER_BYTES)
    finally:
        await response.close()


class Courier:
    """`key` names the webhook's line in `boxes`; `chance` returns numbers from 0 to 1 that spread the tries."""

    def __init__(
        self,
        key: str,
        webhook: Webhook,
        boxes: Sequence[Outbox],
        *,
        transport: Transport,
        clock: Clock,
        chance: Callable[[], float],
    ) -> None:
        self.webhook = webhook
        self._key = key
        self._boxes = boxes
        self._transport = transport
        self._clock = clock
        self._chance = chance
        self._awake = asyncio.Event()
        self._stopping = False
        self._settled: dict[str, Outcome] = {}
        """What became of alerts whose end could not be written yet; they are not sent again for that."""

    def wake(self) -> None:
        """Something was put into the line."""
        self._awake.set()

    def stop(self) -> None:
        """`run` returns once the try that is under way is over."""
        self._stopping = True
        self._awake.set()

    async def run(self) -> None:
        while not self._stopping:
            self._awake.clear()
            rest_s = min([await self._serve(box) for box in self._boxes])
            if rest_s > 0 and not self._stopping:
                await self._sleep(rest_s)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        except TimeoutError:
            return

    async def _serve(self, box: Outbox) -> float:
        """Send what is due in that box, at most one; seconds until there may be more to do."""
        try:
            found = await box.off_loop(self._look, box)
            match found:
                case None:
                    return LOOK_AGAIN_S
                case Later(at):
                    return min(LOOK_AGAIN_S, max(0.01, at - self._clock.now()))
                case Delivery():
                    await self._deliver(box, found)
                    return 0.0
        except (sqlite3.Error, OSError) as error:
            log.debug("alerts_unreadable", f"the alerts that wait cannot be read or written: {error}")
            return LOOK_AGAIN_S
        except Exception as error:
            # The boundary of a background task: what fails unforeseen is tried again, until it is too old.
            # Its text might quote the address, which is a secret.
            log.error(
                "alert_failed",
                f"an alert for {self.webhook.name} failed: {type(error).__name__}",
                webhook=self.webhook.name,
            )
            return TROUBLE_S

    def _look(self, box: Outbox) -> Delivery | Later | None:
        now = self._clock.now()
        dropped = box.give_up(self._key, now)
        if dropped:
            log.error(
                "alerts_given_up",
                f"{dropped} alerts for {self.webhook.name} were given up: it took none for {MAX_AGE_S / 3600:g} h, or too many wait",
                webhook=self.webhook.name,
            )
        return box.take(self._key, now)

    async def _deliver(self, box: Outbox, delivery: Delivery) -> None:
        alert = delivery.alert
        outcome = self._settled.get(alert.id)
        if outcome is None:
            outcome = await post(self.webhook, alert, self._transport, self._clock)
            self._tell(alert, outcome, delivery.tries)
        if isinstance(outcome, Again):
            wait_s = max(pause(delivery.tries + 1, self._chance()), min(outcome.after_s or 0.0, MAX_AGE_S))
            due = self._clock.now() + wait_s
            await box.off_loop(box.postpone, self._key, delivery.seq, due)
            return
        self._settled[alert.id] = outcome
        await box.off_loop(box.finish, self._key, delivery.seq)
        del self._settled[alert.id]

    def _tell(self, alert: Alert, outcome: Outcome, tries: int) -> None:
        name = self.webhook.name
        fields = {"webhook": name, "alert": alert.id}
        match outcome:
            case Delivered():
                log.info("alert_delivered", f"alert delivered to {name}: {alert.title}", **fields)
            case Again(why):
                say = (
                    log.debug if tries else log.warning
                )  # one line for a receiver that is down, not one per try
                say("alert_delayed", f"alert for {name} is tried again later: {why}", **fields)
            case Refused(status, advice):
                log.error("alert_refused", f"{name} refused an alert with {status}. {advice}", **fields)
