"""Asks Google for a new access token with the OAuth client that minted the account's grant.

Which clients there are is in the settings; what the answer means is `lifecycle.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from regrant.accounts.model import Account
from regrant.oauth.client import GoogleOAuth
from regrant.oauth.google import Granted, OAuthClient, RefusalKind, Refused, Unavailable

Clients = Callable[[], Mapping[str, OAuthClient]]
"""The configured OAuth clients by id, the default one first; read at each use, so that changes apply at once."""


def client_of(account: Account, clients: Mapping[str, OAuthClient]) -> OAuthClient | None:
    """The OAuth client of the account's grant; None when it is not configured."""
    if account.client_secret:
        return OAuthClient(account.client_id, account.client_secret)
    if account.client_id:
        return clients.get(account.client_id)
    return next(iter(clients.values()), None)


def missing_client(account: Account) -> str:
    """Says that the OAuth client of the account's grant is not in the settings."""
    which = f"the OAuth client {account.client_id}" if account.client_id else "an OAuth client"
    return f"{which} is not configured (google.client_id, or a table in google.clients)"


class GoogleRefresher:
    def __init__(self, google: GoogleOAuth, clients: Clients) -> None:
        self._google = google
        self._clients = clients

    async def refresh(self, account: Account) -> Granted | Refused | Unavailable:
        client = client_of(account, self._clients())
        if client is None:
            return Refused(RefusalKind.client_broken, 0, "client_not_configured", "", missing_client(account))
        return await self._google.refresh(client, account.token.refresh_token)
