"""The ledger: what each project has used of each model in this minute and this day, and when its reserve is reached.

Pure: `now` (unix seconds) is passed in. Theory of operation: a `Tally` per (project, model) has four numbers of our own and
those that other processes told. For each it has a gate: the number of our own at which, together with the others', the reserve
begins. Counting a call adds one to one integer and compares it with the nearer of two gates; everything else happens when a gate is
reached, a window turns, another process speaks or a limit changes. Where the limits come from is `quota_limits.py`; sharing and carrying out is
`quota_guard.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo

import msgspec

from regrant.pool.quota_limits import MEASURES, Limit, Limits, Measure, Source
from regrant.settings.model import QuotaLimit

MINUTE_S = 60
TOLERATED_STEP_S = 120.0  # a clock set back by less does not begin an old window anew
MAX_TALLIES = 20_000  # beyond it the (project, model) that was seen first is forgotten
_RPM, _TPM, _RPD, _TPD = range(4)

Counts = tuple[int, int, int, int]
"""In the order of MEASURES."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings say. `reserve` is the part of every quota that protection holds back."""

    protection: bool = False
    reserve: float = 0.10
    zone: tzinfo = UTC
    limits: tuple[QuotaLimit, ...] = ()


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What one process has counted of one day, in all. `minute` is the one that its numbers per minute speak of."""

    project: str
    model: str
    day: tuple[float, float]
    minute: int
    counts: Counts


class Hold(msgspec.Struct, frozen=True):
    """A reserve that is reached: nothing more until `until` (unix seconds), because of `measure`."""

    until: float
    measure: Measure


class Reported(msgspec.Struct, frozen=True):
    """At least so much of a daily quota was used, as somebody else counts; it holds until the day ends."""

    value: int
    source: Source
    as_of: float


class Figure(msgspec.Struct, frozen=True):
    """One number of the ledger and the limit that it is measured by. `used_source`: who counted most."""

    project: str
    model: str
    measure: Measure
    used: int
    used_source: Source
    used_as_of: float
    limit: Limit | None
    state: str
    """known, stale or unknown: the limit's."""
    resets_at: float
    hold: Hold | None

    @property
    def remaining(self) -> int | None:
        """What is left of the limit, never negative; None: unknown or without end."""
        if self.limit is None or self.limit.value is None:
            return None
        return max(0, self.limit.value - self.used)


def day_at(now: float, zone: tzinfo) -> tuple[float, float]:
    """The first and the last moment (exclusive) of the day in `zone`, in unix seconds: 23 or 25 hours where clocks change."""
    today = datetime.fromtimestamp(now, zone).date()
    return _midnight(today, zone), _midnight(today + timedelta(days=1), zone)


def _midnight(day: date, zone: tzinfo) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


class Tally:
    """One (project, model). `since` and `until` bound the time in which its numbers may be counted on without a look at the windows."""

    __slots__ = (
        "call_gate",
        "calls",
        "day",
        "gates",
        "hold",
        "minute",
        "model",
        "others",
        "own",
        "project",
        "reported",
        "rows",
        "since",
        "touched_at",
        "until",
        "written",
    )

    def __init__(self, project: str, model: str) -> None:
        self.project = project
        self.model = model
        self.since = self.until = 0.0
        self.minute = 0
        self.day = (0.0, 0.0)
        self.calls = 0
        """Of this minute, those included that `own` does not know yet."""
        self.call_gate: float = math.inf
        """The number of calls at which a gate of requests is reached."""
        self.own = [0, 0, 0, 0]
        self.others = [0, 0, 0, 0]
        self.gates = [math.inf] * 4
        self.hold: Hold | None = None
        self.rows: dict[str, tuple[int, Counts]] = {}
        """Of other processes: the minute that the row speaks of, and its numbers."""
        self.reported: dict[Measure, Reported] = {}
        self.written: Counts = (0, 0, 0, 0)
        self.touched_at = 0.0

    def settle(self) -> list[int]:
        """Our own numbers, every call included."""
        own = self.own
        own[_RPD] += self.calls - own[_RPM]
        own[_RPM] = self.calls
        return own

    def turn(self, now: float, zone: tzinfo) -> None:
        """Begin the minute, and the day, that `now` is in."""
        self.settle()
        day = day_at(now, zone)
        if day != self.day:
            self.day = day
            self.own = [0, 0, 0, 0]
            self.written = (0, 0, 0, 0)
            self.rows.clear()
            self.reported.clear()
        self.minute = int(now // MINUTE_S) * MINUTE_S
        self.calls = self.own[_RPM] = self.own[_TPM] = 0
        self.since = self.minute - TOLERATED_STEP_S
        self.until = min(float(self.minute + MINUTE_S), day[1])
        self.add_up()

    def add_up(self) -> None:
        """Sum what the other processes told; of their minutes only the present one."""
        others = [0, 0, 0, 0]
        for minute, counts in self.rows.values():
            if minute == self.minute:
                others[_RPM] += counts[_RPM]
                others[_TPM] += counts[_TPM]
            others[_RPD] += counts[_RPD]
            others[_TPD] += counts[_TPD]
        self.others = others

    def used(self, number: int) -> Reported:
        """The most that anybody has counted, ours and the other processes' added up."""
        counted = Reported(self.settle()[number] + self.others[number], Source.COUNTED, self.touched_at)
        reported = self.reported.get(MEASURES[number])
        return reported if reported is not None and reported.value > counted.value else counted

    def ends(self, number: int) -> float:
        return self.day[1] if MEASURES[number].daily else float(self.minute + MINUTE_S)


OnHold = Callable[[str, str, Hold | None], None]
"""Told of each (project, model) whose reserve is reached, or (None) no longer is."""


class Ledger:
    def __init__(self, on_hold: OnHold = lambda _project, _model, _hold: None) -> None:
        self._on_hold = on_hold
        self._rules = Rules()
        self._limits = Limits()
        self._tallies: dict[tuple[str, str], Tally] = {}

    @property
    def rules(self) -> Rules:
        return self._rules

    def use(self, rules: Rules, now: float) -> None:
        """Go by these settings from now on. In another time zone it is another day: its count begins with what is counted from now."""
        self._rules = rules
        self._limits.configure(rules.limits, now)
        for tally in self._tallies.values():
            tally.until = 0.0
            self._refresh(tally, now)

    def count_request(self, project: str, model: str, now: float) -> None:
        """One call to the model API. The hot path: nothing is looked up but the tally."""
        tally = self._tallies.get((project, model))
        if tally is None or not tally.since <= now < tally.until:
            tally = self._current(project, model, now)
        tally.touched_at = now
        tally.calls += 1
        if tally.calls >= tally.call_gate:
            self._judge(tally)

    def count_tokens(self, project: str, model: str, tokens: int, now: float) -> None:
        """Prompt tokens that an answer told; not negative."""
        tally = self._tallies.get((project, model))
        if tally is None or not tally.since <= now < tally.until:
            tally = self._current(project, model, now)
        own, gates = tally.own, tally.gates
        own[_TPM] += tokens
        own[_TPD] += tokens
        if own[_TPM] >= gates[_TPM] or own[_TPD] >= gates[_TPD]:
            self._judge(tally)

    def observe_counts(self, writer: str, row: Row, now: float) -> None:
        """What another process has counted; its newest word replaces the one before. A row of another day is passed over."""
        tally = self._current(row.project, row.model, now)
        if row.day == tally.day:
            tally.rows[writer] = (row.minute, row.counts)
            tally.add_up()
            self._gate(tally, now)

    def observe_limit(self, project: str, model: str, measure: Measure, limit: Limit, now: float) -> None:
        """What a source says of a limit. See `Limits.observe`."""
        if not self._limits.observe(project, model, measure, limit):
            return
        for tally in list(self._tallies.values()):
            if tally.project == project:
                self._refresh(tally, now)

    def observe_usage(
        self, project: str, model: str, measure: Measure, reported: Reported, now: float
    ) -> None:
        """What somebody else counts of this day. A number lower than one known does not replace it: within a day use only grows."""
        tally = self._current(project, model, now)
        before = tally.reported.get(measure)
        if not measure.daily or (before is not None and before.value > reported.value):
            return
        tally.reported[measure] = reported
        self._gate(tally, now)

    def review(self, now: float) -> None:
        """End the holds whose window is over or whose limit has become too old to go by."""
        for tally in self._tallies.values():
            if tally.hold is not None:
                self._refresh(tally, now)

    def holds(self) -> Iterator[tuple[str, str, Hold]]:
        """Every reserve that is reached; call `review` first."""
        return ((tally.project, tally.model, tally.hold) for tally in self._tallies.values() if tally.hold)

    def unwritten(self, now: float) -> Iterator[Row]:
        """What this process has counted and not yet handed out."""
        for tally in self._tallies.values():
            own = tally.settle()
            counts: Counts = (own[_RPM], own[_TPM], own[_RPD], own[_TPD])
            if counts != tally.written and now < tally.day[1]:
                tally.written = counts
                yield Row(
                    project=tally.project,
                    model=tally.model,
                    day=tally.day,
                    minute=tally.minute,
                    counts=counts,
                )

    def figures(self, now: float, projects: Iterable[str]) -> list[Figure]:
        """Every number of these projects, in order: of each model that was used today or of which a limit is told."""
        wanted = set(projects)
        known = {pair for pair in (*self._tallies, *self._limits.models()) if pair[0] in wanted}
        told = {(project, model) for project in wanted for model in self._limits.configured_models(project)}
        return [
            figure
            for project, model in sorted(known | told)
            for figure in self._figures_of(self._current(project, model, now), now)
        ]

    def _figures_of(self, tally: Tally, now: float) -> Iterator[Figure]:
        for number, measure in enumerate(MEASURES):
            used = tally.used(number)
            limit = self._limits.best(tally.project, tally.model, measure, now)
            state = "unknown" if limit is None else "stale" if limit.stale(measure, now) else "known"
            held = tally.hold if self._reached(tally, number, now) else None
            yield Figure(
                tally.project,
                tally.model,
                measure,
                used.value,
                used.source,
                used.as_of or now,
                limit,
                state,
                tally.ends(number),
                held,
            )

    def _current(self, project: str, model: str, now: float) -> Tally:
        """The tally, in the window that `now` is in."""
        tally = self._tallies.get((project, model))
        if tally is None:
            if len(self._tallies) >= MAX_TALLIES:
                self._forget(next(iter(self._tallies)))
            tally = self._tallies[project, model] = Tally(project, model)
        if not tally.since <= now < tally.until:
            tally.turn(now, self._rules.zone)
            self._gate(tally, now)
        return tally

    def _forget(self, key: tuple[str, str]) -> None:
        gone = self._tallies.pop(key)
        if gone.hold is not None:
            self._on_hold(gone.project, gone.model, None)

    def _refresh(self, tally: Tally, now: float) -> None:
        self._gate(self._current(tally.project, tally.model, now), now)

    def _threshold(self, tally: Tally, number: int, now: float) -> float:
        """The use at which the reserve begins; infinite where nothing is known that is fresh enough to go by."""
        measure = MEASURES[number]
        limit = self._limits.best(tally.project, tally.model, measure, now)
        # A limit of 0 leaves nothing to protect: the refusal that told it has its own cool-down.
        if not self._rules.protection or limit is None or not limit.value or limit.stale(measure, now):
            return math.inf
        return math.ceil(limit.value * (1.0 - self._rules.reserve) - 1e-9)

    def _gate(self, tally: Tally, now: float) -> None:
        """Set the gates anew, and judge by them."""
        for number, measure in enumerate(MEASURES):
            threshold = self._threshold(tally, number, now)
            reported = tally.reported.get(measure)
            reached = reported is not None and reported.value >= threshold
            tally.gates[number] = 0 if reached else threshold - tally.others[number]
        own = tally.settle()
        tally.call_gate = min(tally.gates[_RPM], tally.gates[_RPD] - (own[_RPD] - own[_RPM]))
        self._judge(tally)

    def _judge(self, tally: Tally) -> None:
        own = tally.settle()
        reached = [number for number in range(4) if own[number] >= tally.gates[number]]
        last = max(reached, key=tally.ends, default=None)
        hold = None if last is None else Hold(tally.ends(last), MEASURES[last])
        if hold != tally.hold:
            tally.hold = hold
            self._on_hold(tally.project, tally.model, hold)

    def _reached(self, tally: Tally, number: int, now: float) -> bool:
        return tally.used(number).value >= self._threshold(tally, number, now)
