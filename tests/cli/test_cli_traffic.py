"""`regrant traffic` and `regrant why`, on the file of a gateway that runs or no longer does."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.request import Request, urlopen

import pytest
from tests.cli.command_line import CommandLine, finish, read_line, until

from regrant.traffic.history import Filter, History

MODEL = "gemini-3.5-flash-lite"


@contextmanager
def serving(cli: CommandLine, **environ: str) -> Iterator[str]:
    process = cli.start("serve", "--port", "0", **environ)
    try:
        yield read_line(process, 60).removeprefix("Regrant is ready: ")
    finally:
        if process.poll() is None:
            process.terminate()
        assert finish(process).code == 0


def chat(url: str, text: str, model: str = MODEL) -> str:
    """Ask; the id of the request."""
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    request = Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), method="POST")
    with urlopen(request, timeout=60) as answer:
        answer.read()
        return str(answer.headers["x-request-id"])


def recorded(cli: CommandLine, count: int) -> list[dict[str, Any]]:
    """The records as `traffic tail --json` prints them, once there are so many."""
    until(f"{count} are recorded", lambda: len(History(cli.data).newest(Filter(), 100).records) >= count)
    lines = cli.run("traffic", "tail", "--json").out.splitlines()
    return [json.loads(line) for line in lines]


def test_why_tells_of_the_account_that_died_and_the_one_that_served(cli: CommandLine) -> None:
    for name in ("ann", "bob"):
        cli.add(name)
    for path in (cli.data / "accounts").glob("*.json"):
        document = json.loads(path.read_bytes())
        document["token"] |= {"access_token": "", "expiry_timestamp": 0}
        path.write_text(json.dumps(document))
    cli.sandbox.revoke("ann@example.com")
    with serving(cli, REGRANT_POOL__STRATEGY="round_robin") as url:
        ids = [chat(url, f"number {number}") for number in range(3)]
        records = recorded(cli, 3)
    [told] = [one for one in records if len(one["attempts"]) == 2]
    assert [one["id"] for one in records] == ids, "the newest last"
    assert told["attempts"][0]["fault"] == "account_died"

    words = cli.run("why", told["id"]).out
    assert "bob@example.com served it with 200" in words
    assert words.index("1. ann@example.com turned out to be dead") < words.index(
        "2. bob@example.com answered"
    )
    assert "The account is disabled now." in words
    assert "regrant accounts reauth ann@example.com" in words

    document = cli.run("why", told["id"].removeprefix("req_")[:12], "--json").json
    assert document["id"] == told["id"]
    steps = document["explanation"]["steps"]
    assert [(one["email"], one["fault"], one["state"]) for one in steps] == [
        ("ann@example.com", "account_died", "disabled"),
        ("bob@example.com", "", "active"),
    ]
    assert document == cli.run("traffic", "show", told["id"], "--json").json

    page = cli.run("traffic", "show", told["id"]).out
    assert "ann@example.com  -  account_died" in page
    assert "served by:    gemini" in page


def test_unknown_and_ambiguous_requests_are_refused_with_advice(cli: CommandLine) -> None:
    for id_ in ("req_000000000000000000000000", "req_", ""):
        done = cli.run("why", id_, code=1)
        assert done.out == ""
        assert "the traffic log has no request" in done.err
        assert "regrant traffic tail" in done.err
    cli.add("ann")
    with serving(cli) as url:
        ids = [chat(url, str(number)) for number in range(20)]
        recorded(cli, 20)
    twice = next(one[:5] for one in ids if sum(other[:5] == one[:5] for other in ids) > 1)
    done = cli.run("why", twice, code=1)
    assert "several requests begin with" in done.err
    assert cli.run("why", next(one for one in ids if one.startswith(twice))).code == 0


def test_tail_and_stats_without_any_traffic(cli: CommandLine) -> None:
    assert (cli.run("traffic", "tail").out, cli.run("traffic", "tail", "--json").out) == ("", "")
    assert "no traffic" in cli.run("traffic", "stats").err
    empty = cli.run("traffic", "stats", "--json").json
    assert (empty["total"]["requests"], empty["items"]) == (0, [])
    assert not (cli.data / "traffic.sqlite3").exists()
    assert "choose one of" in cli.run("traffic", "stats", "--by", "moon", code=2).err


def test_tail_follows_and_stats_count(cli: CommandLine) -> None:
    cli.add("ann")
    with serving(cli) as url:
        following = cli.start("traffic", "tail", "-f", "-n", "0", "--json")
        try:
            assert_follows(following, url)
        finally:
            following.kill()
            following.communicate()
        recorded(cli, 2)
        assert cli.run("traffic", "tail", "--failed").out == ""
        line = cli.run("traffic", "tail", "-n", "1").out
        assert f"200  {line.split('  ')[2]}" in line
        assert line.count("\n") == 1
    stats = cli.run("traffic", "stats", "--by", "account", "--json").json
    [item] = stats["items"]
    assert (item["requests"], item["failures"], item["name"]) == (
        stats["total"]["requests"],
        0,
        cli.account_file("ann")["id"],
    )
    assert item["tokens"]["output_tokens"] > 0
    assert item["ms"]["p50"] > 0
    table = cli.run("traffic", "stats").out.splitlines()
    assert table[0].split()[:2] == ["MODEL", "REQUESTS"]
    assert table[-1].split()[:2] == ["total", str(stats["total"]["requests"])]


def assert_follows(following: subprocess.Popen[str], url: str) -> None:
    """What is asked from now on is printed by the process that follows, which may still be starting."""
    asked = set()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        asked.add(chat(url, "again"))
        try:
            line = read_line(following, 0.5)
        except AssertionError:
            continue
        assert json.loads(line)["id"] in asked
        asked.add(chat(url, "and again"))
        assert json.loads(read_line(following))["id"] in asked
        return
    pytest.fail("nothing was followed")


def test_a_log_that_cannot_be_read_is_said_so(cli: CommandLine) -> None:
    cli.add("ann")
    with closing(sqlite3.connect(cli.data / "traffic.sqlite3")) as connection:
        connection.execute("pragma user_version = 99")
    done = cli.run("traffic", "tail", code=1)
    assert "newer Regrant" in done.err
    (cli.data / "traffic.sqlite3").write_bytes(b"x" * 5000)
    assert "cannot be read" in cli.run("why", "abc", code=1).err
