"""`/metrics` of a real gateway, read with Prometheus' own parsers and held against what the sandbox has seen."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from tests.acceptance.harness import (
    MODEL,
    Answer,
    Gateway,
    People,
    at_once,
    chat_body,
    hand_edit,
    wait_until,
)
from tests.acceptance.wire import OPENAI_CHAT, model_calls
from tests.sandbox_client import SandboxProcess

ANN = "ann@example.com"
PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


class Scraped:
    """One answer of `/metrics`, as Prometheus understands it."""

    def __init__(self, answer: Answer) -> None:
        assert answer.status == 200, answer.body
        self.families = list(text_string_to_metric_families(answer.body.decode()))
        self._samples = [one for family in self.families for one in family.samples]
        series = [(one.name, *sorted(one.labels.items())) for one in self._samples]
        assert len(set(series)) == len(series), "no series twice"

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        return sum(
            one.value for one in self._samples if one.name == name and labels.items() <= one.labels.items()
        )

    def by(self, name: str, label: str) -> dict[str, int]:
        """The sums by one label, without those that are 0."""
        sums: Counter[str] = Counter()
        for one in self._samples:
            if one.name == name and one.value:
                sums[one.labels[label]] += int(one.value)
        return dict(sums)


def scrape(gateway: Gateway, **headers: str) -> Scraped:
    return Scraped(gateway.call("GET", "/metrics", headers=headers))


def scraped_when(gateway: Gateway, holds: Callable[[Scraped], bool], what: str) -> Scraped:
    """The first answer for which it holds: what a request did is counted as soon as it is over, not sooner."""
    last: list[Scraped] = []

    def look() -> bool:
        last[:] = [scrape(gateway)]
        return holds(last[0])

    wait_until(look, what, every_s=0.05)
    return last[0]


def after_requests(gateway: Gateway, count: int) -> Scraped:
    return scraped_when(
        gateway, lambda now: now.total("regrant_requests_total") == count, f"{count} requests are counted"
    )


def stream(gateway: Gateway, text: str) -> bytes:
    with gateway.opened(
        OPENAI_CHAT, chat_body(text, stream=True, stream_options={"include_usage": True})
    ) as (_, answer):
        assert answer.status == 200
        return answer.read()


# -- what requests did -------------------------------------------------------------------------------------------------


def test_requests_attempts_faults_and_tokens_are_what_the_sandbox_has_seen(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        tokens: Counter[str] = Counter()
        for number in range(4):
            if number == 2:
                sandbox.script("error", name="500", endpoint="generate")
            answer = gateway.chat(f"question {number}")
            assert answer.status == 200, answer.body
            usage = answer.json()["usage"]
            tokens += Counter({"input": usage["prompt_tokens"], "output": usage["completion_tokens"]})
        for number in range(3):
            assert b"[DONE]" in stream(gateway, f"stream {number}")
        assert gateway.chat(model="no-such-model-at-all").status == 404
        assert gateway.call("POST", OPENAI_CHAT, b"{").status == 400

        now = after_requests(gateway, 9)
        calls = model_calls(sandbox)
        seen = {str(code): count for code, count in Counter(call["status"] for call in calls).items()}
        assert len(calls) == 8
        assert now.by("regrant_attempts_total", "code") == seen
        assert now.by("regrant_faults_total", "kind") == {"server_error": 1}
        assert now.by("regrant_requests_total", "code") == {"200": 7, "404": 1, "400": 1}
        assert now.by("regrant_requests_total", "model") == {MODEL: 7, "none": 2}
        assert now.by("regrant_requests_total", "outcome") == {
            "ok": 7,
            "model_not_found": 1,
            "invalid_request": 1,
        }
        assert now.total("regrant_time_to_first_token_seconds_count", dialect="openai") == 3
        assert now.total("regrant_request_duration_seconds_count") == 9
        assert now.total("regrant_attempt_duration_seconds_count") == 8
        assert now.total("regrant_tokens_total", kind="input") > tokens["input"] > 0
        assert now.total("regrant_tokens_total", kind="output") > tokens["output"] > 0
        assert now.total("regrant_upstream_connections") >= 1
        assert now.total("regrant_requests_in_flight") == 0
        scraped_when(
            gateway,
            lambda now: now.total("regrant_event_loop_lag_seconds_count") > 1,
            "the event loop is watched",
        )


def test_what_is_under_way_is_shown_while_it_is(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        sandbox.script("slow", endpoint="generate", seconds=2)

        def look() -> Scraped:
            return scraped_when(
                gateway,
                lambda now: (
                    now.total("regrant_attempts_in_flight") == 1
                    and now.total("regrant_requests_in_flight") == 1
                ),
                "one is under way",
            )

        at_once([lambda: gateway.chat().status, look])
        now = after_requests(gateway, 1)
        assert (now.total("regrant_attempts_in_flight"), now.total("regrant_requests_in_flight")) == (0, 0)


def test_a_limit_is_a_fault_a_cooldown_and_a_refused_request(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="0") as gateway:
        sandbox.script("error", name="429_per_minute", endpoint="generate", retry_delay="37s")
        assert gateway.chat().status == 429
        assert gateway.chat().status == 429
        now = after_requests(gateway, 2)
        assert now.by("regrant_requests_total", "outcome") == {"rate_limited": 2}
        assert now.by("regrant_faults_total", "kind") == {"rate_limited": 1}
        assert now.by("regrant_attempts_total", "code") == {"429": 1}
        assert now.by("regrant_cooldowns_set_total", "why") == {"rate_limited": 1}
        assert now.by("regrant_cooldowns_active", "why") == {"rate_limited": 1}
        assert now.by("regrant_accounts", "state") == {"cooling": 1}


def test_waiting_for_a_cooldown_is_counted_and_timed(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="20") as gateway:
        sandbox.script("error", name="429_per_minute", endpoint="generate", retry_delay="3s")
        assert gateway.chat().status == 429  # it has asked the only account there is

        def look() -> int:
            scraped_when(gateway, lambda now: now.total("regrant_waiting_requests") == 1, "one waits")
            return 1

        assert at_once([lambda: gateway.chat().status, look]) == [200, 1]
        now = after_requests(gateway, 2)
        assert now.by("regrant_waits_total", "outcome") == {"served": 1}
        assert 0.5 < now.total("regrant_wait_seconds_total") < 20
        assert now.total("regrant_waiting_requests") == 0


# -- accounts ----------------------------------------------------------------------------------------------------------


def test_a_death_and_the_return_are_counted_and_the_return_is_timed(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob")
    sandbox.revoke(ANN)
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin", POOL__RESCUE_S="0") as gateway:
        for number in range(2):
            assert gateway.served_by(str(number)) == "bob"
        now = after_requests(gateway, 2)
        calls = Counter(call["status"] for call in sandbox.journal(endpoint="token"))
        assert calls == {200: 1, 400: 1}
        assert now.total("regrant_refreshes_total", outcome="granted") == calls[200]
        assert now.total("regrant_refreshes_total", outcome="refused", cause="invalid_grant") == calls[400]
        assert now.total("regrant_refresh_duration_seconds_count") == 2
        assert now.total("regrant_account_deaths_total", cause="revoked") == 1
        assert now.by("regrant_accounts", "state") == {"active": 1, "disabled": 1}
        assert now.by("regrant_faults_total", "kind") == {"account_died": 1}
        assert now.total("regrant_reauth_to_first_success_seconds_count") == 0
        assert now.total("regrant_incidents_open") == 1

        added = gateway.admin("POST", "/api/accounts", {"refresh_token": sandbox.grant(ANN).refresh_token})
        assert added.json()["outcome"] == "recovered"
        assert {gateway.served_by(str(number)) for number in range(4)} == {"ann", "bob"}
        now = after_requests(gateway, 6)
        assert now.total("regrant_reauth_to_first_success_seconds_count") == 1
        assert 0 < now.total("regrant_reauth_to_first_success_seconds_sum") < 5
        assert now.by("regrant_accounts", "state") == {"active": 2}
        assert now.total("regrant_incidents_open") == 0
        granted = [call for call in sandbox.journal(endpoint="token") if call["status"] == 200]
        assert now.total("regrant_refreshes_total", outcome="granted") == len(granted)


def test_a_rescue_is_a_wait_that_a_sign_in_has_ended(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    sandbox.revoke(ANN)
    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="20") as gateway:

        def mend() -> int:
            scraped_when(gateway, lambda now: now.total("regrant_waiting_requests") == 1, "a request waits")
            body = {"refresh_token": sandbox.grant(ANN).refresh_token}
            return gateway.admin("POST", "/api/accounts", body).status

        assert at_once([lambda: gateway.chat().status, mend]) == [200, 200]
        now = after_requests(gateway, 1)
        assert now.by("regrant_waits_total", "outcome") == {"rescued": 1}
        assert now.total("regrant_reauth_to_first_success_seconds_count") == 1


def test_accounts_are_counted_in_the_states_that_the_list_shows(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", "cara", "dan", "eve", fresh=True)

    def change(name: str, **fields: Any) -> None:
        hand_edit(data_dir, name, lambda document: document.update(fields))

    change("bob", proxy_disabled=True)
    change("cara", disabled=True, disabled_at=1, disabled_reason="invalid_grant: x", disabled_cause="revoked")
    change("dan", attention={"code": "scope_missing", "message": "x", "url": "", "since": 1})
    (data_dir / "accounts" / "fay.json").write_text("{")
    with Gateway(data_dir, sandbox.url) as gateway:
        listed = Counter(one["state"] for one in gateway.admin("GET", "/api/accounts").json()["items"])
        assert len(listed) == 5
        assert scrape(gateway).by("regrant_accounts", "state") == dict(listed)


def test_an_account_that_cannot_be_stored_is_shown_until_it_is(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    with Gateway(data_dir, sandbox.url) as gateway:
        obstacle = data_dir / "locks" / "ann.write.lock"
        obstacle.unlink(missing_ok=True)
        obstacle.mkdir()
        sandbox.revoke(ANN)
        gateway.admin("POST", "/api/accounts/ann/verify")
        scraped_when(
            gateway, lambda now: now.total("regrant_accounts_not_persisted") == 1, "it is not stored"
        )
        obstacle.rmdir()
        scraped_when(gateway, lambda now: now.total("regrant_accounts_not_persisted") == 0, "it is stored")


# -- the answer itself -------------------------------------------------------------------------------------------------


def test_both_formats_name_exactly_the_documented_metrics(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    documented = dict(re.findall(r"^\| `(regrant_\w+)` \| (\w+) \|", PAGE.read_text(), re.MULTILINE))
    with Gateway(data_dir, sandbox.url) as gateway:
        assert gateway.chat().status == 200
        plain = gateway.call("GET", "/metrics")
        opened = gateway.call(
            "GET", "/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}
        )
        assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert opened.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        for families in (
            text_string_to_metric_families(plain.body.decode()),
            openmetrics.text_string_to_metric_families(opened.body.decode()),  # type: ignore[no-untyped-call]  # theirs
        ):
            exposed = {
                f"{family.name}_total" if family.type == "counter" else family.name: family.type
                for family in families
            }
            assert exposed == documented
        assert gateway.call("HEAD", "/metrics").status == 200
        assert gateway.call("POST", "/metrics").status == 405


@pytest.mark.parametrize(("mode", "free"), [("off", True), ("all_except_health", False), ("strict", False)])
def test_metrics_need_a_client_key_wherever_models_do(
    sandbox: SandboxProcess, data_dir: Path, *, mode: str, free: bool
) -> None:
    with Gateway(
        data_dir, sandbox.url, SERVER__AUTH_MODE=mode, SERVER__API_KEY="key-of-prometheus"
    ) as gateway:
        assert gateway.call("GET", "/metrics").status == (200 if free else 401)
        assert scrape(gateway, authorization="Bearer key-of-prometheus").total("regrant_workers") == 1
        token = (data_dir / "admin.token").read_text().strip()
        admin = gateway.call("GET", "/metrics", headers={"authorization": f"Bearer {token}"})
        assert admin.status == (200 if free else 401)


def test_the_first_scrape_pays_for_the_library_and_nobody_before() -> None:
    code = "import sys, regrant.app, regrant.cli.serve; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


# -- several processes -------------------------------------------------------------------------------------------------


def workers_of(gateway: Gateway) -> list[int]:
    """The process ids of the workers, by the files in which they keep their numbers."""
    folder = gateway.data_dir / "run" / "metrics" / str(gateway.pid)
    return sorted({int(path.name.split(".")[0]) for path in folder.glob("[0-9]*.tally")})


@contextlib.contextmanager
def two_workers(sandbox: SandboxProcess, data_dir: Path) -> Iterator[Gateway]:
    with Gateway(data_dir, sandbox.url, "--workers", "2") as gateway:
        wait_until(lambda: len(workers_of(gateway)) == 2, "both workers have told their numbers")
        yield gateway
    assert not (data_dir / "run" / "metrics" / str(gateway.pid)).exists()


def test_any_worker_answers_for_all_and_a_dead_one_takes_nothing_with_it(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    with two_workers(sandbox, data_dir) as gateway:
        assert at_once([lambda: gateway.chat().status for _ in range(20)]) == [200] * 20
        now = after_requests(gateway, 20)
        assert now.by("regrant_accounts", "state") == {"active": 2}
        assert now.total("regrant_workers") == 2
        assert now.total("regrant_attempts_total") == len(model_calls(sandbox))

        killed, other = workers_of(gateway)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: len(set(workers_of(gateway)) - {killed, other}) == 1, "another worker is there")
        for _ in range(10):
            assert scrape(gateway).total("regrant_requests_total") == 20
        assert killed not in workers_of(gateway), "its numbers are put away"
        assert gateway.chat().status == 200
        assert after_requests(gateway, 21).total("regrant_workers") == 2


def test_counters_never_go_down_while_workers_die_under_load(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with two_workers(sandbox, data_dir) as gateway:
        seen: list[float] = []
        for round_ in range(3):
            victim = workers_of(gateway)[round_ % 2]
            before = set(workers_of(gateway))
            at_once([lambda: gateway.chat().status for _ in range(10)])
            seen.append(scrape(gateway).total("regrant_requests_total"))
            os.kill(victim, signal.SIGKILL)

            def replaced(before: set[int] = before) -> bool:
                with contextlib.suppress(OSError):  # a connection that the dead one had been given
                    seen.append(scrape(gateway).total("regrant_requests_total"))
                return len(workers_of(gateway)) == 2 and bool(set(workers_of(gateway)) - before)

            wait_until(replaced, "another worker is there")
        assert seen == sorted(seen)
        assert seen[0] > 0
