"""What can happen to an account (events), and what the keeper is told to do about it (effects). Values only.

What follows from an event is decided in `lifecycle.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from regrant.accounts.model import Account, Disablement, Token
from regrant.oauth.google import Granted, Refused, Unavailable
from regrant.secret import Secret


@dataclass(frozen=True, slots=True)
class Flight:
    """One question to the token endpoint, and the grant that it is asked with."""

    generation: int
    refresh_token: Secret
    started_at: float
    explicit: bool = False
    """A person asked for it (verify, re-add): allowed for a disabled account too."""
    access_token: Secret = field(default_factory=Secret)
    """The one that was to be replaced; together with `disabled` it tells whether somebody had an answer meanwhile."""
    disabled: Disablement | None = None


@dataclass(frozen=True, slots=True)
class TokenWanted:
    """Somebody needs a token soon (stale) or now (expired); `explicit`: a person asks whether the grant lives."""

    explicit: bool = False


@dataclass(frozen=True, slots=True)
class RefreshAnswered:
    """The token endpoint answered the flight. `jitter` is a random number from 0 to 1."""

    flight: Flight
    answer: Granted | Refused | Unavailable
    jitter: float = 0.5


@dataclass(frozen=True, slots=True)
class FlightAbandoned:
    """The flight ended without an answer of its own: another process had one, or the grant was replaced."""

    flight: Flight


@dataclass(frozen=True, slots=True)
class TokenRejected:
    """The model API answered 401 to this access token."""

    access_token: Secret


@dataclass(frozen=True, slots=True)
class Identity:
    email: str
    sub: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Reauthorized:
    """A new grant for this account, proven alive: the owner signed in again or gave a refresh token that works."""

    token: Token
    identity: Identity
    client_id: str
    client_secret: Secret = field(default_factory=Secret)


@dataclass(frozen=True, slots=True)
class AccessTokenSupplied:
    """The owner gave an access token alone: it serves for its time, and the grant behind it is asked at once."""

    token: Token


@dataclass(frozen=True, slots=True)
class Paused:
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Resumed:
    pass


@dataclass(frozen=True, slots=True)
class Edited:
    """New values for `label`, `project_id`, `upstream`, `location`; an import also brings `protected_models`."""

    changes: Mapping[str, str | tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class QuotaJudged:
    """Quota protection holds these models back until then (unix seconds), and these no longer."""

    held: Mapping[str, int]
    released: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AttentionRaised:
    code: str
    message: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Served:
    """The model API accepted a request with this account."""


@dataclass(frozen=True, slots=True)
class Observed:
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


@dataclass(frozen=True, slots=True)
class Save:
    """Store the account durably."""


@dataclass(frozen=True, slots=True)
class Admit:
    """The account may be chosen from now on."""


@dataclass(frozen=True, slots=True)
class Evict:
    """The account may not be chosen from now on, whether or not it can be stored."""


@dataclass(frozen=True, slots=True)
class StartRefresh:
    flight: Flight


@dataclass(frozen=True, slots=True)
class Notify:
    """Something that people are told. `event` is a stable name; `detail` is free of secrets."""

    event: str
    detail: str = ""


Effect = Save | Admit | Evict | StartRefresh | Notify
