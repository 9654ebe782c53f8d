"""`regrant why-not`, the checks of `regrant accounts show`, and `regrant why` of a refused request: with and without a gateway."""

from __future__ import annotations

import itertools
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.command_line import CommandLine, until
from tests.cli.test_cli_with_server import gateway

ANN = "ann@example.com"
BOB = "bob@example.com"
MODEL = "gemini-3.5-flash-lite"
ORDER = ["disabled", "quota", "paused", "attention", "cooldown", "client"]


def edit(cli: CommandLine, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    document = cli.account_file(name)
    change(document)
    path = cli.data / "accounts" / f"{document['id']}.json"
    fresh = Path(f"{path}.edited")
    fresh.write_text(json.dumps(document))
    fresh.replace(path)


NUMBERS = itertools.count()


def chat(url: str) -> tuple[int, str]:
    """Status and id of a request, which begins a conversation of its own."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": f"hi {next(NUMBERS)}"}]}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode()), timeout=60
        ) as answer:
            answer.read()
            return answer.status, answer.headers["x-request-id"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["x-request-id"]


@pytest.fixture
def both(cli: CommandLine) -> CommandLine:
    """Ann and Bob, in projects of their own."""
    for name in ("ann", "bob"):
        cli.sandbox.person(f"{name}@example.com", projects=[f"project-{name}"])
        cli.add(name, "--project", f"project-{name}")
    return cli


def test_without_a_gateway_the_files_tell(both: CommandLine) -> None:
    done = both.run("why-not", ANN)
    assert re.fullmatch(f"{ANN} would serve requests, as number [12] of 2 by strategy sticky.\n", done.out), (
        done.out
    )
    assert "No gateway runs" in done.err
    both.run("accounts", "pause", ANN, "--reason", "holiday")
    done = both.run("why-not", ANN, "--model", MODEL, code=1)
    assert done.out.startswith(f"{ANN} would not serve {MODEL}: it is paused.\n  since 20")
    assert "ago)" in done.out
    assert f"    regrant accounts resume {ANN}\n" in done.out
    assert "number 1 of 1" in both.run("why-not", BOB, "--model", MODEL).out


def test_the_first_reason_leads_and_the_others_follow_in_the_contracts_order(both: CommandLine) -> None:
    edit(
        both,
        "ann",
        lambda document: document.update(
            attention={"code": "iam", "message": "Ask for the role.", "url": "https://x.example", "since": 3},
            proxy_disabled=True,
            proxy_disabled_at=1_700_000_100,
            protected_models=[MODEL],
            disabled=True,
            disabled_at=1_700_000_000,
            disabled_reason="invalid_grant: dead",
            disabled_cause="testing_expired",
        ),
    )
    done = both.run("why-not", ANN, "--model", MODEL, code=1)
    lines = done.out.splitlines()
    assert lines[0] == f"{ANN} would not serve {MODEL}: it is disabled (the grant died; sign in again)."
    assert lines[1].startswith("  since 2023-11-1")
    assert f"    regrant accounts reauth {ANN}" in lines
    later = [line.strip().partition(" since")[0] for line in lines[lines.index("Also in the way:") + 1 :]]
    heads = ["held back by quota protection", "paused", "in need of attention"]
    assert [line for line in later if line in heads] == heads

    document = both.run("why-not", ANN, "--model", MODEL, "--json", code=1).json
    assert (document["model"], document["serves"], document["email"]) == (MODEL, False, ANN)
    assert [check["check"] for check in document["checks"]] == ORDER
    assert [check["check"] for check in document["checks"] if not check["ok"]] == ORDER[:4]
    assert document["checks"][3]["advice"]["url"] == "https://x.example"

    page = both.run("accounts", "show", ANN, "--model", MODEL).out
    assert f"serves {MODEL}: no, it is disabled" in page
    shown = [
        line.split(":")[0].strip() for line in page.splitlines() if re.match(r"  \w+: +(ok|in the way)", line)
    ]
    assert shown == ORDER
    assert page.index("serves ") < page.rindex("  added"), "the history comes last"

    whole = both.run("accounts", "show", ANN, "--json").json
    assert whole["state"] == "disabled"
    assert whole["disabled_cause"] == "testing_expired"
    assert [check["check"] for check in whole["checks"]] == ORDER
    assert whole["checks"][1]["ok"], "no model was named"


def test_a_running_gateway_tells_its_cool_down_and_when_it_ends(both: CommandLine) -> None:
    both.sandbox.script(
        "error", name="429_per_minute", project="project-ann", times=None, retry_delay="11520s"
    )
    with gateway(both) as url:
        assert {chat(url)[0] for _ in range(20)} == {200}
        until("ann has met her limit", lambda: cooling(both))
        done = both.run("why-not", ANN, "--model", MODEL, code=1)
        assert done.out.startswith(f"{ANN} would not serve {MODEL}: it is cooling down.\n  since 20")
        assert re.search(r"until 20\S+ \d\d:\d\d \(in 3 h (11|12) min\)", done.out), done.out
        assert "every account of project project-ann" in done.out
        assert done.err == ""
        assert "number 1 of 1" in both.run("why-not", BOB, "--model", MODEL).out
        assert both.run("why-not", ANN, "--model", "gemini-2.5-flash").code == 0
    done = both.run("why-not", ANN, "--model", MODEL, code=1)
    assert "it is cooling down" in done.out, "it is remembered on disk"
    assert re.search(r"since 20\S+ \d\d:\d\d \(\d+ (s|min) ago\)", done.out)


def cooling(cli: CommandLine) -> bool:
    return "cooling" in cli.run("accounts", "list").out


def test_unknown_accounts_models_and_keys_are_told_apart(both: CommandLine) -> None:
    done = both.run("why-not", "anne@example.com", code=1)
    assert done.out == ""
    assert "there is no account anne@example.com; the nearest is ann@example.com" in done.err
    done = both.run("why-not", ANN, "--key", "laptop", code=1)
    assert "there is no client key named laptop" in done.err
    with gateway(both):
        done = both.run("why-not", ANN, "--model", "parrot-1", code=1)
        assert done.out.startswith(f"{ANN} would not serve parrot-1: nobody does.\n")
        assert "models.aliases" in done.out
        assert both.run("why-not", ANN, "--model", "gpt-4o").out.startswith(
            f"{ANN} would serve gpt-4o (by gemini-"
        )


def test_why_tells_a_refused_request_from_one_that_was_served_at_once(both: CommandLine) -> None:
    both.run("accounts", "pause", ANN)
    with gateway(both) as url:
        status, served = chat(url)
        assert status == 200
        both.sandbox.revoke(BOB)
        edit(both, "bob", lambda document: document["token"].update(access_token="", expiry_timestamp=0))
        until("bob's token is gone", lambda: chat(url)[0] == 503)
        status, refused = chat(url)
        assert status == 503
        words = until("it is written", lambda: both.run("why", refused, code=None).out)
        assert "no account could serve it" in words
        assert re.search(r"Nobody was free then: (1 disabled .*, 1 paused|1 paused, 1 disabled .*)\.", words)
    lines = both.run("why", served).out.splitlines()
    assert len(lines) == 1
    assert re.search(rf"{BOB} served it with 200 after [\d.]+ m?s\.$", lines[0]), lines


def test_asking_why_not_changes_nothing(both: CommandLine) -> None:
    before = both.account_file("ann"), both.sandbox.token_calls(ANN)
    for model in ("", MODEL, "claude-sonnet-4-5", "parrot-1", "gpt-4o"):
        both.run("why-not", ANN, "--model", model, code=None)
    assert "Google was not asked" in both.run("why-not", ANN, "--model", "parrot-1", code=1).out
    assert (both.account_file("ann"), both.sandbox.token_calls(ANN)) == before
