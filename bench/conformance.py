"""The same deaths for two gateways: Regrant and litellm through one set of failure scenarios, counted by the sandbox's journal.

    make conformance        about five minutes; `--only SCENARIO`, `--without-litellm`

Both get the same people, grants, projects and requests, before a sandbox each; how each is set up is in `pretend.py`. Nothing here judges:
it counts what clients saw and what Google was asked.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench.stage import Contestant, NotRun
from tests.sandbox_client import MintedGrant, SandboxProcess

from bench import pretend, stage

READD_S = 60.0
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class System:
    """A gateway: how it is started with grants, and how a new grant is put in the place of an old one without a restart."""

    name: str
    start: Callable[[Path, SandboxProcess, Sequence[MintedGrant]], AbstractContextManager[Contestant]]
    sign_in: Callable[[Path, MintedGrant], None]


SYSTEMS = (
    System("regrant", pretend.regrant, lambda folder, grant: pretend.write_account(folder / "data", grant)),
    System("litellm", pretend.litellm, pretend.write_credentials),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened. `seconds`: until the account serves (again), counted from the new sign-in or the last of the counted
    requests; None where that is no question, or it did not come."""

    requests: int
    client_errors: int
    token_calls: int
    calls_on_dead: int
    seconds: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    system: System
    folder: Path
    google: SandboxProcess

    def people(self, count: int) -> list[MintedGrant]:
        return [self.google.grant(f"p{number}@example.com") for number in range(count)]

    def outcome(
        self,
        statuses: Sequence[int],
        dead: Sequence[MintedGrant] = (),
        *,
        seconds: float | None = None,
        note: str = "",
    ) -> Outcome:
        """Counted from the journal; what dead accounts were asked is any call in their name since the journal was cleared."""
        emails = {grant.email for grant in dead}
        entries = self.google.journal(limit=100_000)
        return Outcome(
            requests=len(statuses),
            client_errors=sum(status != 200 for status in statuses),
            token_calls=sum(entry["endpoint"] == "token" for entry in entries),
            calls_on_dead=sum(entry["email"] in emails for entry in entries),
            seconds=seconds,
            note=note,
        )


def dead_at_start(accounts: int, dead: int, requests: int) -> Callable[[Stage], Outcome]:
    """`dead` of `accounts` grants were revoked before the gateway started; requests come one after the other."""

    def play(on: Stage) -> Outcome:
        grants = on.people(accounts)
        for grant in grants[:dead]:
            on.google.revoke(grant.email)
        on.google.clear_journal()
        with on.system.start(on.folder, on.google, grants) as gateway:
            statuses = [pretend.chat(gateway) for _ in range(requests)]
            return on.outcome(statuses, grants[:dead])

    return play


def dies_in_service(on: Stage) -> Outcome:
    """Two accounts have served; then one of them is revoked."""
    grants = on.people(2)
    with on.system.start(on.folder, on.google, grants) as gateway:
        _warm(gateway, on.google, grants)
        on.google.revoke(grants[0].email)
        on.google.clear_journal()
        return on.outcome([pretend.chat(gateway) for _ in range(100)], grants[:1])


def cold_crowd(on: Stage) -> Outcome:
    """30 requests at the same time before the only account has any access token."""
    grants = on.people(1)
    on.google.clear_journal()
    with on.system.start(on.folder, on.google, grants) as gateway, ThreadPoolExecutor(30) as threads:
        return on.outcome(list(threads.map(lambda _: pretend.chat(gateway), range(30))))


def token_endpoint_fails_once(on: Stage) -> Outcome:
    """The first call of the token endpoint is answered with 500; the account is fine."""
    grants = on.people(1)
    on.google.script("error", name="internal_failure", endpoint="token", times=1)
    on.google.clear_journal()
    with on.system.start(on.folder, on.google, grants) as gateway:
        statuses = [pretend.chat(gateway) for _ in range(10)]
        seconds, more = (None, []) if 200 in statuses else _until_served(gateway)
        return on.outcome([*statuses, *more], seconds=seconds)


def signed_in_again(*, served_before: bool) -> Callable[[Stage], Outcome]:
    """The only account is dead; its owner signs in again, and its file is replaced while the gateway runs."""

    def play(on: Stage) -> Outcome:
        grants = on.people(1)
        if not served_before:
            on.google.revoke(grants[0].email)
        with on.system.start(on.folder, on.google, grants) as gateway:
            if served_before:
                _warm(gateway, on.google, grants)
                on.google.revoke(grants[0].email)
            on.google.clear_journal()
            with_dead = [pretend.chat(gateway) for _ in range(5)]
            before = on.outcome(with_dead, grants)
            fresh = on.google.grant(grants[0].email)
            on.google.clear_journal()
            on.system.sign_in(on.folder, fresh)
            seconds, statuses = _until_served(gateway)
            after = on.outcome(statuses, seconds=seconds)
        note = "" if seconds is not None else _restarted(on, fresh)
        return Outcome(
            requests=before.requests + after.requests,
            client_errors=before.client_errors + after.client_errors,
            token_calls=before.token_calls + after.token_calls,
            calls_on_dead=before.calls_on_dead,
            seconds=seconds,
            note=note,
        )

    return play


def _warm(gateway: Contestant, google: SandboxProcess, grants: Sequence[MintedGrant]) -> None:
    """Chat until every account has served."""
    wanted = {grant.email for grant in grants}
    for _ in range(100):
        pretend.chat(gateway)
        if wanted <= set(google.counts()["emails"].get("generate", {})):
            return
    raise stage.DidNotStart(f"{gateway.name} does not use all of its accounts")


def _until_served(gateway: Contestant) -> tuple[float | None, list[int]]:
    started, statuses = time.monotonic(), list[int]()
    while time.monotonic() - started < READD_S:
        statuses.append(pretend.chat(gateway))
        if statuses[-1] == 200:
            return time.monotonic() - started, statuses
        time.sleep(POLL_S)
    return None, statuses


def _restarted(on: Stage, fresh: MintedGrant) -> str:
    started = time.monotonic()
    with on.system.start(on.folder / "again", on.google, [fresh]) as gateway:
        status = pretend.chat(gateway)
    seconds = time.monotonic() - started
    return f"not within {READD_S:.0f} s; after a restart ({seconds:.0f} s): {status}"


SCENARIOS: Mapping[str, tuple[str, Callable[[Stage], Outcome]]] = {
    "1-of-2": ("1 of 2 accounts dead at start, 100 requests", dead_at_start(2, 1, 100)),
    "9-of-10": ("9 of 10 accounts dead at start, 50 requests", dead_at_start(10, 9, 50)),
    "in-service": ("1 of 2 accounts dies in service, 100 requests", dies_in_service),
    "crowd": ("30 requests at once, cold, 1 account", cold_crowd),
    "500": ("token endpoint answers 500 once, 10 requests", token_endpoint_fails_once),
    "sign-in": ("dead at start, then signed in again", signed_in_again(served_before=False)),
    "sign-in-served": ("died in service, then signed in again", signed_in_again(served_before=True)),
}


def play(name: str, system: System) -> Outcome:
    """One scenario before a sandbox of its own. Raises NotRun when the system is not installed."""
    with tempfile.TemporaryDirectory(prefix="regrant-bench-") as folder, pretend.sandbox() as google:
        return SCENARIOS[name][1](Stage(system, Path(folder) / system.name, google))


def table(found: Mapping[str, Mapping[str, Outcome | None]]) -> str:
    """Scenarios down, systems across."""
    lines = []
    for name, outcomes in found.items():
        lines.append(SCENARIOS[name][0])
        for system, outcome in outcomes.items():
            if outcome is None:
                lines.append(f"  {system:8} not run")
                continue
            served = "" if outcome.seconds is None else f", serves again after {outcome.seconds:.2f} s"
            lines.append(
                f"  {system:8} {outcome.client_errors:4} client errors of {outcome.requests}, {outcome.token_calls:4} token calls,"
                f" {outcome.calls_on_dead:4} calls on dead accounts{served}{', ' + outcome.note if outcome.note else ''}"
            )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help=f"comma-separated: {' '.join(SCENARIOS)}")
    parser.add_argument("--without-litellm", action="store_true")
    parser.add_argument(
        "--json", type=Path, help="where the counts go (default: bench/results/conformance.json)"
    )
    options = parser.parse_args()
    systems = SYSTEMS[:1] if options.without_litellm else SYSTEMS
    found: dict[str, dict[str, Outcome | None]] = {}
    for name in [name for name in options.only.split(",") if name] or SCENARIOS:
        found[name] = {}
        for system in systems:
            print(f"-- {name}: {system.name}", file=sys.stderr, flush=True)
            try:
                found[name][system.name] = play(name, system)
            except NotRun as reason:
                print(f"   not run: {reason}", file=sys.stderr)
                found[name][system.name] = None
    print(table(found))
    out = options.json or stage.ROOT / "bench" / "results" / "conformance.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    shown = {
        name: {system: outcome and asdict(outcome) for system, outcome in outcomes.items()}
        for name, outcomes in found.items()
    }
    out.write_text(json.dumps(shown, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
