"""What can happen to an account (events), and what the keeper is told to do about it (effects). Values only.

What follows from an event is decided in `lifecycle.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from regrant.accounts.model import Account, Disablement, Token
from regrant.oauth.google import Granted, Refused, Unavailable
from regrant.secret import Secret


class Flight(msgspec.Struct, frozen=True):
    """One question to the token endpoint, and the grant that it is asked with."""

    generation: int
    refresh_token: Secret
    started_at: float
    explicit: bool = False
    """A person asked for it (verify, re-add): allowed for a disabled account too."""
    access_token: Secret = msgspec.field(default_factory=Secret)
    """The one that was to be replaced; together with `disabled` it tells whether somebody had an answer meanwhile."""
    disabled: Disablement | None = None


class TokenWanted(msgspec.Struct, frozen=True):
    """Somebody needs a token soon (stale) or now (expired); `explicit`: a person asks whether the grant lives."""

    explicit: bool = False


class RefreshAnswered(msgspec.Struct, frozen=True):
    """The token endpoint answered the flight. `jitter` is a random number from 0 to 1."""

    flight: Flight
    answer: Granted | Refused | Unavailable
    jitter: float = 0.5


class FlightAbandoned(msgspec.Struct, frozen=True):
    """The flight ended without an answer of its own: another process had one, or the grant was replaced."""

    flight: Flight


class TokenRejected(msgspec.Struct, frozen=True):
    """The model API answered 401 to this access token."""

    access_token: Secret


class Identity(msgspec.Struct, frozen=True):
    email: str
    sub: str = ""
    name: str = ""


class Reauthorized(msgspec.Struct, frozen=True):
    """A new grant for this account, proven alive: the owner signed in again or gave a refresh token that works."""

    token: Token
    identity: Identity
    client_id: str
    client_secret: Secret = msgspec.field(default_factory=Secret)


class AccessTokenSupplied(msgspec.Struct, frozen=True):
    """The owner gave an access token alone: it serves for its time, and the grant behind it is asked at once."""

    token: Token


class Paused(msgspec.Struct, frozen=True):
    reason: str = ""


class Resumed(msgspec.Struct, frozen=True):
    pass


class Edited(msgspec.Struct, frozen=True):
    """New values for `label`, `project_id`, `upstream`, `location`; an import also brings `protected_models`."""

    changes: Mapping[str, str | tuple[str, ...]]


class QuotaJudged(msgspec.Struct, frozen=True):
    """Quota protection holds these models back until then (unix seconds), and these no longer."""

    held: Mapping[str, int]
    released: frozenset[str] = frozenset()


class AttentionRaised(msgspec.Struct, frozen=True):
    code: str
    message: str
    url: str = ""


class Served(msgspec.Struct, frozen=True):
    """The model API accepted a request with this account."""


class Observed(msgspec.Struct, frozen=True):
    """The stored record is this now: another process wrote it, or a person edited it."""

    account: Account


Event = (
    TokenWanted
    | RefreshAnswered
    | FlightAbandoned
    | TokenRejected
    | Reauthorized
    | AccessTokenSupplied
    | Paused
    | Resumed
    | Edited
    | QuotaJudged
    | AttentionRaised
    | Served
    | Observed
)


class Save(msgspec.Struct, frozen=True):
    """Store the account durably."""


class Admit(msgspec.Struct, frozen=True):
    """The account may be chosen from now on."""


class Evict(msgspec.Struct, frozen=True):
    """The account may not be chosen from now on, whether or not it can be stored."""


class StartRefresh(msgspec.Struct, frozen=True):
    flight: Flight


class Notify(msgspec.Struct, frozen=True):
    """Something that people are told. `event` is a stable name; `detail` is free of secrets."""

    event: str
    detail: str = ""


Effect = Save | Admit | Evict | StartRefresh | Notify
