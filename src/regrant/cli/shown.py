"""Accounts as commands show them: the JSON object of the API, and one line or page of text."""

from __future__ import annotations

from typing import Any

import msgspec

from regrant.accounts.entry import Entry
from regrant.accounts.store import Corrupt
from regrant.admin.quota_views import show_figure
from regrant.admin.views import show_account, show_corrupt
from regrant.app import App
from regrant.cli.terminal import moment, one_line, say
from regrant.pool.states import CooldownIndex


def account_view(app: App, entry: Entry) -> dict[str, Any]:
    """The account object of the API."""
    cooldowns = CooldownIndex(app.pool.cooldowns())
    view = show_account(entry, cooldowns, app.settings().google.client_id, app.clock.now())
    document: dict[str, Any] = msgspec.to_builtins(view)
    return document


def corrupt_view(corrupt: Corrupt) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(show_corrupt(corrupt))
    return document


def quota_views(app: App, entry: Entry) -> list[dict[str, Any]]:
    """The items of `GET /api/quota` that bear on the account: its project's."""
    project = app.quota.project_of(entry.account.id)
    note = app.cloud_quotas.note(project)
    views = [show_figure(figure, note) for figure in app.quota.figures([project])]
    documents: list[dict[str, Any]] = [msgspec.to_builtins(view) for view in views]
    return documents


def _tell_quota(view: dict[str, Any]) -> None:
    """One line of a quota: only of what was used or is known."""
    if not view["used"] and view["state"] == "unknown":
        return
    what = f"{view['unit']} per {view['window']}"
    match view["state"], view["limit"]:
        case "unknown", _:
            left = f"limit unknown{': ' + view['note'] if view['note'] else ''}"
        case _, None:
            left = f"no limit ({view['source']})"
        case state, limit:
            old = ", too old to go by" if state == "stale" else ""
            left = f"of {limit} ({view['source']}, {moment(view['as_of'])}{old}), {view['remaining']} left"
    held = f", held back until {moment(view['resets_at'])}" if view["protected"] else ""
    used = f"{view['used']} ({view['used_source']})"
    say(f"  {one_line(view['model'])}: {what}: {used} {left}{held}")


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
        "cooling": ", ".join(f"{one['model']} ({one['why']})" for one in view["cooldowns"]),
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
    if quota := view.get("quota"):
        say(f"quota of project {quota[0]['project']}:")
        for one in quota:
            _tell_quota(one)


def tell_history(view: dict[str, Any]) -> None:
    """The last events of the account's life."""
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
