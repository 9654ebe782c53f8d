"""The numbers behind /metrics: what one exchange adds, how processes add up, and that nothing grows without bound."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from regrant.accounts.entry import Entry
from regrant.accounts.events import Notify
from regrant.accounts.lifecycle import Kept
from regrant.accounts.model import Account, Disablement
from regrant.messages.model import Usage
from regrant.oauth.google import RefusalKind, Refused, Unavailable
from regrant.pool.cooldown import Cooldown, CooldownKey
from regrant.traffic import meters
from regrant.traffic.exchange import Attempt, Exchange
from regrant.traffic.exposition import render
from regrant.traffic.ledger import Ledger, begin_run, end_run, put_away
from regrant.traffic.meters import METERS
from regrant.traffic.recorder import MAX_MODELS, Recorder
from regrant.traffic.tally import Tally, adds_up, counts_up
from regrant.upstream.faults import FaultKind, Scope

NOW = 1_700_000_000.0
MODEL = "gemini-3.5-flash"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class StoppedClock:
    """Shows the time that a test sets."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


def samples(tally: Tally) -> Samples:
    """What a scraper reads, by name and sorted labels."""
    _, body = render(tally, "")
    families = text_string_to_metric_families(body.decode())
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in families
        for one in family.samples
    }


def value(tally: Tally, name: str, **labels: str) -> float:
    return samples(tally).get((name, tuple(sorted(labels.items()))), math.nan)


def exchange(
    *attempts: Attempt, model: str = MODEL, status: int = 200, problem: str = "", **fields: object
) -> Exchange:
    given = {"ms": 800.0, "first_ms": 0.0, "at": NOW} | fields
    return Exchange(
        id="req_1",
        dialect="openai",
        served_model=model,
        status=status,
        problem=problem,
        attempts=list(attempts),
        **given,  # type: ignore[arg-type]
    )


def good(account_id: str = "ann", ms: float = 100.0) -> Attempt:
    return Attempt(account_id=account_id, status=200, ms=ms)


def entry(account_id: str, *, disabled: bool) -> Entry:
    death = Disablement(at=int(NOW), reason="invalid_grant: x", cause="revoked") if disabled else None
    account = Account(id=account_id, email=f"{account_id}@example.com", disabled=death)
    return Entry(Kept(account), account)


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def recorder(clock: StoppedClock) -> Recorder:
    return Recorder(clock)


def counted(recorder: Recorder, *exchanges: Exchange) -> Tally:
    recorder.exchanges.extend(exchanges)
    return recorder.snapshot()


# -- one exchange ------------------------------------------------------------------------------------------------------


def test_a_failover_is_one_request_two_attempts_and_one_fault(recorder: Recorder) -> None:
    failed = Attempt(account_id="ann", status=429, fault=FaultKind.RATE_LIMITED, ms=40.0)
    usage = Usage(input_tokens=100, cached_tokens=60, output_tokens=30, reasoning_tokens=20)
    tally = counted(recorder, exchange(failed, good("bob"), usage=usage, first_ms=300.0))
    served = {"dialect": "openai", "model": MODEL, "code": "200", "outcome": "ok"}
    assert value(tally, "regrant_requests_total", **served) == 1
    assert value(tally, "regrant_attempts_total", code="429", outcome="failed") == 1
    assert value(tally, "regrant_attempts_total", code="200", outcome="ok") == 1
    assert value(tally, "regrant_faults_total", kind="rate_limited") == 1
    tokens = {
        kind: value(tally, "regrant_tokens_total", model=MODEL, kind=kind)
        for kind in ("input", "output", "cached", "thoughts")
    }
    assert tokens == {"input": 100, "output": 30, "cached": 60, "thoughts": 20}
    assert value(
        tally, "regrant_request_duration_seconds_sum", dialect="openai", outcome="ok"
    ) == pytest.approx(0.8)
    assert value(tally, "regrant_time_to_first_token_seconds_sum", dialect="openai") == pytest.approx(0.3)
    bucket = {"dialect": "openai", "outcome": "ok"}
    assert value(tally, "regrant_request_duration_seconds_bucket", le="0.5", **bucket) == 0
    assert value(tally, "regrant_request_duration_seconds_bucket", le="1.0", **bucket) == 1
    assert value(tally, "regrant_request_duration_seconds_bucket", le="+Inf", **bucket) == 1


def test_an_answer_in_one_piece_has_no_first_token(recorder: Recorder) -> None:
    tally = counted(recorder, exchange(good()))
    assert math.isnan(value(tally, "regrant_time_to_first_token_seconds_count", dialect="openai"))


def test_an_answer_cut_short_is_a_fault_although_its_attempt_went_well(recorder: Recorder) -> None:
    tally = counted(recorder, exchange(good(), problem="cut", first_ms=20.0))
    assert value(tally, "regrant_faults_total", kind="cut") == 1
    assert value(tally, "regrant_attempts_total", code="200", outcome="ok") == 1
    assert value(tally, "regrant_request_duration_seconds_count", dialect="openai", outcome="failed") == 1


def test_a_client_that_leaves_is_neither_success_nor_failure(recorder: Recorder) -> None:
    tally = counted(recorder, exchange(Attempt(account_id="ann"), status=0, problem="client left"))
    labels = {"dialect": "openai", "model": "other", "code": "none", "outcome": "client_left"}
    assert value(tally, "regrant_requests_total", **labels) == 1
    assert value(tally, "regrant_attempts_total", code="none", outcome="abandoned") == 1
    assert sum(amount for (name, _), amount in samples(tally).items() if name == "regrant_faults_total") == 0


# -- bounds ------------------------------------------------------------------------------------------------------------


def models_of(tally: Tally) -> set[str]:
    return {dict(labels)["model"] for (name, labels) in samples(tally) if name == "regrant_requests_total"}


def test_only_models_that_google_knows_get_a_label_of_their_own(recorder: Recorder) -> None:
    unknown = Attempt(account_id="ann", status=404, fault=FaultKind.MODEL_NOT_FOUND)
    limited = Attempt(account_id="ann", status=429, fault=FaultKind.RATE_LIMITED)
    tally = counted(
        recorder,
        exchange(unknown, model="made-up-1", status=404, problem="model_not_found"),
        exchange(unknown, model="made-up-2", status=404, problem="model_not_found"),
        exchange(limited, model="gemini-busy", status=429, problem="rate_limited"),
        exchange(model="", status=400, problem="invalid_request"),
    )
    assert models_of(tally) == {"other", "gemini-busy", "none"}


def test_the_number_of_models_is_bounded(recorder: Recorder) -> None:
    tally = counted(
        recorder, *(exchange(good(), model=f"tuned-{number}") for number in range(MAX_MODELS + 20))
    )
    assert len(models_of(tally)) == MAX_MODELS + 1
    labels = {"dialect": "openai", "model": "other", "code": "200", "outcome": "ok"}
    assert value(tally, "regrant_requests_total", **labels) == 20


def test_no_label_says_who(recorder: Recorder) -> None:
    served = exchange(good("ann-account"), usage=Usage(input_tokens=1), key="key-of-ann")
    recorder.account_notice(entry("ann-account", disabled=True).account, Notify("disabled", "revoked"))
    recorder.cooldown_changed(
        CooldownKey(scope=Scope.ACCOUNT, account="ann-account"), Cooldown(NOW + 5, FaultKind.PERMISSION)
    )
    _, body = render(counted(recorder, served), "")
    assert b'regrant_account_deaths_total{cause="revoked"} 1.0' in body
    assert b'regrant_cooldowns_set_total{why="permission"} 1.0' in body
    assert b"ann" not in body.replace(b"cannot", b"")


# -- accounts that come back -------------------------------------------------------------------------------------------


def back(tally: Tally) -> tuple[float, float]:
    name = "regrant_reauth_to_first_success_seconds"
    return value(tally, f"{name}_count"), value(tally, f"{name}_sum")


def test_the_first_answer_after_an_account_is_back_is_measured_once(
    recorder: Recorder, clock: StoppedClock
) -> None:
    recorder.begin([entry("ann", disabled=True), entry("bob", disabled=False)])
    clock.at = NOW + 10
    recorder.account_changed("ann", entry("ann", disabled=False))
    of_bob = exchange(good("bob"), at=NOW + 10.1)
    waited = exchange(good("ann"), at=NOW + 2, ms=8300.0)  # a request that its return has rescued
    tally = counted(recorder, of_bob, waited, exchange(good("ann"), at=NOW + 11))
    assert back(tally) == pytest.approx((1, 0.3))


def test_an_answer_that_was_asked_for_before_the_return_is_none_of_it(
    recorder: Recorder, clock: StoppedClock
) -> None:
    recorder.begin([entry("ann", disabled=True)])
    clock.at = NOW + 10
    recorder.account_changed("ann", entry("ann", disabled=False))
    old = exchange(good("ann", ms=4000.0), at=NOW + 7, ms=4000.0)
    failed = Attempt(account_id="ann", status=500, fault=FaultKind.SERVER_ERROR)
    assert back(counted(recorder, old, exchange(failed, at=NOW + 11, status=502))) == (0, 0)


def test_an_account_that_dies_again_unserved_is_not_measured(recorder: Recorder, clock: StoppedClock) -> None:
    recorder.begin([entry("ann", disabled=True)])
    recorder.account_changed("ann", entry("ann", disabled=False))
    recorder.account_changed("ann", entry("ann", disabled=True))
    clock.at = NOW + 60
    recorder.account_changed("ann", entry("ann", disabled=False))
    assert back(counted(recorder, exchange(good(), at=NOW + 61, ms=500.0))) == pytest.approx((1, 1.5))


# -- refreshes ---------------------------------------------------------------------------------------------------------


def test_refreshes_are_counted_by_outcome_and_cause(recorder: Recorder) -> None:
    recorder.refresh_answered(Refused(RefusalKind.invalid_grant, 400, "invalid_grant", "", "gone"), 0.2)
    recorder.refresh_answered(Unavailable("busy", status=503), 0.1)
    recorder.refresh_answered(Unavailable("no route"), 0.1)
    causes = [("refused", "invalid_grant"), ("unavailable", "http_503"), ("unavailable", "no_answer")]
    found = [
        value(recorder.snapshot(), "regrant_refreshes_total", outcome=one, cause=why) for one, why in causes
    ]
    assert found == [1, 1, 1]
    assert value(recorder.snapshot(), "regrant_refreshes_total", outcome="granted", cause="") == 0
    assert value(recorder.snapshot(), "regrant_refresh_duration_seconds_sum") == pytest.approx(0.4)


# -- several processes -------------------------------------------------------------------------------------------------


def total(tallies: list[Tally]) -> float:
    whole = Tally()
    for tally in tallies:
        whole.add(tally, adds_up)
    return sum(whole.values.get(meters.REQUESTS.name, {}).values())


def test_what_is_seen_alike_by_all_is_not_added_up() -> None:
    one, other = Tally(), Tally()
    for tally in (one, other):
        tally.put(meters.ACCOUNTS, 3, ("active",))
        tally.put(meters.WAITING, 2)
        tally.observe(meters.REAUTH_SECONDS, 0.2)
    one.add(other, adds_up)
    assert value(one, "regrant_accounts", state="active") == 3
    assert value(one, "regrant_waiting_requests") == 4
    assert value(one, "regrant_reauth_to_first_success_seconds_count") == 2


def test_of_a_process_that_ended_the_counters_stay_and_the_gauges_go() -> None:
    ended, kept = Tally(), Tally()
    ended.count(meters.REFRESHES, ("granted", ""), 5)
    ended.put(meters.WAITING, 2)
    kept.add(ended, counts_up)
    assert value(kept, "regrant_refreshes_total", outcome="granted", cause="") == 5
    assert value(kept, "regrant_waiting_requests") == 0


WRITER = """
import sys, time
from pathlib import Path
from regrant.traffic import meters
from regrant.traffic.ledger import Ledger
from regrant.traffic.tally import Tally
ledger, tally = Ledger(Path(sys.argv[1])), Tally()
tally.count(meters.REQUESTS, ("openai", "m", "200", "ok"), 10)
ledger.write(tally, 1)
"""


def writer(folder: Path) -> int:
    """A process that counted ten requests and has ended; its number."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)])
    assert process.wait(60) == 0
    return process.pid


def test_counters_of_ended_processes_are_put_together_and_nothing_is_lost_or_counted_twice(
    tmp_path: Path,
) -> None:
    folder = begin_run(tmp_path)
    mine = Ledger(folder)
    mine.write(Tally(), 1)
    pids = [writer(folder) for _ in range(3)]
    assert total(mine.others()) == 30
    seen: list[float] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.append(total(mine.others()))

    reader = threading.Thread(target=read)
    reader.start()
    for pid in pids:
        put_away(folder, pid)
    deadline = time.monotonic() + 20
    while len(seen) < 50 and time.monotonic() < deadline:
        time.sleep(0.01)
    over.set()
    reader.join()
    assert set(seen) == {30}
    assert sorted(path.name.partition(".")[0] for path in folder.iterdir()) == sorted(
        [str(os.getpid()), "gone"]
    )
    put_away(folder, pids[0])
    assert total(mine.others()) == 30


def test_an_older_copy_never_replaces_a_newer_one(tmp_path: Path) -> None:
    folder = begin_run(tmp_path)
    mine, newer = Ledger(folder), Tally()
    newer.count(meters.REQUESTS, ("openai", "m", "200", "ok"), 2)
    mine.write(newer, 2)
    mine.write(Tally(), 1)
    reader = Ledger(folder)
    assert total(reader.others()) == 2
    mine.write(Tally(), 3)
    assert total(reader.others()) == 0


def test_a_scrape_in_the_middle_of_putting_away_counts_once(tmp_path: Path) -> None:
    """The common file is written already, the process's own file is not removed yet."""
    folder = begin_run(tmp_path)
    pid = writer(folder)
    [own] = folder.iterdir()
    content = own.read_bytes()
    put_away(folder, pid)
    own.write_bytes(content)
    assert total(Ledger(folder).others()) == 10


def test_a_run_begins_empty_and_sweeps_up_after_supervisors_that_were_killed(tmp_path: Path) -> None:
    folder = begin_run(tmp_path)
    writer(folder)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait(60)
    left = folder.parent / str(dead.pid)
    left.mkdir()
    (left / "1.2.tally").write_bytes(b"")
    assert list(begin_run(tmp_path).iterdir()) == []
    assert not left.exists()
    end_run(folder)
    assert not folder.exists()


# -- the formats and the docs ------------------------------------------------------------------------------------------


def busy(recorder: Recorder) -> Tally:
    tally = counted(recorder, exchange(good(), usage=Usage(input_tokens=7), first_ms=5.0))
    for meter in METERS:
        labels = tuple("x" for _ in meter.labels)
        if meter.kind == "histogram":
            tally.observe(meter, 0.3, labels)
        else:
            tally.put(meter, 1, labels)
    return tally


def test_both_formats_are_read_by_prometheus_own_parsers_and_say_the_same(recorder: Recorder) -> None:
    tally = busy(recorder)
    plain_type, plain = render(tally, "text/plain")
    open_type, opened = render(tally, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert plain_type.startswith("text/plain; version=0.0.4")
    assert open_type.startswith("application/openmetrics-text; version=1.0.0")

    def read(families: object) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {}
        for family in families:  # type: ignore[attr-defined]
            assert family.documentation
            for one in family.samples:
                found.setdefault(one.name, {})[repr(sorted(one.labels.items()))] = one.value
        return found

    assert read(text_string_to_metric_families(plain.decode())) == read(
        openmetrics.text_string_to_metric_families(opened.decode())  # type: ignore[no-untyped-call]  # theirs
    )


@pytest.mark.parametrize(
    "accept", ["", "*/*", "text/html", "application/openmetrics-text; version=\x00;;;,,q=", "é" * 500]
)
def test_any_accept_header_gets_an_answer(recorder: Recorder, accept: str) -> None:
    kind, body = render(busy(recorder), accept)
    assert kind.isascii()
    assert b"regrant_build_info" in body


ROW = re.compile(r"^\| `(regrant_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)


def test_docs_and_metrics_name_each_other_with_the_same_types_and_labels() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    documented = {
        name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in ROW.findall(page)
    }
    exposed = {meter.published: (meter.kind, meter.labels) for meter in METERS}
    assert documented == exposed
    named = set(re.findall(r"\bregrant_[a-z_]+", page))
    for name in named:
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        assert name in exposed or family in exposed, f"docs/metrics.md names {name}, which does not exist"


def test_names_follow_prometheus_conventions() -> None:
    for meter in METERS:
        assert meter.name.startswith("regrant_")
        assert not meter.name.endswith("_total")
        assert not re.search(r"_(ms|milliseconds|minutes|kb|percent)(_|$)", meter.name)
        assert (meter.kind == "histogram") == bool(meter.bounds)
        assert list(meter.bounds) == sorted(meter.bounds)
        assert meter.kind != "histogram" or meter.name.endswith("_seconds")
    assert len({meter.name for meter in METERS}) == len(METERS)
