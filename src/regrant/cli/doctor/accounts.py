"""The accounts: each one's state with what mends it, files that cannot be read, and projects that several share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from regrant.accounts.entry import Entry
from regrant.app import App
from regrant.cli.doctor.finding import Finding, Level
from regrant.cli.shown import account_view


def check_corrupt(app: App) -> Iterator[Finding]:
    for corrupt in app.keeper.corrupt():
        yield Finding(
            "account",
            "FAIL",
            f"{corrupt.path} is corrupt: {corrupt.problem}",
            "Mend or move the file; Regrant never changes it.",
        )


def check_accounts(app: App, entries: Iterable[Entry]) -> Iterator[Finding]:
    nobody = True
    for entry in entries:
        nobody = False
        view = account_view(app, entry)
        state, advice = view["state"], view["advice"]
        told = "\n".join(filter(None, (advice["text"], advice["url"], advice["command"]))) if advice else ""
        cause = f" ({view['cause']})" if view["cause"] else ""
        level: Level = "ok" if state == "active" else "note" if state in {"paused", "cooling"} else "FAIL"
        yield Finding("account", level, f"{entry.account.email} is {state}{cause}", told)
    if nobody and not app.keeper.corrupt():
        yield Finding("account", "FAIL", "there is none", "Add one: regrant accounts add --oauth")


def check_projects(app: App, entries: Iterable[Entry]) -> Iterator[Finding]:
    projects: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        projects[entry.account.project(app.settings().google.client_id)].append(entry.account.email)
    for project, emails in projects.items():
        if project and len(emails) > 1:
            advice = "They share its limits: a cool-down of one is a cool-down of all. Give each its own with --project."
            yield Finding("project", "note", f"{project} is shared by {', '.join(sorted(emails))}", advice)
