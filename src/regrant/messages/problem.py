"""What a client is told when its request cannot be served.

How a problem is written is each dialect's affair; which problem it is, is decided in `gateway/`.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from regrant.errors import DialectError


class ProblemKind(StrEnum):
    INVALID_REQUEST = "invalid_request"
    UNAUTHORIZED = "unauthorized"
    ORIGIN_NOT_ALLOWED = "origin_not_allowed"
    NOT_FOUND = "not_found"
    """No such path, or no such stored object."""
    MODEL_NOT_FOUND = "model_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TOO_LARGE = "too_large"
    NO_ACCOUNTS = "no_accounts"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXHAUSTED = "quota_exhausted"
    """Like RATE_LIMITED, until the day's quota is given out anew: asking again soon is useless."""
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_REJECTED = "upstream_rejected"
    """The vendor refused what the client asked for: the client's own fault, with the vendor's status."""
    INTERNAL = "internal"


USUAL_STATUS = {
    ProblemKind.INVALID_REQUEST: 400,
    ProblemKind.UNAUTHORIZED: 401,
    ProblemKind.ORIGIN_NOT_ALLOWED: 403,
    ProblemKind.NOT_FOUND: 404,
    ProblemKind.MODEL_NOT_FOUND: 404,
    ProblemKind.METHOD_NOT_ALLOWED: 405,
    ProblemKind.TOO_LARGE: 413,
    ProblemKind.NO_ACCOUNTS: 503,
    ProblemKind.RATE_LIMITED: 429,
    ProblemKind.QUOTA_EXHAUSTED: 429,
    ProblemKind.UPSTREAM_UNAVAILABLE: 502,
    ProblemKind.UPSTREAM_TIMEOUT: 504,
    ProblemKind.UPSTREAM_REJECTED: 400,
    ProblemKind.INTERNAL: 500,
}


class Problem(msgspec.Struct, frozen=True):
    """`message` is for the client's eyes: no e-mail, no token, no raw upstream body."""

    kind: ProblemKind
    message: str
    status: int = 0
    """The HTTP status, where it differs from the kind's usual one."""
    param: str = ""
    """The path of the offending field (`messages[2].content[0]`)."""
    retry_after_s: float | None = None
    code: str = ""
    """A word for programs, where it says more than `kind`."""

    @property
    def http_status(self) -> int:
        return self.status or USUAL_STATUS[self.kind]


def describe_refusal(error: DialectError) -> Problem:
    """The problem to tell a client whose request a dialect could not decode or express."""
    return Problem(ProblemKind.INVALID_REQUEST, str(error), param=error.param)
