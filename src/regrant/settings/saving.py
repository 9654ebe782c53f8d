"""Changes written to config.toml, keeping its comments, order, line ends and unknown keys.

What comes from the environment or a flag is never written; which values are allowed is judged as when loading.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regrant.errors import SettingsError
from regrant.files import temporaries, write_atomically
from regrant.secret import Secret
from regrant.settings.loading import FILE, check_whole, judge, parse_file, read_table, unknown_key
from regrant.settings.table import BY_KEY

LOCK_WAIT_S = 10
BOM = "\ufeff"


def save(data_dir: Path, changes: Mapping[str, Any]) -> None:
    """Write `changes` by key to config.toml; None removes a key, so that its default holds again.

    Nothing is written unless the file is valid with all changes, or each problem that remains was there before and
    at least one is mended. Raises SettingsError. Safe against other processes and a crash at any moment.
    """
    from filelock import FileLock, Timeout

    unknown = [unknown_key(key, "") for key in changes if key not in BY_KEY]
    if unknown:
        raise SettingsError(unknown)
    locks = data_dir / "locks"
    try:
        locks.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(locks / "config.lock", timeout=LOCK_WAIT_S, mode=0o600):
            _save_locked(data_dir / FILE, changes)
    except Timeout as error:
        raise SettingsError(
            [f"{FILE}: another process has been writing it for {LOCK_WAIT_S} s; try again"]
        ) from error
    except OSError as error:
        advice = "free space, or make the folder and the file writable; a file mounted by itself cannot be replaced"
        raise SettingsError([f"{data_dir / FILE}: cannot be written ({error.strerror}); {advice}"]) from error


def _save_locked(path: Path, changes: Mapping[str, Any]) -> None:
    _sweep(path.resolve())
    before = path.read_bytes() if path.exists() else b""
    old = parse_file(before, path)
    after = _edited(before, changes, _changed(old, changes), path)
    new = parse_file(after, path)
    problems = _problems(new)
    if problems and not set(problems) < set(_problems(old)):
        raise SettingsError(problems)
    if after != before:
        write_atomically(path, after)


def _edited(before: bytes, changes: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> bytes:
    """The edited text, proved to hold `wanted`. tomlkit misplaces some changes in dotted and inline tables."""
    from tomlkit.exceptions import TOMLKitError

    for inline in (False, True):
        try:
            after = edit(before, changes, inline=inline)
            if _pruned(tomllib.loads(after.decode("utf-8-sig"))) == _pruned(wanted):
                return after
        except (TOMLKitError, ValueError, TypeError, KeyError):
            continue  # the other way of writing it may do; if not, the problem below is told
    raise SettingsError([f"{path}: the change cannot be placed in this file safely; edit it by hand"])


def _sweep(path: Path) -> None:
    """Remove what killed writers left; under the lock nobody else is writing, and it may hold secrets."""
    for leftover, target in temporaries(path.parent):
        if target == path.name:
            leftover.unlink(missing_ok=True)


def edit(data: bytes, changes: Mapping[str, Any], *, inline: bool = False) -> bytes:
    """The text of a config.toml with `changes` made, everything else as it was; new tables in braces if `inline`."""
    import tomlkit

    text = data.decode("utf-8-sig")
    crlf = "\r\n" in text and text.count("\n") == text.count("\r\n")
    document = tomlkit.parse(text)
    for key, value in changes.items():
        if value is None:
            _remove(document, key.split("."))
        else:
            _put(document, key.split("."), _writable(value), inline=inline)
    edited = tomlkit.dumps(document)
    if crlf:
        edited = edited.replace("\r\n", "\n").replace("\n", "\r\n")
    return ((BOM if data.startswith(BOM.encode()) else "") + edited).encode()


def _put(document: Any, path: list[str], value: Any, *, inline: bool) -> None:
    import tomlkit

    table = document
    for name in path[:-1]:
        if name not in table:
            table[name] = tomlkit.inline_table() if inline else tomlkit.table()
        table = table[name]
    _set(table, path[-1], value, inline=inline)


def _set(table: Any, name: str, value: Any, *, inline: bool) -> None:
    """Put `value` in place; a table is changed name by name and a value keeps the comment behind it."""
    import tomlkit

    old = table.get(name)
    if old is not None and type(_plain(old)) is type(value) and _plain(old) == value:
        return
    if isinstance(old, dict) and isinstance(value, dict):
        for gone in [below for below in old if below not in value]:
            del old[gone]
        for below, item in value.items():
            _set(old, below, item, inline=inline)
        return
    item = _inline(value) if inline else tomlkit.item(value)
    if old is not None:
        if hasattr(old, "trivia") and hasattr(item, "trivia"):
            item.trivia.comment, item.trivia.comment_ws = old.trivia.comment, old.trivia.comment_ws
        table[name] = item
    else:
        _add(table, name, item)


def _add(table: Any, name: str, item: Any) -> None:
    """A new value goes behind the last value of its table: appended, it would follow the next table's comment."""
    from tomlkit.items import AoT, Table

    def is_value(other: Any) -> bool:
        return not isinstance(other, (AoT, Table))

    if isinstance(table, Table) and is_value(item):
        values = [key for key, other in table.value.body if key is not None and is_value(other)]
        if values:
            table.value._insert_after(
                values[-1], name, item
            )  # tomlkit has no public way; `_save_locked` checks it
            return
    table[name] = item


def _inline(value: Any) -> Any:
    """`value` as one TOML value, its tables in braces."""
    import tomlkit

    if isinstance(value, dict):
        table = tomlkit.inline_table()
        for name, item in value.items():
            table[name] = _inline(item)
        return table
    if isinstance(value, list):
        array = tomlkit.array()
        for item in value:
            array.append(_inline(item))
        return array
    return tomlkit.item(value)


def _plain(item: Any) -> Any:
    return item.unwrap() if hasattr(item, "unwrap") else item


def _remove(document: Any, path: list[str]) -> None:
    table = document
    for name in path[:-1]:
        if name not in table:
            return
        table = table[name]
    if path[-1] in table:
        del table[path[-1]]


def _changed(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """What the file must hold afterwards, computed on plain tables."""
    new: dict[str, Any] = _copy(old)
    for key, value in changes.items():
        *sections, name = key.split(".")
        table = new
        for section in sections:
            table = table.setdefault(section, {}) if value is not None else table.get(section, {})
            if not isinstance(table, dict):
                raise SettingsError([f"{section} ({FILE}): found a value, allowed is a table"])
        if value is None:
            table.pop(name, None)
        else:
            table[name] = _writable(value)
    return new


def _pruned(table: Mapping[str, Any]) -> dict[str, Any]:
    """Without empty tables: whether a header stays behind when its last key is removed says nothing."""
    pruned = {name: _pruned(value) if isinstance(value, dict) else value for name, value in table.items()}
    return {name: value for name, value in pruned.items() if value != {}}


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(item) for name, item in value.items()}
    return value


def _writable(value: Any) -> Any:
    """`value` as TOML can hold it; the one place where secrets are written to config.toml."""
    match value:
        case Secret():
            return value.reveal()
        case Mapping():
            return {name: _writable(item) for name, item in value.items() if item is not None}
        case list() | tuple():
            return [_writable(item) for item in value]
        case _:
            return value


def _problems(document: Mapping[str, Any]) -> list[str]:
    reading = read_table(document)
    values, origins, faults = judge(reading.given)
    return [*reading.problems, *faults, *check_whole(values, origins)]
