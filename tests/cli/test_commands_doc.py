"""Every command and every option that `--help` shows is in docs/commands.md, and every command there exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from regrant.cli.main import app

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "commands.md").read_text()


def commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for name, below in command.commands.items():
            yield from commands(below, (*path, name))
    else:
        yield " ".join(path), command


ALL = dict(commands(typer.main.get_command(app), ("regrant",)))


def test_every_command_is_documented() -> None:
    missing = [name for name in ALL if f"`{name}" not in PAGE]
    assert len(ALL) > 15
    assert missing == []


def test_every_documented_command_exists() -> None:
    named = re.findall(r"^\| `(regrant(?: [a-z]+(?:-[a-z]+)*)+)", PAGE, re.MULTILINE)
    assert sorted(named) == sorted(ALL)


def test_every_option_is_documented_and_explained() -> None:
    for name, command in ALL.items():
        for parameter in command.params:
            if parameter.param_type_name != "option" or parameter.hidden:
                continue
            assert parameter.help, (name, parameter.name)
            assert any(f"`{option}" in PAGE or f"{option} " in PAGE for option in parameter.opts), (
                name,
                parameter.opts,
            )


def test_every_command_says_what_it_does() -> None:
    assert [name for name, command in ALL.items() if not command.help] == []
