"""Incidents for tests of alerts: one grant that died, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from regrant.accounts.incidents import IncidentChange, IncidentView
from regrant.secret import Secret
from regrant.settings.model import Webhook

DEATH = IncidentView(
    id="death-1",
    kind="account_died",
    title="ann@example.com: the grant died (revoked)",
    text="Sign in again with this account.",
    url="https://myaccount.google.com/permissions",
    command="regrant accounts reauth ann@example.com",
    since=1_800_000_000,
    until=None,
    accounts=("ann",),
    emails=("ann@example.com",),
    client_id="client-1",
    cause="revoked",
    requests=0,
    severity="warning",
)


def opened(**changes: Any) -> IncidentChange:
    return IncidentChange("opened", msgspec.structs.replace(DEATH, **changes))


def changed(what: Literal["updated", "closed"], **changes: Any) -> IncidentChange:
    return IncidentChange(what, msgspec.structs.replace(DEATH, **changes))


def closed(length_s: int = 303, **changes: Any) -> IncidentChange:
    return changed("closed", until=DEATH.since + length_s, **changes)


def webhook(
    url: str,
    *,
    format: str = "auto",  # noqa: A002 - the name of the setting
    secret: str = "",
    name: str = "here",
    events: tuple[str, ...] = (),
) -> Webhook:
    return Webhook(Secret(url), format, Secret(secret), events, name)


async def until(condition: Callable[[], object]) -> None:
    """Return once it holds. Raises TimeoutError after ten seconds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it comes true in another thread, which has no event to set
            await asyncio.sleep(0.01)
