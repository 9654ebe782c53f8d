"""What the routes work with: the gateway's parts, the event hub, sessions and the admin token, in one value."""

from __future__ import annotations

import msgspec
from litestar.di import NamedDependency

from regrant.accounts.entry import Entry
from regrant.accounts.store import Corrupt
from regrant.admin.errors import ApiError, no_such_account
from regrant.admin.events import Hub
from regrant.admin.parts import Parts
from regrant.admin.sessions import Brake, Sessions
from regrant.admin.views import AccountView, show_account, show_corrupt
from regrant.pool.states import CooldownIndex
from regrant.secret import Secret


class Desk(msgspec.Struct, frozen=True):
    parts: Parts
    token: Secret
    hub: Hub = msgspec.field(default_factory=Hub)
    sessions: Sessions = msgspec.field(default_factory=Sessions)
    brake: Brake = msgspec.field(default_factory=Brake)

    @property
    def default_client_id(self) -> str:
        return self.parts.settings().google.client_id

    def cooldowns(self) -> CooldownIndex:
        return CooldownIndex(self.parts.pool.cooldowns())

    def show(self, entry: Entry, cooldowns: CooldownIndex | None = None) -> AccountView:
        held = self.cooldowns() if cooldowns is None else cooldowns
        return show_account(entry, held, self.default_client_id, self.parts.clock.now())

    def show_id(self, account_id: str) -> AccountView:
        """Raises ApiError when there is no such account."""
        entry = self.parts.keeper.entry(account_id)
        if entry is not None:
            return self.show(entry)
        corrupt = self.corrupt(account_id)
        if corrupt is None:
            raise no_such_account(account_id)
        return show_corrupt(corrupt)

    def entry(self, account_id: str) -> Entry:
        """An account that something can be done with. Raises ApiError."""
        entry = self.parts.keeper.entry(account_id)
        if entry is not None:
            return entry
        if self.corrupt(account_id) is None:
            raise no_such_account(account_id)
        raise ApiError(
            409,
            "corrupt",
            "the account's file cannot be read",
            "Mend or remove the file that its advice names.",
        )

    def corrupt(self, account_id: str) -> Corrupt | None:
        return next((one for one in self.parts.keeper.corrupt() if one.id == account_id), None)


AtDesk = NamedDependency[Desk]
