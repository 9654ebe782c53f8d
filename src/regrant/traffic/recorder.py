"""Counts what happened: exchanges in batches, and the rarer events of accounts, refreshes and cool-downs one by one.

A request pays for one append to `exchanges`; everything else is done by `drain`. Labels are bounded: a model has one of
its own only when Google knows it, and at most MAX_MODELS have. Not thread-safe: it belongs to one event loop.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable

import msgspec

from regrant.accounts.entry import Entry
from regrant.accounts.events import Notify
from regrant.accounts.model import Account
from regrant.clock import Clock
from regrant.oauth.google import Granted, Refused, Unavailable
from regrant.pool.cooldown import Cooldown, CooldownKey
from regrant.traffic import meters
from regrant.traffic.exchange import Exchange
from regrant.traffic.meters import FAST
from regrant.traffic.tally import Bins, Tally

MAX_MODELS = 50
KNOWN_TO_GOOGLE = frozenset({200, 429, 503})


def empty() -> Bins:
    return Bins([0] * (len(FAST) + 1))


class _Ended(msgspec.Struct):
    """Exchanges that ended alike."""

    seconds: Bins = msgspec.field(default_factory=empty)
    first: Bins = msgspec.field(default_factory=empty)
    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    thoughts: int = 0


class Recorder:
    """A listener of the keeper and of the gateway's exchanges. What ended alike is one entry until somebody asks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tally = Tally()
        self.exchanges: deque[Exchange] = deque()
        """Ended and not counted yet. Whoever has one appends it."""
        self._ended: dict[tuple[str, str, int, str], _Ended] = {}
        """By dialect, model, status and problem."""
        self._tried: dict[tuple[int, str], Bins] = {}
        """By status and fault."""
        self._models: set[str] = set()
        self._disabled: set[str] = set()
        self._back: dict[str, float] = {}
        """Accounts that were disabled and have served nobody since they came back, with when that was."""

    def begin(self, entries: Iterable[Entry]) -> None:
        """Know who is disabled before anything happens."""
        self._disabled = {entry.account.id for entry in entries if entry.account.disabled is not None}

    def drain(self, at_most: int = 1_000_000) -> None:
        """Count up to so many of the exchanges that wait."""
        exchanges = self.exchanges
        for _ in range(min(at_most, len(exchanges))):
            self._count(exchanges.popleft())

    def account_changed(self, account_id: str, entry: Entry | None) -> None:
        if entry is None:
            self._disabled.discard(account_id)
            self._back.pop(account_id, None)
        elif entry.account.disabled is not None:
            self.drain()  # what it served before counts as such
            self._disabled.add(account_id)
            self._back.pop(account_id, None)
        elif account_id in self._disabled:
            self._disabled.remove(account_id)
            self._back[account_id] = self._clock.now()

    def account_notice(self, account: Account, notice: Notify) -> None:  # noqa: ARG002 - the keeper's protocol
        if notice.event == "disabled":
            self._tally.count(meters.ACCOUNT_DEATHS, (notice.detail,))

    def cooldown_changed(self, _key: CooldownKey, cooldown: Cooldown | None) -> None:
        if cooldown is not None:
            self._tally.count(meters.COOLDOWNS_SET, (cooldown.why.value,))

    def refresh_answered(self, answer: Granted | Refused | Unavailable, seconds: float) -> None:
        match answer:
            case Granted():
                labels = ("granted", "")
            case Refused(kind=kind):
                labels = ("refused", kind.value)
            case Unavailable(status=status):
                labels = ("unavailable", f"http_{status}" if status else "no_answer")
        self._tally.count(meters.REFRESHES, labels)
        self._tally.observe(meters.REFRESH_SECONDS, seconds)

    def loop_was_late(self, seconds: float) -> None:
        self._tally.observe(meters.LOOP_LAG_SECONDS, seconds)

    def snapshot(self) -> Tally:
        """Everything that was counted so far, under its labels."""
        self.drain()
        tally = self._tally.copy()
        for (dialect, model, status, problem), ended in self._ended.items():
            outcome = str(problem).replace(" ", "_") or "ok"
            _tell_ended(tally, (str(dialect), model, _code(status), outcome), ended)
        for (status, fault), tried in self._tried.items():
            _tell_tried(tally, status, str(fault), tried)
        return tally

    def _count(self, exchange: Exchange) -> None:
        model = exchange.served_model
        if model not in self._models:
            model = self._label_of(exchange)
        key = (exchange.dialect, model, exchange.status, exchange.problem)
        ended = self._ended.get(key)
        if ended is None:
            ended = self._ended[key] = _Ended()
        _add(ended.seconds, exchange.ms / 1000)
        if exchange.first_ms:
            _add(ended.first, exchange.first_ms / 1000)
        usage = exchange.usage
        if usage is not None:
            ended.input += usage.input_tokens
            ended.output += usage.output_tokens
            ended.cached += usage.cached_tokens
            ended.cache_write += usage.cache_write_tokens
            ended.thoughts += usage.reasoning_tokens
        for attempt in exchange.attempts:
            how = (attempt.status, attempt.fault)
            tried = self._tried.get(how)
            if tried is None:
                tried = self._tried[how] = empty()
            _add(tried, attempt.ms / 1000)
        if self._back:
            self._count_return(exchange)

    def _count_return(self, exchange: Exchange) -> None:
        """The first answer of an account since it came back; one that Google was asked for before does not count."""
        last = exchange.attempts[-1] if exchange.attempts else None
        if last is None or last.fault or last.status != 200 or last.account_id not in self._back:
            return
        back = self._back[last.account_id]
        answered = exchange.at + (exchange.first_ms or exchange.ms) / 1000
        if answered - last.ms / 1000 >= back:
            del self._back[last.account_id]
            self._tally.observe(meters.REAUTH_SECONDS, answered - back)

    def _label_of(self, exchange: Exchange) -> str:
        name = exchange.served_model
        if not name:
            return "none"
        known = any(attempt.status in KNOWN_TO_GOOGLE for attempt in exchange.attempts)
        if not known or len(self._models) >= MAX_MODELS:
            return "other"
        self._models.add(name)
        return name


def _add(bins: Bins, seconds: float) -> None:
    bins.counts[bisect_left(FAST, seconds)] += 1
    bins.total += seconds


def _tell_ended(tally: Tally, labels: tuple[str, str, str, str], ended: _Ended) -> None:
    dialect, model, _, outcome = labels
    requests = sum(ended.seconds.counts)
    tally.count(meters.REQUESTS, labels, requests)
    broadly = outcome if outcome in {"ok", "client_left"} else "failed"
    tally.gather(meters.REQUEST_SECONDS, ended.seconds, (dialect, broadly))
    if any(ended.first.counts):
        tally.gather(meters.FIRST_TOKEN_SECONDS, ended.first, (dialect,))
    for kind in ("input", "output", "cached", "cache_write", "thoughts"):
        if amount := getattr(ended, kind):
            tally.count(meters.TOKENS, (model, kind), amount)
    if outcome == "cut":
        tally.count(meters.FAULTS, ("cut",), requests)


def _tell_tried(tally: Tally, status: int, fault: str, tried: Bins) -> None:
    attempts = sum(tried.counts)
    if fault:
        outcome = "failed"
        tally.count(meters.FAULTS, (fault,), attempts)
    else:
        outcome = "ok" if status == 200 else "abandoned"  # its client left
    tally.count(meters.ATTEMPTS, (_code(status), outcome), attempts)
    tally.gather(meters.ATTEMPT_SECONDS, tried, (outcome,))


def _code(status: int) -> str:
    return str(status) if status else "none"
