"""Adds accounts, and brings back those that are added again (rule 4 of docs/lifecycle.md).

The e-mail always comes from Google, live. An account is matched by e-mail, else by Google's stable id; a re-add replaces
the grant in place. What a new grant changes in an account is `lifecycle.py`; the browser's part is `signin.py`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

import msgspec
from msgspec.structs import replace as changed

from regrant.accounts.diagnosis import scrub
from regrant.accounts.entry import Entry
from regrant.accounts.events import (
    AccessTokenSupplied,
    AttentionRaised,
    Edited,
    Flight,
    Identity,
    Reauthorized,
    RefreshAnswered,
)
from regrant.accounts.keeper import AccountUnusable, Keeper
from regrant.accounts.lifecycle import merge_token
from regrant.accounts.model import Account, Token, same_email
from regrant.accounts.refresher import Clients, client_of
from regrant.errors import RegrantError
from regrant.oauth import google
from regrant.oauth.client import GoogleOAuth
from regrant.oauth.google import Granted, OAuthClient, RefusalKind, Refused, Unavailable
from regrant.secret import Secret


class Outcome(StrEnum):
    CREATED = "created"
    RECOVERED = "recovered"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    UNVERIFIED = "unverified"


class AdditionRefused(RegrantError):
    """The account was not added and nothing was stored. `code` is Google's `error` where Google refused."""

    def __init__(self, code: str, message: str, hint: str = "", *, status: int = 422) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.status = status


class Addition(msgspec.Struct, frozen=True):
    """What somebody gave. Empty strings mean: not given; an existing account then keeps what it has."""

    refresh_token: Secret = msgspec.field(default_factory=Secret)
    access_token: Secret = msgspec.field(default_factory=Secret)
    email: str = ""
    client_id: str = ""
    client_secret: Secret = msgspec.field(default_factory=Secret)
    project_id: str = ""
    upstream: str = ""
    location: str = ""
    label: str = ""
    account_id: str = ""
    """The account that is being re-authorized; another one's sign-in is refused."""

    @property
    def preferences(self) -> dict[str, str]:
        given = {
            "project_id": self.project_id,
            "upstream": self.upstream,
            "location": self.location,
            "label": self.label,
        }
        return {key: value for key, value in given.items() if value}


class Defaults(msgspec.Struct, frozen=True):
    """What a new account gets where nothing was said; from the settings."""

    project_id: str = ""
    upstream: str = "gemini"
    location: str = "global"
    scopes: tuple[str, ...] = ()


class Death(msgspec.Struct, frozen=True):
    """A refresh token that is known to be dead: when it died (unix seconds) and of what."""

    at: int
    cause: str


class Tombstones(Protocol):
    def recall(self, fingerprint: str) -> Death | None: ...


class Enrolment:
    def __init__(
        self,
        keeper: Keeper,
        oauth: GoogleOAuth,
        *,
        clients: Clients,
        defaults: Callable[[], Defaults],
        tombstones: Tombstones,
    ) -> None:
        self._keeper = keeper
        self._oauth = oauth
        self._clients = clients
        self._defaults = defaults
        self._tombstones = tombstones

    async def add(self, addition: Addition) -> tuple[Account, Outcome]:
        """Add or re-add an account. Raises AdditionRefused, StoreError."""
        if addition.refresh_token:
            return await self._add_refresh_token(addition)
        if addition.access_token:
            return await self._add_access_token(addition)
        raise AdditionRefused(
            "credential_missing", "give a refresh token, an access token with its e-mail, or ADC", status=400
        )

    async def add_consent(
        self, addition: Addition, client: OAuthClient, granted: Granted
    ) -> tuple[Account, Outcome]:
        """Take in what a sign-in in the browser brought; `consented_at` is now. Raises AdditionRefused, StoreError."""
        if granted.refresh_token is None:
            raise AdditionRefused(
                "refresh_token_missing",
                "Google returned no refresh token",
                f"Remove the app's access at {_PERMISSIONS} and sign in again.",
            )
        identity = await self._identify(granted.access_token)
        now = self._keeper.clock.now()
        token = changed(
            merge_token(Token(refresh_token=granted.refresh_token), granted, now), consented_at=int(now)
        )
        account, outcome = await self._store(addition, client, token, identity)
        return await self._check_scopes(account, granted.scope), outcome

    async def verify(self, entry: Entry) -> str:
        """Ask Google once whether the grant lives: `alive`, `recovered`, `dead` or `unknown`."""
        was_disabled = entry.account.disabled is not None
        landing = await self._keeper.ask_google(entry)
        match landing.answer:
            case Granted():
                return "recovered" if was_disabled else "alive"
            case Refused(kind=RefusalKind.invalid_grant):
                return "dead"
            case Refused() | Unavailable():
                return "unknown"
            case None:
                return (
                    "dead" if entry.account.disabled is not None else "recovered" if was_disabled else "alive"
                )

    async def _add_refresh_token(self, addition: Addition) -> tuple[Account, Outcome]:
        holder = self._holder(addition.refresh_token)
        client = self._client(addition, holder)
        now = self._keeper.clock.now()
        answer = await self._oauth.refresh(client, addition.refresh_token)
        match answer:
            case Refused():
                await self._tell_holder(holder, answer, now)
                raise self._refusal(answer, addition)
            case Unavailable():
                raise _unreachable(answer)
            case Granted():
                pass
        identity = await self._identify(answer.access_token)
        token = merge_token(Token(refresh_token=addition.refresh_token), answer, self._keeper.clock.now())
        return await self._store(addition, client, token, identity)

    def _holder(self, refresh_token: Secret) -> Entry | None:
        entries = self._keeper.entries()
        return next((entry for entry in entries if entry.account.token.refresh_token == refresh_token), None)

    async def _tell_holder(self, holder: Entry | None, answer: Refused, asked_at: float) -> None:
        """The refresh that failed was one of the stored grant too: the same evidence, the same verdict."""
        if (
            holder is not None
            and holder.account.disabled is None
            and answer.kind is RefusalKind.invalid_grant
        ):
            flight = Flight(
                holder.account.generation, holder.account.token.refresh_token, asked_at, explicit=True
            )
            await self._keeper.settle(holder, RefreshAnswered(flight, answer))

    def _client(self, addition: Addition, holder: Entry | None) -> OAuthClient:
        clients = self._clients()
        if addition.client_id:
            if addition.client_secret:
                return OAuthClient(addition.client_id, addition.client_secret)
            if addition.client_id in clients:
                return clients[addition.client_id]
            raise AdditionRefused(
                "client_not_configured",
                f"the OAuth client {addition.client_id} is not configured",
                "Give its client_secret too, or add it to google.clients in the settings.",
            )
        known = client_of(holder.account, clients) if holder is not None else None
        client = known or next(iter(clients.values()), None)
        if client is None:
            raise AdditionRefused(
                "client_not_configured",
                "no OAuth client is configured",
                "Make one of type Desktop app in the Google Cloud console, then set google.client_id and google.client_secret.",
            )
        return client

    def _refusal(self, answer: Refused, addition: Addition) -> AdditionRefused:
        said = scrub(answer.description or answer.error, (addition.refresh_token, addition.client_secret))
        message = f"Google refuses the refresh token: {answer.error} ({said})"
        if answer.kind is RefusalKind.invalid_grant:
            death = self._tombstones.recall(addition.refresh_token.fingerprint())
            if death is not None:
                message = f"this refresh token is known to be dead since {_date(death.at)}: {death.cause}"
            return AdditionRefused(
                answer.error, message, "Sign in again to get a new one: regrant accounts add --oauth"
            )
        hint = _REFUSAL_HINTS.get(answer.kind, "Check the OAuth client's id and secret.")
        return AdditionRefused(answer.error, message, hint)

    async def _identify(self, access_token: Secret) -> Identity:
        who = await self._oauth.identify(access_token)
        match who:
            case google.Identity():
                return Identity(email=who.email, sub=who.sub, name=who.name)
            case Unavailable():
                raise _unreachable(who)
            case Refused():
                raise AdditionRefused(
                    who.error or "identity_refused",
                    f"Google does not say whose token this is: {scrub(who.description or who.error, (access_token,))}",
                    "The grant needs the scopes openid and email; sign in again with them.",
                )

    async def _add_access_token(self, addition: Addition) -> tuple[Account, Outcome]:
        entry = self._keeper.find(addition.email) if addition.email else None
        if entry is None:
            raise AdditionRefused(
                "refresh_token_required",
                "an access token alone is accepted only for an account that is already here",
                "Add the account with a refresh token or by signing in: regrant accounts add --oauth",
            )
        identity = await self._identify(addition.access_token)
        if not same_email(identity.email, entry.account.email):
            raise AdditionRefused(
                "wrong_account", f"the access token belongs to another account than {entry.account.email}"
            )
        if addition.access_token == entry.account.token.access_token:
            return await self._prefer(entry, addition), Outcome.UNCHANGED
        now = int(self._keeper.clock.now())
        token = Token(access_token=addition.access_token, expiry_timestamp=now + 3600)
        await self._keeper.change(entry.account.id, AccessTokenSupplied(token))
        return await self._prefer(entry, addition), Outcome.UNVERIFIED

    async def _store(
        self, addition: Addition, client: OAuthClient, token: Token, identity: Identity
    ) -> tuple[Account, Outcome]:
        configured = client.client_id in self._clients()
        secret = Secret() if configured else client.client_secret
        async with self._keeper.adding():
            entry = self._match(identity)
            self._check_target(addition, entry, identity)
            if entry is None:
                entry = await self._keeper.create(
                    self._new(addition, client.client_id, secret, token, identity)
                )
                outcome = Outcome.CREATED
            else:
                outcome = await self._replace(entry, client.client_id, secret, token, identity)
                await self._prefer(entry, addition)
        return entry.account, outcome

    async def _replace(
        self, entry: Entry, client_id: str, secret: Secret, token: Token, identity: Identity
    ) -> Outcome:
        before = entry.account
        if before.token.refresh_token == token.refresh_token and before.disabled is None:
            return Outcome.UNCHANGED
        await self._keeper.change(before.id, Reauthorized(token, identity, client_id, secret))
        return Outcome.RECOVERED if before.disabled is not None else Outcome.UPDATED

    async def _prefer(self, entry: Entry, addition: Addition) -> Account:
        if addition.preferences:
            await self._keeper.change(entry.account.id, Edited(addition.preferences))
        return entry.account

    def _match(self, identity: Identity) -> Entry | None:
        entries = self._keeper.entries()
        by_email = [entry for entry in entries if same_email(entry.account.email, identity.email)]
        by_sub = [entry for entry in entries if identity.sub and entry.account.sub == identity.sub]
        matches = {entry.account.id: entry for entry in (*by_email, *by_sub)}
        if len(matches) > 1:
            raise AdditionRefused(
                "ambiguous_account",
                f"{len(matches)} accounts match {identity.email}: one by e-mail, another by Google's id",
                "Remove the one that is out of date: regrant accounts list",
                status=409,
            )
        return next(iter(matches.values()), None)

    def _check_target(self, addition: Addition, entry: Entry | None, identity: Identity) -> None:
        if not addition.account_id or (entry is not None and entry.account.id == addition.account_id):
            return
        target = self._keeper.entry(addition.account_id)
        if target is None:
            raise AccountUnusable(addition.account_id, "gone")
        raise AdditionRefused(
            "wrong_account",
            f"you signed in as {identity.email}, but the account to re-authorize is {target.account.email}",
            f"Sign in as {target.account.email}, or add {identity.email} as an account of its own.",
            status=409,
        )

    def _new(
        self, addition: Addition, client_id: str, secret: Secret, token: Token, identity: Identity
    ) -> Account:
        defaults = self._defaults()
        now = int(self._keeper.clock.now())
        account = Account(
            id=str(uuid.uuid4()),
            email=identity.email,
            sub=identity.sub,
            name=identity.name,
            label=addition.label,
            client_id=client_id,
            client_secret=secret,
            project_id=addition.project_id or defaults.project_id,
            upstream=addition.upstream or defaults.upstream,
            location=addition.location or defaults.location,
            token=token,
            created_at=now,
            last_refresh_at=now,
        )
        return account.with_event(now, "added")

    async def _check_scopes(self, account: Account, granted: str) -> Account:
        """Say which boxes the user did not tick on Google's page; without them the account cannot serve."""
        missing = google.missing_scopes(granted, self._defaults().scopes) if granted else []
        entry = self._keeper.entry(account.id)
        if entry is None or not missing:
            return account
        message = f"The grant lacks: {', '.join(missing)}. Sign in again and tick every box."
        await self._keeper.settle(entry, AttentionRaised("scope_missing", message))
        return entry.account


_PERMISSIONS = "https://myaccount.google.com/permissions"

_REFUSAL_HINTS = {
    RefusalKind.wrong_client: "The token was given to another OAuth client. Give that client's id and secret with it.",
    RefusalKind.admin_policy: "Ask the administrator of the organisation to allow the OAuth app.",
    RefusalKind.scope: "Sign in again and tick every box.",
}


def _unreachable(answer: Unavailable) -> AdditionRefused:
    return AdditionRefused(
        "upstream_unavailable",
        f"Google gave no verdict: {answer.reason}",
        "Nothing was stored. Try again; regrant doctor checks the connection.",
        status=503,
    )


def _date(at: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
