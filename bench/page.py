"""Writes docs/performance.md from the results of one run: `python bench/page.py RESULTS.json [CONFORMANCE.json]`.

Measures nothing. The words that explain how is measured are here; the figures are the run's.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench.conformance import SCENARIOS
from bench.goals import GOALS, Goal, number
from bench.stage import ROOT

INTRODUCTION = """\
# Performance

What Regrant costs, measured beside [nginx](https://nginx.org), which only passes bytes through and is the limit of what any proxy can reach,
and beside litellm, the Python gateway that most people know. Everything is a ratio or a difference within one run on one machine: absolute
figures of two machines say little about each other. This page is written by `bench/page.py` from the results of one run.

Run it yourself: `make bench` (about six minutes), `make bench-quick` (under three, without litellm), `make conformance` (the failures
below). All of it stays on loopback and ends by itself.
"""

METHOD = """\
## How it is measured

- **Regrant** is the shipped command, `regrant serve`, with default settings: log, traffic log and metrics on, one worker, a client key
  that every request carries, and ten accounts of ten projects.
- **nginx** is Debian's, with its access log, one worker process, and kept connections to the upstream. Changed from Debian's defaults: no
  limit to the requests of a kept connection, room for 1,000 streams, large bodies in memory, no buffering (a stream must pass at once).
  It passes on what its upstream says; Regrant translates OpenAI chat completions to Gemini and back. Over TLS both verify the upstream's
  certificate.
- **litellm** 1.106.2 runs its proxy in production mode with one worker, and translates the same requests to the same upstream.
- **The upstream** answers at once with a fixed text: a small Python program, or, in the race for requests per second, nginx with the
  answer in its configuration, so that neither the upstream nor the load (`wrk`) is what is measured. In that race and in the row of
  1,000 streams the gateway has one core for itself and all else shares the others. Requests per second are per second of that core's
  time, so that other work of the machine does not count; the plain rates stand beside them.
- **CPU** is the time of the whole process tree as the kernel's scheduler counts it, in rounds in which the contestants take turns;
  the median of the rounds counts.
- **Latency** is measured in an open loop: requests leave by the clock, 500 a second, and are timed from when they were due, so a stall is
  charged to all who waited. *Added* is the percentile through Regrant less the same percentile when asking the upstream directly
  (or through nginx, should that come out lower). Of the rounds, those in which the load generator itself was held up most by other work of the machine are left out, whoever was measured.
- **Chunks** of the streams row hold the time of their sending, read from a clock that all processes share.
- **Every answer is checked**: status 200, and what it says. A wrong one fails the row and the run.
- *First token* asks one stream after the other. *Loading* is the time from start until `/readyz` says 200 with 10,000 accounts, less
  that with ten. Choosing an account is measured inside one process (`python -m bench.selection`); the slower of conversations
  with and without a key counts.
"""

DEATHS = """\
## When accounts die

Regrant and litellm through the same scenarios (`make conformance`), with the same grants on Vertex, before the same sandbox, whose
journal is what is counted. litellm has one deployment per account under one model name, the recommended routing (`simple-shuffle`), 3
retries, 3 allowed fails and cool-downs of 30 s, as in its documentation of routing and reliability; its credentials are `authorized_user`
files. The address of Google's token endpoint is built into the library that it uses, so a proxy takes those calls to the sandbox;
nothing is patched. To sign in again, the account's file (Regrant) or the credentials file (litellm) is replaced while the gateway runs.
A client that was refused asks again every 20 ms there, so errors in those rows count how often it asked; so do those after a failed
token call.
"""

SERVE = "python -m regrant serve --port 0 --data-dir data"
MARKS = {
    "aim": "reached, aim too",
    "must": "reached",
    "missed": "**not reached**",
    "not run": "not run",
    "measured": "",
}


def page(report: Mapping[str, Any], conformance: Mapping[str, Any] | None) -> str:
    """The whole page."""
    parts = [INTRODUCTION, _machine(report), _verdict(report), _table(report), _details(report)]
    if conformance:
        parts.append(_deaths(conformance))
    return "\n".join([*parts, METHOD])


def _machine(report: Mapping[str, Any]) -> str:
    about = report["machine"]
    day = time.strftime("%d %B %Y", time.gmtime(report["at"]))
    size = "A quick run" if report["quick"] else "A full run"
    return (
        f"{size} of {report['rounds']} rounds and {report['seconds']} seconds, {day}: {about['cores']} cores ({about['cpu']}), Linux {about['kernel']},"
        f" Python {about['python']}; load average before the start {about['load_before']}.\n"
    )


def _by_key(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {result["key"]: result for result in report["results"]}


def _verdict(report: Mapping[str, Any]) -> str:
    found = _by_key(report)
    goals = [goal for goal in GOALS if goal.must is not None]
    verdicts = {goal.key: found[goal.key]["verdict"] if goal.key in found else "not run" for goal in goals}
    reached = [key for key, verdict in verdicts.items() if verdict in {"aim", "must"}]
    aimed = [key for key, verdict in verdicts.items() if verdict == "aim"]
    lines = [f"**{len(reached)} of {len(goals)} figures are reached, {len(aimed)} of them up to the aim.**"]
    for verdict, words in (("missed", "Not reached"), ("not run", "Not run")):
        names = [goal.work for goal in goals if verdicts[goal.key] == verdict]
        if names:
            lines += ["", f"{words}:", "", *(f"- {name}" for name in names)]
    if report.get("failures"):
        lines += ["", "Failed in this run:", "", *(f"- {failure}" for failure in report["failures"])]
    return "\n".join([*lines, ""])


def _table(report: Mapping[str, Any]) -> str:
    found = _by_key(report)
    lines = ["## Figures", "", "| work | must | aim | measured | |", "|---|---|---|---|---|"]
    for goal in GOALS:
        if goal.must is None:
            continue
        result = found.get(goal.key, {"value": None, "verdict": "not run"})
        value = number(result["value"], goal.unit)
        lines.append(
            f"| {goal.work} | {_bound(goal, goal.must)} | {_bound(goal, goal.aim)} | {value} | {MARKS[result['verdict']]} |"
        )
    return "\n".join([*lines, ""])


def _bound(goal: Goal, value: float | None) -> str:
    return f"{'at least ' if goal.more_is_better else ''}{number(value, goal.unit)}"


def _details(report: Mapping[str, Any]) -> str:
    found = _by_key(report)
    lines = ["### What they are made of", "", f"The command, where no other is named, is `{SERVE}`.", ""]
    for goal in GOALS:
        result = found.get(goal.key)
        if result is None:
            continue
        made = ", ".join(f"{name} {number(value)}" for name, value in result["detail"].items())
        headline = f"{number(result['value'], goal.unit)}; " if goal.must is None else ""
        note = f" {result['note']}." if result["note"] else ""
        command = "" if result["command"] in {"", SERVE} else f" `{result['command']}`"
        if made or note or command:
            lines.append(f"- {goal.work}: {headline}{made}{'.' if made else ''}{note}{command}")
    return "\n".join([*lines, ""])


def _deaths(found: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        DEATHS,
        "| scenario | | client errors | token calls | calls on dead accounts | serves again after |",
        "|---|---|---|---|---|---|",
    ]
    for name, outcomes in found.items():
        for system, outcome in outcomes.items():
            lines.append(f"| {SCENARIOS[name][0]} | {system} | {_counts(outcome)} |")
    behind = [SCENARIOS[name][0] for name, outcomes in found.items() if _is_behind(outcomes)]
    if behind:
        lines += ["", "Where clients of litellm fare better:", "", *(f"- {scenario}" for scenario in behind)]
    return "\n".join([*lines, ""])


def _is_behind(outcomes: Mapping[str, Any]) -> bool:
    """Whether Regrant's clients saw errors where litellm's saw none, or were served again later."""
    mine, theirs = outcomes.get("regrant"), outcomes.get("litellm")
    if mine is None or theirs is None:
        return False
    if mine["seconds"] is not None and theirs["seconds"] is not None:
        return bool(mine["seconds"] > theirs["seconds"])
    return bool(mine["client_errors"] > theirs["client_errors"])


def _counts(outcome: Mapping[str, Any] | None) -> str:
    if outcome is None:
        return "not run | | |"
    again = f"{outcome['seconds']:.2f} s" if outcome["seconds"] is not None else outcome["note"]
    errors = f"{outcome['client_errors']} of {outcome['requests']}"
    return f"{errors} | {outcome['token_calls']} | {outcome['calls_on_dead']} | {again}"


def main(arguments: Sequence[str]) -> int:
    if not 1 <= len(arguments) <= 2:
        print(__doc__, file=sys.stderr)
        return 2
    report, *conformance = (json.loads(Path(name).read_text()) for name in arguments)
    out = ROOT / "docs" / "performance.md"
    out.write_text(page(report, conformance[0] if conformance else None))
    print(f"written: {out.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
