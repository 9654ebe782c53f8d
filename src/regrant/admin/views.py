"""The accounts as people and programs see them: the account object of the admin API.

Pure, and free of secrets: built from `public_fields` and from what the pool and the clock add. Used by the API and by
`regrant accounts … --json`.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from regrant.accounts import diagnosis, forecast, incidents
from regrant.accounts.entry import Entry
from regrant.accounts.model import Account, public_fields
from regrant.accounts.store import Corrupt
from regrant.pool.cooldown import Cooldown
from regrant.pool.standing import cooldown_advice
from regrant.pool.states import CooldownIndex, State, state_of


class AdviceView(msgspec.Struct, frozen=True):
    """What to do: a sentence, a page and a command; "" where there is none."""

    text: str
    url: str
    command: str


class AttentionView(msgspec.Struct, frozen=True):
    code: str
    message: str
    url: str
    since: int


class HistoryView(msgspec.Struct, frozen=True):
    at: int
    event: str
    detail: str


class CooldownView(msgspec.Struct, frozen=True):
    """`model` is `*` for every model; `until` in unix seconds, null until a person acts; `why` a kind of fault."""

    model: str
    until: float | None
    why: str


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """One account. Times are unix seconds; what is not the case is left out or null."""

    schema: int
    revision: int
    id: str
    email: str
    sub: str
    name: str
    label: str
    client_id: str
    project_id: str
    upstream: str
    location: str
    generation: int
    disabled: bool | msgspec.UnsetType = msgspec.UNSET
    disabled_at: int | msgspec.UnsetType = msgspec.UNSET
    disabled_reason: str | msgspec.UnsetType = msgspec.UNSET
    disabled_cause: str | msgspec.UnsetType = msgspec.UNSET
    proxy_disabled: bool | msgspec.UnsetType = msgspec.UNSET
    proxy_disabled_at: int | msgspec.UnsetType = msgspec.UNSET
    proxy_disabled_reason: str | msgspec.UnsetType = msgspec.UNSET
    protected_models: list[str]
    protected_until: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    attention: AttentionView | msgspec.UnsetType = msgspec.UNSET
    verified: bool
    created_at: int
    updated_at: int
    last_used_at: int
    last_refresh_at: int
    history: list[HistoryView]
    state: State
    since: float | None
    cause: str | None
    advice: AdviceView | None
    expires_hint: int | None
    freshness: Literal["fresh", "stale", "expired"]
    token_expires_at: int | None
    cooldowns: list[CooldownView]
    persisted: bool


class IncidentView(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is or was wrong. `requests`: how many failed or were served by another account because of it.

    `kind`: account_died, mass_failure (undo: batch verify of `accounts`), will_die, attention, client_broken, pool_empty, not_persisted,
    clock_skew. `until` and `length_s` are null while it is not over.
    """

    id: str
    kind: str
    title: str
    severity: Literal["warning", "critical"]
    client_id: str
    cause: str
    since: int
    until: int | None
    length_s: int | None
    requests: int
    accounts: list[str]
    emails: list[str]
    advice: AdviceView


def show_account(entry: Entry, cooldowns: CooldownIndex, default_client_id: str, now: float) -> AccountView:
    """The account as it is at `now` (unix seconds)."""
    account = entry.account
    held = cooldowns.of(account, default_client_id)
    state = state_of(entry, held)
    since, cause, advice = _reasons(entry, state, held)
    derived: dict[str, object] = {
        "state": state,
        "since": since,
        "cause": cause,
        "advice": _advice_fields(advice),
        "expires_hint": forecast.expires_hint(account, now),
        "freshness": entry.kept.freshness(now).value,
        "token_expires_at": account.token.expiry_timestamp or None,
        "cooldowns": [_cooldown_fields(model, cooldown) for model, cooldown in held],
        "persisted": entry.persisted,
    }
    return msgspec.convert(public_fields(account) | derived, AccountView)


def show_corrupt(corrupt: Corrupt) -> AccountView:
    """A file that cannot be read as an account; nothing of it is known but its name."""
    derived: dict[str, object] = {
        "state": "corrupt",
        "since": None,
        "cause": None,
        "advice": _advice_fields(_corrupt_advice(corrupt, in_service=False)),
        "expires_hint": None,
        "freshness": "expired",
        "token_expires_at": None,
        "cooldowns": [],
        "persisted": True,
    }
    return msgspec.convert(public_fields(Account(id=corrupt.id, email="")) | derived, AccountView)


def show_incident(incident: incidents.IncidentView) -> IncidentView:
    return IncidentView(
        id=incident.id,
        kind=incident.kind,
        title=incident.title,
        severity=incident.severity,
        client_id=incident.client_id,
        cause=incident.cause,
        since=incident.since,
        until=incident.until,
        length_s=incident.length_s if incident.until is not None else None,
        requests=incident.requests,
        accounts=list(incident.accounts),
        emails=list(incident.emails),
        advice=AdviceView(incident.text, incident.url, incident.command),
    )


Reasons = tuple[float | None, str | None, diagnosis.Advice | None]


def _reasons(entry: Entry, state: State, held: list[tuple[str, Cooldown]]) -> Reasons:
    """Since when the account is in that state, the cause, and advice."""
    account, advice = entry.account, diagnosis.advise(entry.account)
    if entry.corrupt is not None:
        return None, None, _corrupt_advice(entry.corrupt, in_service=True)
    if state == "disabled" and account.disabled is not None:
        return account.disabled.at, account.disabled.cause, advice
    if state == "protected":
        return None, "quota_protection", advice
    if state == "paused" and account.paused is not None:
        return account.paused.at, "owner", advice
    if state == "attention" and account.attention is not None:
        return account.attention.since, account.attention.code, advice
    if state == "cooling":
        _, longest = max(held, key=lambda pair: pair[1].until)
        return None, longest.why.value, cooldown_advice(longest, account.email)
    return None, None, None


def _corrupt_advice(corrupt: Corrupt, *, in_service: bool) -> diagnosis.Advice:
    kept = " The last good state serves until the next start." if in_service else ""
    return diagnosis.Advice(
        f"The account file {corrupt.path} is corrupt: {corrupt.problem}. Mend or remove it.{kept}"
    )


def _advice_fields(advice: diagnosis.Advice | None) -> dict[str, str] | None:
    return None if advice is None else {"text": advice.text, "url": advice.url, "command": advice.command}


def _cooldown_fields(model: str, cooldown: Cooldown) -> dict[str, object]:
    until = None if math.isinf(cooldown.until) else cooldown.until
    return {"model": model, "until": until, "why": cooldown.why.value}
