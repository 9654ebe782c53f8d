"""Problems as Google writes them, and what a client may be told of an error that Google sent.

Whose fault an upstream error is, and what follows for the account, is judged in `upstream/faults.py`.
Source: google.rpc.Status and google.rpc.RetryInfo; ai.google.dev/gemini-api/docs/troubleshooting.
"""

from __future__ import annotations

from typing import Any

import msgspec

from regrant.dialects.base import ProblemAnswer, answer_problem
from regrant.messages.problem import Problem, ProblemKind

_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    504: "DEADLINE_EXCEEDED",
}
_MAX_MESSAGE = 2000
_CLIENTS_OWN = frozenset({400, 404, 413})


def encode_problem(problem: Problem) -> ProblemAnswer:
    return answer_problem(problem, status=problem.http_status, body=encode_error(problem))


def encode_error(problem: Problem) -> bytes:
    """`{"error": ...}` alone; the same object is an event in a stream and an element of an array."""
    status = problem.http_status
    word = _WORDS.get(status, "UNAVAILABLE" if status >= 500 else "INVALID_ARGUMENT")
    error: dict[str, Any] = {"code": status, "message": problem.message, "status": word}
    details: list[dict[str, Any]] = []
    if problem.param:
        violation = {"field": problem.param, "description": problem.message}
        details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]})
    if problem.retry_after_s is not None:
        delay = f"{max(0.0, problem.retry_after_s):.3f}".rstrip("0").rstrip(".")
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{delay}s"})
    if details:
        error["details"] = details
    return msgspec.json.encode({"error": error})


class UpstreamError(msgspec.Struct, kw_only=True, frozen=True):
    """Google's `error` object, as far as a client may see it. Wrong types count as absent."""

    code: int = 0
    status: str = ""
    message: str = ""


class _LooseError(msgspec.Struct):
    code: Any = None
    status: Any = None
    message: Any = None


class _Envelope(msgspec.Struct):
    error: _LooseError


_ENVELOPE = msgspec.json.Decoder(_Envelope | list[_Envelope])


def read_error(body: bytes) -> UpstreamError | None:
    """The error in `body`, be it bare or wrapped in an array; None if it holds none."""
    try:
        found = _ENVELOPE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(found, list):
        if not found:
            return None
        found = found[0]
    loose = found.error
    return UpstreamError(
        code=loose.code if isinstance(loose.code, int) else 0,
        status=loose.status if isinstance(loose.status, str) else "",
        message=loose.message if isinstance(loose.message, str) else "",
    )


def describe_error(error: UpstreamError) -> Problem:
    """What to tell a client about `error`. Google's words are handed on only where they are about the client's request."""
    if error.code in _CLIENTS_OWN:
        return Problem(ProblemKind.UPSTREAM_REJECTED, error.message[:_MAX_MESSAGE], status=error.code)
    if error.code == 429:
        return Problem(ProblemKind.RATE_LIMITED, "Google's rate limit is reached. Try again later.")
    if error.code == 504:
        return Problem(ProblemKind.UPSTREAM_TIMEOUT, "Google did not answer in time. Try again.")
    status = 503 if error.code == 503 else 502
    word = error.status if error.status.isupper() and error.status.isascii() else "an error"
    return Problem(
        ProblemKind.UPSTREAM_UNAVAILABLE,
        f"Google broke the answer off ({word[:40]}). Try again.",
        status=status,
    )
