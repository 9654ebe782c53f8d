"""Watches the accounts, the pool and the clock for incidents, shares them between processes, and tells each once.

What an incident is, is decided in `incidents.py`. One process of a data folder, the one that holds `locks/incidents.lock`, watches and
tells; it writes what it knows to `state.sqlite3`. The others show that, count the requests that they see touched, and one of them takes
over where it was left when the first ends, whichever way it ends. So a restart tells nothing twice; but what was told in the last moment
before a kill -9 is told again rather than never (`notify/` knows it by its id). If there can be no lock, each process
tells: better twice than never.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from regrant import logs
from regrant.accounts.clock_skew import ClockSkew
from regrant.accounts.entry import Entry
from regrant.accounts.events import Notify
from regrant.accounts.forecast import Countdown
from regrant.accounts.incident_words import view
from regrant.accounts.incidents import Incident, IncidentChange, Incidents, IncidentView, Telling, see
from regrant.accounts.model import Account
from regrant.accounts.store import RefreshLock, StoreError
from regrant.accounts.touched import Finished, Touched
from regrant.clock import Clock
from regrant.state import Change, StateDatabase

KIND, REQUESTS = "incident", "incident_requests"
LOOK_S = 0.5
CATCH_UP_S = 2.0
"""What the process before this one knew last may reach this one's accounts a little later; until then nothing is called over."""
SWEEP_S = 600.0
"""How often all accounts are looked at without cause: for what merely comes with time."""
AT_ONCE = 500
KEEP_S = 30 * 86_400.0
FLUSH_S = 2.0
HAND_OVER_S = 0.05

log = logs.get("accounts")


class Serving(Protocol):
    """Whether anybody can serve: the pool, seen from the composition root."""

    def can_serve(self) -> bool: ...

    def reasons(self) -> Mapping[str, int]: ...


class IncidentWatch:
    """A listener of the keeper. `listeners` are told what to tell people, in one process only; `followers` of every change in each.

    None of them may block or raise.
    """

    def __init__(
        self,
        clock: Clock,
        default_client_id: Callable[[], str],
        *,
        state: StateDatabase,
        lock: RefreshLock,
        entries: Callable[[], list[Entry]],
        serving: Serving,
        clock_skew: ClockSkew,
    ) -> None:
        self._clock = clock
        self._default_client_id = default_client_id
        self._state = state
        self._lock = lock
        self._entries = entries
        self._serving = serving
        self._clock_skew = clock_skew
        self._incidents = Incidents()
        self._countdown = Countdown()
        self._touched = Touched()
        self._process = uuid.uuid4().hex
        self._in_charge = self._locked = False
        self._seq = 0
        self._sweep_at = self._judge_at = -math.inf
        self.listeners: list[Callable[[IncidentChange], None]] = []
        self.followers: list[Callable[[IncidentView], None]] = []

    @property
    def in_charge(self) -> bool:
        """Whether this process is the one that watches and tells."""
        return self._in_charge

    @property
    def open_count(self) -> int:
        return self._incidents.open_count

    def all(self) -> list[IncidentView]:
        """The open ones first, the newest first."""
        return [self._view(incident) for incident in self._incidents.all()]

    # -- what it is told --

    def account_changed(self, account_id: str, entry: Entry | None) -> None:
        if not self._in_charge:
            return
        self._touched.count(self._incidents, self._clock.monotonic())
        if entry is None:
            self._countdown.put(account_id, None, 0)
            self._incidents.gone(account_id, self._clock.now())
        else:
            self._observe(entry)
        self._see_pool()
        # Shared with the next look: when many die together, each would write anew all that died before it.

    def account_notice(self, account: Account, notice: Notify) -> None:
        """What matters is seen in the account itself, so that what other processes find counts too."""

    def exchange_finished(self, exchange: Finished) -> None:
        self._touched.note(exchange, self._clock.monotonic())

    # -- its own round --

    async def start(self) -> None:
        """Learn what is known, and be in charge if nobody is."""
        await self._take_charge()
        if not self._in_charge:
            await self._learn()
        self._judge_at = self._sweep_at = -math.inf  # the accounts have just been read

    async def follow(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self._look()
            except Exception as error:
                # The boundary of a background task: one bad look must not end all watching.
                log.error("incidents_unwatched", f"looking for incidents failed: {error!r}")
            await asyncio.sleep(LOOK_S)

    async def close(self) -> None:
        """Leave everything written for the process that comes next."""
        self._touched.count(self._incidents, self._clock.monotonic())
        if self._in_charge:
            self._share()
        self._share_counts()
        await asyncio.to_thread(self._state.flush, FLUSH_S)
        self._in_charge = False
        if self._locked:
            self._locked = False
            self._lock.release()

    async def _look(self) -> None:
        changes, self._seq = await asyncio.to_thread(self._state.changes, self._seq)
        for change in changes:
            self._take_in(change)
        if not self._in_charge:
            await self._take_charge()
        self._touched.count(self._incidents, self._clock.monotonic())
        if self._in_charge:
            await self._watch()
        self._share_counts()

    async def _watch(self) -> None:
        now, monotonic = self._clock.now(), self._clock.monotonic()
        self._see_pool()
        self._incidents.see_clock(self._clock_skew.seconds, now)
        due = set(self._countdown.due(now))
        if monotonic >= self._sweep_at:
            self._sweep_at = monotonic + SWEEP_S
            await self._sweep()
        elif due:
            for entry in self._entries():
                if entry.account.id in due:
                    self._observe(entry)
        await self._tell()
        self._share()

    async def _sweep(self) -> None:
        for number, entry in enumerate(self._entries()):
            self._observe(entry)
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
        known = {entry.account.id for entry in self._entries()}
        for incident in self._incidents.all():
            for account_id in incident.members.keys() - known if incident.open else ():
                self._incidents.gone(account_id, self._clock.now())

    def _observe(self, entry: Entry) -> None:
        now = self._clock.now()
        client_id = entry.account.client_id or self._default_client_id()
        seen = see(entry.account, client_id, now, recovering=entry.kept.recovering, unwritten=entry.problem)
        self._countdown.put(seen.id, seen.dies_at, now)
        self._incidents.observe(seen, now)

    def _see_pool(self) -> None:
        if self._clock.monotonic() < self._judge_at:
            return
        can_serve = self._serving.can_serve()
        reasons = {} if can_serve else self._serving.reasons()
        self._incidents.see_pool(self._clock.now(), can_serve=can_serve, reasons=reasons)

    async def _tell(self) -> None:
        told: list[tuple[Incident, IncidentChange]] = []
        for telling in self._incidents.due(self._clock.now()):
            change = IncidentChange(telling.what, self._as_told(telling))
            told.append((telling.incident, change))
            for listener in self.listeners:
                listener(change)
        if not told:
            return
        try:
            # Whoever was told writes it down first, and passes over what it has heard before: a process that is killed
            # now has its successor tell it again. The other way round nobody would have been told.
            await asyncio.sleep(HAND_OVER_S)
        finally:
            for incident, change in told:
                _log(change)
                self._put(incident)

    # -- what the processes share --

    async def _take_charge(self) -> None:
        try:
            self._locked = await asyncio.to_thread(self._lock.try_acquire)
        except StoreError as error:
            log.warning("incidents_unlocked", f"incidents are told by each process: {error}")
        else:
            if not self._locked:
                return
        await self._learn()
        self._in_charge = True
        self._judge_at = self._sweep_at = self._clock.monotonic() + CATCH_UP_S

    async def _learn(self) -> None:
        """Know what is stored, in place of what was known."""
        for key, (value, _) in (await asyncio.to_thread(self._state.load, REQUESTS)).items():
            self._learn_count(key, value)
        stored = await asyncio.to_thread(self._state.load, KIND)
        known = [incident for value, _ in stored.values() if (incident := _decode(value)) is not None]
        for incident in self._incidents.all():
            self._incidents.drop(incident.id)
        for incident in sorted(known, key=lambda one: one.opened_at):
            self._incidents.put(incident)

    def _take_in(self, change: Change) -> None:
        if change.kind == REQUESTS:
            self._learn_count(change.key, 0 if change.deleted else change.value)
            self._follow_up(self._incidents.get(change.key.partition(" ")[0]))
        elif change.kind == KIND and not self._in_charge:
            incident = None if change.deleted else _decode(change.value)
            if incident is None:
                self._incidents.drop(change.key)
            else:
                self._touched.count(self._incidents, self._clock.monotonic())
                self._incidents.put(incident)
                self._follow_up(incident)

    def _learn_count(self, key: str, value: Any) -> None:
        incident_id, _, process = key.partition(" ")
        if process and process != self._process and isinstance(value, int):
            self._touched.learn(incident_id, process, value)

    def _share(self) -> None:
        for incident_id, incident in self._incidents.take_changed().items():
            if incident is None:
                self._state.delete(KIND, incident_id)
                self._touched.forget(incident_id)
            else:
                self._put(incident)
                self._follow_up(incident)

    def _share_counts(self) -> None:
        for incident_id, count in self._touched.take_fresh().items():
            until = self._clock.now() + KEEP_S
            self._state.put(REQUESTS, f"{incident_id} {self._process}", count, until)
            self._follow_up(self._incidents.get(incident_id))

    def _put(self, incident: Incident) -> None:
        until = math.inf if incident.until is None else incident.until + KEEP_S
        self._state.put(KIND, incident.id, msgspec.to_builtins(incident), until)

    def _follow_up(self, incident: Incident | None) -> None:
        if incident is not None and self.followers:
            shown = self._view(incident)
            for follower in self.followers:
                follower(shown)

    def _as_told(self, telling: Telling) -> IncidentView:
        """What is over before it could be told is told as it was, and then that it is over."""
        incident = telling.incident
        then = incident if telling.what == "closed" else msgspec.structs.replace(incident, until=None)
        return view(then, self._touched.of(incident.id))

    def _view(self, incident: Incident) -> IncidentView:
        return view(incident, self._touched.of(incident.id))


def _decode(value: Any) -> Incident | None:
    """The record; None if a version that knows more, or somebody else, has written it."""
    try:
        return msgspec.convert(value, Incident)
    except msgspec.ValidationError:
        return None


def _log(change: IncidentChange) -> None:
    incident = change.incident
    fields = {
        "incident": incident.id,
        "kind": incident.kind,
        "cause": incident.cause,
        "client_id": incident.client_id,
    }
    if change.what == "closed":
        touched = f"{incident.requests} request{'' if incident.requests == 1 else 's'}"
        sentence = f"{incident.title}; it took {incident.length_s} s and touched {touched}"
        log.info("incident_closed", sentence, **fields)
        return
    say = log.error if incident.severity == "critical" else log.warning
    say(f"incident_{change.what}", f"{incident.title}. {incident.text}", **fields)
