"""Whether all that the gateway wrote down agrees with the sandbox's journal: traffic log, metrics, quota ledger, headers."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from tests.acceptance.chaos.clients import Result
from tests.acceptance.chaos.oracle import Breach, Call, called
from tests.acceptance.chaos.schedule import PROJECTS
from tests.acceptance.harness import Gateway, Json, wait_until

RULE = "log, counters and ledger agree with the journal"
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? ([0-9.e+-]+)$")
Samples = dict[str, Counter[str]]


def read_metrics(gateway: Gateway) -> Samples:
    """The samples by name, each by its labels as they are written."""
    found: Samples = {}
    for line in gateway.call("GET", "/metrics").body.decode().splitlines():
        sample = SAMPLE.match(line)
        if sample is not None:
            found.setdefault(sample[1], Counter())[sample[2] or ""] += float(sample[3])  # type: ignore[assignment]
    return found


def settle(gateway: Gateway) -> None:
    """Wait until nothing is under way and everything is written down."""

    def quiet() -> bool:
        samples = read_metrics(gateway)
        names = ("requests_in_flight", "attempts_in_flight", "traffic_log_queue_length", "waiting_requests")
        return not any(sum(samples[f"regrant_{name}"].values()) for name in names)

    wait_until(quiet, "nothing is under way any more", every_s=0.1)


def read_rows(gateway: Gateway) -> list[Json]:
    """The whole traffic log."""
    rows: list[Json] = []
    cursor = ""
    while True:
        page = gateway.admin("GET", f"/api/traffic?limit=1000&cursor={cursor}").json()
        rows += page["items"]
        cursor = page["next"]
        if cursor is None:
            return rows


def attempts_by_number(rows: Sequence[Json], results: Sequence[Result]) -> dict[int, list[Json]]:
    """The attempts of each request whose client read the head of its answer."""
    by_id = {row["id"]: row for row in rows}
    return {
        result.wanted.number: by_id[result.request_id]["attempts"]
        for result in results
        if result.request_id in by_id
    }


def compare_log(
    rows: Sequence[Json], results: Sequence[Result], calls: dict[int, list[Call]]
) -> Iterator[Breach]:
    """Every request exactly once, with the attempts that the journal has."""
    by_id = {row["id"]: row for row in rows}
    if len(by_id) != len(rows):
        yield Breach(RULE, f"{len(rows) - len(by_id)} rows are there twice")
    read = [result for result in results if result.request_id]
    if len(rows) != len(results):
        yield Breach(RULE, f"{len(rows)} rows of {len(results)} requests")
    for result in read:
        number = result.wanted.number
        row = by_id.get(result.request_id)
        if row is None:
            yield Breach(RULE, f"request {result.request_id} has no row", number)
            continue
        if row["status"] != result.status:
            yield Breach(RULE, f"status {row['status']} in the log, {result.status} to the client", number)
        if len(row["attempts"]) != result.attempts:
            text = f"{len(row['attempts'])} attempts in the log, x-regrant-attempts {result.attempts}"
            yield Breach(RULE, text, number)
        logged = [(one["account_id"], one["status"]) for one in row["attempts"] if called(one)]
        journaled = [(call.who, call.status or 0) for call in calls.get(number, [])]
        if logged != journaled:
            yield Breach(RULE, f"the log has {logged}, the journal {journaled}", number)
    in_log = sum(called(one) for row in rows for one in row["attempts"])
    in_journal = sum(map(len, calls.values()))
    if not in_log - given_up(rows).total() <= in_journal <= in_log:
        yield Breach(RULE, f"{in_log} calls in the log, {in_journal} in the journal")


def given_up(rows: Sequence[Json]) -> Counter[tuple[str, str]]:
    """Calls that may not have gone out yet when their client left, by project and model."""
    return Counter(
        (PROJECTS[one["account_id"]], row["served_model"])
        for row in rows
        for one in row["attempts"]
        if not (one["status"] or one["fault"])
    )


def compare_metrics(samples: Samples, rows: Sequence[Json]) -> Iterator[Breach]:
    attempts = [one for row in rows for one in row["attempts"]]
    # An answer that broke off after it had begun is a fault of the request, not of its attempt.
    broken = sum(row["problem"] == "cut" for row in rows)
    failed = Counter(one["fault"] for one in attempts if one["fault"])
    told = {
        "requests": (_sum(samples, "regrant_requests_total"), len(rows)),
        "attempts": (_sum(samples, "regrant_attempts_total"), len(attempts)),
        "faults": (_sum(samples, "regrant_faults_total"), failed.total() + broken),
        "rows dropped": (_sum(samples, "regrant_traffic_log_dropped_total"), 0),
        "log lines lost": (_sum(samples, "regrant_log_write_failures_total"), 0),
        "durations": (_sum(samples, "regrant_request_duration_seconds_count"), len(rows)),
    }
    for code, count in Counter(row["status"] for row in rows).items():
        name = f'code="{code or "none"}"'
        told[f"requests {name}"] = (_sum(samples, "regrant_requests_total", name), count)
    for kind, count in failed.items():
        if kind != "cut":
            told[f"faults {kind}"] = (_sum(samples, "regrant_faults_total", f'kind="{kind}"'), count)
    for what, (counted, expected) in told.items():
        if counted != expected:
            labels = dict(samples.get(f"regrant_{what.split()[0]}_total", {}))
            text = f"{what}: {counted:g} in the metrics, {expected} in the log or journal; {labels}"
            yield Breach(RULE, text)


def compare_refreshes(samples: Samples, before: int, after: int) -> Iterator[Breach]:
    """`before` and `after` the metrics were read, so many calls of the token endpoint were in the journal: it goes on by itself."""
    counted = _sum(samples, "regrant_refreshes_total")
    if not before <= counted <= after:
        labels = dict(samples["regrant_refreshes_total"])
        yield Breach(RULE, f"{counted:g} refreshes in the metrics, {before} in the journal: {labels}")


def _sum(samples: Samples, name: str, label: str = "") -> float:
    return sum(value for labels, value in samples.get(name, Counter()).items() if label in labels)


def metered(calls: Sequence[Call]) -> Counter[tuple[str, str]]:
    """How many calls count against each quota."""
    return Counter((call.project, call.model) for call in calls if call.endpoint != "count")


def compare_ledger(gateway: Gateway, calls: Sequence[Call], rows: Sequence[Json]) -> Iterator[Breach]:
    """Requests of the day by project and model; tokens as the answers told them."""
    expected = metered(calls)
    more = given_up(rows)
    tokens: Counter[tuple[str, str]] = Counter()
    for row in rows:
        served = [one for one in row["attempts"] if not one["fault"]]
        if served and row["tokens"]:
            place = (PROJECTS[served[-1]["account_id"]], row["served_model"])
            tokens[place] += row["tokens"]["input_tokens"]
    figures = gateway.admin("GET", "/api/quota?limit=1000").json()["items"]
    shown: dict[str, dict[tuple[str, str], Json]] = {"requests": {}, "tokens": {}}
    for figure in figures:
        if figure["window"] == "day":
            shown[figure["unit"]][figure["project"], figure["model"]] = figure
    for unit, wanted in (("requests", expected), ("tokens", tokens)):
        for place, count in wanted.items():
            figure = shown[unit].get(place)
            if figure is None:
                yield Breach(RULE, f"the ledger has no {unit} of {place}, the journal {count}")
            elif figure["used"] < count or (
                figure["used"] > count + more[place] and figure["used_source"] == "counted"
            ):
                yield Breach(
                    RULE, f"{figure['used']} {unit} of {place} in the ledger, {count} in the journal"
                )


def compare_stored_ledger(data_dir: Path, calls: Sequence[Call], rows: Sequence[Json]) -> Iterator[Breach]:
    """What the stopped gateway left on the disk."""
    more = given_up(rows)
    with closing(sqlite3.connect(data_dir / "state.sqlite3")) as database:
        stored = database.execute("select key, value from observed where kind = 'quota_counts'").fetchall()
    counted: Counter[tuple[str, str]] = Counter()
    for key, value in stored:
        if value:
            *_, project, model = json.loads(key)
            counted[project, model] += json.loads(value)[3]
    for place, count in metered(calls).items():
        if not count <= counted[place] <= count + more[place]:
            yield Breach(RULE, f"{counted[place]} requests of {place} are stored, {count} in the journal")
