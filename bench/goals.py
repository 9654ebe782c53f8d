"""What is to be reached, as a table, and what a row of measurements comes to beside it.

Measures nothing: the rows are in `costs.py`, `speed.py`, `starting.py` and `deaths.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["aim", "must", "missed", "not run", "measured"]


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure. `unit` `x` is a ratio to nginx unless `work` says otherwise. Without `must` it is told for comparison only."""

    key: str
    work: str
    unit: str
    must: float | None = None
    aim: float | None = None
    more_is_better: bool = False

    def judge(self, value: float | None) -> Verdict:
        if value is None:
            return "not run"
        if self.must is None or self.aim is None:
            return "measured"
        sign = -1 if self.more_is_better else 1
        if sign * value <= sign * self.aim:
            return "aim"
        return "must" if sign * value <= sign * self.must else "missed"


GOALS = (
    Goal(
        "chat_cpu",
        "chat completion translated to Gemini, keep-alive: CPU per request against nginx",
        "x",
        2.5,
        1.5,
    ),
    Goal("chat_tls_cpu", "the same with a TLS upstream", "x", 4, 2.5),
    Goal("throughput_nginx", "the same, requests per second on one core, against nginx", "x", 0.4, 0.7, True),
    Goal(
        "throughput_litellm", "the same, requests per second on one core, against litellm", "x", 20, 20, True
    ),
    Goal("latency_p50", "latency added at 500 requests a second, p50", "ms", 1, 0.4),
    Goal("latency_p99", "latency added at 500 requests a second, p99", "ms", 5, 2),
    Goal("first_token", "streaming: time to first token added, p50", "ms", 1, 0.5),
    Goal("chunk_cpu", "streaming: CPU per chunk against nginx", "x", 4, 2),
    Goal(
        "open_streams",
        "1,000 open streams of a chunk a second, gateway on one core: delay added, p99",
        "ms",
        50,
        10,
    ),
    Goal("agent_cpu", "agent request of 200 kB (40 tools, 100 messages): CPU all in", "ms", 3, 1),
    Goal("select_10", "choosing one of 10 accounts", "us", 10, 3),
    Goal("select_10000", "choosing one of 10,000 accounts", "us", 50, 5),
    Goal("load_10000", "loading 10,000 account files: start until ready, less that with ten", "s", 3, 1),
    Goal(
        "healthz",
        "/healthz after start, against python importing uvicorn, msgspec, httptools, uvloop",
        "x",
        2.5,
        1.5,
    ),
    Goal("memory_idle", "resident memory idle, before the first admin call", "MB", 70, 45),
    Goal("memory_admin", "resident memory idle, after the first admin call", "MB", 95, 80),
    Goal("dead_tokens", "token calls per revoked account, whatever the concurrency", "", 1, 1),
    Goal(
        "short_stream_cpu", "streamed chat completion of 5 events at once: CPU per request against nginx", "x"
    ),
    Goal("relay_cpu", "Gemini request relayed byte for byte: CPU per request against nginx", "x"),
    Goal(
        "litellm_cpu",
        "chat completion translated to Gemini: litellm's CPU per request against Regrant's",
        "x",
    ),
)


@dataclass(frozen=True, slots=True)
class Result:
    """A measured row: its figure (None: not run, `note` says why), what it was made of, and the command that was measured."""

    key: str
    value: float | None
    detail: Mapping[str, float] = field(default_factory=dict)
    command: str = ""
    note: str = ""

    @property
    def goal(self) -> Goal:
        return next(goal for goal in GOALS if goal.key == self.key)

    @property
    def verdict(self) -> Verdict:
        return self.goal.judge(self.value)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}


def number(value: float | None, unit: str = "") -> str:
    """A figure with as many digits as it deserves."""
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3
    text = f"{value:,.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text and value == round(value) else text
    return f"{text}{unit}" if unit == "x" else f"{text} {unit}".strip()


def table(results: Sequence[Result]) -> str:
    """The results as lines for a terminal."""
    lines = []
    for result in sorted(results, key=lambda result: [goal.key for goal in GOALS].index(result.key)):
        goal = result.goal
        bounds = ""
        if goal.must is not None:
            bounds = f"must {number(goal.must, goal.unit)}, aim {number(goal.aim, goal.unit)}"
        lines.append(
            f"{result.verdict:9} {number(result.value, goal.unit):>10}   {goal.work}   [{bounds or 'no goal'}]"
        )
        detail = ", ".join(f"{name} {number(value)}" for name, value in result.detail.items())
        lines += [f"{'':23} {line}" for line in (detail, result.note, result.command) if line]
    return "\n".join(lines)
