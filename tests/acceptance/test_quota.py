"""Quotas: what was used of them, who says so, what is held back, and when it comes back.

A midnight that comes within seconds is that of a time zone made for the test: the process and its clock are real.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.acceptance.harness import (
    MODEL,
    Answer,
    Gateway,
    People,
    account_file,
    hand_edit,
    read_account,
    regrant,
    wait_until,
)
from tests.acceptance.wire import asked, gemini_body, gemini_path, model_calls
from tests.sandbox_client import SandboxProcess

OTHER_MODEL = "gemini-2.5-flash"
PROJECT = "100000000001"
"""The OAuth client's own, which accounts without a `project_id` share."""
GENERATE = gemini_path("generateContent")
DAY_S = 86_400


def limits(**table: object) -> str:
    return json.dumps([{"model": MODEL, **table}])


def protection(reserve: float = 0.2, **table: object) -> dict[str, Any]:
    """The settings of a gateway that holds back that part of these limits."""
    return {
        "QUOTA__PROTECTION": "true",
        "QUOTA__RESERVE": str(reserve),
        "QUOTA__LIMITS": limits(**table),
        "POOL__MAX_WAIT_S": "0",
    }


def quota(
    gateway: Gateway,
    window: str = "day",
    unit: str = "requests",
    *,
    model: str = MODEL,
    project: str = PROJECT,
) -> dict[str, Any]:
    """One number of `GET /api/quota`; empty when it is not there."""
    answer = gateway.admin("GET", f"/api/quota?project={project}&model={model}")
    assert answer.status == 200, answer.body
    found = [one for one in answer.json()["items"] if (one["window"], one["unit"]) == (window, unit)]
    return dict(found[0]) if found else {}


def protected(data_dir: Path, account_id: str = "ann") -> list[str]:
    return list(read_account(data_dir, account_id).get("protected_models", []))


def stored_requests(data_dir: Path) -> int:
    """How many requests of the day the data folder knows of."""
    with closing(sqlite3.connect(data_dir / "state.sqlite3", timeout=5)) as database:
        rows = database.execute("select value from observed where kind = 'quota_counts'").fetchall()
    return sum(json.loads(value)[3] for (value,) in rows if value)


def midnight_in(seconds: float, folder: Path) -> tuple[list[str], str]:
    """A prefix for a gateway's command, and the name of a time zone whose midnight comes after so many seconds."""
    offset = round(DAY_S - seconds - time.time() % DAY_S) % DAY_S
    offset -= DAY_S if offset > DAY_S // 2 else 0
    folder.mkdir(parents=True)
    head = b"TZif" + b"\0" * 16 + struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    (folder / "Soon").write_bytes(head + struct.pack(">lbB", offset, 0, 0) + b"TST\0")
    return ["env", f"PYTHONTZPATH={folder}:/usr/share/zoneinfo"], "Soon"


def not_at_the_end_of_a_minute() -> None:
    """Wait for a minute with enough left of it for what follows."""
    wait_until(lambda: time.time() % 60 < 35, "the next minute", deadline_s=30)


# -- protection --------------------------------------------------------------------------------------------------------


def test_a_project_at_its_reserve_is_left_alone_and_the_next_one_serves(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    for name, project in {"ann": "one", "bob": "one", "cara": "two"}.items():
        sandbox.person(f"{name}@example.com", projects=[project])
        grant = sandbox.grant(f"{name}@example.com")
        account_file(data_dir, name, grant, fresh=True, project_id=project)
    settings = protection(project_id="one", requests_per_day=5) | {"POOL__STRATEGY": "round_robin"}
    with Gateway(data_dir, sandbox.url, **settings) as gateway:
        served = [gateway.served_by(str(number)) for number in range(12)]
        assert sum(name != "cara" for name in served) == 4, "5 less the fifth that is held back"
        assert set(served[-4:]) == {"cara"}
        assert len(asked(sandbox)) == 12

        held = quota(gateway, project="one")
        assert (held["used"], held["limit"], held["remaining"]) == (4, 5, 1)
        assert (held["source"], held["used_source"], held["state"]) == ("settings", "counted", "known")
        assert held["protected"]
        free = quota(gateway, project="two")
        assert (free["used"], free["state"], free["limit"], free["protected"]) == (8, "unknown", None, False)

        before = sandbox.last_seq()
        for number in range(6):
            assert gateway.chat(str(number), model=OTHER_MODEL).status == 200
        assert set(asked(sandbox, before)) == {"ann", "bob", "cara"}, "another model is another quota"

        wait_until(lambda: protected(data_dir) == [MODEL], "the verdict in the file")
        wait_until(lambda: protected(data_dir, "bob") == [MODEL], "the verdict in the other file")
        assert protected(data_dir, "cara") == []
        assert gateway.account("ann")["state"] == "protected"


def test_a_used_up_day_is_told_in_each_dialect_until_midnight(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    with Gateway(data_dir, sandbox.url, **protection(requests_per_day=1)) as gateway:
        assert gateway.chat().status == 200
        before = sandbox.last_seq()
        until_reset = quota(gateway)["resets_at"] - time.time()

        chat = gateway.chat()
        error = chat.json()["error"]
        assert (chat.status, error["type"]) == (429, "insufficient_quota")
        assert "2" in error["message"]
        assert "@" not in error["message"]
        anthropic = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        claude = gateway.call("POST", "/v1/messages", anthropic)
        assert (claude.status, claude.json()["error"]["type"]) == (429, "rate_limit_error")
        gemini = gateway.call("POST", GENERATE, gemini_body())
        assert (gemini.status, gemini.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
        for answer in (chat, claude, gemini):
            assert abs(int(answer.headers["retry-after"]) - until_reset) < 10
        assert model_calls(sandbox, before) == [], "what is at its reserve is not asked"
        assert gateway.chat(model=OTHER_MODEL).status == 200


def test_a_minute_is_held_back_until_it_ends_and_released_by_itself(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    not_at_the_end_of_a_minute()
    with Gateway(data_dir, sandbox.url, **protection(requests_per_minute=5)) as gateway:
        not_at_the_end_of_a_minute()
        assert [gateway.chat().status for _ in range(4)] == [200] * 4
        answer = gateway.chat()
        assert (answer.status, answer.json()["error"]["type"]) == (429, "rate_limit_exceeded")
        assert 0 < int(answer.headers["retry-after"]) <= 60
        wait_until(lambda: protected(data_dir) == [MODEL], "the verdict in the file")
        wait_until(lambda: gateway.chat().status == 200, "the minute ends", deadline_s=62, every_s=0.5)
        wait_until(lambda: protected(data_dir) == [], "the verdict is taken back")
        assert 1 <= quota(gateway, "minute")["used"] <= 2
        assert quota(gateway)["used"] == 5


def test_midnight_releases_and_begins_the_count_anew(
    sandbox: SandboxProcess, data_dir: Path, people: People, tmp_path: Path
) -> None:
    people("ann", "eve", fresh=True)
    hand_edit(data_dir, "eve", lambda document: document.update(protected_models=[MODEL]))
    prefix, zone = midnight_in(12, tmp_path / "zones")
    settings = protection(requests_per_day=4, reserve=0.5) | {"QUOTA__TIMEZONE": zone}
    with Gateway(data_dir, sandbox.url, prefix=prefix, **settings) as gateway:
        served = [gateway.served_by(str(number)) for number in range(2)]
        assert served == ["ann", "ann"], "what a person has protected is left alone"
        answer = gateway.chat()
        assert (answer.status, answer.json()["error"]["type"]) == (429, "insufficient_quota")
        assert 0 < int(answer.headers["retry-after"]) <= 13
        wait_until(lambda: protected(data_dir) == [MODEL], "the verdict in the file")
        wait_until(lambda: gateway.chat().status == 200, "midnight", deadline_s=20, every_s=0.2)
        wait_until(lambda: protected(data_dir) == [], "the verdict is taken back")
        wait_until(lambda: protected(data_dir, "eve") == [], "the day that a person protected is over")
        assert "protected_until" not in read_account(data_dir, "ann")
        assert quota(gateway)["used"] == 1
    assert read_account(data_dir, "ann")["history"] == [], "a quota that comes and goes is no history"


def test_protection_that_is_off_changes_nothing_but_counts(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    hand_edit(data_dir, "bob", lambda document: document.update(protected_models=[MODEL]))
    with Gateway(data_dir, sandbox.url, QUOTA__LIMITS=limits(requests_per_day=1)) as gateway:
        assert {gateway.served_by(str(number)) for number in range(4)} == {"ann"}
        used = quota(gateway)
        assert (used["used"], used["remaining"], used["protected"]) == (4, 0, False)
        assert protected(data_dir, "ann") == []
        assert protected(data_dir, "bob") == [MODEL], "a person's own word stays"
        [check] = [one for one in gateway.checks("bob") if one["check"] == "quota"]
        assert not check["ok"]


def test_what_a_killed_guard_left_in_a_file_holds_nobody_back(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    left = {"protected_models": [OTHER_MODEL, MODEL], "protected_until": {MODEL: int(time.time()) + DAY_S}}
    hand_edit(data_dir, "ann", lambda document: document.update(left))
    with Gateway(data_dir, sandbox.url) as gateway:
        assert gateway.served_by() == "ann"
        wait_until(lambda: protected(data_dir) == [OTHER_MODEL], "the stale verdict is taken back")
        assert gateway.chat(model=OTHER_MODEL).status == 429, "what a person has set is honoured"


def test_changed_settings_hold_back_and_release_at_once(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    config = data_dir / "config.toml"
    on = f'[pool]\nmax_wait_s = 0\n[quota]\nprotection = true\nreserve = 0.5\n[[quota.limits]]\nmodel = "{MODEL}"\n'
    with Gateway(data_dir, sandbox.url) as gateway:
        assert gateway.chat().status == 200
        config.write_text(on + "requests_per_day = 2\n")
        wait_until(lambda: gateway.chat().status == 429, "protection is on")
        wait_until(lambda: protected(data_dir) == [MODEL], "the verdict in the file")
        config.write_text(on + "requests_per_day = 2000\n")
        wait_until(lambda: gateway.chat().status == 200, "the limit is raised")
        wait_until(lambda: protected(data_dir) == [], "the verdict is taken back")


def test_absence_is_explained_in_the_order_of_the_contract(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    with Gateway(data_dir, sandbox.url, **protection(requests_per_day=1)) as gateway:
        assert gateway.chat().status == 200
        assert gateway.admin("POST", "/api/accounts/ann/pause", {"reason": "holiday"}).status == 200
        sandbox.revoke("bob@example.com")
        assert gateway.admin("POST", "/api/accounts/bob/verify").status == 200

        def failing(name: str) -> list[str]:
            return [one["check"] for one in gateway.checks(name) if not one["ok"]]

        assert failing("ann") == ["quota", "paused"]
        assert failing("bob") == ["disabled", "quota"]
        [check] = [one for one in gateway.checks("ann") if one["check"] == "quota"]
        assert check["until"] == quota(gateway)["resets_at"]
        assert failing("ann") == ["quota", "paused"]
        wait_until(lambda: gateway.account("ann")["state"] == "protected", "before paused")
        assert gateway.account("bob")["state"] == "disabled"
        assert [one["ok"] for one in gateway.checks("ann", OTHER_MODEL)][:2] == [True, True]


# -- counting ----------------------------------------------------------------------------------------------------------


def test_requests_and_tokens_are_counted_as_google_sees_them(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        answers = [gateway.chat("how many tokens are these?") for _ in range(3)]
        tokens = sum(answer.json()["usage"]["prompt_tokens"] for answer in answers)
        stream = gateway.chat(stream=True, stream_options={"include_usage": True})
        tokens += _usage_of(stream)
        sandbox.script("error", name="500", endpoint="generate")
        assert gateway.chat().status == 502
        counting = gateway.call("POST", gemini_path("countTokens"), gemini_body())
        assert counting.status == 200

        calls = [one for one in sandbox.journal() if one["endpoint"] in {"generate", "stream"}]
        assert quota(gateway)["used"] == len(calls) == 5
        wait_until(lambda: quota(gateway, unit="tokens")["used"] == tokens, "the tokens of the last answer")
        assert tokens > 0


def _usage_of(stream: Answer) -> int:
    lines = [line[6:] for line in stream.body.decode().splitlines() if line.startswith("data: {")]
    return int(next(json.loads(line)["usage"]["prompt_tokens"] for line in lines if '"usage":{' in line))


def test_the_count_of_the_day_survives_kill_and_restart(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    settings = protection(requests_per_day=10)
    with Gateway(data_dir, sandbox.url, **settings) as gateway:
        for number in range(5):
            assert gateway.chat(str(number)).status == 200
        wait_until(lambda: stored_requests(data_dir) == 5, "the count is stored", deadline_s=6)
        gateway.kill()
    with Gateway(data_dir, sandbox.url, **settings) as gateway:
        assert quota(gateway)["used"] == 5
        for number in range(3):
            assert gateway.chat(str(number)).status == 200
        assert gateway.chat().status == 429
    with Gateway(data_dir, sandbox.url, **settings) as gateway:
        assert gateway.chat().status == 429, "a clean end loses nothing"
        assert quota(gateway)["used"] == 8


def test_two_processes_on_one_data_folder_add_up(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    settings = protection(requests_per_day=10)
    with (
        Gateway(data_dir, sandbox.url, **settings) as first,
        Gateway(data_dir, sandbox.url, **settings) as second,
    ):
        for number in range(4):
            assert first.chat(str(number)).status == 200
        wait_until(lambda: quota(second)["used"] == 4, "the second hears of the first", deadline_s=8)
        for number in range(4):
            assert second.chat(str(number)).status == 200
        assert second.chat().status == 429
        wait_until(lambda: quota(first)["used"] == 8, "the first hears of the second", deadline_s=8)
        assert first.chat().status == 429
        wait_until(lambda: protected(data_dir) == [MODEL], "the verdict in the file")
    assert len(asked(sandbox)) == 8


# -- what Google says --------------------------------------------------------------------------------------------------


def test_a_limit_is_learned_from_a_refusal_and_shown_with_its_source_and_age(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="0") as gateway:
        assert quota(gateway) == {}
        sandbox.script("error", name="429_per_day", endpoint="generate")
        assert gateway.chat().status == 429
        learned = quota(gateway)
        assert (learned["limit"], learned["source"], learned["state"]) == (250, "learned", "known")
        assert (learned["used"], learned["used_source"], learned["remaining"]) == (250, "learned", 0)
        assert abs(learned["as_of"] - time.time()) < 20
        unknown = quota(gateway, "minute")
        assert (unknown["limit"], unknown["source"], unknown["state"]) == (None, None, "unknown")
        wait_until(lambda: stored_requests(data_dir) == 1, "the count is stored")

        shown = regrant(data_dir, sandbox.url, "accounts", "show", "ann", "--json")
        [told] = [
            one
            for one in json.loads(shown.stdout)["quota"]
            if (one["window"], one["unit"]) == ("day", "requests")
        ]
        assert told == learned
        words = regrant(data_dir, sandbox.url, "accounts", "show", "ann").stdout
        assert f"{MODEL}: requests per day: 250 (learned) of 250 (learned, " in words
    with Gateway(data_dir, sandbox.url) as gateway:
        assert quota(gateway) == learned, "what was learned survives a restart"


def test_numbers_of_the_cloud_apis_count_where_an_account_may_read_them(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    sandbox.quota(PROJECT, MODEL, requests_per_day=5, requests_per_minute=-1, used=4)
    settings = protection() | {"QUOTA__LIMITS": "[]", "QUOTA__READ_CLOUD": "true"}
    with Gateway(data_dir, sandbox.url, **settings) as gateway:
        wait_until(lambda: quota(gateway).get("used") == 4, "the cloud APIs are read")
        told = quota(gateway)
        assert (told["limit"], told["source"], told["used_source"]) == (5, "cloud", "cloud")
        assert (told["state"], told["protected"], told["remaining"]) == ("known", True, 1)
        endless = quota(gateway, "minute")
        assert (endless["limit"], endless["source"], endless["state"]) == (None, "cloud", "known")
        assert gateway.chat().status == 429
        assert asked(sandbox) == []
        assert gateway.chat(model=OTHER_MODEL).status == 200
        assert quota(gateway, model=OTHER_MODEL)["limit"] == 250


def test_without_permission_the_limit_is_unknown_and_nothing_else_happens(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    sandbox.script("error", name="403_permission", endpoint="quotas", times=None)
    settings = protection() | {"QUOTA__LIMITS": "[]", "QUOTA__READ_CLOUD": "true"}
    for _ in range(2):
        with Gateway(data_dir, sandbox.url, **settings) as gateway:
            assert gateway.chat().status == 200
            wait_until(lambda: quota(gateway).get("note"), "the refusal is shown")
            told = quota(gateway)
            assert (told["state"], told["limit"]) == ("unknown", None)
            assert told["note"].startswith("no permission")
            account = gateway.account("ann")
            assert account["state"] == "active"
            assert "attention" not in account
    assert len(sandbox.journal(endpoint="quotas")) == 1, "a refusal is remembered, also after a restart"
    assert sandbox.journal(endpoint="usage") == []


def test_another_account_of_the_project_reads_what_the_first_may_not(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    sandbox.script(
        "error", name="403_service_disabled", endpoint="quotas", email="ann@example.com", times=None
    )
    with Gateway(data_dir, sandbox.url, QUOTA__READ_CLOUD="true") as gateway:
        assert gateway.chat().status == 200
        wait_until(lambda: quota(gateway).get("limit") == 250, "the cloud APIs are read")
        assert quota(gateway)["note"] == ""
    readers = [entry["email"].partition("@")[0] for entry in sandbox.journal(endpoint="quotas")]
    assert sorted(readers) == ["ann", "bob", "bob"], "one refusal; two pages"


def test_a_reading_that_failed_is_told_and_repeated_soon(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    sandbox.script("error", name="500", endpoint="quotas")
    with Gateway(data_dir, sandbox.url, QUOTA__READ_CLOUD="true") as gateway:
        assert gateway.chat().status == 200
        note = wait_until(lambda: quota(gateway)["note"], "the failure is told", deadline_s=4)
        assert note == "not read: Cloud Quotas answered with status 500"
        wait_until(lambda: quota(gateway)["limit"] == 250, "it is read after all")
        assert quota(gateway)["note"] == ""


def test_nothing_is_read_from_the_cloud_unless_asked_for(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, **protection(requests_per_day=9)) as gateway:
        assert gateway.chat().status == 200
        wait_until(lambda: stored_requests(data_dir) == 1, "some seconds have passed")
    assert sandbox.journal(endpoint="quotas") == sandbox.journal(endpoint="usage") == []
