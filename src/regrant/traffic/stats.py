"""Figures over many requests: how many, how fast, how many tokens; by hour, day, model, account, key, dialect or problem.

Computed by SQLite from the traffic log, so over what it still keeps. Live counters are the metrics' affair.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import msgspec

from regrant.traffic.history import FAILED, History
from regrant.traffic.record import CLIENT_LEFT

By: TypeAlias = Literal[
    "hour", "day", "model", "served_model", "account", "key", "dialect", "problem", "status"
]
WAYS: tuple[str, ...] = get_args(By)
MAX_GROUPS = 1000

_GROUPS: dict[str, str] = {
    "hour": "cast(at as integer) / 3600 * 3600",
    "day": "cast(strftime('%s', at, 'unixepoch', 'localtime', 'start of day', 'utc') as integer)",
    "status": "cast(status as text)",
    **{name: name for name in ("model", "served_model", "account", "key", "dialect", "problem")},
}
_WHOLE = "''"


class Quantiles(msgspec.Struct, frozen=True):
    """Milliseconds that half, 95 and 99 of a hundred requests did not exceed; null where there is none."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """`failures` leaves out clients that left, who are `left`; `rescued` are answered requests of more than one attempt."""

    requests: int = 0
    failures: int = 0
    left: int = 0
    attempts: int = 0
    rescued: int = 0
    tokens: dict[str, int] = {}
    ms: Quantiles = Quantiles()
    first_ms: Quantiles = Quantiles()


class Group(Figures, frozen=True, kw_only=True):
    """The requests that have `name` in common. `at` is where an hour or day begins, in unix seconds, else null."""

    name: str
    at: float | None


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """From `since` to before `until`. Hours and days in their order, else the busiest group first."""

    since: float
    until: float
    by: By
    total: Figures
    items: list[Group]


def measure(history: History, *, since: float, until: float, by: By) -> Stats:
    """Blocks; raises TrafficUnreadable. A request counts for the account that was tried last."""
    span = (since, until)
    whole = _figures(history, _WHOLE, span)
    found = _figures(history, _GROUPS[by], span)
    timed = by in {"hour", "day"}
    groups = [
        Group(
            name="" if timed else str(name),
            at=float(name) if timed else None,
            **{field: getattr(figures, field) for field in Figures.__struct_fields__},
        )
        for name, figures in found.items()
    ]
    groups.sort(key=lambda one: one.at if one.at is not None else -one.requests)
    total = whole.get("", Figures())
    return Stats(since=since, until=until, by=by, total=total, items=groups[:MAX_GROUPS])


def _figures(history: History, group: str, span: tuple[float, float]) -> dict[Any, Figures]:
    rows = history.query(
        f"""select {group}, count(*), sum({FAILED}), sum(problem = '{CLIENT_LEFT}'), sum(tries),
          sum(tries > 1 and not {FAILED} and problem = ''),
          sum(input_tokens), sum(cached_tokens), sum(output_tokens), sum(reasoning_tokens)
        from exchange where at >= ? and at < ? group by 1""",  # noqa: S608 - ours
        span,
    )
    whole = _quantiles(history, group, "ms", span)
    first = _quantiles(history, group, "first_ms", span)
    return {
        row[0]: Figures(
            requests=row[1],
            failures=row[2],
            left=row[3],
            attempts=row[4],
            rescued=row[5],
            tokens={
                "input_tokens": row[6] or 0,
                "cached_tokens": row[7] or 0,
                "output_tokens": row[8] or 0,
                "reasoning_tokens": row[9] or 0,
            },
            ms=whole.get(row[0], Quantiles()),
            first_ms=first.get(row[0], Quantiles()),
        )
        for row in rows
    }


def _quantiles(history: History, group: str, column: str, span: tuple[float, float]) -> dict[Any, Quantiles]:
    """By nearest rank. Sorted by SQLite, which does not hold the interpreter's lock meanwhile."""
    rows = history.query(
        f"""select name, min(case when n >= 0.5 * t then v end), min(case when n >= 0.95 * t then v end),
          min(case when n >= 0.99 * t then v end)
        from (
          select {group} as name, {column} as v, row_number() over (partition by {group} order by {column}) as n,
            count(*) over (partition by {group}) as t
          from exchange where at >= ? and at < ? and {column} is not null)
        group by name""",  # noqa: S608 - ours
        span,
    )
    return {row[0]: Quantiles(*row[1:4]) for row in rows}
