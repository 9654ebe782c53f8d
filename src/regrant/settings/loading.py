"""Where each setting's value comes from: flag > environment > config.toml > default; every problem told at once.

Writing config.toml back is in `saving`; what a value may be is in `values` and `table`.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints
from urllib.parse import urlsplit

import msgspec

from regrant.errors import SettingsError
from regrant.secret import Secret
from regrant.settings.model import Settings
from regrant.settings.table import BY_KEY, SECTIONS, SETTINGS
from regrant.settings.values import Refused, name_type

FILE = "config.toml"
FLAG, DEFAULT = "flag", "default"

T = TypeVar("T")


class Given(NamedTuple):
    """A raw value and where it was found. Text (environment, a flag) is read by the kind of its key."""

    key: str
    origin: str
    raw: Any
    is_text: bool = False


class Shown(NamedTuple):
    key: str
    value: str
    origin: str


class Loaded(msgspec.Struct, frozen=True):
    """`origins` has every key. `unknown` tells of keys in config.toml that no setting has; `warnings` includes them."""

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...]
    unknown: tuple[str, ...]


class Reading(msgspec.Struct, frozen=True):
    """What one source holds, before its values are judged."""

    given: tuple[Given, ...] = ()
    problems: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def load(data_dir: Path, flags: Mapping[str, Any], environ: Mapping[str, str]) -> Loaded:
    """The settings in force. A flag that is None was not given. Raises SettingsError with every problem."""
    file = read_table(read_file(data_dir / FILE))
    environment = read_environment(environ)
    set_flags = read_flags(flags)
    problems = [*file.problems, *environment.problems, *set_flags.problems]
    values, origins, faults = judge((*file.given, *environment.given, *set_flags.given))
    problems += [*faults, *check_whole(values, origins)]
    if problems:
        raise SettingsError(problems)
    warnings = (*file.unknown, *_warn_of_readers(data_dir / FILE, file.given))
    return Loaded(assemble(Settings, values), origins, warnings, file.unknown)


def check(data_dir: Path, flags: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[str, ...]:
    """Everything that is wrong with the settings, unknown keys in config.toml included. Never raises SettingsError."""
    try:
        return load(data_dir, flags, environ).unknown
    except SettingsError as error:
        problems = error.problems
    try:
        return (*problems, *read_table(read_file(data_dir / FILE)).unknown)
    except SettingsError:
        return problems  # the file cannot be read at all, which they say already


def make(changes: Mapping[str, Any] | None = None) -> Settings:
    """The defaults with `changes` by key, without file and environment. Raises SettingsError."""
    given = read_flags(changes or {})
    values, origins, faults = judge(given.given)
    problems = [*given.problems, *faults, *check_whole(values, origins)]
    if problems:
        raise SettingsError(problems)
    return assemble(Settings, values)


def parse_value(key: str, text: str) -> Any:
    """The raw value that `text` stands for on a command line, fit for `save`. Raises SettingsError."""
    if key not in BY_KEY:
        raise SettingsError([unknown_key(key, "")])
    kind = BY_KEY[key].kind
    try:
        raw = kind.parse(text)
        kind.accept(raw)
    except Refused as refused:
        raise SettingsError([f"{key}{below}: {sentence}" for below, sentence in refused.faults]) from None
    return raw


def describe(loaded: Loaded) -> list[Shown]:
    """Every setting in the order of the table, with its origin, secrets masked."""
    return [
        Shown(row.key, row.kind.show(value_at(loaded.settings, row.key)), loaded.origins[row.key])
        for row in SETTINGS
    ]


def restart_needed(old: Settings, new: Settings) -> list[str]:
    """The changed keys that a running process cannot follow."""
    return [row.key for row in SETTINGS if row.restart and value_at(old, row.key) != value_at(new, row.key)]


def value_at(settings: Settings, key: str) -> Any:
    return reduce(getattr, key.split("."), settings)


def read_file(path: Path) -> dict[str, Any]:
    """The tables of a config.toml; {} when there is none. Raises SettingsError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(
            [f"{path}: cannot be read ({error.strerror}); check its owner and mode"]
        ) from error
    return parse_file(data, path)


def parse_file(data: bytes, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError([f"{path}: line {line} is not UTF-8; save the file as UTF-8"]) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"{path}: not valid TOML: {error}"]) from None
    except RecursionError:
        raise SettingsError([f"{path}: nested too deeply"]) from None


def read_table(document: Mapping[str, Any], origin: str = FILE) -> Reading:
    """The values of nested tables by key; what is no setting is told apart."""
    given: list[Given] = []
    problems: list[str] = []
    unknown: list[str] = []
    for path, value in _leaves((), document):
        key = ".".join(path)
        if key in BY_KEY and not any("." in name for name in path):
            given.append(Given(key, origin, value))
            unknown += [
                unknown_field(f"{key}{below}", origin, names) for below, names in _extra_fields(key, value)
            ]
        elif key in SECTIONS:
            problems.append(f"{key} ({origin}): found {name_type(value)}, allowed is a table")
        else:
            unknown.append(unknown_key(key, origin))
    return Reading(tuple(given), tuple(problems), tuple(unknown))


def read_environment(environ: Mapping[str, str]) -> Reading:
    """The `REGRANT_…__…` variables: one setting each, or a whole section as a JSON table."""
    keys = {row.environment: row.key for row in SETTINGS}
    sections = {
        "REGRANT_" + section.upper().replace(".", "__"): section for section in SECTIONS if "." in section
    }
    whole: list[Given] = []
    single: list[Given] = []
    problems: list[str] = []
    for name, text in sorted(environ.items()):
        if not name.startswith("REGRANT_") or "__" not in name:
            continue
        origin = f"environment {name}"
        if name in keys:
            single.append(Given(keys[name], origin, text, is_text=True))
        elif name in sections:
            reading = _read_section(sections[name], origin, text)
            whole += reading.given
            problems += [*reading.problems, *reading.unknown]
        else:
            nearest = _nearest(name, keys)
            problems.append(
                f"{name} (environment): no such setting; the nearest is {nearest} ({keys[nearest]})"
            )
    return Reading((*whole, *single), tuple(problems))


def read_flags(flags: Mapping[str, Any]) -> Reading:
    given = {key: raw for key, raw in flags.items() if raw is not None}
    return Reading(
        tuple(
            Given(key, FLAG, raw, is_text=isinstance(raw, str)) for key, raw in given.items() if key in BY_KEY
        ),
        tuple(unknown_key(key, FLAG) for key in given if key not in BY_KEY),
    )


def judge(sources: Iterable[Given]) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Accepted values and origins by key, later sources winning, and every problem of every source."""
    values = {row.key: row.kind.accept(row.default) for row in SETTINGS}
    origins = dict.fromkeys(values, DEFAULT)
    problems: list[str] = []
    for given in sources:
        kind = BY_KEY[given.key].kind
        try:
            values[given.key] = kind.accept(kind.parse(given.raw) if given.is_text else given.raw)
        except Refused as refused:
            problems += [
                f"{given.key}{below} ({given.origin}): {sentence}" for below, sentence in refused.faults
            ]
        origins[given.key] = given.origin
    return values, origins, problems


def check_whole(values: Mapping[str, Any], origins: Mapping[str, str]) -> Iterator[str]:
    """Problems between settings that are each fine by themselves."""
    seen = {values["google.client_id"]: "google.client_id"} if values["google.client_id"] else {}
    for index, client in enumerate(values["google.clients"]):
        place = f"google.clients[{index}].client_id"
        if client.client_id in seen:
            yield f"{place} ({origins['google.clients']}): found the id of {seen[client.client_id]} again, allowed is each id once"
        seen.setdefault(client.client_id, place)
    for index, webhook in enumerate(values["notify.webhooks"]):
        if webhook.format == "ntfy" and not urlsplit(webhook.url.reveal()).path.strip("/"):
            place = f"notify.webhooks[{index}].url ({origins['notify.webhooks']})"
            yield f"{place}: found an address without a topic, allowed for ntfy is https://host/topic"
    if values["google.client_secret"] and not values["google.client_id"]:
        origin = origins["google.client_secret"]
        yield f"google.client_secret ({origin}): found a secret without a client, allowed is one beside google.client_id"
    yield from _check_choices(values, origins["pool.choices"])
    yield from _check_rules(values, origins["models.rules"])


def _check_rules(values: Mapping[str, Any], origin: str) -> Iterator[str]:
    seen: dict[str, str] = {}
    for index, rule in enumerate(values["models.rules"]):
        place = f"models.rules[{index}].key"
        if rule.key in seen:
            yield f'{place} ({origin}): found "{rule.key}" of {seen[rule.key]} again, allowed is each key once'
        seen.setdefault(rule.key, place)


def _check_choices(values: Mapping[str, Any], origin: str) -> Iterator[str]:
    groups = {group.name for group in values["pool.groups"]}
    for index, choice in enumerate(values["pool.choices"]):
        place = f"pool.choices[{index}]"
        if choice.group and choice.account:
            yield f"{place} ({origin}): found a group and an account, allowed is one of them"
        elif choice.group and choice.group not in groups:
            yield f'{place}.group ({origin}): found "{choice.group}", allowed is the name of one of pool.groups'


def assemble(shape: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """A Struct whose fields are sections or values of the keys below `prefix`."""
    parts = {}
    for name, hint in get_type_hints(shape).items():
        section = isinstance(hint, type) and issubclass(hint, msgspec.Struct)
        parts[name] = assemble(hint, values, f"{prefix}{name}.") if section else values[prefix + name]
    return shape(**parts)


def unknown_key(key: str, origin: str) -> str:
    place = f"{key} ({origin})" if origin else key
    return f"{place}: no such setting; the nearest is {_nearest(key, BY_KEY)}"


def unknown_field(place: str, origin: str, names: Iterable[str]) -> str:
    return f"{place} ({origin}): no such field; the nearest is {_nearest(place.rpartition('.')[2], names)}"


def _nearest(name: str, names: Iterable[str]) -> str:
    return difflib.get_close_matches(name, list(names), n=1, cutoff=0.0)[0]


def _leaves(path: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path and value of everything below `table` that is a setting, or no table, or an empty unknown one."""
    for name, value in table.items():
        below = (*path, name)
        key = ".".join(below)
        if isinstance(value, Mapping) and key not in BY_KEY and (value or key in SECTIONS):
            yield from _leaves(below, value)
        else:
            yield below, value


def _extra_fields(key: str, value: Any) -> Iterator[tuple[str, Iterable[str]]]:
    known = BY_KEY[key].kind.fields_of_items()
    if known and isinstance(value, list):
        for index, item in enumerate(value):
            extra = [name for name in item if name not in known] if isinstance(item, Mapping) else []
            yield from ((f"[{index}].{name}", known) for name in extra)


def _read_section(section: str, origin: str, text: str) -> Reading:
    from json import loads

    try:
        table = loads(text)
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        return Reading(
            problems=(f"{section} ({origin}): found text that is no JSON table, allowed is a JSON table",)
        )
    nested: dict[str, Any] = table
    for name in reversed(section.split(".")):
        nested = {name: nested}
    return read_table(nested, origin)


def _warn_of_readers(path: Path, given: Iterable[Given]) -> Iterator[str]:
    """A file that holds a secret and that other users may read."""
    if os.name == "nt" or not any(_holds_secret(item) for item in given):
        return
    if path.stat().st_mode & 0o077:
        yield f"{path}: holds a secret and can be read by other users of this machine; run: chmod 600 '{path}'"


def _holds_secret(given: Given) -> bool:
    return given.key != "store.url" and _has_secret(BY_KEY[given.key].kind.accept(given.raw))


def _has_secret(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(_has_secret(item) for item in value)
    if isinstance(value, msgspec.Struct):
        return any(_has_secret(getattr(value, name)) for name in value.__struct_fields__)
    return isinstance(value, Secret) and bool(value)
