"""The cursors of lists: the place of an item, in a text that clients hand back as it is.

Which place an item has is known by the list.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TypeVar

import msgspec

from regrant.admin.errors import ApiError, FieldProblem

T = TypeVar("T")


def cursor_of(place: object) -> str:
    return urlsafe_b64encode(msgspec.json.encode(place)).decode()


def place_of(cursor: str, kind: type[T]) -> T | None:
    """The place of that kind that a cursor names; None for "", where a list begins. Raises ApiError."""
    if not cursor:
        return None
    try:
        return msgspec.json.decode(urlsafe_b64decode(cursor.encode()), type=kind)
    except (ValueError, msgspec.MsgspecError) as error:
        raise no_cursor() from error


def no_cursor() -> ApiError:
    """What is said of a text that is no cursor of that list."""
    problem = FieldProblem("cursor", "not a `next` of an earlier answer")
    return ApiError(
        422, "invalid_request", f"cursor: {problem.message}", "Begin without a cursor.", problems=[problem]
    )
