"""Reads limits and use from Google's cloud APIs, where the owner wants it and an account may; the rest goes on without.

What is asked and answered is `upstream/quota_reading.py`. A refusal is remembered for hours and is no fault of the account's: nobody's
attention is asked for, and nobody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, TypeVar

import msgspec

from regrant import logs
from regrant.accounts.entry import Entry
from regrant.accounts.keeper import AccountUnusable, Keeper
from regrant.clock import Clock
from regrant.errors import TransportError, UnsendableRequest
from regrant.pool.quota import Reported, day_at
from regrant.pool.quota_guard import QuotaGuard
from regrant.pool.quota_limits import ANY_MODEL, Limit, Measure, Source, measure_of
from regrant.settings.model import Endpoints
from regrant.state import StateDatabase
from regrant.transport.model import Timeouts, Transport
from regrant.upstream import google, quota_reading
from regrant.upstream.error_body import parse_error_body
from regrant.upstream.quota_reading import CloudLimit, read_limits, read_usage

T = TypeVar("T")

REFUSED: Final = "quota_refused"
LOOK_S = 1.0
READ_S = 900.0
FIRST_RETRY_S = 5.0  # after a reading that failed; doubled each time, up to READ_S
REFUSED_S = 6 * 3600.0
USED_RECENTLY_S = 86_400.0  # a project that nobody uses is read once and then left alone
MAX_PAGES, MAX_METRICS, MAX_BYTES = 10, 8, 1 << 22
TIMEOUTS = Timeouts(connect_s=10.0, first_byte_s=20.0, idle_s=20.0)

log = logs.get("quota")


class _NotRead(Exception):
    """An API did not answer with what was asked for; the message says why."""


class _Denied(Exception):
    """The account may not ask this API."""


class CloudReader:
    def __init__(
        self,
        guard: QuotaGuard,
        keeper: Keeper,
        transport: Transport,
        state: StateDatabase,
        *,
        clock: Clock,
        wanted: Callable[[], bool],
        endpoints: Callable[[], Endpoints],
    ) -> None:
        self._guard = guard
        self._keeper = keeper
        self._transport = transport
        self._state = state
        self._clock = clock
        self._wanted = wanted
        self._endpoints = endpoints
        self._due_at: dict[str, float] = {}
        """On the clock's monotonic scale."""
        self._failures: dict[str, tuple[int, str]] = {}
        """How often in a row a project could not be read, and why."""
        self._refused: dict[str, tuple[float, str]] = {}
        """Account, generation and API -> until when it is not asked again, and why."""

    async def take_in(self) -> None:
        """Whom Google has refused before."""
        for key, (why, until) in (await asyncio.to_thread(self._state.load, REFUSED)).items():
            self._refused[key] = (until, str(why))

    async def follow(self) -> None:
        """Read every project in use, again every quarter of an hour, until cancelled."""
        await self.take_in()
        while True:
            if self._wanted():
                for project, entries in self._due().items():
                    await self._read(project, entries)
            await asyncio.sleep(LOOK_S)

    def note(self, project: str) -> str:
        """Why the limits of a project are not read; "" when they are, or when nobody wants it."""
        if not self._wanted():
            return ""
        if project in self._failures:
            return f"not read: {self._failures[project][1]}"
        entries = self._entries_of(project)
        words = [self._refusal(entry, "quotas") for entry in entries]
        return next((word for word in words if word), "") if all(words) else ""

    def _due(self) -> dict[str, list[Entry]]:
        now = self._clock.monotonic()
        found: dict[str, list[Entry]] = {}
        for entry in sorted(self._keeper.entries(), key=lambda one: one.account.id):
            if entry.account.in_pool and entry.account.upstream == "gemini":
                found.setdefault(self._guard.project_of(entry.account.id), []).append(entry)
        return {
            project: entries
            for project, entries in found.items()
            if (due_at := self._due_at.get(project)) is None
            or (now >= due_at and (project in self._failures or any(map(self._in_use, entries))))
        }

    def _entries_of(self, project: str) -> list[Entry]:
        return [
            entry
            for entry in self._keeper.entries()
            if self._guard.project_of(entry.account.id) == project and entry.account.upstream == "gemini"
        ]

    def _in_use(self, entry: Entry) -> bool:
        return self._clock.now() - entry.account.last_used_at < USED_RECENTLY_S

    async def _read(self, project: str, entries: list[Entry]) -> None:
        """Ask with the first account that may. What fails is told in the log and tried again next time."""
        try:
            limits = await self._read_limits(project, entries)
            daily = {limit.metric for limit in limits if _is_daily(limit.quota_id, limit.metric)}
            for metric in sorted(daily)[:MAX_METRICS]:
                await self._read_usage(project, entries, metric)
        except (_NotRead, TransportError, UnsendableRequest) as error:
            times = self._failures.get(project, (0, ""))[0]
            self._failures[project] = (times + 1, str(error))
            self._due_at[project] = self._clock.monotonic() + min(
                READ_S, FIRST_RETRY_S * 2.0 ** min(times, 10)
            )
            if not times:
                text = f"the quotas of project {project} are not read: {error}"
                log.info("quota_not_read", text, project=project)
        else:
            self._failures.pop(project, None)
            self._due_at[project] = self._clock.monotonic() + READ_S

    async def _read_limits(self, project: str, entries: list[Entry]) -> list[CloudLimit]:
        base = self._endpoints().cloudquotas
        limits = await self._ask_one(
            entries, "quotas", lambda token: quota_reading.limits_url(base, project, token), read_limits
        )
        now = self._clock.now()
        for (model, measure), value in _largest(limits).items():
            self._guard.take_limit(project, model, measure, Limit(value, Source.CLOUD, now))
        return limits

    async def _read_usage(self, project: str, entries: list[Entry], metric: str) -> None:
        base, now = self._endpoints().monitoring, self._clock.now()
        since = (day_at(now, self._guard.ledger.rules.zone)[0], now)
        found = await self._ask_one(
            entries,
            "monitoring",
            lambda token: quota_reading.usage_url(base, project, metric, since, token),
            read_usage,
        )
        for one in found:
            measure = measure_of(one.quota_id, metric)
            if measure is not None and measure.daily and one.model:
                self._guard.take_usage(project, one.model, measure, Reported(one.used, Source.CLOUD, now))

    async def _ask_one(
        self,
        entries: list[Entry],
        api: str,
        url_of: Callable[[str], str],
        read: Callable[[bytes], tuple[list[T], str]],
    ) -> list[T]:
        """All pages, asked with the first account that may; nothing when none may. Raises _NotRead, TransportError."""
        for entry in entries:
            if not self._refusal(entry, api):
                with suppress(_Denied, AccountUnusable):
                    return await self._pages(entry, api, url_of, read)
        return []

    async def _pages(
        self,
        entry: Entry,
        api: str,
        url_of: Callable[[str], str],
        read: Callable[[bytes], tuple[list[T], str]],
    ) -> list[T]:
        found: list[T] = []
        token = ""
        for _ in range(MAX_PAGES):
            body = await self._fetch(entry, api, url_of(token))
            try:
                page, token = read(body)
            except (msgspec.MsgspecError, ValueError) as error:
                raise _NotRead("the answer cannot be understood") from error
            found += page
            if not token:
                break
        return found

    async def _fetch(self, entry: Entry, api: str, url: str) -> bytes:
        account = entry.account
        token = await self._keeper.token(account.id)
        request = google.ask("GET", url, token, project_id=account.project_id, timeouts=TIMEOUTS)
        response = await self._transport.send(request)
        try:
            body = await response.read(MAX_BYTES)
        finally:
            await response.close()
        if response.status == 403:
            self._remember(entry, api, body)
            raise _Denied
        if response.status != 200:
            raise _NotRead(f"{_NAMES[api]} answered with status {response.status}")
        return body

    def _remember(self, entry: Entry, api: str, body: bytes) -> None:
        disabled = parse_error_body(body).reason == "SERVICE_DISABLED"
        why = "the API is not enabled in the project" if disabled else "no permission"
        words = f"{why}: {_NEEDED[api]}"
        until = self._clock.now() + REFUSED_S
        self._refused[_refusal_key(entry, api)] = (until, words)
        self._state.put(REFUSED, _refusal_key(entry, api), words, until)
        text = f"{entry.account.email} may not read {_NAMES[api]}: {words}"
        log.info("quota_not_allowed", text, account=entry.account.id, email=entry.account.email)

    def _refusal(self, entry: Entry, api: str) -> str:
        until, why = self._refused.get(_refusal_key(entry, api), (0.0, ""))
        return why if self._clock.now() < until else ""


_NAMES = {"quotas": "Cloud Quotas", "monitoring": "Cloud Monitoring"}
_NEEDED = {
    "quotas": "cloudquotas.quotas.get (role Cloud Quotas Viewer)",
    "monitoring": "monitoring.timeSeries.list (role Monitoring Viewer)",
}


def _refusal_key(entry: Entry, api: str) -> str:
    """A new grant may be allowed what the old one was not."""
    return f"{entry.account.id} {entry.account.generation} {api}"


def _is_daily(quota_id: str, metric: str) -> bool:
    measure = measure_of(quota_id, metric)
    return measure is not None and measure.daily


def _largest(limits: Iterable[CloudLimit]) -> dict[tuple[str, Measure], int | None]:
    """One limit of each kind. Google lists those of the free and of the paid tiers and does not say which is in force.

    The largest costs a refusal at worst, and that teaches the right one; the smallest would hold back what is paid for.
    """
    found: dict[tuple[str, Measure], int | None] = {}
    for limit in limits:
        measure = measure_of(limit.quota_id, limit.metric)
        if measure is None:
            continue
        key = (limit.model or ANY_MODEL, measure)
        before = found.get(key, 0)
        found[key] = None if before is None or limit.value is None else max(before, limit.value)
    return found
