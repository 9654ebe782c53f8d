"""The row of the dead: N revoked accounts cost exactly N token calls, whatever the concurrency, counted by the sandbox.

The same scenarios with another gateway beside Regrant are in `conformance.py`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from bench.goals import Result
from bench.scale import Bench
from bench.work import Wrong

from bench import pretend


def dead_tokens(bench: Bench) -> list[Result]:
    """Chats against a pool of revoked accounts and one that lives, then against revoked ones only."""
    calls, command = {}, ""
    revoked = bench.scale.revoked
    for concurrency in bench.scale.crowds:
        for living in (1, 0):
            found, command = _count(bench, revoked, concurrency, living)
            calls[f"{concurrency} at once, {living} alive"] = float(found)
    wrong = [count / revoked for count in calls.values() if count != revoked]
    return [Result("dead_tokens", max(wrong, default=1.0, key=lambda share: abs(share - 1)), calls, command)]


def _count(bench: Bench, revoked: int, concurrency: int, living: int) -> tuple[int, str]:
    """Token calls of the revoked accounts while chats come in, `concurrency` at a time."""
    with pretend.sandbox() as google:
        dead = [google.grant(f"dead{number}@example.com") for number in range(revoked)]
        alive = [google.grant(f"living{number}@example.com") for number in range(living)]
        for grant in dead:
            google.revoke(grant.email)
        google.clear_journal()
        name = f"deaths-{concurrency}-{living}"
        with pretend.regrant(bench.folder / name, google, [*dead, *alive]) as gateway:
            chats = max(4 * revoked, 2 * concurrency)
            with ThreadPoolExecutor(concurrency) as threads:
                statuses = list(threads.map(lambda _: pretend.chat(gateway), range(chats)))
            wanted = {200} if living else {503}
            if set(statuses) != wanted:
                raise Wrong(f"answers {sorted(set(statuses))} where {wanted} was to be")
            emails = {grant.email for grant in dead}
            asked = [entry["email"] for entry in google.journal(endpoint="token")]
            return sum(email in emails for email in asked), gateway.command
