"""Rows of speed: requests per second on one core, latency under a steady rate, and the delay of a thousand open streams.

What requests cost is in `costs.py`.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop
from bench.goals import Result
from bench.scale import Bench
from bench.stage import Contestant, NotRun
from bench.work import FLASH, SAID, Door, Wrong

from bench import load, pace, stage, streams

WRK_SCRIPT = """
wrk.method = "POST"
wrk.body = [==[{body}]==]
wrk.headers["content-type"] = "application/json"
{headers}
bad, seen = 0, ""
local thread_of = {{}}
function setup(thread) table.insert(thread_of, thread) end
function response(status, headers, body)
  if status ~= 200 or not body:find("{said}", 1, true) or not body:find('"stop"', 1, true) then
    bad = bad + 1
    seen = status .. " " .. body:sub(1, 300)
  end
end
function done(summary, latency, requests)
  local wrong, what = 0, ""
  for _, thread in ipairs(thread_of) do wrong = wrong + thread:get("bad"); what = thread:get("seen") end
  local errors = summary.errors
  local lost = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("RESULT %d %d %d %d %s\\n", summary.requests, summary.duration, wrong, lost, what))
end
"""


def throughput(bench: Bench) -> list[Result]:
    """Requests a second with the gateway pinned to one core, all else on the others; litellm too where it is to run."""
    with _racers(bench) as racers:
        turns: dict[str, list[_Turn]] = {racer.name: [] for racer in racers}
        for racer in racers:
            uvloop.run(load.run(racer.door.chat(), requests=200, connections=8))
        for _ in range(bench.scale.rounds):
            for racer in racers:
                turns[racer.name].append(_turn(bench, racer, bench.scale.seconds))
        results = [_race("throughput_nginx", turns, "nginx", racers)]
        if "litellm" in turns:
            results.append(_race("throughput_litellm", turns, "litellm", racers))
            costs = {
                f"{name} us": statistics.median(turn.cpu_us for turn in turns[name])
                for name in ("litellm", "regrant")
            }
            results.append(Result("litellm_cpu", costs["litellm us"] / costs["regrant us"], costs))
        else:
            results.append(Result("throughput_litellm", None, note=bench.without_litellm))
        return results


@contextlib.contextmanager
def _racers(bench: Bench) -> Iterator[list[Contestant]]:
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(stage.stone(bench.folder))
        racers = [
            stack.enter_context(stage.nginx(bench.folder, upstream, pinned=True)),
            stack.enter_context(stage.regrant(bench.folder, upstream, pinned=True)),
        ]
        if not bench.without_litellm:
            params = {
                "model": f"gemini/{FLASH}",
                "api_base": f"{upstream.url}/v1beta",
                "api_key": "bench-upstream-key",
            }
            config = {"model_list": [{"model_name": FLASH, "litellm_params": params}]}
            racers.append(stack.enter_context(stage.litellm(bench.folder, config, pinned=True)))
        yield racers


@dataclass(frozen=True, slots=True)
class _Turn:
    """Requests a second, CPU microseconds per request, and the share of its core that the gateway used."""

    rate: float
    cpu_us: float
    busy: float


def _turn(bench: Bench, racer: Contestant, seconds: float) -> _Turn:
    before = stage.cpu_s(racer.pid)
    requests, took_s = _wrk(bench, racer, seconds)
    used_s = stage.cpu_s(racer.pid) - before
    return _Turn(requests / took_s, used_s / requests * 1e6, used_s / took_s)


def _race(key: str, turns: Mapping[str, Sequence[_Turn]], other: str, racers: Sequence[Contestant]) -> Result:
    """Requests per second of the core's time against the other's: what else runs on the machine takes that time from both."""
    names = (other, "regrant")
    full = {name: statistics.median(turn.rate / turn.busy for turn in turns[name]) for name in names}
    detail = {f"{name} requests per second of its core": rate for name, rate in full.items()}
    for name in names:
        detail[f"{name} requests/s as counted"] = statistics.median(turn.rate for turn in turns[name])
        detail[f"{name} share of its core"] = statistics.median(turn.busy for turn in turns[name])
    commands = "; ".join(racer.command for racer in racers if racer.name in names)
    return Result(key, full["regrant"] / full[other], detail, commands)


def _wrk(bench: Bench, racer: Contestant, seconds: float) -> tuple[int, float]:
    """Requests over 32 connections, and the seconds that they took. Raises Wrong on a bad answer or a lost connection."""
    if not shutil.which("wrk"):
        raise NotRun("wrk is not installed (scripts/install_tools bench)")
    ask = Door.chat(racer.door)
    headers = "\n".join(
        f'wrk.headers["{name}"] = "{value}"' for name, value in (line.split(": ") for line in ask.headers)
    )
    script = Path(bench.folder) / f"{racer.name}.lua"
    script.write_text(WRK_SCRIPT.format(body=ask.body.decode(), headers=headers, said=SAID))
    command = [
        *stage.cores(gateway=False),
        "wrk",
        "-t1",
        "-c32",
        f"-d{max(1, round(seconds))}s",
        "--timeout=20s",
    ]
    url = f"http://127.0.0.1:{ask.port}{ask.path}"
    done = subprocess.run(
        [*command, "-s", str(script), url], capture_output=True, text=True, timeout=seconds + 60, check=True
    )
    words = next(line for line in done.stdout.splitlines() if line.startswith("RESULT")).split(" ", 5)
    requests, microseconds, wrong, lost = map(int, words[1:5])
    if wrong or lost or not requests:
        raise Wrong(f"{racer.name}: {wrong} wrong answers, {lost} lost, of {requests}: {words[5]}")
    return requests, microseconds / 1e6


def latency(bench: Bench) -> list[Result]:
    """A steady 500 requests a second, direct, through nginx and through Regrant; what Regrant adds to the direct way."""
    with (
        stage.upstream(bench.folder) as upstream,
        stage.nginx(bench.folder, upstream) as nginx,
        stage.regrant(bench.folder, upstream) as regrant,
    ):
        loads = {"direct": upstream.door.chat(), "nginx": nginx.door.chat(), "regrant": regrant.door.chat()}
        found: dict[str, list[pace.Latencies]] = {name: [] for name in loads}
        for one in loads.values():
            pace.run(one, rate=bench.scale.rate, seconds=min(1.0, bench.scale.seconds))
        for _ in range(bench.scale.rounds):
            for name, one in loads.items():
                found[name].append(pace.run(one, rate=bench.scale.rate, seconds=bench.scale.seconds))
        return [_added("latency_p50", 0.5, found, regrant), _added("latency_p99", 0.99, found, regrant)]


def _added(key: str, share: float, found: dict[str, list[pace.Latencies]], regrant: Contestant) -> Result:
    """The rounds in which the load itself was held up most by other work are left out: the later half of them."""
    medians, late_s = {}, 0.0
    for name, runs in found.items():
        calm = sorted(runs, key=lambda one: one.late_s)[: (len(runs) + 1) // 2]
        medians[f"{name} ms"] = statistics.median(one.percentile_ms(share) for one in calm)
        late_s = max(late_s, calm[-1].late_s)
    # Nobody answers sooner than the upstream itself: if nginx seems to, the direct rounds were disturbed more.
    added = medians["regrant ms"] - min(medians["direct ms"], medians["nginx ms"])
    return Result(key, added, medians | {"sent late at worst ms": late_s * 1000}, regrant.command)


def open_streams(bench: Bench) -> list[Result]:
    """Streams of one chunk a second, all open at once, direct and through Regrant on a core of its own."""
    scale = bench.scale
    model = f"gemini-ticks-{scale.ticks}x1000"
    delays: dict[str, list[float]] = {}
    with (
        stage.upstream(bench.folder) as upstream,
        stage.regrant(bench.folder, upstream, pinned=True) as regrant,
    ):
        for name, door in {"direct": upstream.door, "regrant": regrant.door}.items():
            delays[name] = streams.measure(door.stream(model), streams=scale.streams, ticks=scale.ticks)
        command = regrant.command
    detail = {}
    for name, found in delays.items():
        for share in (50, 99):
            detail[f"{name} p{share} ms"] = found[int(len(found) * share / 100)]
    detail["chunks"] = len(delays["regrant"])
    added = detail["regrant p99 ms"] - detail["direct p99 ms"]
    return [Result("open_streams", added, detail, command)]
