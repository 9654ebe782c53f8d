"""The accounts as people and programs see them: the account object of the admin API.

Pure, and free of secrets: built from `public_fields` and from what the pool and the clock add. Used by the API and by
`regrant accounts … --json`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import msgspec

from regrant.accounts import diagnosis
from regrant.accounts.entry import Entry
from regrant.accounts.incidents import Incident
from regrant.accounts.model import Account, public_fields
from regrant.accounts.store import Corrupt
from regrant.pool.cooldown import Cooldown, CooldownKey
from regrant.pool.standing import cooldown_advice
from regrant.upstream.faults import Scope

State = Literal["active", "cooling", "protected", "paused", "attention", "disabled", "corrupt"]
EVERY_MODEL = "*"


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
    """Many deaths of one OAuth client within two minutes. Undo: batch verify of `accounts`."""

    id: str
    client_id: str
    cause: str
    since: int
    until: int | None
    accounts: list[str]
    advice: AdviceView


class CooldownIndex:
    """The cool-downs of a moment, to be asked for each of many accounts."""

    def __init__(self, cooldowns: Iterable[tuple[CooldownKey, Cooldown]]) -> None:
        self._everyone: list[tuple[str, Cooldown]] = []
        self._projects: dict[str, list[tuple[str, Cooldown]]] = {}
        self._accounts: dict[str, list[tuple[str, Cooldown]]] = {}
        for key, cooldown in cooldowns:
            held = (key.model or EVERY_MODEL, cooldown)
            match key.scope:
                case Scope.MODEL:
                    self._everyone.append(held)
                case Scope.PROJECT | Scope.PROJECT_MODEL:
                    self._projects.setdefault(key.project, []).append(held)
                case Scope.ACCOUNT:
                    self._accounts.setdefault(key.account, []).append(held)

    def of(self, account: Account, default_client_id: str) -> list[tuple[str, Cooldown]]:
        project = account.project(default_client_id) or account.id
        return [*self._everyone, *self._projects.get(project, ()), *self._accounts.get(account.id, ())]


def show_account(entry: Entry, cooldowns: CooldownIndex, default_client_id: str, now: float) -> AccountView:
    """The account as it is at `now` (unix seconds)."""
    account = entry.account
    held = cooldowns.of(account, default_client_id)
    state, since, cause, advice = _judge(account, held)
    if entry.corrupt is not None:
        state, since, cause, advice = "corrupt", None, None, _corrupt_advice(entry.corrupt, in_service=True)
    derived: dict[str, object] = {
        "state": state,
        "since": since,
        "cause": cause,
        "advice": _advice_fields(advice),
        "expires_hint": diagnosis.expires_hint(account),
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


def show_incident(incident: Incident) -> IncidentView:
    advice = incident.advice
    return IncidentView(
        id=incident.id,
        client_id=incident.client_id,
        cause=incident.cause,
        since=incident.since,
        until=incident.until,
        accounts=incident.accounts,
        advice=AdviceView(advice.text, advice.url, advice.command),
    )


Judgement = tuple[State, float | None, str | None, diagnosis.Advice | None]


def _judge(account: Account, held: list[tuple[str, Cooldown]]) -> Judgement:
    """State, since when, cause and advice, in the contract's order of judging an absence."""
    advice = diagnosis.advise(account)
    if account.disabled is not None:
        return "disabled", account.disabled.at, account.disabled.cause, advice
    if account.protected_models:
        return "protected", None, "quota_protection", advice
    if account.paused is not None:
        return "paused", account.paused.at, "owner", advice
    if account.attention is not None:
        return "attention", account.attention.since, account.attention.code, advice
    if held:
        _, longest = max(held, key=lambda pair: pair[1].until)
        return "cooling", None, longest.why.value, diagnosis.Advice(cooldown_advice(longest.why))
    return "active", None, None, None


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
