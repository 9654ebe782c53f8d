"""`regrant doctor`: looks at everything that has to be right for an account to serve, and says what to do where it is not.

No account's grant is used: whether one lives is asked by `regrant accounts verify`. Each part of the examination is a module here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import typer

from regrant.app import App
from regrant.cli.doctor import accounts, door, folder, gateways, google
from regrant.cli.doctor.finding import Finding
from regrant.cli.session import pick, run_on
from regrant.cli.terminal import complain, one_line, say, show_json
from regrant.errors import RegrantError, SettingsError
from regrant.settings import data_dir


def examine(data_folder: Path | None, who: str | None, key: str | None, *, as_json: bool) -> None:
    """Print every finding; exits 1 when something is wrong."""
    path = data_dir(data_folder, os.environ)
    findings = [*folder.check_settings(path), *folder.check_folder(path)]
    try:
        findings += run_on(data_folder, lambda app: _examine_app(app, who, key))
    except SettingsError as error:
        if not any(finding.level == "FAIL" for finding in findings):
            findings.append(Finding("settings", "FAIL", str(error)))
    except RegrantError as error:
        findings.append(Finding("accounts", "FAIL", str(error), getattr(error, "hint", "")))
    ok = not any(finding.level == "FAIL" for finding in findings)
    if as_json:
        show_json({"ok": ok, "checks": [_view(finding) for finding in findings]})
    else:
        _print(findings, ok=ok)
    if not ok:
        raise typer.Exit(1)


async def _examine_app(app: App, who: str | None, key: str | None) -> list[Finding]:
    entries = [pick(app, who)] if who else app.keeper.entries()
    return [
        *folder.check_disk(app),
        *google.check_routes(app),
        *await google.check_endpoints(app, entries),
        *google.check_clock(app),
        *await google.check_clients(app, entries),
        *accounts.check_corrupt(app),
        *accounts.check_accounts(app, entries),
        *accounts.check_projects(app, app.keeper.entries()),
        *await gateways.check_gateways(app),
        *gateways.check_alerts(app),
        *await door.check_door(app, key),
    ]


def _view(finding: Finding) -> dict[str, Any]:
    return {**msgspec.structs.asdict(finding), "level": finding.level.lower(), "ok": finding.level != "FAIL"}


def _print(findings: Iterable[Finding], *, ok: bool) -> None:
    for finding in findings:
        say(f"{finding.level:<5}{finding.check}: {one_line(finding.message)}")
        for line in filter(None, finding.advice.split("\n")):
            say(f"       {one_line(line)}")
    if ok:
        say("Everything that was looked at is fine.")
    else:
        complain("something is wrong, see FAIL above")
