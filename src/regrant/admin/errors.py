"""Errors of the back office: `{"error":{"code","message","hint"}}` for everything that goes wrong, whoever noticed it.

No message quotes a secret, a path of this machine or a traceback. What went wrong inside is logged, not answered.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from regrant import logs
from regrant.accounts.enrolment import AdditionRefused
from regrant.accounts.keeper import AccountUnusable
from regrant.accounts.store import StoreError
from regrant.gateway.key_file import KeysError
from regrant.messages.problem import Problem
from regrant.oauth.imports import FileRefused
from regrant.traffic.history import TrafficUnreadable

log = logs.get("admin")

Headers = Sequence[tuple[str, str]]


class FieldProblem(msgspec.Struct, frozen=True):
    """What is wrong with one field or setting. `key` is its name or path."""

    key: str
    message: str


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    code: str
    message: str
    hint: str
    problems: list[FieldProblem] = []
    """One for each field or setting that is wrong."""

    def __post_init__(self) -> None:
        assert self.code


class Failure(msgspec.Struct, frozen=True):
    error: ErrorBody


class ApiError(Exception):
    """Answered as it is. `status` is the HTTP status."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        hint: str = "",
        *,
        problems: Sequence[FieldProblem] = (),
        headers: Headers = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = ErrorBody(code=code, message=message, hint=hint, problems=list(problems))
        self.headers = tuple(headers)

    def encode(self) -> bytes:
        return msgspec.json.encode(Failure(self.body))


def no_such_account(account_id: str) -> ApiError:
    return ApiError(
        404, "account_not_found", f"there is no account {account_id[:100]!r}", "GET /api/accounts lists them."
    )


def describe(error: Exception) -> ApiError:
    """What a caller is told about an exception. Only what nobody foresaw is logged here."""
    match error:
        case ApiError():
            return error
        case AdditionRefused():
            return ApiError(error.status, error.code, str(error), error.hint)
        case FileRefused():
            return ApiError(
                422, error.reason, error.advice, "Give the content of an authorized_user ADC file as `adc`."
            )
        case StoreError():
            return _not_persisted(error, "The account could not be stored")
        case TrafficUnreadable():
            return ApiError(503, "traffic_unreadable", str(error), error.hint)
        case KeysError():
            return _not_persisted(error, "The client keys could not be read or stored")
        case AccountUnusable(why="gone"):
            return no_such_account(error.account_id)
        case AccountUnusable():
            return ApiError(409, error.why, str(error), "GET /api/accounts says what is in the way.")
        case ValidationException():
            return _invalid(error)
        case HTTPException() if error.status_code < 500:
            return _http(error)
        case _:
            log.error("request_failed", f"a request to the back office failed: {error!r}")
            return ApiError(500, "internal", "The gateway failed.", "Its log says why.")


def answer(_request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The exception handler of the whole office."""
    told = describe(error)
    return Response(
        told.encode(), status_code=told.status, media_type="application/json", headers=dict(told.headers)
    )


def from_problem(problem: Problem) -> ApiError:
    """A refusal of the request pipeline, in the words of the back office."""
    return ApiError(
        problem.http_status,
        problem.code or problem.kind.value,
        problem.message,
        "GET /api/pool says which account lacks what.",
    )


def _not_persisted(error: Exception, sentence: str) -> ApiError:
    log.error("not_persisted", f"{sentence}: {error}")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT}:
            return ApiError(
                507, "not_persisted", f"{sentence}: the disk is full.", "Free space, then try again."
            )
        cause = cause.__cause__
    hint = "Nothing has changed. See that the data folder can be written, then try again; the log names the path."
    return ApiError(503, "not_persisted", f"{sentence}.", hint)


def _invalid(error: ValidationException) -> ApiError:
    problems = [
        FieldProblem(
            str(item.get("key") or item.get("source") or "body"), _unquoted(str(item.get("message", "")))
        )
        for item in (error.extra if isinstance(error.extra, list) else [])
        if isinstance(item, dict)
    ]
    named = "; ".join(f"{problem.key}: {problem.message}" for problem in problems)
    return ApiError(
        422,
        "invalid_request",
        named or error.detail,
        "GET /api/openapi.json describes every field.",
        problems=problems,
    )


def _unquoted(message: str) -> str:
    """Without the value: somebody may have put a token into the wrong field."""
    return "not one of the allowed values" if message.startswith("Invalid enum value") else message


_CODES = {
    400: ("malformed_request", "Send a JSON object as the body."),
    404: ("not_found", "GET /api/openapi.json lists every route."),
    405: ("method_not_allowed", "GET /api/openapi.json lists every route with its methods."),
    413: ("too_large", "Send fewer or smaller items at a time."),
}


def _http(error: HTTPException) -> ApiError:
    code, hint = _CODES.get(error.status_code, ("refused", ""))
    headers = [(name, value) for name, value in (error.headers or {}).items() if name.lower() == "allow"]
    return ApiError(error.status_code, code, error.detail, hint, headers=headers)
