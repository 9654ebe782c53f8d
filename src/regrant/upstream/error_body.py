"""What an error body of Google's says, in one shape for every form it comes in.

Understands the google.rpc envelope (also wrapped in an array, in a `message` that is itself JSON, or with stray commas), the
string codes of the Interactions API, and Anthropic's envelope from Vertex. Judging what it means is in `classifier.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

MAX_NESTING = 10  # gemini-cli unwraps as many levels of JSON inside `message`
MESSAGE_LIMIT = 1000

_STRAY_COMMAS = re.compile(r",\s*(?=[\]}])|^[\s,]+|[\s,]+$")

_DURATION = re.compile(
    r"^\s*(?P<minus>-)?(?:(?P<h>[0-9]{1,6})h)?(?:(?P<m>[0-9]{1,6})m(?!s))?(?:(?P<s>[0-9]{1,9}(?:\.[0-9]+)?)\s*(?P<unit>ms|s))?\s*$"
)
_RETRY_IN_MESSAGE = re.compile(
    r"Please retry in ((?:[0-9]+h)?(?:[0-9]+m(?!s))?(?:[0-9]+(?:\.[0-9]+)?\s*(?:ms|s))?)"
)


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One `QuotaFailure.violations` entry; "" where Google leaves a field out. `value` None means absent."""

    metric: str = ""
    quota_id: str = ""
    model: str = ""
    value: str | None = None


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """An error as Google told it. `parsed` is False for HTML, an empty body and everything that is no known envelope."""

    parsed: bool = False
    code: int = 0
    name: str = ""
    """The Interactions API's string code or Anthropic's error type; "" in the google.rpc form."""
    status: str = ""
    message: str = ""
    reason: str = ""
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    violations: tuple[Violation, ...] = ()
    retry_delay_s: float | None = None
    links: tuple[str, ...] = ()


def parse_error_body(body: bytes) -> ErrorBody:
    """Read an error body; never raises. Source: docs/sources.md, sections 3 and 5."""
    error = _find_error(_decode(body.decode("utf-8", "replace")), MAX_NESTING)
    return ErrorBody() if error is None else _read_error(error)


def parse_duration(text: object) -> float | None:
    """Seconds of a duration such as `45s`, `35.17s`, `900ms` or `1h2m3.5s`; negative gives 0.0, anything else None."""
    match = _DURATION.match(text) if isinstance(text, str) else None
    if match is None or not (match["h"] or match["m"] or match["s"]):
        return None
    if match["minus"]:
        return 0.0
    seconds = float(match["s"] or 0.0) * (0.001 if match["unit"] == "ms" else 1.0)
    return int(match["h"] or 0) * 3600 + int(match["m"] or 0) * 60 + seconds


def _decode(text: str) -> Any:
    for candidate in (text, _STRAY_COMMAS.sub("", text)):
        try:
            return msgspec.json.decode(candidate.encode("utf-8", "replace"))
        except (msgspec.DecodeError, RecursionError):
            continue
    return None


def _find_error(value: Any, depth: int) -> dict[str, Any] | None:
    if depth == 0:
        return None
    if isinstance(value, list):
        return next(filter(None, (_find_error(item, depth - 1) for item in value[:MAX_NESTING])), None)
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if isinstance(error, str):
        error = (
            _decode(error)
            if error.lstrip().startswith("{")
            else {"code": error, "message": value.get("message")}
        )
    if not isinstance(error, dict):
        return None
    message = error.get("message")
    if isinstance(message, str) and message.lstrip().startswith(("{", "[")):
        inner = _find_error(_decode(message), depth - 1)
        if inner is not None:
            return inner
    return error


def _read_error(error: dict[str, Any]) -> ErrorBody:
    code = error.get("code")
    message = _text(error.get("message"))
    details = [item for item in _list(error.get("details")) if isinstance(item, dict)]
    infos = list(_of_type(details, "ErrorInfo"))
    delays = [parse_duration(item.get("retryDelay")) for item in _of_type(details, "RetryInfo")]
    in_message = _RETRY_IN_MESSAGE.search(message)
    known = [delay for delay in delays if delay is not None]
    if not known and in_message and (told := parse_duration(in_message[1])) is not None:
        known = [told]
    return ErrorBody(
        parsed=True,
        code=code if isinstance(code, int) else 0,
        name=code if isinstance(code, str) else _text(error.get("type")),
        status=_text(error.get("status")),
        message=message[:MESSAGE_LIMIT],
        reason=next(
            (_text(info.get("reason")) for info in infos if info.get("reason")), _legacy_reason(error)
        ),
        metadata=_merge_metadata(infos),
        violations=tuple(dict.fromkeys(_violations(details))),
        retry_delay_s=max(known) if known else None,
        links=tuple(_links(details)),
    )


def _legacy_reason(error: dict[str, Any]) -> str:
    for item in _list(error.get("errors")):
        if isinstance(item, dict) and item.get("reason"):
            return _text(item["reason"])
    return ""


def _merge_metadata(infos: list[dict[str, Any]]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for info in infos:
        metadata = info.get("metadata")
        if isinstance(metadata, dict):
            merged |= {key: text for key, text in metadata.items() if isinstance(text, str)}
    return merged


def _violations(details: list[dict[str, Any]]) -> Iterator[Violation]:
    for failure in _of_type(details, "QuotaFailure"):
        for item in _list(failure.get("violations")):
            if not isinstance(item, dict):
                continue
            dimensions = item.get("quotaDimensions")
            value = item.get("quotaValue")
            yield Violation(
                metric=_text(item.get("quotaMetric")),
                quota_id=_text(item.get("quotaId")),
                model=_text(dimensions.get("model")) if isinstance(dimensions, dict) else "",
                value=str(value) if isinstance(value, (str, int)) else None,
            )


def _links(details: list[dict[str, Any]]) -> Iterator[str]:
    for help_ in _of_type(details, "Help"):
        for link in _list(help_.get("links")):
            if isinstance(link, dict) and isinstance(link.get("url"), str):
                yield link["url"]


def _of_type(details: list[dict[str, Any]], name: str) -> Iterator[dict[str, Any]]:
    return (item for item in details if _text(item.get("@type")).endswith("google.rpc." + name))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
