"""One JSON object of a Gemini client's, read field by field, in either spelling of its names.

Google takes `thoughtSignature` and `thought_signature` alike, but must not be made to rename what is inside of arguments and
schemas: only names that are asked for here are fields. What they mean is in the `server_*` modules.
Source: protobuf.dev/programming-guides/json.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from regrant.errors import DialectError

T = TypeVar("T")

STR = msgspec.json.Decoder(str)
BOOL = msgspec.json.Decoder(bool)
INT = msgspec.json.Decoder(int)
FLOAT = msgspec.json.Decoder(float)
STRS = msgspec.json.Decoder(list[str])
ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
OBJECT = msgspec.json.Decoder(dict[str, Raw])
_LIST = msgspec.json.Decoder(list[Raw])
_NULL = b"null"
_SNAKE = re.compile(r"_([a-z0-9])")


class Fields:
    """What is taken is accounted for; `rest` names what nobody took. A field that is null counts as absent."""

    def __init__(self, values: Mapping[str, Raw], where: str = "") -> None:
        """Raises: DialectError if one field is there in both spellings."""
        self.where = where
        self._values: dict[str, Raw] = {}
        for name, value in values.items():
            plain = _SNAKE.sub(lambda found: found[1].upper(), name)
            if plain in self._values:
                raise self.refuse(plain, "is given twice")
            if bytes(value) != _NULL:
                self._values[plain] = value

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def path(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name

    def refuse(self, name: str, why: str) -> DialectError:
        """The error to raise about the field `name`; `why` goes on after its path."""
        return DialectError(f"`{self.path(name)}` {why}.", param=self.path(name))

    def raw(self, name: str) -> Raw | None:
        return self._values.pop(name, None)

    def take(self, name: str, decoder: msgspec.json.Decoder[T]) -> T | None:
        """Raises: DialectError if the value is of another type."""
        raw = self._values.pop(name, None)
        return None if raw is None else _decode(raw, decoder, self.path(name))

    def child(self, name: str) -> Fields | None:
        """Raises: DialectError if the value is no object."""
        found = self.take(name, OBJECT)
        return None if found is None else Fields(found, self.path(name))

    def children(self, name: str) -> list[Fields]:
        """The objects of a list; one object alone counts as a list, as it does at Google."""
        raw = self._values.pop(name, None)
        if raw is None:
            return []
        where = self.path(name)
        if bytes(raw).startswith(b"{"):
            alone = _decode(raw, OBJECT, where)
            return [Fields(alone, where)]
        children: list[Fields] = []
        ones = _decode(raw, _LIST, where)
        for index, one in enumerate(ones):
            fields = _decode(one, OBJECT, f"{where}[{index}]")
            children.append(Fields(fields, f"{where}[{index}]"))
        return children

    def rest(self) -> tuple[str, ...]:
        return tuple(self.path(name) for name in self._values)


def _decode(raw: Raw, decoder: msgspec.json.Decoder[T], where: str) -> T:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = str(error).partition(" - at ")[0]
        raise DialectError(f"{what} in `{where}`.", param=where) from error
