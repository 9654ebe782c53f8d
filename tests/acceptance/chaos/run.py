"""One run of the chaos, from the first request to the recovery after the faults, and what is to be said about it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.acceptance.chaos import books, faults
from tests.acceptance.chaos.clients import Crowd, Result
from tests.acceptance.chaos.oracle import Breach, Oracle
from tests.acceptance.chaos.schedule import LONG_PROJECTS, MODELS, NAMES, PROJECTS, Plan, email, make_plan
from tests.acceptance.chaos.stage import Stage, settings_of
from tests.acceptance.harness import Gateway, Json, regrant, wait_until
from tests.sandbox_client import SandboxControl

RECOVERY_S = 40.0
STORY_LINES = 400
STORY_S = 12.0
LIMITED = frozenset({("project-2", "gemini-3.8-flash"), ("project-3", "gemini-2.5-flash")})
"""Held back by quota protection, where that is on: 40 a day and 30 a minute, less the tenth that is kept."""


@dataclass
class Report:
    """What a run came to; `told` is for whoever has to find out why."""

    plan: Plan
    breaches: list[Breach] = field(default_factory=list)
    numbers: dict[str, object] = field(default_factory=dict)
    requests: int = 0
    met: frozenset[str] = frozenset()
    """The faults that some call met, by their labels."""
    told: str = ""

    def summary(self) -> str:
        numbers = ", ".join(f"{name} {value}" for name, value in self.numbers.items())
        return f"seed {self.plan.seed}, {self.plan.strategy}: {len(self.breaches)} breaches; {numbers}"


def run(
    sandbox: SandboxControl, data_dir: Path, seed: int, *, seconds: float, per_second: float, protected: bool
) -> Report:
    """Never raises for a breach: those are in the report."""
    plan = make_plan(seed, seconds)
    report = Report(plan)
    stage = Stage(sandbox, data_dir)
    begun = sandbox.last_seq()
    try:
        with stage.gateway(plan.strategy, settings_of(protected=protected)) as gateway:
            oracle, rows = _run(stage, gateway, report, per_second, begun, protected=protected)
        stored = list(books.compare_stored_ledger(data_dir, oracle.calls, rows))
        report.breaches += stored
        report.told += "".join(f"\n* {breach.rule}: {breach.text}" for breach in stored)
    finally:
        stage.close()
    return report


def _run(
    stage: Stage, gateway: Gateway, report: Report, per_second: float, begun: int, *, protected: bool
) -> tuple[Oracle, list[Json]]:
    plan = report.plan
    crowd = Crowd(gateway.url, plan.seed, per_second=per_second)
    stage.play(plan)
    results = crowd.stop()
    calmed = time.time()
    stage.calm()
    recovery = Recovery(stage, gateway, plan.seed, begun, per_second, first=len(results) + 1000)
    results = [*results, *recovery.results]
    report.breaches += recovery.breaches
    books.settle(gateway)

    journal = _journal(stage.sandbox, begun)
    rows = books.read_rows(gateway)
    attempts = books.attempts_by_number(rows, results)
    limited = LIMITED if protected else frozenset()
    oracle = Oracle(journal, results, stage.diary, attempts, limited=limited)
    report.breaches += oracle.breaches()
    report.breaches += [Breach("the owner's calls succeed", text) for text in stage.diary.troubles]
    report.breaches += books.compare_log(rows, results, oracle.by_request)
    samples = books.read_metrics(gateway)
    report.breaches += books.compare_metrics(samples, rows)
    refreshes = _refreshes(journal)
    later = _refreshes(_journal(stage.sandbox, begun))
    report.breaches += books.compare_refreshes(samples, refreshes, later)
    report.breaches += books.compare_ledger(gateway, oracle.calls, rows)
    if protected:
        report.breaches += _judge_reserves(oracle)
    outcomes = Counter(f"{one.outcome} {one.status or ''}".strip() for one in results)
    report.requests = len(results)
    report.met = frozenset(call.fault.label for call in oracle.calls if call.fault is not None)
    report.numbers = {
        "requests": len(results),
        "calls": len(oracle.calls),
        "refreshes": refreshes,
        "acts": len(plan.acts),
        "holds": len(oracle.holds),
        "faults met": f"{len(report.met)} of {len({fault.label for fault in faults.ALL})}",
        "failures judged": oracle.judged,
        "recovered in s": f"{recovery.seconds:.1f}",
        "calm after s": f"{calmed - results[0].begun:.1f}",
        **outcomes,
    }
    report.told = _tell(stage, gateway, report, oracle, results)
    return oracle, rows


class Recovery:
    """After the faults: requests without faults until everybody serves every model, first by themselves, then with a person's help.

    What Google holds back beyond the run, a person ends by hand; until then it must be told as the reason.
    """

    def __init__(
        self, stage: Stage, gateway: Gateway, seed: int, begun: int, per_second: float, *, first: int
    ) -> None:
        self.results: list[Result] = []
        self.breaches: list[Breach] = []
        self.seconds = 0.0
        self._stage = stage
        self._gateway = gateway
        stage.admin("PATCH", "/api/settings", {"pool.strategy": "round_robin"})
        started = time.monotonic()
        crowd = Crowd(gateway.url, seed, per_second=per_second, first=first, may_leave=False)
        try:
            self._await(begun, "by themselves", everybody=False)
            self.seconds = time.monotonic() - started
            stage.clear_all()
            self._await(begun, "after a person cleared the rest", everybody=True)
        finally:
            self.results = crowd.stop()

    def _await(self, begun: int, how: str, *, everybody: bool) -> None:
        since = self._stage.sandbox.last_seq()
        missing: set[tuple[str, str]] = set()
        excused: set[tuple[str, str]] = set()

        def all_serve() -> bool:
            nonlocal missing, excused
            journal = self._stage.sandbox.journal(since=since, limit=100_000)
            served = {(entry["email"], entry["model"]) for entry in journal if entry["status"] == 200}
            missing = {
                (name, model) for name in NAMES for model in MODELS if (email(name), model) not in served
            }
            if missing:
                self._stage.mend()  # that a grant is dead may be found out only now
                excused |= self._excused(everybody=everybody)
                missing -= excused
            return not missing

        try:
            wait_until(all_serve, "everybody serves", deadline_s=RECOVERY_S, every_s=0.3)
        except AssertionError:
            for name, model in sorted(missing):
                checks = [one for one in self._gateway.checks(name, model) if not one["ok"]]
                text = f"{name} does not serve {model} {how}: {checks or 'nobody knows why'}"
                rule = "everything recovers after the faults stop"
                self.breaches.append(Breach(rule, text, who=name, model=model))

    def _excused(self, *, everybody: bool) -> set[tuple[str, str]]:
        """Who need not serve: held back by quota protection, or, until a person acts, by a limit that Google set for longer."""
        found = set()
        for model in MODELS:
            for account in self._gateway.admin("GET", f"/api/pool?model={model}").json()["accounts"]:
                name = account["id"]
                why = {one["check"]: one.get("until") for one in account["checks"] if not one["ok"]}
                held = why.get("cooldown")
                long = held is not None and held - time.time() > 15 and PROJECTS[name] in LONG_PROJECTS
                if "quota" in why or (long and not everybody):
                    found.add((name, model))
        return found


def _judge_reserves(oracle: Oracle) -> list[Breach]:
    """A reserve is kept: no more calls than the limit less its tenth, but for a few that were under way."""
    day = sum(
        (call.project, call.model) == ("project-2", "gemini-3.8-flash")
        for call in oracle.calls
        if call.endpoint != "count"
    )
    minutes = Counter(
        int(call.at // 60)
        for call in oracle.calls
        if (call.project, call.model) == ("project-3", "gemini-2.5-flash") and call.endpoint != "count"
    )
    rule = "nobody who is known to be out is asked"
    found = [Breach(rule, f"{day} calls of a quota of 36 a day")] if day > 38 else []
    found += [
        Breach(rule, f"{count} calls of a quota of 27 a minute") for count in minutes.values() if count > 29
    ]
    return found


def _journal(sandbox: SandboxControl, begun: int) -> list[Json]:
    return sandbox.journal(since=begun, limit=100_000)


def _refreshes(journal: list[Json]) -> int:
    """Calls of the token endpoint that were answered, or never will be."""
    return sum(entry["endpoint"] == "token" for entry in journal)


def _tell(stage: Stage, gateway: Gateway, report: Report, oracle: Oracle, results: list[Result]) -> str:
    """The story of what broke: the seed, the schedule, and each request with its calls and its record."""
    if not report.breaches:
        return ""
    lines = [report.summary(), "-- the schedule --", *report.plan.written().splitlines()[:STORY_LINES]]
    counts = Counter(breach.rule for breach in report.breaches)
    lines += ["-- the breaches --", *(f"{count} x {rule}" for rule, count in counts.items())]
    by_number = {result.wanted.number: result for result in results}
    told: Counter[str] = Counter()
    for breach in report.breaches:
        told[breach.rule] += 1
        if told[breach.rule] > 4:
            continue
        lines.append(f"* {breach.rule}: {breach.text}")
        result = by_number.get(breach.number)
        if result is not None:
            lines += _tell_request(stage, gateway, oracle, breach, result)
        elif breach.model:
            story = oracle.around(breach.who, breach.model, 0, time.time())
            lines += [f"    ~ {text}" for text in story if "-> 200 -" not in text]
    return "\n".join(lines)


def _tell_request(
    stage: Stage, gateway: Gateway, oracle: Oracle, breach: Breach, result: Result
) -> list[str]:
    wanted = result.wanted
    lines = [
        f"  {result.request_id}: {wanted}, {result.begun:.3f} to {result.ended:.3f}: {result.outcome} {result.status}"
    ]
    calls = oracle.by_request.get(wanted.number, [])
    lines += [f"    {call}" for call in calls]
    if breach.who:
        since = result.begun - STORY_S
        lines += [f"    ~ {text}" for text in oracle.around(breach.who, wanted.model, since, result.ended)]
    if result.request_id:
        why = regrant(gateway.data_dir, stage.sandbox.url, "why", result.request_id)
        lines += [f"    | {line}" for line in (why.stdout or why.stderr).splitlines()]
    return lines
