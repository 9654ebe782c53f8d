"""Quota in a running process: every call is counted, and what is at its reserve is held back until its reset.

Puts the ledger (`quota.py`, pure) between the gateway, the pool, the other processes (`quota_sharing.py`) and the account files
(`quota_verdicts.py`). What Google's cloud APIs tell is asked for by `quota_cloud.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime

from regrant import logs
from regrant.accounts.keeper import Keeper
from regrant.clock import Clock
from regrant.pool.cooldown import Cooldown
from regrant.pool.pool import Pool
from regrant.pool.quota import Figure, Hold, Ledger, Reported, Rules, day_at
from regrant.pool.quota_limits import Limit, Measure, Source, limits_told
from regrant.pool.quota_sharing import SharedQuota
from regrant.pool.quota_verdicts import Verdicts
from regrant.state import StateDatabase
from regrant.upstream.faults import Fault, FaultKind

FLUSH_S = 2.0  # what a kill -9 may lose
REVIEW_S = 1.0
SWEEP_S = 30.0  # account files are compared at least so often, whoever wrote them

log = logs.get("quota")


class QuotaGuard:
    def __init__(
        self,
        keeper: Keeper,
        pool: Pool,
        state: StateDatabase,
        *,
        clock: Clock,
        rules: Callable[[], Rules],
        default_client_id: Callable[[], str],
    ) -> None:
        self._keeper = keeper
        self._pool = pool
        self._clock = clock
        self._rules = rules
        self._default_client_id = default_client_id
        self._changed = True
        self._was_on = False
        self.ledger = Ledger(self._hold)
        self._shared = SharedQuota(self.ledger, state, clock)
        self._verdicts = Verdicts(keeper)
        self.follow_settings()

    # -- what happens to a request --

    def called(self, project: str, model: str) -> None:
        """A call to the model API goes out. On the hot path."""
        self.ledger.count_request(project, model, self._clock.now())

    def answered(self, account_id: str, model: str, prompt_tokens: int) -> None:
        """An answer of this account's told how many tokens were asked of the model."""
        project = self._pool.project_of(account_id) or self.project_of(account_id)
        if project and prompt_tokens > 0:
            self.ledger.count_tokens(project, model, prompt_tokens, self._clock.now())

    def refused(self, project: str, model: str, fault: Fault) -> None:
        """Learn the limits that a refusal names; of a used-up day also that it is used up."""
        now = self._clock.now()
        for measure, value in limits_told(fault.limits).items():
            self.take_limit(project, model, measure, Limit(value, Source.LEARNED, now))
            if measure.daily:
                self.take_usage(project, model, measure, Reported(value, Source.LEARNED, now))

    # -- what is told of a project --

    def take_limit(self, project: str, model: str, measure: Measure, limit: Limit) -> None:
        """Learn a limit, here and in the other processes."""
        self.ledger.observe_limit(project, model, measure, limit, self._clock.now())
        self._shared.tell_limit(project, model, measure, limit)

    def take_usage(self, project: str, model: str, measure: Measure, reported: Reported) -> None:
        """Learn what somebody else has counted of the day, here and in the other processes."""
        now = self._clock.now()
        self.ledger.observe_usage(project, model, measure, reported, now)
        day_ends = day_at(now, self.ledger.rules.zone)[1]
        self._shared.tell_usage(project, model, measure, reported, day_ends)

    def figures(self, projects: Iterable[str]) -> list[Figure]:
        return self.ledger.figures(self._clock.now(), projects)

    def project_of(self, account_id: str) -> str:
        """The quota project of an account, as the pool has it; "" for one that is not here."""
        entry = self._keeper.entry(account_id)
        if entry is None:
            return ""
        return entry.account.project(self._default_client_id()) or account_id

    # -- its life --

    def follow_settings(self) -> None:
        """Go by the settings as they are now."""
        self.ledger.use(self._rules(), self._clock.now())
        self._changed = True

    async def take_in(self) -> None:
        """What was counted and learned before; until then nothing is held back."""
        await self._shared.take_in()

    async def start(self) -> None:
        await self.take_in()
        self._keeper.keep_running(self._shared.follow, "follow quota counts")
        self._keeper.keep_running(self._flush_until_closed, "store quota counts")
        self._keeper.keep_running(self._keep_verdicts, "keep quota verdicts")

    def flush(self) -> None:
        """Hand what was counted over to be stored; at the end, after the last request."""
        self._shared.flush()

    async def _flush_until_closed(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            self._shared.flush()

    async def _keep_verdicts(self) -> None:
        day = self._day()
        swept_at = self._clock.monotonic()
        while True:
            self.ledger.review(self._clock.now())
            midnight = self._day() != day and self.ledger.rules.protection
            if self._changed or midnight or self._clock.monotonic() - swept_at >= SWEEP_S:
                self._changed, day, swept_at = False, self._day(), self._clock.monotonic()
                await self._write_verdicts(midnight=midnight)
            await asyncio.sleep(REVIEW_S)

    async def _write_verdicts(self, *, midnight: bool) -> None:
        held: dict[str, dict[str, int]] = {}
        for project, model, hold in self.ledger.holds():
            held.setdefault(project, {})[model] = int(hold.until)
        ids = [entry.account.id for entry in self._keeper.entries()]
        project_of = {account_id: self.project_of(account_id) for account_id in ids}
        await self._verdicts.write(held, self._clock.now(), project_of, midnight=midnight)

    def _day(self) -> float:
        return day_at(self._clock.now(), self.ledger.rules.zone)[0]

    def _hold(self, project: str, model: str, hold: Hold | None) -> None:
        self._changed = True
        if hold is None:
            self._pool.reserve(project, model, None)
            log.debug("quota_released", f"quota protection releases {model} of project {project}")
            return
        why = FaultKind.QUOTA_PER_DAY if hold.measure.daily else FaultKind.RATE_LIMITED
        self._pool.reserve(project, model, Cooldown(hold.until, why))
        tell = log.info if hold.measure.daily else log.debug
        until = datetime.fromtimestamp(hold.until, self.ledger.rules.zone).isoformat(timespec="seconds")
        text = f"quota protection holds back {model} of project {project} until {until} ({hold.measure})"
        tell("quota_protected", text, project=project, model=model)
