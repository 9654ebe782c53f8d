"""A request as it is kept and shown: one shape for the traffic log, the API, its events and the commands.

Pure. It is made from an Exchange; who writes it is `log.py`, who reads it `history.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from regrant.messages.model import Usage
from regrant.secret import Secret
from regrant.traffic.exchange import Bodies, Exchange
from regrant.traffic.redact import clean

MAX_WORD = 200  # names come from clients; what is kept of them is bounded
MAX_SAID = 500
MAX_ATTEMPTS = 100
MAX_DROPPED = 50
CLIENT_LEFT = "client left"


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One account that was tried. `status` is Google's, 0 where none came; `fault` is "" where the attempt succeeded; `model` the
    one that was asked for, where several were to be tried.
    """

    account_id: str
    status: int
    fault: str
    ms: float
    said: str = ""
    model: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a client. `at` in unix seconds; times in milliseconds; `first_ms` null for an answer in one piece.

    `tokens` is empty where Google did not count them. `problem` is "" where all went well. `reasons` says of how many accounts why
    they were out, where no account was left to ask.
    """

    id: str
    at: float
    dialect: str
    model: str
    served_model: str
    status: int
    key: str
    ms: float
    first_ms: float | None
    problem: str
    tokens: dict[str, int]
    attempts: list[AttemptRecord]
    dropped: list[str]
    reasons: dict[str, int] = {}


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked or answered, without secrets. `bytes` is its whole length, of which `text` may be the beginning only."""

    text: str
    bytes: int
    cut: bool


class BodyPair(msgspec.Struct, frozen=True):
    request: Body
    answer: Body


def record_of(exchange: Exchange, secrets: Iterable[Secret] = ()) -> Record:
    """The exchange as it is kept: bounded, and without secrets."""
    return Record(
        id=exchange.id,
        at=exchange.at,
        dialect=str(exchange.dialect),
        model=_word(exchange.model),
        served_model=_word(exchange.served_model),
        status=exchange.status,
        key=_word(exchange.key),
        ms=round(exchange.ms, 3),
        first_ms=round(exchange.first_ms, 3) or None,
        problem=str(exchange.problem),
        tokens=_tokens(exchange.usage),
        attempts=[
            AttemptRecord(
                account_id=attempt.account_id,
                status=attempt.status,
                fault=str(attempt.fault),
                ms=round(attempt.ms, 3),
                said=_said(attempt.said, secrets) if attempt.said else "",
                model=_word(attempt.model),
            )
            for attempt in exchange.attempts[:MAX_ATTEMPTS]
        ],
        dropped=[_word(path) for path in exchange.dropped[:MAX_DROPPED]],
        # Where somebody stood in for a model that nobody could serve, all went well.
        reasons=dict(exchange.reasons) if exchange.reasons and exchange.problem else {},
    )


def bodies_of(bodies: Bodies, secrets: Iterable[Secret] = ()) -> BodyPair:
    known = tuple(secrets)
    return BodyPair(
        _body(bodies.request, bodies.request_bytes, known), _body(bodies.answer, bodies.answer_bytes, known)
    )


def _body(kept: bytes, length: int, secrets: tuple[Secret, ...]) -> Body:
    return Body(text=clean(kept.decode("utf-8", "replace"), secrets), bytes=length, cut=len(kept) < length)


def _tokens(usage: Usage | None) -> dict[str, int]:
    if usage is None:
        return {}
    return {
        "input_tokens": usage.input_tokens,
        "cached_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }


def _word(text: str) -> str:
    if len(text) > MAX_WORD:
        text = text[: MAX_WORD - 1] + "…"
    # A lone surrogate can be in a name that a client sent, and in no file.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _said(text: str, secrets: Iterable[Secret]) -> str:
    line = " ".join(clean(text[: 4 * MAX_SAID], secrets).split())
    return line[:MAX_SAID].encode("utf-8", "replace").decode()
