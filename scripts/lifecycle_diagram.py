"""Writes the state diagram in docs/lifecycle.md, drawn from `lifecycle.step`; with --check, fails when it is not up to date.

Nothing here says what follows from what: representative accounts are given to `step` with every kind of event, and what
comes back is drawn.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec.structs import replace as changed

from regrant.accounts.events import (
    AccessTokenSupplied,
    AttentionRaised,
    Event,
    Flight,
    FlightAbandoned,
    Identity,
    Observed,
    Paused,
    Reauthorized,
    RefreshAnswered,
    Resumed,
    Served,
    TokenRejected,
    TokenWanted,
)
from regrant.accounts.lifecycle import Kept, step
from regrant.accounts.model import Account, Attention, Disablement, Freshness, Pause, Token
from regrant.oauth.google import Granted, RefusalKind, Refused, Unavailable
from regrant.secret import Secret

TARGET = Path(__file__).resolve().parent.parent / "docs" / "lifecycle.md"
BEGIN = "<!-- diagram: written by scripts/lifecycle_diagram.py -->"
END = "<!-- end of diagram -->"

NOW = 1_800_000_000.0
HOUR_S = 3600
ACCOUNT = Account(
    id="ann",
    email="ann@example.com",
    token=Token(
        refresh_token=Secret("refresh-1"),
        access_token=Secret("access-1"),
        expiry_timestamp=int(NOW) + HOUR_S,
    ),
)
DEAD = Disablement(at=int(NOW), reason="invalid_grant: revoked", cause="revoked")
NEEDS_A_PERSON = Attention(code="SERVICE_DISABLED", message="Enable the API", since=int(NOW))
GRANTED = Granted(Secret("access-2"), float(HOUR_S), "Bearer", "", None, None, None)
TITLES: Mapping[str, str] = {
    "fresh": "in the pool: token fresh",
    "stale": "in the pool: token stale",
    "expired": "in the pool: token expired",
    "refreshing": "in the pool: refreshing",
    "backing_off": "in the pool: backing off",
    "paused": "paused (proxy_disabled)",
    "attention": "attention",
    "disabled": "disabled",
    "verifying": "disabled: being verified",
}


def name_of(kept: Kept, now: float = NOW) -> str:
    """The state to draw, in the order in which absence is judged."""
    account = kept.account
    if account.disabled is not None:
        return "verifying" if kept.flight else "disabled"
    if account.paused is not None:
        return "paused"
    if not account.in_pool:
        return "attention"
    if kept.flight is not None:
        return "refreshing"
    if kept.retry_at > now:
        return "backing_off"
    return kept.freshness(now).value


def representatives() -> Iterator[Kept]:
    fresh = Kept(ACCOUNT)
    expired = Kept(changed(ACCOUNT, token=changed(ACCOUNT.token, expiry_timestamp=int(NOW) - 1)))
    disabled = Kept(changed(ACCOUNT, disabled=DEAD))
    yield fresh
    yield Kept(changed(ACCOUNT, token=changed(ACCOUNT.token, expiry_timestamp=int(NOW) + 300)))
    yield expired
    yield step(expired, TokenWanted(), NOW)[0]
    yield msgspec.structs.replace(expired, retry_at=NOW + 60, failures=1)
    yield Kept(changed(ACCOUNT, paused=Pause(at=int(NOW))))
    yield Kept(changed(ACCOUNT, attention=NEEDS_A_PERSON))
    yield disabled
    yield step(disabled, TokenWanted(explicit=True), NOW)[0]


def events(kept: Kept) -> Iterator[tuple[str, Event]]:
    """Everything that may happen, and in what words."""
    account = kept.account
    grant = Reauthorized(
        Token(
            refresh_token=Secret("refresh-2"),
            access_token=Secret("access-2"),
            expiry_timestamp=int(NOW) + HOUR_S,
        ),
        Identity(account.email),
        "",
    )
    by_hand = Token(access_token=Secret("access-3"), expiry_timestamp=int(NOW) + HOUR_S)
    yield "a token is wanted", TokenWanted()
    yield "the owner asks (verify)", TokenWanted(explicit=True)
    yield "401 from the model API", TokenRejected(account.token.access_token)
    yield "403 from the model API", AttentionRaised("BILLING_DISABLED", "Pay")
    yield "a request succeeds", Served()
    yield "paused", Paused()
    yield "resumed", Resumed()
    yield "signed in again", grant
    yield "an access token alone is given", AccessTokenSupplied(by_hand)
    yield "disabled removed by hand", Observed(changed(account, disabled=None))
    new = changed(account.token, refresh_token=Secret("refresh-3"))
    yield "a new refresh token by hand", Observed(changed(account, token=new))
    yield from answers(kept.flight) if kept.flight else ()


def answers(flight: Flight) -> Iterator[tuple[str, Event]]:
    yield "token received", RefreshAnswered(flight, GRANTED)
    yield "another process had the answer", FlightAbandoned(flight)
    yield "Google is away", RefreshAnswered(flight, Unavailable("no route"))
    for kind in RefusalKind:
        refusal = Refused(kind, 400, kind.value, "", "")
        yield kind.value.replace("_", " "), RefreshAnswered(flight, refusal)


def transitions() -> dict[tuple[str, str], list[str]]:
    """The words for each way from one state to another."""
    found: dict[tuple[str, str], list[str]] = {}
    for kept in representatives():
        before = name_of(kept)
        for words, event in events(kept):
            after, _ = step(kept, event, NOW)
            if name_of(after) != before:
                found.setdefault((before, name_of(after)), []).append(words)
        for later in (NOW + HOUR_S - 300, NOW + HOUR_S):
            if before in set(Freshness) - {Freshness.EXPIRED} and name_of(kept, later) != before:
                found.setdefault((before, name_of(kept, later)), []).append("time passes")
                break
        if before == "backing_off":
            found.setdefault((before, name_of(kept, kept.retry_at)), []).append("the wait is over")
    return found


def diagram() -> str:
    lines = ["stateDiagram-v2"]
    lines += [f"    {name} : {title}" for name, title in TITLES.items()]
    lines.append("    [*] --> fresh : added")
    for (before, after), words in transitions().items():
        lines.append(f"    {before} --> {after} : {', '.join(dict.fromkeys(words))}")
    return "\n".join(("```mermaid", *lines, "```"))


def rendered(page: str) -> str:
    """The page with the diagram of today between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{diagram()}\n{END}{after}"


def main() -> int:
    page = TARGET.read_text(encoding="utf-8")
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(rendered(page), encoding="utf-8")
        return 0
    if rendered(page) == page:
        return 0
    print(f"{TARGET.name} is not up to date; run: python scripts/lifecycle_diagram.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
