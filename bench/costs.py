"""Rows of CPU time: what a request or a chunk costs a gateway's process tree, against nginx passing the same through.

Contestants take turns in rounds and the medians count; CPU time is what other work on the machine disturbs least. Rates and latencies are
in `speed.py`.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence

import uvloop
from bench.goals import Result
from bench.load import run
from bench.scale import Bench, Scale
from bench.stage import Contestant
from bench.work import BRIEF, CHUNKED, CHUNKS, Door, Load

from bench import stage


@contextlib.contextmanager
def pair(bench: Bench, *, tls: bool = False) -> Iterator[list[Contestant]]:
    """nginx and Regrant before the same upstream."""
    with (
        stage.upstream(bench.folder, tls=tls) as upstream,
        stage.nginx(bench.folder, upstream) as nginx,
        stage.regrant(bench.folder, upstream) as regrant,
    ):
        yield [nginx, regrant]


def chat(bench: Bench) -> list[Result]:
    with pair(bench) as contestants:
        return [_compared("chat_cpu", bench.scale, contestants, Door.chat)]


def tls(bench: Bench) -> list[Result]:
    with pair(bench, tls=True) as contestants:
        return [_compared("chat_tls_cpu", bench.scale, contestants, Door.chat)]


def short(bench: Bench) -> list[Result]:
    with pair(bench) as contestants:
        return [_compared("short_stream_cpu", bench.scale, contestants, Door.stream)]


def relay(bench: Bench) -> list[Result]:
    with pair(bench) as contestants:
        return [_compared("relay_cpu", bench.scale, contestants, Door.gemini)]


def _compared(
    key: str, scale: Scale, contestants: Sequence[Contestant], load: Callable[[Door], Load]
) -> Result:
    costs = cpu_us(contestants, load, scale)
    return against_nginx(key, costs, contestants)


def against_nginx(
    key: str, costs: Mapping[str, Sequence[float]], contestants: Sequence[Contestant], *, per: int = 1
) -> Result:
    """The ratio of the medians; `per` is how many parts a request has."""
    detail = {f"{name} us": statistics.median(costs[name]) / per for name in ("nginx", "regrant")}
    ratios = sorted(mine / theirs for mine, theirs in zip(costs["regrant"], costs["nginx"], strict=True))
    value = detail["regrant us"] / detail["nginx us"]
    detail |= {"ratio from": ratios[0], "to": ratios[-1]}
    return Result(key, value, detail, contestants[-1].command)


def cpu_us(
    contestants: Sequence[Contestant],
    load: Callable[[Door], Load],
    scale: Scale,
    *,
    requests: int = 0,
    connections: int = 0,
) -> dict[str, list[float]]:
    """Microseconds of CPU per request of each contestant, one figure per round. Raises Wrong on a bad answer."""
    requests, connections = requests or scale.requests, connections or scale.connections
    loads = [load(contestant.door) for contestant in contestants]
    found: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for one in loads:
        uvloop.run(run(one, requests=max(connections, requests // 5), connections=connections))
    for _ in range(scale.rounds):
        for contestant, one in zip(contestants, loads, strict=True):
            before = stage.cpu_s(contestant.pid)
            uvloop.run(run(one, requests=requests, connections=connections))
            sent = max(1, requests // connections) * connections
            found[contestant.name].append((stage.cpu_s(contestant.pid) - before) / sent * 1e6)
    return found


def agent(bench: Bench) -> list[Result]:
    """A 200 kB request of a coding agent; nginx is not asked, the figure stands for itself."""
    with stage.upstream(bench.folder) as upstream, stage.regrant(bench.folder, upstream) as regrant:
        requests = max(4, bench.scale.requests // 10)
        costs = cpu_us([regrant], Door.agent, bench.scale, requests=requests, connections=4)["regrant"]
        spread = {"from ms": min(costs) / 1000, "to": max(costs) / 1000}
        return [Result("agent_cpu", statistics.median(costs) / 1000, spread, regrant.command)]


def chunks(bench: Bench) -> list[Result]:
    """Long streams: what one chunk costs, the request's own cost spread over a hundred."""
    with pair(bench) as contestants:
        streams = max(2, bench.scale.requests // 75)

        def load(door: Door) -> Load:
            return door.stream(CHUNKED, text="x" * CHUNKS)

        costs = cpu_us(contestants, load, bench.scale, requests=streams, connections=streams)
        return [against_nginx("chunk_cpu", costs, contestants, per=CHUNKS)]


def first_token(bench: Bench) -> list[Result]:
    """Streams one after the other, direct, through nginx and through Regrant: how much later the first token comes."""
    with (
        stage.upstream(bench.folder) as upstream,
        stage.nginx(bench.folder, upstream) as nginx,
        stage.regrant(bench.folder, upstream) as regrant,
    ):
        doors = {"direct": upstream.door, "nginx": nginx.door, "regrant": regrant.door}
        loads = {name: door.stream(BRIEF, text="xxx") for name, door in doors.items()}
        firsts: dict[str, list[float]] = {name: [] for name in loads}
        for _ in range(bench.scale.rounds + 1):
            for name, load in loads.items():
                measured = uvloop.run(run(load, requests=max(5, bench.scale.requests // 20), connections=1))
                firsts[name].append(measured.first_p50_ms)
        # The first round warms up.
        medians = {f"{name} ms": statistics.median(times[1:]) for name, times in firsts.items()}
        added = medians["regrant ms"] - medians["direct ms"]
        return [Result("first_token", added, medians, regrant.command)]
