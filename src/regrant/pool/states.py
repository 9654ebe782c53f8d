"""The one word for how an account stands, in the contract's order, and the cool-downs that bear on it.

Pure. Used by the admin API, the command line and the metrics; the checks for one model are `standing.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from regrant.accounts.entry import Entry
from regrant.accounts.model import Account
from regrant.pool.cooldown import Cooldown, CooldownKey
from regrant.pool.standing import EVERY_MODEL
from regrant.upstream.faults import Scope

State = Literal["active", "cooling", "protected", "paused", "attention", "disabled", "corrupt"]


class CooldownIndex:
    """The cool-downs of a moment, to be asked for each of many accounts."""

    def __init__(self, cooldowns: Iterable[tuple[CooldownKey, Cooldown]]) -> None:
        self._everyone: list[tuple[str, Cooldown]] = []
        self._projects: dict[str, list[tuple[str, Cooldown]]] = {}
        self._accounts: dict[str, list[tuple[str, Cooldown]]] = {}
        for key, cooldown in cooldowns:
            if key.scope is Scope.PROJECT_MODEL and not key.model:
                continue  # of the list of models: no request of a client meets it
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


def state_of(entry: Entry, held: Iterable[tuple[str, Cooldown]]) -> State:
    """The state; `held` are the cool-downs of the account."""
    account = entry.account
    if entry.corrupt is not None:
        return "corrupt"
    if account.disabled is not None:
        return "disabled"
    if account.protected_models:
        return "protected"
    if account.paused is not None:
        return "paused"
    if account.attention is not None:
        return "attention"
    return "cooling" if any(True for _ in held) else "active"
