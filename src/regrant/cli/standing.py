"""`regrant accounts list|show|verify|pause|resume|remove`: how accounts stand, and changing it.

What may be done to an account is decided in `accounts/lifecycle.py`; the options are in `accounts.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from regrant.accounts.entry import Entry
from regrant.accounts.events import Paused, Resumed
from regrant.accounts.model import Account
from regrant.app import App
from regrant.cli.explaining import Outlook, document_of, look_ahead, tell_checks
from regrant.cli.session import check_stored, pick, pick_some, run_on
from regrant.cli.shown import account_view, advise_in_words, corrupt_view, describe, quota_views, tell_history
from regrant.cli.terminal import (
    USAGE,
    Failure,
    ask,
    complain,
    interactive,
    moment,
    remark,
    say,
    show_json,
    show_table,
)
from regrant.errors import RegrantError
from regrant.oauth.google import Refused, Revoked, Unavailable

Act = Callable[[App, Entry], Awaitable[dict[str, Any]]]
"""Does one thing to one account; what it returns is added to the result. Raises RegrantError."""


def list_accounts(folder: Path | None, *, as_json: bool) -> None:
    async def work(app: App) -> list[dict[str, Any]]:
        entries = sorted(app.keeper.entries(), key=lambda entry: entry.account.email.casefold())
        unread = [one for one in app.keeper.corrupt() if app.keeper.entry(one.id) is None]
        return [*(account_view(app, entry) for entry in entries), *map(corrupt_view, unread)]

    views = run_on(folder, work)
    if as_json:
        show_json({"items": views, "next": None})
        return
    if not views:
        remark("There are no accounts. Add one: regrant accounts add --oauth")
        return
    rows = [
        (
            view["email"] or "(unreadable)",
            view["state"],
            view["cause"] or "",
            view["label"],
            moment(view["last_used_at"]),
            moment(view["expires_hint"]) if view["expires_hint"] else "",
            view["id"],
        )
        for view in views
    ]
    show_table(("E-MAIL", "STATE", "CAUSE", "LABEL", "LAST USED", "GRANT ENDS", "ID"), rows)
    for view in views:
        if view["state"] == "corrupt":
            complain(view["advice"]["text"])


def show(folder: Path | None, who: str, model: str, *, as_json: bool) -> None:
    async def work(app: App) -> tuple[dict[str, Any], Outlook | None]:
        unread = next((one for one in app.keeper.corrupt() if one.id == who), None)
        if unread is not None and app.keeper.entry(who) is None:
            return corrupt_view(unread), None
        entry = pick(app, who)
        outlook = await look_ahead(app, entry, model)
        return {**account_view(app, entry), "quota": quota_views(app, entry)}, outlook

    view, outlook = run_on(folder, work)
    if as_json:
        show_json(view if outlook is None else {**view, **document_of(outlook)})
        return
    describe(view)
    if outlook is not None:
        tell_checks(outlook)
    tell_history(view)


def verify(folder: Path | None, who: Sequence[str] | None, *, everyone: bool, as_json: bool) -> None:
    async def act(app: App, entry: Entry) -> dict[str, Any]:
        outcome = await app.enrolment.verify(entry)
        check_stored(entry)
        return {"ok": outcome in {"alive", "recovered"}, "outcome": outcome}

    results = _each(folder, who, act, everyone=everyone)
    _report(results, "verified", single=len(who or ()) == 1, as_json=as_json)


def pause(
    folder: Path | None, who: Sequence[str] | None, reason: str, *, everyone: bool, as_json: bool
) -> None:
    async def act(app: App, entry: Entry) -> dict[str, Any]:
        await app.keeper.change(entry.account.id, Paused(reason))
        return {}

    _report(_each(folder, who, act, everyone=everyone), "paused", single=len(who or ()) == 1, as_json=as_json)


def resume(
    folder: Path | None, who: Sequence[str] | None, *, cooldowns: bool, everyone: bool, as_json: bool
) -> None:
    async def act(app: App, entry: Entry) -> dict[str, Any]:
        await app.keeper.change(entry.account.id, Resumed())
        if not cooldowns:
            return {}
        project = entry.account.project(app.settings().google.client_id) or entry.account.id
        return {"cleared": app.pool.clear_all(account=entry.account.id, project=project)}

    _report(
        _each(folder, who, act, everyone=everyone), "resumed", single=len(who or ()) == 1, as_json=as_json
    )


def remove(folder: Path | None, who: Sequence[str] | None, *, revoke: bool, yes: bool, as_json: bool) -> None:
    if not who:
        raise Failure("name the accounts to remove", code=USAGE)
    if revoke:
        remark(
            "--revoke ends every grant of the account to the whole Google Cloud project, not this one alone."
        )

    wanted = who if yes or not interactive() else _confirmed(folder, who)

    async def act(app: App, entry: Entry) -> dict[str, Any]:
        if revoke:
            await _revoke(app, entry)
        await app.keeper.remove(entry.account.id)
        return {"account": None}

    _report(_each(folder, wanted, act), "removed", single=False, as_json=as_json)


def _confirmed(folder: Path | None, who: Sequence[str]) -> list[str]:
    """Those of the accounts that the person at the terminal wants to remove. Raises Failure if there are none."""

    async def look(app: App) -> list[Account]:
        return [entry.account for entry in pick_some(app, who, everyone=False)]

    # Asked while nothing is open, so that Ctrl-C ends it at once.
    wanted = [account.id for account in run_on(folder, look) if ask(f"Remove {account.email}?")]
    if not wanted:
        raise Failure("nothing was removed")
    return wanted


async def _revoke(app: App, entry: Entry) -> None:
    token = entry.account.token.refresh_token or entry.account.token.access_token
    if not token:
        return
    match await app.oauth.revoke(token):
        case Revoked():
            return
        case Refused() as refused:
            said = f"{refused.error}: {refused.description}"
        case Unavailable() as unavailable:
            said = unavailable.reason
    raise Failure(
        f"not revoked and not removed: {said}",
        "Revoke it at https://myaccount.google.com/permissions, then remove it without --revoke.",
    )


def _each(
    folder: Path | None, who: Sequence[str] | None, act: Act, *, everyone: bool = False
) -> list[dict[str, Any]]:
    """Do it to each account, one after another: what fails for one does not keep the others from it."""

    async def work(app: App) -> list[dict[str, Any]]:
        return [await _attempt(app, entry, act) for entry in pick_some(app, who, everyone=everyone)]

    return run_on(folder, work)


async def _attempt(app: App, entry: Entry, act: Act) -> dict[str, Any]:
    result: dict[str, Any] = {"id": entry.account.id, "email": entry.account.email, "ok": True}
    try:
        done = await act(app, entry)
    except RegrantError as error:
        return {**result, "ok": False, "error": str(error), "hint": getattr(error, "hint", "")}
    return {**result, "account": account_view(app, entry), **done}


def _report(results: list[dict[str, Any]], done: str, *, single: bool, as_json: bool) -> None:
    failed = [result for result in results if not result["ok"]]
    if as_json:
        show_json(_single(results[0]) if single and "error" not in results[0] else _batch(results))
    else:
        for result in results:
            _tell(result, done)
    if not results:
        remark("There are no accounts.")
    for result in failed:
        if as_json and "error" in result:
            complain(f"{result['email']}: {result['error']}", result["hint"])
    if failed:
        raise typer.Exit(1)


def _single(result: dict[str, Any]) -> dict[str, Any]:
    if "outcome" in result:
        return {"account": result["account"], "outcome": result["outcome"]}
    return {"account": result["account"]}


def _batch(results: list[dict[str, Any]]) -> dict[str, Any]:
    kept = ("id", "ok", "error", "outcome")
    return {"results": [{key: result[key] for key in kept if key in result} for result in results]}


def _tell(result: dict[str, Any], done: str) -> None:
    if "error" in result:
        complain(f"{result['email']}: {result['error']}", result["hint"])
        return
    say(f"{result['email']}: {result.get('outcome', done)}")
    if "cleared" in result:
        say(f"  {result['cleared']} cool-downs ended")
    if not result["ok"] and result["account"] is not None:
        if result["outcome"] == "unknown":
            complain(f"{result['email']}: Google gave no verdict", "Try again; regrant doctor looks into it.")
        advise_in_words(result["account"], indent="  ")
