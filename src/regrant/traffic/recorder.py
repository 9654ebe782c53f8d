"""Counts what happened: exchanges in batches, and the rarer events of accounts, refreshes and cool-downs one by one.

A request pays for one append to `exchanges`; everything else is done by `drain`. Labels are bounded: a model has one of
its own only when Google knows it, and at most MAX_MODELS have. Not thread-safe: it belongs to one event loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from regrant.accounts.entry import Entry
from regrant.accounts.events import Notify
from regrant.accounts.model import Account
from regrant.clock import Clock
from regrant.oauth.google import Granted, Refused, Unavailable
from regrant.pool.cooldown import Cooldown, CooldownKey
from regrant.traffic import meters
from regrant.traffic.exchange import Attempt, Exchange
from regrant.traffic.tally import Tally

MAX_MODELS = 50
KNOWN_TO_GOOGLE = frozenset({200, 429, 503})


class Recorder:
    """A listener of the keeper and of the gateway's exchanges."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.tally = Tally()
        self.exchanges: deque[Exchange] = deque()
        """Ended and not counted yet. Whoever has one appends it."""
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
            self.tally.count(meters.ACCOUNT_DEATHS, (notice.detail,))

    def cooldown_changed(self, _key: CooldownKey, cooldown: Cooldown | None) -> None:
        if cooldown is not None:
            self.tally.count(meters.COOLDOWNS_SET, (cooldown.why.value,))

    def refresh_answered(self, answer: Granted | Refused | Unavailable, seconds: float) -> None:
        match answer:
            case Granted():
                labels = ("granted", "")
            case Refused(kind=kind):
                labels = ("refused", kind.value)
            case Unavailable(status=status):
                labels = ("unavailable", f"http_{status}" if status else "no_answer")
        self.tally.count(meters.REFRESHES, labels)
        self.tally.observe(meters.REFRESH_SECONDS, seconds)

    def _count(self, exchange: Exchange) -> None:
        tally, model = self.tally, self._model_of(exchange)
        outcome = exchange.problem.replace(" ", "_") or "ok"
        code = str(exchange.status) if exchange.status else "none"
        tally.count(meters.REQUESTS, (exchange.dialect, model, code, outcome))
        broadly = outcome if outcome in {"ok", "client_left"} else "failed"
        tally.observe(meters.REQUEST_SECONDS, exchange.ms / 1000, (exchange.dialect, broadly))
        if exchange.first_ms:
            tally.observe(meters.FIRST_TOKEN_SECONDS, exchange.first_ms / 1000, (exchange.dialect,))
        if exchange.usage is not None:
            self._count_tokens(exchange, model)
        for attempt in exchange.attempts:
            self._count_attempt(attempt)
        if outcome == "cut":
            tally.count(meters.FAULTS, ("cut",))
        if self._back:
            self._count_return(exchange)

    def _count_tokens(self, exchange: Exchange, model: str) -> None:
        usage = exchange.usage
        assert usage is not None
        for kind, amount in (
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("cached", usage.cached_tokens),
            ("cache_write", usage.cache_write_tokens),
            ("thoughts", usage.reasoning_tokens),
        ):
            if amount:
                self.tally.count(meters.TOKENS, (model, kind), amount)

    def _count_attempt(self, attempt: Attempt) -> None:
        if attempt.fault:
            outcome = "failed"
            self.tally.count(meters.FAULTS, (str(attempt.fault),))
        else:
            outcome = "ok" if attempt.status == 200 else "abandoned"  # its client left
        self.tally.count(meters.ATTEMPTS, (str(attempt.status) if attempt.status else "none", outcome))
        self.tally.observe(meters.ATTEMPT_SECONDS, attempt.ms / 1000, (outcome,))

    def _count_return(self, exchange: Exchange) -> None:
        """The first answer of an account since it came back; one that Google was asked for before does not count."""
        last = exchange.attempts[-1] if exchange.attempts else None
        if last is None or last.fault or last.status != 200 or last.account_id not in self._back:
            return
        back = self._back[last.account_id]
        answered = exchange.at + (exchange.first_ms or exchange.ms) / 1000
        if answered - last.ms / 1000 >= back:
            del self._back[last.account_id]
            self.tally.observe(meters.REAUTH_SECONDS, answered - back)

    def _model_of(self, exchange: Exchange) -> str:
        name = exchange.served_model
        if name in self._models:
            return name
        if not name:
            return "none"
        known = any(attempt.status in KNOWN_TO_GOOGLE for attempt in exchange.attempts)
        if not known or len(self._models) >= MAX_MODELS:
            return "other"
        self._models.add(name)
        return name
