"""`regrant doctor`: looks at everything that has to be right for an account to serve, and says what to do where it is not.

Only the token endpoint is contacted, without any credential; whether a grant lives is asked by `regrant accounts verify`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import typer

from regrant.accounts.entry import Entry
from regrant.accounts.incidents import SKEW_S
from regrant.accounts.refresher import client_of
from regrant.app import App
from regrant.cli.running import ask_waiting
from regrant.cli.session import pick, run_on
from regrant.cli.shown import account_view
from regrant.cli.terminal import complain, one_line, say, show_json
from regrant.errors import RegrantError, SettingsError, TransportError
from regrant.gateway.keys import ACCEPTED, effective_mode, needs_key
from regrant.oauth.client import url_problem
from regrant.oauth.google import server_date
from regrant.pool.appeal import appeal_text
from regrant.secret import Secret
from regrant.settings import check, data_dir
from regrant.transport.model import Request, Timeouts
from regrant.transport.proxy_rules import describe_route, proxy_rules
from regrant.upstream.google import vertex_host

TIMEOUTS = Timeouts(connect_s=10.0, first_byte_s=10.0, idle_s=10.0)
MAX_ANSWER_BYTES = 64 * 1024
PRIVATE = ("accounts", "config.toml", "keys.json", "admin.token", "state.sqlite3")

Level = Literal["ok", "note", "FAIL"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and what to do about it ("" where nothing)."""

    check: str
    level: Level
    message: str
    advice: str = ""


def examine(folder: Path | None, who: str | None, key: str | None, *, as_json: bool) -> None:
    path = data_dir(folder, os.environ)
    findings = [*_settings(path), *_folder(path)]
    try:
        findings += run_on(folder, lambda app: _examine_app(app, who, key))
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


def _view(finding: Finding) -> dict[str, Any]:
    return {**asdict(finding), "level": finding.level.lower(), "ok": finding.level != "FAIL"}


def _print(findings: Iterable[Finding], *, ok: bool) -> None:
    for finding in findings:
        say(f"{finding.level:<5}{finding.check}: {one_line(finding.message)}")
        for line in filter(None, finding.advice.split("\n")):
            say(f"       {one_line(line)}")
    if ok:
        say("Everything that was looked at is fine.")
    else:
        complain("something is wrong, see FAIL above")


def _settings(path: Path) -> Iterator[Finding]:
    problems = check(path, {}, os.environ)
    for problem in problems:
        yield Finding("settings", "FAIL", problem, f"Edit {path / 'config.toml'}, or run: regrant config set")
    if not problems:
        yield Finding("settings", "ok", str(path / "config.toml"))


def _folder(path: Path) -> Iterator[Finding]:
    if not path.exists():
        yield Finding("data folder", "note", f"{path} does not exist yet; it is made when it is needed")
        return
    loose = [one for one in (path / name for name in PRIVATE) if _readable_by_others(one)]
    for one in loose:
        yield Finding(
            "permissions", "FAIL", f"{one} can be read by other users", f"Run: chmod go-rwx '{one}'"
        )
    if not os.access(path, os.W_OK | os.X_OK):
        advice = "Give it to the user that runs regrant, or choose another with --data-dir."
        yield Finding("data folder", "FAIL", f"{path} cannot be written", advice)
    elif not loose:
        yield Finding("data folder", "ok", f"{path}, private and writable")


def _readable_by_others(path: Path) -> bool:
    try:
        return os.name != "nt" and bool(path.stat().st_mode & 0o077)
    except OSError:
        return False


async def _examine_app(app: App, who: str | None, key: str | None) -> list[Finding]:
    entries = [pick(app, who)] if who else app.keeper.entries()
    return [
        *_store(app),
        *_clients(app, entries),
        *_routes(app),
        *await _token_endpoint(app),
        *_corrupt(app),
        *_accounts(app, entries),
        *_shared_projects(app, entries),
        *await _waiting(app),
        *_clients_keys(app, key),
    ]


def _store(app: App) -> Iterator[Finding]:
    """Whether an account could be written: proven by writing, for a full disk looks fine until then."""
    probe = app.settings.data_dir / "locks" / f".doctor-{os.getpid()}"
    try:
        with open(probe, "xb") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield Finding("disk", "FAIL", f"{probe.parent} cannot be written: {error.strerror}", "Free space.")
    else:
        yield Finding("disk", "ok", "an account could be stored")
    finally:
        probe.unlink(missing_ok=True)


def _clients(app: App, entries: Iterable[Entry]) -> Iterator[Finding]:
    clients = app.oauth_clients()
    if not clients and not any(entry.account.client_secret for entry in entries):
        advice = "Make one of type Desktop app in the Google Cloud console, then set google.client_id and google.client_secret."
        yield Finding("OAuth client", "FAIL", "none is configured", advice)
    for client in clients.values():
        if client.client_secret:
            yield Finding("OAuth client", "ok", f"{client.client_id} ({client.name})")
        else:
            advice = "Set its client_secret; the console shows it beside the id."
            yield Finding("OAuth client", "FAIL", f"{client.client_id} has no secret", advice)
    for entry in entries:
        if client_of(entry.account, clients) is None and entry.account.client_id:
            message = (
                f"{entry.account.client_id}, which gave {entry.account.email}'s grant, is not configured"
            )
            advice = (
                f"Add it to google.clients, or sign in again: regrant accounts reauth {entry.account.email}"
            )
            yield Finding("OAuth client", "FAIL", message, advice)


def _routes(app: App) -> Iterator[Finding]:
    """How each endpoint is reached, told once per way: a forgotten proxy variable is hard to find otherwise."""
    settings = app.settings()
    rules = proxy_rules(settings.network.proxy.reveal(), app.settings.environ)
    google = settings.google
    reached: dict[str, list[str]] = defaultdict(list)
    vertex = google.endpoints.vertex or vertex_host(google.location)
    endpoints = (google.endpoints.gemini, vertex, google.endpoints.token, google.endpoints.userinfo)
    for url in dict.fromkeys(one.replace("{location}", google.location) for one in endpoints):
        reached[describe_route(url, rules)].append(url)
    for way, urls in reached.items():
        yield Finding("route", "ok", f"{way}: {', '.join(urls)}")


async def _token_endpoint(app: App) -> list[Finding]:
    """Whether the token endpoint answers at all, and this machine's clock against its own. Nothing is asked of it."""
    url = app.settings().google.endpoints.token
    problem = url_problem(url)
    if problem:
        return [Finding("token endpoint", "FAIL", problem)]
    try:
        response = await app.transport.send(Request("GET", url, timeouts=TIMEOUTS))
        try:
            await response.read(MAX_ANSWER_BYTES)
        finally:
            await response.close()
    except (TransportError, RegrantError) as error:
        advice = "Check the network, and network.proxy and network.ca_file in the settings."
        return [Finding("token endpoint", "FAIL", f"{url} does not answer: {error}", advice)]
    if response.status < 300 or 300 <= response.status < 400:
        advice = "A captive portal or a proxy may answer in its place."
        message = f"{url} answers {response.status}, as Google would not"
        return [Finding("token endpoint", "note", message, advice)]
    date = server_date(response.headers)
    if date is not None:
        app.clock_skew.measured(date)
    return [Finding("token endpoint", "ok", f"{url} answers"), *_clock(app)]


def _clock(app: App) -> Iterator[Finding]:
    skew_s = app.clock_skew.seconds
    if skew_s is None:
        yield Finding("clock", "note", "the token endpoint's answer has no date to measure it against")
        return
    message = f"it is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} that of the token endpoint"
    if abs(skew_s) > SKEW_S:
        advice = "Set this machine's clock right, best by a time service (NTP): ends are counted by it."
        yield Finding("clock", "FAIL", message, advice)
    else:
        yield Finding("clock", "ok", message)


def _corrupt(app: App) -> Iterator[Finding]:
    for corrupt in app.keeper.corrupt():
        yield Finding(
            "account",
            "FAIL",
            f"{corrupt.path} is corrupt: {corrupt.problem}",
            "Mend or move the file; Regrant never changes it.",
        )


def _accounts(app: App, entries: Iterable[Entry]) -> Iterator[Finding]:
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


def _shared_projects(app: App, entries: Iterable[Entry]) -> Iterator[Finding]:
    projects: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        projects[entry.account.project(app.settings().google.client_id)].append(entry.account.email)
    for project, emails in projects.items():
        if project and len(emails) > 1:
            advice = "They share its limits: a cool-down of one is a cool-down of all. Give each its own with --project."
            yield Finding("project", "note", f"{project} is shared by {', '.join(sorted(emails))}", advice)


async def _waiting(app: App) -> list[Finding]:
    """What the running gateways' clients wait for."""
    found = []
    async for url, said in ask_waiting(app):
        if said.waiting_for_you:
            advice = "They go on as soon as one of the dead accounts is signed in to: regrant accounts reauth EMAIL"
            found.append(Finding("waiting", "FAIL", f"{url}: {appeal_text(said.waiting_for_you)}", advice))
        elif said.waiting:
            text = f"{url}: {said.waiting} waiting for an account that cools"
            found.append(Finding("waiting", "note", text, "They go on by themselves."))
    return found


def _clients_keys(app: App, key: str | None) -> Iterator[Finding]:
    """What the gateway's front door says to a client, and to `key`."""
    server = app.settings().server
    mode = effective_mode(server)
    app.load_keys()
    if mode == "off":
        yield Finding("front door", "ok", "auth_mode is off: no key is needed, only this machine may connect")
    elif not app.keys:
        yield Finding(
            "front door",
            "note",
            f"auth_mode is {mode} and there is no key yet; serve makes one when it starts",
        )
    else:
        count = len(app.keys.keys)
        yield Finding("front door", "ok", f"auth_mode is {mode}; {count} key{'' if count == 1 else 's'}")
    if key is not None:
        yield _judge_key(app, key.strip(), needed=needs_key(mode, "/v1/models"))


def _judge_key(app: App, key: str, *, needed: bool) -> Finding:
    headers = f"Send it as one of: {', '.join(ACCEPTED)}."
    found = app.keys.match([key])
    if found is not None:
        return Finding("key", "ok", f'it is the key "{found.name}"', headers)
    level: Level = "FAIL" if needed else "note"
    if _is_admin_token(app, Secret(key)):
        message = "it is the admin token, which the gateway's routes do not accept"
    elif key.lower().startswith("bearer "):
        message = 'give the key alone, without "Bearer"'
    elif needed:
        message = "it is none of the keys: requests with it are refused with 401"
    else:
        message = (
            "it is none of the keys; auth_mode asks for none now, so requests with it are served all the same"
        )
    return Finding(
        "key", level, message, "regrant keys list shows their endings; regrant keys create NAME makes one."
    )


def _is_admin_token(app: App, key: Secret) -> bool:
    try:
        content = (app.settings.data_dir / "admin.token").read_text(errors="replace").strip()
    except OSError:
        return False
    return bool(content) and Secret(content) == key
