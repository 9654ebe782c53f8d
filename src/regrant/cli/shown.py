"""Accounts as commands show them: the JSON object of the API, and one line or page of text."""

from __future__ import annotations

from typing import Any

from regrant.accounts.diagnosis import advise, expires_hint
from regrant.accounts.entry import Entry
from regrant.accounts.model import Account, public_fields
from regrant.accounts.store import Corrupt
from regrant.app import App
from regrant.cli.terminal import moment, one_line, say


def account_view(app: App, entry: Entry) -> dict[str, Any]:
    """The account object of the API: every field of its file but the secrets, and what follows from them."""
    account, now = entry.account, app.clock.now()
    advice = advise(account)
    return {
        **public_fields(account),
        "state": state_of(entry),
        "since": since(account),
        "cause": account.disabled.cause if account.disabled else None,
        "advice": None
        if advice is None
        else {"text": advice.text, "url": advice.url, "command": advice.command},
        "expires_hint": expires_hint(account),
        "freshness": entry.kept.freshness(now).value,
        "token_expires_at": account.token.expiry_timestamp or None,
        "cooldowns": [],
        "persisted": entry.persisted,
    }


def corrupt_view(corrupt: Corrupt) -> dict[str, Any]:
    return {"id": corrupt.id, "state": "corrupt", "path": corrupt.path, "problem": corrupt.problem}


def state_of(entry: Entry) -> str:
    """The first thing that keeps the account out, in the contract's order; `active` when nothing does."""
    account = entry.account
    if entry.corrupt is not None:
        return "corrupt"
    if account.disabled is not None:
        return "disabled"
    if account.protected_models:
        return "protected"
    if account.paused is not None:
        return "paused"
    return "attention" if account.attention is not None else "active"


def since(account: Account) -> int | None:
    first = account.disabled or account.paused
    if first is not None:
        return first.at
    return account.attention.since if account.attention else None


def describe(view: dict[str, Any]) -> None:
    """A page about one account, from its JSON object."""
    facts = {
        "e-mail": view["email"],
        "id": view["id"],
        "name": view["name"],
        "label": view["label"],
        "state": view["state"],
        "since": moment(view["since"]) if view["since"] else "",
        "cause": view["cause"] or "",
        "reason": view.get("disabled_reason", "") or view.get("proxy_disabled_reason", ""),
        "project": view["project_id"] or "the OAuth client's own",
        "OAuth client": view["client_id"],
        "upstream": f"{view['upstream']}, {view['location']}",
        "grant ends": moment(view["expires_hint"]) if view["expires_hint"] else "",
        "last refresh": moment(view["last_refresh_at"]),
        "last used": moment(view["last_used_at"]),
    }
    for name, value in facts.items():
        if value:
            say(f"{name + ':':<14}{one_line(str(value))}")
    advise_in_words(view)
    for line in view["history"][-10:]:
        say(f"  {moment(line['at'])}  {line['event']}  {one_line(line['detail'])}".rstrip())


def advise_in_words(view: dict[str, Any], *, indent: str = "") -> None:
    """What to do about the account, on stdout; nothing when nothing is to be done."""
    advice = view["advice"]
    if advice is None:
        return
    say(f"{indent}{one_line(advice['text'])}")
    if advice["url"]:
        say(f"{indent}  {advice['url']}")
    if advice["command"]:
        say(f"{indent}  {advice['command']}")
