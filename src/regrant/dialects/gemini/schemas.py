"""From Google's `Schema`, in which Gemini's SDKs describe tools and answers, to the JSON Schema that all others read.

The two differ in spelling only: types in capitals, `nullable`, numbers as strings, `defs` and `ref` without a `$`.
Source: ai.google.dev/api/caching#Schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from regrant.dialects.gemini.fields import ANY, Fields
from regrant.errors import DialectError

_SNAKE = re.compile(r"_([a-z])")
_RENAMED = {"defs": "$defs", "ref": "$ref"}
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})


def take_schema(holder: Fields, name: str) -> Raw | None:
    """The JSON Schema in the field `name`, byte for byte. Raises: DialectError if it is no object."""
    schema = holder.raw(name)
    if schema is not None and not bytes(schema).startswith(b"{"):
        raise holder.refuse(name, "must be an object")
    return schema


def take_google_schema(holder: Fields, name: str) -> Raw | None:
    """The `Schema` in the field `name` as JSON Schema. Raises: DialectError if it is no object."""
    schema = holder.take(name, ANY)
    if schema is None:
        return None
    if not isinstance(schema, dict):
        raise holder.refuse(name, "must be an object")
    try:
        return Raw(msgspec.json.encode(_translate(schema)))
    except RecursionError as error:
        raise DialectError(f"`{holder.path(name)}` is nested too deeply.", param=holder.path(name)) from error


def _translate(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    translated: dict[str, Any] = {}
    for spelled, value in schema.items():
        name = _SNAKE.sub(lambda found: found[1].upper(), spelled)
        translated[_RENAMED.get(name, name)] = _TRANSLATORS.get(name, _keep)(value)
    if translated.get("type") == "type_unspecified":
        del translated["type"]
    if translated.pop("nullable", None) is True and isinstance(translated.get("type"), str):
        translated["type"] = [translated["type"], "null"]
    return translated


def _keep(value: Any) -> Any:
    return value


def _translate_each(value: Any) -> Any:
    return [_translate(one) for one in value] if isinstance(value, list) else value


def _translate_named(value: Any) -> Any:
    """The names are the client's own and stay."""
    return {name: _translate(one) for name, one in value.items()} if isinstance(value, dict) else value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _count(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


_TRANSLATORS: dict[str, Callable[[Any], Any]] = {
    "type": _lower,
    "items": _translate,
    "additionalProperties": _translate,
    "anyOf": _translate_each,
    "properties": _translate_named,
    "defs": _translate_named,
    "$defs": _translate_named,
} | dict.fromkeys(_COUNTS, _count)
