"""The kinds of values that a setting can have: what is accepted, how text is read, how a value is shown.

Which setting is of which kind is written in `table`. The rules for addresses are in `addresses`.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec

from regrant.secret import MASK, Secret


class Refused(Exception):
    """A value is not allowed; never leaves this package. `faults` holds a path below the key ("" for the value itself) and a sentence each."""

    def __init__(self, *faults: tuple[str, str]) -> None:
        super().__init__("; ".join(sentence for _, sentence in faults))
        self.faults = faults


class Kind(ABC):
    """`allowed` is a noun phrase for help and errors. `accept` returns the canonical, immutable value."""

    secret = False

    @property
    @abstractmethod
    def allowed(self) -> str: ...

    @abstractmethod
    def accept(self, raw: Any) -> Any:
        """The value as the program uses it. Raises Refused."""

    def parse(self, text: str) -> Any:
        """The raw value that `text` (environment, command line) stands for. Raises Refused; never quotes `text`."""
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            found = "found text that is not JSON" if text else "found nothing"
            raise Refused(("", f"{found}, allowed is {self.allowed}")) from None

    def show(self, value: Any) -> str:
        """`value`, one that was accepted, for people to read; secrets masked."""
        return json.dumps(plain(value), ensure_ascii=False)

    def fields_of_items(self) -> frozenset[str]:
        """The field names of the tables in a list of tables; empty for every other kind."""
        return frozenset()

    def refuse(self, raw: Any) -> Refused:
        found = name_type(raw) if self.secret else quote(raw)
        return Refused(("", f"found {found}, allowed is {self.allowed}"))


@dataclass(frozen=True, slots=True)
class Whole(Kind):
    low: int
    high: int

    @property
    def allowed(self) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def accept(self, raw: Any) -> int:
        if type(raw) is not int or not self.low <= raw <= self.high:
            raise self.refuse(raw)
        return raw


@dataclass(frozen=True, slots=True)
class Number(Kind):
    low: float
    high: float

    @property
    def allowed(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"

    def accept(self, raw: Any) -> float:
        if type(raw) not in (int, float) or math.isnan(raw) or not self.low <= raw <= self.high:
            raise self.refuse(raw)
        return float(raw)

    def show(self, value: Any) -> str:
        return f"{value:g}"


@dataclass(frozen=True, slots=True)
class Flag(Kind):
    @property
    def allowed(self) -> str:
        return "true or false"

    def accept(self, raw: Any) -> bool:
        if type(raw) is not bool:
            raise self.refuse(raw)
        return raw

    def parse(self, text: str) -> Any:
        words = {
            "true": True,
            "1": True,
            "yes": True,
            "on": True,
            "false": False,
            "0": False,
            "no": False,
            "off": False,
        }
        return words.get(text.strip().lower(), text)


@dataclass(frozen=True, slots=True)
class Choice(Kind):
    choices: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)

    def accept(self, raw: Any) -> str:
        if raw not in self.choices:
            raise self.refuse(raw)
        return str(raw)

    def parse(self, text: str) -> Any:
        return text


@dataclass(frozen=True, slots=True)
class Text(Kind):
    """Text that `rule` accepts. `rule` returns the canonical text, or None to refuse."""

    what: str
    rule: Callable[[str], str | None]

    @property
    def allowed(self) -> str:
        return self.what

    def accept(self, raw: Any) -> str:
        accepted = self.rule(raw) if isinstance(raw, str) else None
        if accepted is None:
            raise self.refuse(raw)
        return accepted

    def parse(self, text: str) -> Any:
        return text


@dataclass(frozen=True, slots=True)
class SecretText(Kind):
    """Text that is never shown; `show_part` may show what is not secret about it (a host without its password)."""

    what: str
    rule: Callable[[str], str | None]
    show_part: Callable[[str], str] | None = None
    secret = True

    @property
    def allowed(self) -> str:
        return self.what

    def accept(self, raw: Any) -> Secret:
        text = raw.reveal() if isinstance(raw, Secret) else raw
        if isinstance(text, str) and MASK in text:
            raise Refused(
                ("", f"found the mask {MASK} that is shown in its place, allowed is {self.allowed}")
            )
        accepted = self.rule(text) if isinstance(text, str) else None
        if accepted is None:
            raise self.refuse(raw)
        return Secret(accepted)

    def parse(self, text: str) -> Any:
        return text

    def show(self, value: Any) -> str:
        shown = self.show_part(value.reveal()) if self.show_part else str(value)
        return json.dumps(shown, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class ListOf(Kind):
    item: Kind

    @property
    def allowed(self) -> str:
        return f"a list, each item {self.item.allowed}"

    def accept(self, raw: Any) -> tuple[Any, ...]:
        if not isinstance(raw, (list, tuple)):
            raise Refused(("", f"found {name_type(raw)}, allowed is {self.allowed}"))
        return tuple(gather({f"[{index}]": (self.item, value) for index, value in enumerate(raw)}).values())

    def fields_of_items(self) -> frozenset[str]:
        return frozenset(self.item.fields) if isinstance(self.item, Record) else frozenset()


@dataclass(frozen=True, slots=True)
class Chain(Kind):
    """One name, or several in the order in which they are tried. Accepted as a tuple."""

    @property
    def allowed(self) -> str:
        return "text that is not empty, or a list of such texts"

    def accept(self, raw: Any) -> tuple[str, ...]:
        names = (raw,) if isinstance(raw, str) else raw
        if not isinstance(names, (list, tuple)) or not names:
            raise self.refuse(raw)
        accepted: dict[str, None] = {}
        faults: list[tuple[str, str]] = []
        for index, name in enumerate(names):
            place = "" if isinstance(raw, str) else f"[{index}]"
            if not isinstance(name, str) or not name:
                faults.append((place, f"found {quote(name)}, allowed is text that is not empty"))
            elif name in accepted:
                faults.append((place, f"found {quote(name)} again, allowed is each name once"))
            else:
                accepted[name] = None
        if faults:
            raise Refused(*faults)
        return tuple(accepted)


@dataclass(frozen=True, slots=True)
class Chains(Kind):
    """A table of chains by name."""

    @property
    def allowed(self) -> str:
        return 'a table of texts or lists of texts, such as {"name" = "text", "other" = ["first", "second"]}'

    def accept(self, raw: Any) -> Mapping[str, tuple[str, ...]]:
        if not isinstance(raw, Mapping):
            raise Refused(("", f"found {name_type(raw)}, allowed is {self.allowed}"))
        return MappingProxyType(
            gather({f".{name}": (Chain(), value) for name, value in raw.items()}, strip=1)
        )

    def show(self, value: Any) -> str:
        """A chain of one is shown as it is mostly written: without the brackets."""
        shown = {name: chain[0] if len(chain) == 1 else list(chain) for name, chain in value.items()}
        return json.dumps(shown, ensure_ascii=False)


class Field(msgspec.Struct, frozen=True):
    kind: Kind
    default: Any = None  # None: must be given


@dataclass(frozen=True, slots=True)
class Record(Kind):
    """A table with known fields, made into `make(**fields)`. Unknown fields are left to `unknown`.

    `alone` names the field that may be given as plain text in place of the table.
    """

    make: Callable[..., Any]
    fields: Mapping[str, Field]
    alone: str = ""

    @property
    def allowed(self) -> str:
        table = "a table with " + ", ".join(self.fields)
        return f"{table}, or the {self.alone} alone" if self.alone else table

    def accept(self, raw: Any) -> Any:
        if self.alone and isinstance(raw, (str, Secret)):
            raw = {self.alone: raw}
        if not isinstance(raw, Mapping):
            raise Refused(("", f"found {name_type(raw)}, allowed is {self.allowed}"))
        missing = [name for name, field in self.fields.items() if field.default is None and name not in raw]
        if missing:
            raise Refused(
                *(
                    (f".{name}", f"found nothing, allowed is {self.fields[name].kind.allowed}")
                    for name in missing
                )
            )
        given = {
            f".{name}": (field.kind, raw.get(name, field.default)) for name, field in self.fields.items()
        }
        return self.make(**gather(given, strip=1))


def gather(given: Mapping[str, tuple[Kind, Any]], *, strip: int = 0) -> dict[str, Any]:
    """Accept each value by its kind; all faults together, under the path of their value. Raises Refused."""
    accepted: dict[str, Any] = {}
    faults: list[tuple[str, str]] = []
    for path, (kind, raw) in given.items():
        try:
            accepted[path[strip:]] = kind.accept(raw)
        except Refused as refused:
            faults.extend((path + below, sentence) for below, sentence in refused.faults)
    if faults:
        raise Refused(*faults)
    return accepted


def plain(value: Any) -> Any:
    """`value` as JSON can hold it, secrets masked."""
    match value:
        case Secret():
            return str(value)
        case Mapping():
            return {name: plain(item) for name, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case msgspec.Struct():
            return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
        case _:
            return value


def name_type(raw: Any) -> str:
    """What sort of value `raw` is, without showing it."""
    match raw:
        case bool():
            return "true or false"
        case int():
            return "a whole number"
        case float():
            return "a number"
        case "":
            return "empty text"
        case str() | Secret():
            return "text"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a table"
        case None:
            return "nothing"
        case _:
            return "a date or time"


def quote(raw: Any) -> str:
    """`raw` as it was found, shortened; compound values and what may hold a password by their sort only."""
    match raw:
        case bool() | int() | float():
            return json.dumps(raw) if not isinstance(raw, float) or math.isfinite(raw) else str(raw)
        case str() if raw and "@" not in raw:
            return json.dumps(raw if len(raw) <= 80 else raw[:79] + "…", ensure_ascii=False)
        case _:
            return name_type(raw)
