"""The vocabulary of failures: whose fault it is, what to do, how long to leave which scope alone, what mends it.

Values only. Judging an answer is `classifier.py`; carrying a remedy out, and when to stop, is `gateway/verdict.py`; keeping the
cool-downs is `pool/cooldown.py`.
"""

from __future__ import annotations

import math
from datetime import tzinfo
from enum import StrEnum

import msgspec

from regrant.upstream.error_body import Violation

UNTIL_A_PERSON_ACTS = math.inf
"""The end of a cool-down that only a person's act ends. JSON shows it as null."""


REFUSED_S = 300.0
"""How soon an account or place that is refused is looked at again, unless the settings say otherwise."""


class FaultKind(StrEnum):
    """Stable names: the traffic log, metrics and `x-regrant` diagnostics carry them."""

    TOKEN_REJECTED = "token_rejected"
    RATE_LIMITED = "rate_limited"
    SPEND_LIMIT = "spend_limit"
    QUOTA_PER_DAY = "quota_per_day"
    NO_QUOTA = "no_quota"
    BILLING = "billing"
    PERMISSION = "permission"
    BLOCKED = "blocked"
    UNUSABLE_HERE = "unusable_here"
    MODEL_NOT_ALLOWED = "model_not_allowed"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    CLIENT_ERROR = "client_error"
    SIGNATURE_REFUSED = "signature_refused"
    MODEL_NOT_FOUND = "model_not_found"
    CONNECT_FAILED = "connect_failed"
    RESET = "reset"
    ANSWER_TIMEOUT = "answer_timeout"
    CUT = "cut"
    IDLE = "idle"
    BAD_ANSWER = "bad_answer"
    ACCOUNT_DIED = "account_died"
    TOKEN_UNAVAILABLE = "token_unavailable"
    TOKEN_REFUSED = "token_refused"


class Whose(StrEnum):
    CLIENT = "client"
    ACCOUNT = "account"
    PROJECT = "project"
    MODEL = "model"
    OAUTH_CLIENT = "oauth_client"
    GOOGLE = "google"
    NETWORK = "network"


class Remedy(StrEnum):
    """What to do about it, as far as the fault itself tells; how often is `gateway/verdict.py`'s."""

    REFRESH = "refresh"
    """The same account, after a forced refresh of its token."""
    MEND = "mend"
    """The same account, without the thought signatures that Google refused."""
    OTHER_ACCOUNT = "other_account"
    OTHER_PROJECT = "other_project"
    ONCE_MORE = "once_more"
    """Nobody of ours is to blame: one repetition on another account for the whole request."""
    GIVE_UP = "give_up"


class Scope(StrEnum):
    """What a cool-down holds back. MODEL is every account for one model."""

    PROJECT_MODEL = "project_model"
    PROJECT = "project"
    ACCOUNT = "account"
    MODEL = "model"


class Hold(msgspec.Struct, frozen=True):
    """Leave `scope` alone until `until` (unix seconds; UNTIL_A_PERSON_ACTS has no end).

    `guessed`: Google named no end. The next time it lasts longer, and when it is over one request tries first (`pool/breaker.py`).
    """

    scope: Scope
    until: float
    guessed: bool = False


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """What a person must solve while the grant is fine; becomes the account's `attention`."""

    code: str
    message: str
    url: str = ""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One failed call. `message` is Google's own text: for the owner, never for a client of another dialect."""

    kind: FaultKind
    whose: Whose
    status: int = 0
    """The HTTP status, or the code of an error told inside a 200 stream; 0 when no answer came."""
    message: str = ""
    hold: Hold | None = None
    attention: Attention | None = None
    advice: str = ""
    url: str = ""
    limits: tuple[Violation, ...] = ()
    """The quotas that Google named, each once, for the quota guard to learn from."""

    @property
    def remedy(self) -> Remedy:
        match self.kind:
            case FaultKind.TOKEN_REJECTED:
                # A hold says that a fresh token was refused as well.
                return Remedy.REFRESH if self.hold is None else Remedy.OTHER_ACCOUNT
            case FaultKind.SIGNATURE_REFUSED:
                return Remedy.MEND
            case kind if kind in _FINAL:
                return Remedy.GIVE_UP
            case kind if kind in _OUTAGES:
                return Remedy.ONCE_MORE
            case _:
                return Remedy.OTHER_PROJECT if self.whose is Whose.PROJECT else Remedy.OTHER_ACCOUNT


_FINAL = frozenset(
    {FaultKind.CLIENT_ERROR, FaultKind.MODEL_NOT_FOUND, FaultKind.ANSWER_TIMEOUT, FaultKind.IDLE}
)
_OUTAGES = frozenset(
    {
        FaultKind.SERVER_ERROR,
        FaultKind.OVERLOADED,
        FaultKind.CONNECT_FAILED,
        FaultKind.RESET,
        FaultKind.CUT,
        FaultKind.BAD_ANSWER,
        FaultKind.BLOCKED,
    }
)


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """The circumstances of the call that failed.

    `strikes` is how many times in a row this scope failed without a known end. `attend` is False when the call went
    another way than the account's own upstream (Claude through Vertex on a Gemini account): then a refusal holds back only
    that model, because the account itself is fine. `replayed` says that a fresh token was refused as well. `refused_s` is how soon what is refused
    is looked at again. `jitter` is a random number from 0 to 1.
    """

    model: str
    project: str
    now: float
    tz: tzinfo
    strikes: int = 0
    vertex: bool = False
    attend: bool = True
    replayed: bool = False
    refused_s: float = REFUSED_S
    jitter: float = 0.5


def account_died(reason: str = "") -> Fault:
    """The account's refresh was answered with `invalid_grant` while this request wanted its token."""
    return Fault(
        kind=FaultKind.ACCOUNT_DIED,
        whose=Whose.ACCOUNT,
        message=reason,
        advice="Sign in to the account again.",
    )


def token_unavailable(reason: str = "") -> Fault:
    """No usable access token could be had for a reason that does not condemn the account."""
    return Fault(
        kind=FaultKind.TOKEN_UNAVAILABLE,
        whose=Whose.GOOGLE,
        message=reason,
        advice="Google's token endpoint gave no token; it is asked again.",
    )


def token_refused(reason: str = "", *, oauth_client: bool = False) -> Fault:
    """The account cannot be used until a person acts: Google refuses its OAuth client, or its owner took it out."""
    return Fault(
        kind=FaultKind.TOKEN_REFUSED,
        whose=Whose.OAUTH_CLIENT if oauth_client else Whose.ACCOUNT,
        message=reason,
        advice="Google refuses the OAuth client; check its id and secret."
        if oauth_client
        else "The account needs its owner; see regrant accounts list.",
    )
