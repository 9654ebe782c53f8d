"""Reading a body as Google's proto-JSON parser does: closed field sets, scalar types, both spellings of names.

What the values may be together is `turns.py` and `settings_rules.py`; the field sets are `field_sets.py`. Source: docs/sources.md, sections 3 and 4.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from regrant.sandbox.field_sets import ENUMS, GEMINI_ONLY, MESSAGES, ONE_OF, VERTEX_ONLY
from regrant.sandbox.wire import JsonObject

_PROTO_TYPES = {"string": "TYPE_STRING", "bool": "TYPE_BOOL", "int": "TYPE_INT32", "float": "TYPE_FLOAT"}
_PACKAGE = "type.googleapis.com/google.ai.generativelanguage.v1beta."


@dataclass(slots=True)
class _Reader:
    vertex: bool
    violations: list[tuple[str, str]] = field(default_factory=list)

    def message(self, value: Any, name: str, path: str) -> JsonObject:
        fields = MESSAGES[name]
        absent = GEMINI_ONLY if self.vertex else VERTEX_ONLY
        read: JsonObject = {}
        for key, inner in value.items():
            known = camel(key)
            if known not in fields or (name, known) in absent:
                self._unknown(key, path, "Cannot find field.")
            elif inner is not None:
                self._set(read, name, known, inner, path)
        return read

    def _set(self, read: JsonObject, name: str, key: str, value: Any, path: str) -> None:
        siblings = ONE_OF.get(name, ())
        taken = next((one for one in siblings if one in read), None) if key in siblings else None
        if taken:
            text = f"Invalid value at '{path}' (oneof), oneof field 'data' is already set. Cannot set '{key}'"
            self.violations.append((path, text))
            return
        read[key] = self.value(value, MESSAGES[name][key], _join(path, snake(key)))

    def value(self, value: Any, kind: str, path: str) -> Any:
        if kind.startswith("[]"):
            items = value if isinstance(value, list) else [value]
            return [self.value(item, kind[2:], f"{path}[{index}]") for index, item in enumerate(items)]
        if isinstance(value, list) and kind != "value":
            parent, _, key = path.rpartition(".")
            self._unknown(key, parent, "Proto field is not repeating, cannot start list.")
            return None
        if kind.startswith("{}"):
            return self._map(value, kind[2:], path)
        if kind in MESSAGES:
            return self._nested(value, kind, path)
        return self._scalar(value, kind, path)

    def _map(self, value: Any, kind: str, path: str) -> JsonObject:
        if not isinstance(value, dict):
            self._invalid(path, "Map", value)
            return {}
        pairs = enumerate(value.items())
        return {key: self.value(inner, kind, f"{path}[{index}].value") for index, (key, inner) in pairs}

    def _nested(self, value: Any, kind: str, path: str) -> JsonObject:
        if not isinstance(value, dict):
            self._invalid(path, _PACKAGE + kind, value)
            return {}
        return self.message(value, kind, path)

    def _scalar(self, value: Any, kind: str, path: str) -> Any:
        match kind:
            case "value":
                return value
            case "struct":
                if not isinstance(value, dict):
                    self._invalid(path, "type.googleapis.com/google.protobuf.Struct", value)
                return value
            case "bytes":
                return self._bytes(value, path)
            case _ if kind.startswith("enum:"):
                return self._enum(value, kind.removeprefix("enum:"), path)
            case _:
                fitting = _fit(value, kind)
                if fitting is None:
                    self._invalid(path, _PROTO_TYPES[kind], value)
                return fitting

    def _bytes(self, value: Any, path: str) -> Any:
        try:
            text = value.replace("-", "+").replace("_", "/")
            base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (AttributeError, ValueError, binascii.Error):
            shown = msgspec.json.encode(value).decode()[:80]
            sentence = f"Invalid value at '{path}' (TYPE_BYTES), Base64 decoding failed for {shown}"
            self.violations.append((path, sentence))
        return value

    def _enum(self, value: Any, name: str, path: str) -> Any:
        if name == "Type" and isinstance(value, str):
            value = value.upper()
        if not isinstance(value, int) and value not in ENUMS[name]:
            self._invalid(path, _PACKAGE + name, value)
        return value

    def _invalid(self, path: str, kind: str, value: Any) -> None:
        shown = msgspec.json.encode(value).decode()[:80]
        self.violations.append((path, f"Invalid value at '{path}' ({kind}), {shown}"))

    def _unknown(self, key: str, path: str, why: str) -> None:
        where = f" at '{path}'" if path else ""
        self.violations.append((path, f'Invalid JSON payload received. Unknown name "{key}"{where}: {why}'))


def normalise(
    body: JsonObject, message: str, *, vertex: bool = False
) -> tuple[JsonObject, list[tuple[str, str]]]:
    """The body with camelCase names and every repeated field a list, and what is wrong with it: path and sentence."""
    reader = _Reader(vertex)
    return reader.message(body, message, ""), reader.violations


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest) if head else name


def snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _fit(value: Any, kind: str) -> Any:
    """The value as that scalar, or None. Proto-JSON takes numbers in quotes, but no number for a string."""
    match kind:
        case "string":
            return value if isinstance(value, str) else None
        case "bool":
            return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    if kind == "float":
        return number
    return int(number) if number.is_integer() else None
