"""What is received and what is answered, as values.

No I/O here; sending an answer (slowly, in part, not at all) is `delivery.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

JsonObject = dict[str, Any]
Headers = tuple[tuple[str, str], ...]

JSON_TYPE = "application/json; charset=UTF-8"


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request, read to its end. Header names are in lower case; `query` keeps the first value of each name."""

    method: str
    path: str
    raw_query: str
    query: dict[str, str]
    headers: Headers
    body: bytes

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")


class Form(Enum):
    """How the pieces of a body belong together."""

    WHOLE = "whole"
    SSE = "sse"
    ARRAY = "array"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. A whole body has a length; the two streamed forms go out piece by piece, then `tail`."""

    status: int
    headers: Headers
    pieces: tuple[bytes, ...]
    form: Form = Form.WHOLE
    tail: bytes = b""

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces) + self.tail


def to_json(value: Any) -> bytes:
    """Indented JSON, as Google's front end writes whole answers."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def json_answer(value: Any, *, status: int = 200, headers: Headers = ()) -> Answer:
    return Answer(status, (("content-type", JSON_TYPE), *headers), (to_json(value),))


def html_answer(html: str, *, status: int = 200) -> Answer:
    return Answer(status, (("content-type", "text/html; charset=UTF-8"),), (html.encode(),))


def empty_answer(status: int, headers: Headers = ()) -> Answer:
    return Answer(status, headers, (b"",))


def sse_answer(chunks: list[JsonObject]) -> Answer:
    """`data: {...}` lines that end in CR LF; no event names and no end mark, as Google sends them."""
    pieces = tuple(b"data: " + msgspec.json.encode(chunk) + b"\r\n\r\n" for chunk in chunks)
    return Answer(200, (("content-type", "text/event-stream"),), pieces, Form.SSE)


def array_answer(chunks: list[JsonObject]) -> Answer:
    """One JSON array, written element by element: what Google streams without `alt=sse`."""
    encoded = [to_json(chunk) for chunk in chunks]
    pieces = tuple((b",\r\n" if index else b"[") + piece for index, piece in enumerate(encoded))
    return Answer(200, (("content-type", JSON_TYPE),), pieces, Form.ARRAY, b"]\n")
