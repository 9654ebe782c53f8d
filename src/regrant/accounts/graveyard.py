"""Refresh tokens known to be dead, by fingerprint: when they died and of what.

Whoever adds one of them again is told so at once. Kept in `state.sqlite3`; no token is.
"""

from __future__ import annotations

from regrant.accounts.enrolment import Death
from regrant.accounts.model import Account
from regrant.state import StateDatabase

KIND = "dead_token"
KEEP_S = 400 * 86_400.0


class Graveyard:
    def __init__(self, state: StateDatabase) -> None:
        self._state = state

    def bury(self, account: Account) -> None:
        """Remember the grant of an account that was just disabled."""
        death, fingerprint = account.disabled, account.token.refresh_token.fingerprint()
        if death is not None and fingerprint:
            value = {"at": death.at, "cause": death.cause, "account": account.id}
            self._state.put(KIND, fingerprint, value, death.at + KEEP_S)

    def recall(self, fingerprint: str) -> Death | None:
        found = self._state.load(KIND).get(fingerprint)
        if found is None or not isinstance(found[0], dict):
            return None
        return Death(int(found[0].get("at", 0)), str(found[0].get("cause", "")))
