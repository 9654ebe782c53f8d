"""`regrant demo`: the whole story within a minute. A grant dies, nobody notices, its owner learns why and mends it.

Every line that is printed was seen to be so: in the gateway's answer, in the journal of the pretend Google, or in the
account's file. The stage is `demo_stage.py`.
"""

from __future__ import annotations

import json
import signal
import textwrap
import time
from functools import partial
from types import FrameType
from typing import Any, NoReturn

from regrant.cli.demo_stage import Answer, NotSo, Stage, staged
from regrant.cli.terminal import one_line, remark, say

PEOPLE = ("Bob", "Cara", "Ann")
CONVERSATIONS = 60
ENDED = 143
WIDTH = 90


class Teller:
    """Prints what was seen, with the seconds since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def tell(self, line: str) -> None:
        say(f"{time.monotonic() - self._began:5.1f} s  {line}")

    def add(self, line: str) -> None:
        say(f"         {line}")


def run_demo() -> int:
    """The exit code: 0 when everything was so, else 1."""
    signal.signal(signal.SIGTERM, _leave)  # so that the temporary folder and the gateway go too
    teller = Teller()
    say("Regrant demo: a grant dies, and nobody notices. It all happens on this machine; nothing is kept.")
    say()
    try:
        with staged() as stage:
            teller.tell(f"A pretend Google runs at {stage.sandbox_url}.")
            with stage.gateway():
                teller.tell(f"Regrant serves at {stage.gateway_url}, an empty pool so far.")
                _play(stage, teller)
    except NotSo as error:
        remark(f"NOT SO: {error}")
        if error.hint:
            remark(error.hint)
        return 1
    teller.tell("All of it was so. Your own accounts: regrant accounts add --oauth")
    return 0


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(ENDED)


def _play(stage: Stage, teller: Teller) -> None:
    conversation = _add_people(stage, teller)
    _served(teller, stage.ask(conversation), "Ann", "A client asks.")
    _revoke(stage, teller)
    _fail_over(stage, teller, conversation)
    _explain(stage, teller)
    _ask_again(stage, teller, conversation)
    _recover(stage, teller, conversation)


def _add_people(stage: Stage, teller: Teller) -> str:
    """Add all; returns a conversation whose home is Ann's account and would be Bob's without hers."""
    homes: dict[str, str] = {}
    for name in PEOPLE:
        grant = stage.tell_google("grants", {"email": _email(name)})
        added = stage.command("accounts", "add", "--refresh-token-file", "-", stdin=grant["refresh_token"])
        _check(added["outcome"] == "created", f"{name}'s account is created", added["outcome"])
        stage.until(f"the running gateway uses {name}'s account", partial(_turn_of, stage, name))
        if name == PEOPLE[1]:
            homes = {one: stage.ask(one).server for one in _conversations()}
    teller.tell("Ann, Bob and Cara are added while it runs; each is in the pool at once.")
    found = [one for one in homes if homes[one] == "Bob" and stage.ask(one).server == "Ann"]
    _check(bool(found), "some conversation belongs to Ann's account", f"none of {CONVERSATIONS}")
    return found[0]


def _conversations() -> list[str]:
    return [f"conversation-{number}" for number in range(CONVERSATIONS)]


def _turn_of(stage: Stage, name: str) -> str | None:
    """A conversation that `name` serves, if there is one."""
    return next((one for one in _conversations() if stage.ask(one).server == name), None)


def _revoke(stage: Stage, teller: Teller) -> None:
    revoked = stage.tell_google("revoke", {"email": _email("Ann")})["revoked"]
    _check(revoked >= 1, "Ann's grant is revoked at Google", revoked)
    teller.tell("Ann's grant is revoked at Google. Regrant does not know it yet.")


def _fail_over(stage: Stage, teller: Teller, conversation: str) -> None:
    since = str(max(entry["seq"] for entry in stage.journal()))
    _served(teller, stage.ask(conversation), "Bob", "The same client asks the same.")
    refused = [e for e in stage.journal(since=since, endpoint="token") if e["email"] == _email("Ann")]
    _check(
        [entry["status"] for entry in refused] == [400],
        "Google was asked once for Ann's account and said invalid_grant",
        [entry["status"] for entry in refused],
    )
    teller.add("On the way Google answered invalid_grant for Ann, once (seen in Google's journal).")


def _explain(stage: Stage, teller: Teller) -> None:
    file = stage.until("Ann's file says that the account is disabled", lambda: _disabled_file(stage))
    teller.tell("Ann's account is disabled durably. Its file on disk:")
    for field in ("disabled", "disabled_at", "disabled_reason"):
        teller.add(f'  "{field}": {one_line(json.dumps(file.get(field), ensure_ascii=False))}')
    _check(
        file["disabled_reason"].startswith("invalid_grant: "),
        "the reason is Google's",
        file["disabled_reason"],
    )
    account = stage.command("accounts", "show", _email("Ann"))
    _check(
        account["state"] == "disabled" and account["cause"] == "revoked",
        "the cause is known",
        account["cause"],
    )
    teller.tell(f"Why it died: {account['cause']}.")
    for line in textwrap.wrap(one_line(account["advice"]["text"]), WIDTH):
        teller.add(line)
    teller.add(f"To mend it: {account['advice']['command']}")


def _ask_again(stage: Stage, teller: Teller, conversation: str) -> None:
    before = len(_token_calls(stage))
    answers = [stage.ask(conversation) for _ in range(20)]
    _check(
        {one.server for one in answers} == {"Bob"}, "Bob serves on", sorted({one.server for one in answers})
    )
    _check(len(_token_calls(stage)) == before, "the dead account is not asked again", _token_calls(stage))
    teller.tell("Twenty more requests: Bob serves them all, and Google is not asked for Ann again.")


def _recover(stage: Stage, teller: Teller, conversation: str) -> None:
    with stage.signing_in(_email("Ann")):
        began = time.perf_counter()
        teller.tell("Ann signs in again, in a browser: regrant accounts reauth ann@example.com")
        answer = stage.until(
            "Ann's account serves again",
            lambda: next((one for one in [stage.ask(conversation)] if one.server == "Ann"), None),
        )
        seconds = time.perf_counter() - began
    _served(teller, answer, "Ann", "The client asks again.")
    file = _file_of_ann(stage)
    _check(not any(field.startswith("disabled") for field in file), "the file is clean again", sorted(file))
    teller.add(
        f"Hers serves {seconds:.2f} s after the browser has landed, without a restart; her file is clean again."
    )


def _served(teller: Teller, answer: Answer, name: str, line: str) -> None:
    _check(
        answer.status == 200 and answer.server == name,
        f"served by {name}",
        f"{answer.status} {answer.text}",
    )
    teller.tell(
        f'{line} Served by {name}: "{one_line(answer.text[:24])}..."  (200, {answer.ms:.0f} ms,'
        f" x-regrant-attempts: {answer.attempts})"
    )


def _token_calls(stage: Stage) -> list[Any]:
    return stage.journal(endpoint="token", email=_email("Ann"))


def _disabled_file(stage: Stage) -> dict[str, Any] | None:
    file = _file_of_ann(stage)
    return file if file.get("disabled") else None


def _file_of_ann(stage: Stage) -> dict[str, Any]:
    for path in (stage.folder / "accounts").glob("*.json"):
        document: dict[str, Any] = json.loads(path.read_bytes())
        if document["email"] == _email("Ann"):
            return document
    raise NotSo("Ann's account has no file")


def _email(name: str) -> str:
    return f"{name.lower()}@example.com"


def _check(so: bool, what: str, seen: object) -> None:
    if not so:
        raise NotSo(what, f"Seen instead: {seen}")
