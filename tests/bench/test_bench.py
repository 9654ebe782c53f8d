"""That the bench works: a tiny run of each row, whose figures mean nothing, and the checks that keep a wrong answer out of them."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from bench.goals import GOALS, Goal, Result, table
from bench.scale import Bench, Scale
from bench.work import Check, Load, Said, Wrong, read_chat

from bench import compare, conformance, load, pace, page, stage

TINY = Scale(
    rounds=1,
    requests=40,
    connections=4,
    seconds=0.3,
    rate=50,
    streams=20,
    ticks=3,
    accounts=50,
    revoked=3,
    picks=200,
    crowds=(8,),
    settle_s=0.1,
)
NEEDS_NGINX = {"chat", "tls", "short", "relay", "chunks", "first-token", "throughput", "latency"}
NO_TOOLS = not Path(stage.NGINX).exists() or shutil.which("wrk") is None


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    for folder in (tmp_path, *tmp_path.parents[:3]):  # nginx's worker process may have another user
        folder.chmod(0o755)
    return Bench(tmp_path, TINY, without_litellm="left out")


@pytest.mark.parametrize("row", compare.ROWS)
def test_row_runs_with_every_answer_right(row: str, bench: Bench) -> None:
    if row in NEEDS_NGINX and NO_TOOLS:
        pytest.skip("nginx and wrk are needed (scripts/install_tools bench)")
    results = compare.ROWS[row](bench)
    assert results
    for result in results:
        assert result.key in {goal.key for goal in GOALS}
        assert result.value is not None or result.note == "left out"
        assert str(bench.folder) not in json.dumps(result.as_json()), (
            "the figures name no folder of the machine"
        )


def test_revoked_accounts_are_asked_once_each(bench: Bench) -> None:
    (result,) = compare.ROWS["deaths"](bench)
    assert set(result.detail.values()) == {TINY.revoked}
    assert result.verdict == "aim"


def test_every_row_of_the_goals_is_measured_by_some_row() -> None:
    sources = "".join(
        path.read_text() for path in (stage.ROOT / "bench").glob("*.py") if path.name != "goals.py"
    )
    assert [goal.key for goal in GOALS if f'"{goal.key}"' not in sources] == []


def test_failure_scenario_counts_what_clients_saw_and_what_google_was_asked() -> None:
    outcome = conformance.play("1-of-2", conformance.SYSTEMS[0])
    assert (outcome.requests, outcome.client_errors, outcome.calls_on_dead) == (100, 0, 1)


# -- the checks --------------------------------------------------------------------------------------------------------


def chat_answer(text: str, id_: str = "a1") -> bytes:
    return json.dumps(
        {
            "id": id_,
            "created": 7,
            "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
            "usage": {"total_tokens": 14},
        }
    ).encode()


def test_answers_that_differ_in_id_and_time_only_are_right_and_others_are_not() -> None:
    check = Check(read_chat, Said("hello", "stop", 14))
    check(chat_answer("hello"))
    check(chat_answer("hello", "b2"))
    with pytest.raises(Wrong):
        check(chat_answer("hello, or something else"))
    with pytest.raises(Wrong):
        check(b"<html>")


class Server:
    """Answers each request on a connection with `body`, `after_s` later."""

    def __init__(self, status: str, body: bytes, after_s: float = 0.0) -> None:
        self._answer = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
        self._after_s = after_s

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await _head(reader):
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                await asyncio.sleep(self._after_s)
                writer.write(self._answer)
        finally:
            writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, OSError):
        return b""


def load_for(server: asyncio.Server) -> Load:
    port = server.sockets[0].getsockname()[1]
    return Load(port, "/v1/chat/completions", b"{}", Check(read_chat, Said("hello", "stop", 14)))


async def test_refusal_or_wrong_text_ends_the_load() -> None:
    for server in (
        Server("503 Service Unavailable", chat_answer("hello")),
        Server("200 OK", chat_answer("no")),
    ):
        async with await asyncio.start_server(server, "127.0.0.1", 0) as listening:
            with pytest.raises(ExceptionGroup) as caught:
                await load.run(load_for(listening), requests=4, connections=2)
            assert caught.group_contains(Wrong)
            with pytest.raises(Wrong):
                await asyncio.to_thread(pace.run, load_for(listening), rate=20, seconds=0.2)


async def test_stall_is_charged_to_every_request_that_was_due_meanwhile() -> None:
    # One connection, 50 ms an answer, a request due every 10 ms: the n-th waits for the n before it.
    async with await asyncio.start_server(
        Server("200 OK", chat_answer("hello"), 0.05), "127.0.0.1", 0
    ) as listening:
        found = await asyncio.to_thread(pace.run, load_for(listening), rate=100, seconds=0.1, connections=1)
    assert len(found.seconds) == 10
    assert found.percentile_ms(0.5) >= 200, "a closed loop would say 50"


# -- the verdicts and the page -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "verdict"), [(1.5, "aim"), (1.51, "must"), (2.5, "must"), (2.51, "missed"), (None, "not run")]
)
def test_verdict_follows_the_bounds(value: float | None, verdict: str) -> None:
    assert Goal("k", "w", "x", 2.5, 1.5).judge(value) == verdict


def test_verdict_of_a_rate_counts_upwards() -> None:
    goal = Goal("k", "w", "x", 0.4, 0.7, more_is_better=True)
    assert [goal.judge(value) for value in (0.7, 0.4, 0.39)] == ["aim", "must", "missed"]


def test_page_says_plainly_what_is_not_reached_and_what_failed() -> None:
    results = [Result("chat_cpu", 3.0, {"nginx us": 20.0}, "python -m regrant serve"), Result("healthz", 1.2)]
    about = {"cores": 2, "cpu": "a processor", "python": "3.11.7", "kernel": "6.1", "load_before": 0.1}
    report = {
        "at": 0,
        "seconds": 9,
        "quick": False,
        "rounds": 1,
        "machine": about,
        "failures": ["tls: Wrong('503')"],
        "results": [result.as_json() for result in results],
    }
    text = page.page(report, None)
    assert "1 of 17 figures are reached, 1 of them up to the aim" in text
    assert "Not reached:\n\n- chat completion translated to Gemini" in text
    assert "- tls: Wrong('503')" in text
    assert "| 3 x |" in text or "| 3x |" in text
    assert "missed" in table(results)


def test_page_says_where_clients_of_the_other_gateway_fare_better() -> None:
    fine = {
        "requests": 9,
        "client_errors": 0,
        "token_calls": 1,
        "calls_on_dead": 0,
        "seconds": None,
        "note": "",
    }
    report = {
        "at": 0,
        "seconds": 9,
        "quick": False,
        "rounds": 1,
        "machine": {"cores": 2, "cpu": "c", "python": "3", "kernel": "6", "load_before": 0},
        "results": [],
    }
    better = {
        "500": {"regrant": fine | {"client_errors": 3}, "litellm": fine},
        "crowd": {"regrant": fine, "litellm": None},
    }
    text = page.page(report, better)
    behind = text.partition("Where clients of litellm fare better:\n\n")[2].partition("\n\n")[0]
    assert behind.splitlines()[0] == f"- {conformance.SCENARIOS['500'][0]}"
    assert conformance.SCENARIOS["crowd"][0] not in behind
    assert "not run" in text
