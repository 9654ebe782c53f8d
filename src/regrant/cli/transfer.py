"""`regrant accounts import|export`: accounts from and to files. What a file may hold is `bundle.py`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import typer

from regrant.accounts.enrolment import Addition, Outcome
from regrant.accounts.entry import Entry
from regrant.accounts.events import Edited, Paused
from regrant.accounts.model import Account
from regrant.accounts.store import Corrupt
from regrant.app import App
from regrant.cli.adding import read_client_file, read_file
from regrant.cli.bundle import Line, export_document, read_bundle
from regrant.cli.session import check_stored, pick, run_on
from regrant.cli.terminal import Failure, complain, is_terminal, one_line, remark, say, show_json
from regrant.errors import RegrantError
from regrant.files import write_atomically


def import_accounts(
    folder: Path | None, file: str, client_file: Path | None, *, dry_run: bool, as_json: bool
) -> None:
    client = read_client_file(client_file)
    lines = [_with_client(line, client) for line in read_bundle(read_file(file))]

    async def work(app: App) -> list[dict[str, Any]]:
        results = []
        for line in lines:
            try:
                done = _foresee(app, line) if dry_run else await _import(app, line)
            except RegrantError as error:
                done = {"ok": False, "error": str(error), "hint": getattr(error, "hint", "")}
            results.append({"name": line.name, "ok": True, **done})
        return results

    results = run_on(folder, work)
    if as_json:
        show_json({"dry_run": dry_run, "results": results})
    for result in results:
        if not result["ok"]:
            complain(f"{one_line(result['name'])}: refused: {result['error']}", result.get("hint", ""))
        elif not as_json:
            say(f"{one_line(result.get('email') or result['name'])}: {result['outcome']}")
    if not all(result["ok"] for result in results):
        raise typer.Exit(1)


def _with_client(line: Line, client: Addition) -> Line:
    """The client of `--client-file` stands in where the file names none, or the same one without its secret."""
    wanted = line.addition
    if wanted is None or not client.client_id or wanted.client_id not in {"", client.client_id}:
        return line
    return msgspec.structs.replace(
        line,
        addition=msgspec.structs.replace(
            wanted, client_id=client.client_id, client_secret=client.client_secret
        ),
    )


def _foresee(app: App, line: Line) -> dict[str, Any]:
    """What an import would do, without asking Google."""
    known = _known(app, line)
    if line.addition is None and (known is None or line.account is None):
        raise Failure(line.problem)
    return {"outcome": "would be created" if known is None else "would be updated"}


async def _import(app: App, line: Line) -> dict[str, Any]:
    known = _known(app, line)
    if line.addition is not None:
        account, outcome = await app.enrolment.add(line.addition)
        entry = pick(app, account.id)
    elif known is not None and line.account is not None:
        entry, outcome = known, await _prefer(app, known, line.account)
    else:
        raise Failure(line.problem)
    if outcome is Outcome.CREATED and line.account is not None:
        await _take_over(app, entry, line.account)
    check_stored(entry)
    return {"id": entry.account.id, "email": entry.account.email, "outcome": outcome.value}


def _known(app: App, line: Line) -> Entry | None:
    return app.keeper.find(line.account.email if line.account is not None else line.name)


async def _prefer(app: App, entry: Entry, given: Account) -> Outcome:
    """An export without secrets brings what its owner has chosen for an account that is here."""
    wanted = {
        "label": given.label,
        "project_id": given.project_id,
        "upstream": given.upstream,
        "location": given.location,
    }
    before = entry.account
    await app.keeper.change(entry.account.id, Edited(wanted))
    return Outcome.UNCHANGED if entry.account == before else Outcome.UPDATED


async def _take_over(app: App, entry: Entry, given: Account) -> None:
    """What the owner had decided about the account where it comes from holds here too."""
    if given.paused is not None:
        await app.keeper.change(entry.account.id, Paused(given.paused.reason))
    if given.protected_by_hand:
        protected = tuple(sorted(given.protected_by_hand))
        await app.keeper.change(entry.account.id, Edited({"protected_models": protected}))


def export_accounts(folder: Path | None, file: Path | None, *, with_secrets: bool, as_json: bool) -> None:
    async def work(app: App) -> tuple[dict[str, Any], list[Corrupt]]:
        accounts = sorted(
            (entry.account for entry in app.keeper.entries()), key=lambda account: account.email.casefold()
        )
        document = export_document(accounts, with_secrets=with_secrets, at=int(app.clock.now()))
        return document, app.keeper.corrupt()

    document, missing = run_on(folder, work)
    if file is None:
        if with_secrets and is_terminal(sys.stdout):
            remark("Whoever sees these tokens has the accounts.")
        show_json(document)
    else:
        _write(file, document)
        _tell_written(file, len(document["accounts"]), with_secrets=with_secrets, as_json=as_json)
    for corrupt in missing:
        complain(f"not exported: {corrupt.path} is corrupt: {corrupt.problem}", "Mend or move the file.")
    if missing:
        raise typer.Exit(1)


def _tell_written(file: Path, count: int, *, with_secrets: bool, as_json: bool) -> None:
    if as_json:
        show_json({"file": str(file), "accounts": count, "with_secrets": with_secrets})
    else:
        say(f"{count} accounts, {'with' if with_secrets else 'without'} secrets: {file}")


def _write(file: Path, document: dict[str, Any]) -> None:
    content = json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
    target = file.expanduser()
    try:
        if os.path.isdir(target):
            raise Failure(f"{file} is a folder", "Name the file to write.")
        write_atomically(target, content)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Failure(f"{file} cannot be written: {reason}", "Choose another place.") from error
